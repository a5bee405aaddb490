"""Migration 0009: the tables of monitoring, alike however a database came to have them."""

from __future__ import annotations

from pathlib import Path

import livepin_server
import pytest
from alembic import command
from alembic.config import Config
from livepin_server.storage.database import sqlite_url
from livepin_server.storage.schema import metadata
from sqlalchemy import inspect, text
from sqlalchemy.exc import IntegrityError

MIGRATIONS = Path(livepin_server.__file__).parent / "storage" / "migrations"
TABLES = (
    "endpoints", "schedule", "observations", "findings", "certificate_changes", "monitor_settings",
    "beats", "refusals",
)  # fmt: skip
ACCOUNT = "INSERT INTO accounts VALUES ('acme', 0, 0, true, '{}', '{}', 0)"
ENDPOINT = """INSERT INTO endpoints
    (account, host, port, connect, ca_digest, every, domain, stream, created)
    VALUES ('acme', 'a', 443, '', '', 900, 'a', 'main', 0)"""
PARTS = (
    "INSERT INTO schedule VALUES (1, 'here', 0, 0, 0, NULL, NULL)",
    "INSERT INTO observations VALUES (1, 'here', '{}', 0, 1, NULL, true)",
    "INSERT INTO findings VALUES (1, 'here', 'k', 'acme', 'firing', 0, 0, 1, 0, NULL, '{}')",
)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request, tmp_path, open_database):
    """A database of the schema before, with an account, of each kind in turn."""
    if request.param == "sqlite":
        found = open_database(sqlite_url(tmp_path / "livepin.db"))
    else:
        name = request.getfixturevalue("new_database")()
        found = open_database(request.getfixturevalue("postgres").url(name))
    go(found, command.upgrade, "0008")
    found.write(lambda each: each.execute(text(ACCOUNT)))
    return found


def go(database, way, revision):
    """Bring a database to a revision."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("path_separator", "os")

    def change(connection):
        config.attributes["connection"] = connection
        way(config, revision)

    database.write(change)


def test_an_upgraded_database_has_the_columns_and_indexes_of_the_schema(database):
    go(database, command.upgrade, "head")
    with database.reading() as connection:
        inspector = inspect(connection)
        for name in TABLES:
            found = {c["name"]: c["nullable"] for c in inspector.get_columns(name)}
            table = metadata.tables[name]
            assert found == {c.name: c.nullable for c in table.columns}
            indexes = {i["name"]: i["column_names"] for i in inspector.get_indexes(name)}
            wanted = {str(i.name): [c.name for c in i.columns] for i in table.indexes}
            assert wanted.items() <= indexes.items()


def test_with_an_endpoint_everything_of_it_goes_but_its_history(database):
    go(database, command.upgrade, "head")
    for each in (ENDPOINT, *PARTS):
        database.write(lambda connection, each=each: connection.execute(text(each)))
    with pytest.raises(IntegrityError):
        database.write(lambda connection: connection.execute(text(ENDPOINT)))
    database.write(lambda connection: connection.execute(text("DELETE FROM endpoints")))
    with database.reading() as connection:
        for name in ("schedule", "observations", "findings"):
            assert connection.scalar(text(f"SELECT count(*) FROM {name}")) == 0


def test_there_is_a_way_back(database):
    go(database, command.upgrade, "head")
    go(database, command.downgrade, "0008")
    with database.reading() as connection:
        assert not {*TABLES} & {*inspect(connection).get_table_names()}


def test_a_lease_touches_no_index_of_postgresql(postgres, new_database, open_database):
    database = open_database(postgres.url(new_database()))
    go(database, command.upgrade, "head")
    for each in (ACCOUNT, ENDPOINT, PARTS[0]):
        database.write(lambda connection, each=each: connection.execute(text(each)))
    lease = text("UPDATE schedule SET lease_until = 9, fence = fence + 1")
    database.write(lambda connection: connection.execute(lease))
    hot = text(
        "SELECT n_tup_hot_upd + pg_stat_get_xact_tuples_hot_updated(relid) "
        "FROM pg_stat_user_tables WHERE relname = 'schedule'"
    )
    count = database.write(lambda c: (c.execute(lease), c.scalar(hot))[1])
    assert count >= 1
