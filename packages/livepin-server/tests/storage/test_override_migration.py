"""Migration 0007: a tag that anybody might give says nothing of what an admin has decided."""

from __future__ import annotations

from pathlib import Path

import livepin_server
from alembic import command
from alembic.config import Config
from livepin_server.storage.database import sqlite_url
from sqlalchemy import text

MIGRATIONS = Path(livepin_server.__file__).parent / "storage" / "migrations"
ACCOUNT = "INSERT INTO accounts VALUES ('acme', 0, 0, true, '{}', '{}', 0)"
RULE = "INSERT INTO installation_rules VALUES ('acme', :id, NULL, NULL, '', 'bob', 0, :tags)"
TAGS = {
    "": "", "test": "", "lab test": "lab", "test zoo": "zoo", "a test zoo": "a zoo", "lab": "lab",
    "testing tests": "testing tests", "a-test": "a-test",
}  # fmt: skip


def go(database, revision: str) -> None:
    """Bring a database to a revision."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("path_separator", "os")

    def change(connection):
        config.attributes["connection"] = connection
        command.upgrade(config, revision)

    database.write(change)


def test_the_tag_for_tests_is_taken_from_all_and_the_others_stay(open_database, tmp_path):
    database = open_database(sqlite_url(tmp_path / "livepin.db"))
    go(database, "0005")
    rows = [{"id": str(number), "tags": tags} for number, tags in enumerate(TAGS)]
    database.write(lambda each: each.execute(text(ACCOUNT)))
    database.write(lambda each: each.execute(text(RULE), rows))
    go(database, "head")
    with database.reading() as connection:
        found = connection.execute(text("SELECT tags FROM installation_rules ORDER BY id")).all()
    assert [row.tags for row in found] == list(TAGS.values())
