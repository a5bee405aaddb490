"""Migration 0003: keys of before go on, with all their rights and a name that is free again."""

from __future__ import annotations

from pathlib import Path

import livepin_server
import pytest
from alembic import command
from alembic.config import Config
from livepin.testing import FakeClock
from livepin_server.errors import ConflictError
from livepin_server.services.api_keys import ApiKeys
from livepin_server.services.model import Intent, Role
from livepin_server.storage import schema_version
from livepin_server.storage.database import sqlite_url
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

INTENT = Intent(author="bob")
MIGRATIONS = Path(livepin_server.__file__).parent / "storage" / "migrations"
BEFORE = (
    "INSERT INTO accounts VALUES ('acme', 0, 0, true, '{}')",
    "INSERT INTO api_keys VALUES ('0123456789ab', 'operator', 'admin', NULL, :digest, 5, NULL)",
    "INSERT INTO api_keys VALUES ('0123456789ac', 'ci', 'viewer', 'acme', :digest, 6, 7)",
)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request, open_database, tmp_path):
    """An empty database of each kind in turn."""
    if request.param == "sqlite":
        return open_database(sqlite_url(tmp_path / "livepin.db"))
    name = request.getfixturevalue("new_database")()
    return open_database(request.getfixturevalue("postgres").url(name))


def go(database, revision: str) -> None:
    """Bring a database to a revision, up or down."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("path_separator", "os")

    def change(connection):
        config.attributes["connection"] = connection
        down = revision == "0001" and connection.dialect.has_table(connection, "api_keys")
        (command.downgrade if down else command.upgrade)(config, revision)

    database.write(change)


@pytest.fixture
def filled(database):
    """A database of before, with keys in it."""
    go(database, "0001")
    for statement in BEFORE:
        members = {"digest": b"d" * 32} if ":digest" in statement else {}
        database.write(lambda each, s=statement, m=members: each.execute(text(s), m))
    return database


def test_keys_of_before_may_what_they_might(filled, database) -> None:
    schema_version.upgrade(database, now=FakeClock()())
    operator, ci = ApiKeys(database, clock=FakeClock()).all()
    assert (operator.name, operator.role, operator.account) == ("operator", Role.ADMIN, None)
    assert (ci.name, ci.role, ci.account) == ("ci", Role.VIEWER, "acme")
    assert ci.revoked is not None
    for key in (operator, ci):
        assert (key.scopes, key.expires, key.created_by, key.last_used) == (None, None, None, None)
        assert (key.rotated, key.overlap_until) == (None, None)


def test_a_name_is_taken_by_a_valid_key_alone(filled, database) -> None:
    schema_version.upgrade(database, now=FakeClock()())
    api_keys = ApiKeys(database, clock=FakeClock())
    api_keys.create("ci", Role.VIEWER, "acme", INTENT)
    with pytest.raises(ConflictError):
        api_keys.create("operator", Role.VIEWER, "acme", INTENT)
    # And the database itself holds to it.
    for name, account in (("ci", "'acme'"), ("operator", "NULL")):
        statement = text(
            "INSERT INTO api_keys (id, name, role, account, digest, created)"
            f" VALUES ('x', '{name}', 'admin', {account}, :digest, 5)"
        )
        with pytest.raises(IntegrityError):
            database.write(lambda each, s=statement: each.execute(s, {"digest": b"d" * 32}))


def test_there_is_a_way_back(filled, database) -> None:
    go(database, "head")
    go(database, "0001")
    with database.reading() as connection:
        rows = connection.execute(text("SELECT * FROM api_keys ORDER BY id")).all()
    assert [len(row) for row in rows] == [7, 7]
    go(database, "head")
    assert len(ApiKeys(database, clock=FakeClock()).all()) == 2
