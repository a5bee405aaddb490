"""The table of the audit log: it only gains rows, and a database from before it gains the table."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import shutil

import pytest
from alembic import command
from livepin.documents import config
from livepin.jose import parse_compact, sign_compact
from livepin_server import main
from livepin_server.custody.sealed import Label, load_master_key
from livepin_server.storage import moving, schema_version
from livepin_server.storage.database import Database, sqlite_url
from livepin_server.storage.schema import api_keys, audit, configs, keys, metadata
from sqlalchemy import MetaData, insert, select, text, update
from sqlalchemy.exc import DatabaseError

NOW = dt.datetime(2026, 11, 23, 12, tzinfo=dt.timezone.utc)
REFUSED = "the audit log only gains entries, one after the other"


@pytest.fixture(params=["sqlite", "postgresql"])
def data_folder(request, tmp_path):
    """A data folder for each database in turn."""
    if request.param == "postgresql":
        return request.getfixturevalue("postgres_folder")
    data = tmp_path / "data"
    shutil.copytree(request.getfixturevalue("data_template"), data)
    return data


@pytest.fixture
def database(services):
    """A database whose logs have entries."""
    return services.database


@pytest.fixture(params=["sqlite", "postgresql"])
def empty(request, tmp_path, open_database):
    """An empty database of each kind in turn."""
    if request.param == "sqlite":
        return open_database(sqlite_url(tmp_path / "empty.db"))
    name = request.getfixturevalue("new_database")()
    return open_database(request.getfixturevalue("postgres").url(name))


def content(database):
    with database.reading() as connection:
        return connection.execute(select(audit).order_by(*audit.primary_key)).all()


# -- it only gains rows --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit SET entry = digest",
        "UPDATE audit SET number = number + 100 WHERE account = 'acme'",
        "UPDATE audit SET account = 'beta' WHERE number = 3",
        "DELETE FROM audit",
        "DELETE FROM audit WHERE number = (SELECT max(number) FROM audit)",
        "INSERT INTO audit SELECT account, number + 100, entry, digest FROM audit",
        "INSERT INTO audit SELECT account, number - 100, entry, digest FROM audit",
        "INSERT INTO audit SELECT 'beta', number + 1, entry, digest FROM audit",
    ],
)
def test_what_changes_removes_or_skips_an_entry_is_refused(database, statement):
    before = content(database)
    with pytest.raises(DatabaseError, match=REFUSED):
        database.write(lambda each: each.execute(text(statement)))
    assert content(database) == before


def test_on_sqlite_an_entry_cannot_be_replaced(data_template, tmp_path, open_database):
    shutil.copy(data_template / "livepin.db", tmp_path)
    database = open_database(sqlite_url(tmp_path / "livepin.db"))
    before = content(database)
    for verb in ("INSERT OR REPLACE", "REPLACE"):
        statement = f"{verb} INTO audit SELECT account, number, digest, entry FROM audit"
        with pytest.raises(DatabaseError, match=REFUSED):
            database.write(lambda each, said=statement: each.execute(text(said)))
    assert content(database) == before


def test_on_postgresql_the_table_cannot_be_emptied_at_once(postgres_folder, open_folder):
    with open_folder(postgres_folder) as opened:
        database = opened.services.database
        before = content(database)
        with pytest.raises(DatabaseError, match=REFUSED):
            database.write(lambda each: each.execute(text("TRUNCATE audit CASCADE")))
        assert content(database) == before


def test_the_next_entry_is_taken_also_many_in_one_statement(database):
    newest = content(database)[-1]
    rows = [newest._asdict() | {"number": newest.number + each} for each in (1, 2, 3)]
    database.write(lambda each: each.execute(insert(audit).values(rows)))
    rows = [newest._asdict() | {"number": newest.number + each} for each in (4, 5, 6)]
    database.write(lambda each: each.execute(insert(audit), rows))
    assert [each.number for each in content(database)][-6:] == [
        newest.number + n for n in range(1, 7)
    ]


def test_a_log_moves_to_another_database_as_it_is(database, add_domain, empty):
    for number in range(5):
        add_domain(f"h{number}.example.com")
    moving.move(database, empty)
    assert content(empty) == content(database)
    with pytest.raises(DatabaseError, match=REFUSED):
        empty.write(lambda each: each.execute(text("DELETE FROM audit")))


def test_what_was_just_made_can_be_removed_and_made_again(empty):
    for _ in range(2):
        schema_version.create(empty)
        schema_version.remove(empty)
    if empty.path is None:
        query = text("SELECT count(*) FROM pg_proc WHERE proname LIKE 'audit_%'")
        with empty.reading() as connection:
            assert connection.scalar(query) == 0


# -- a database from before it -------------------------------------------------------------------


def make_older(source, target):
    """Make a database of the first schema, with the rows that another one has of its tables."""
    chosen = schema_version._config()

    def transaction(writing):
        chosen.attributes["connection"] = writing
        command.upgrade(chosen, "0001")
        found = MetaData()
        found.reflect(writing)
        with source.reading() as reading:
            for table in metadata.sorted_tables:
                if table.name in found.tables:
                    columns = [each for each in table.c if each.name in found.tables[table.name].c]
                    rows = [row._asdict() for row in reading.execute(select(*columns))]
                    if rows:
                        writing.execute(insert(table), rows)

    target.write(transaction)


def test_an_upgrade_keeps_every_row_and_begins_an_empty_log(services, add_domain, empty):
    add_domain("a.example.com", 1, 2)
    make_older(services.database, empty)
    assert schema_version.current(empty) == "0001"
    schema_version.upgrade(empty, now=NOW)
    schema_version.require_current(empty)
    assert content(empty) == []
    with services.database.reading() as before, empty.reading() as after:
        for table in metadata.sorted_tables:
            if table is not audit:
                kept = [each for each in table.c if each is not api_keys.c.created_by]  # is newer
                query = select(*kept).order_by(*table.primary_key)
                assert after.execute(query).all() == before.execute(query).all()


@contextlib.contextmanager
def closing_database(path):
    database = Database(sqlite_url(path))
    try:
        yield database
    finally:
        database.close()


def without_head(opened):
    """Sign the newest config anew as it was before there was a log."""
    with opened.services.database.reading() as connection:
        raw = connection.scalars(select(configs.c.document)).one()
        key = connection.execute(select(keys).where(keys.c.role == "config")).one()
    vault = load_master_key(opened.data / "master.key", None)
    signer = vault.open(key.sealed, Label("acme", "config", key.kid))
    payload = json.loads(parse_compact(raw, typ=config.TYP).payload)
    del payload["audit"]
    return sign_compact(json.dumps(payload).encode(), typ=config.TYP, signer=signer)


def test_an_older_server_goes_on_and_seals_what_comes(data_template, tmp_path, open_folder, intent):
    data = tmp_path / "data"
    shutil.copytree(data_template, data)
    with open_folder(data) as opened, closing_database(tmp_path / "older.db") as older:
        make_older(opened.services.database, older)
        statement = update(configs).values(document=without_head(opened))
        older.write(lambda each: each.execute(statement))
    for each in data.glob("livepin.db*"):
        each.unlink()
    (tmp_path / "older.db").rename(data / "livepin.db")
    schema, backup = main.upgrade(data)
    assert schema == schema_version.head()
    assert backup is not None
    with open_folder(data) as opened:
        services = opened.services
        assert services.audit.warnings() == []
        assert services.audit.export("acme") == b""
        services.publisher.republish("acme", "main", intent)
        assert services.audit.export("acme").count(b"\n") == 1
        assert services.audit.warnings() == []
