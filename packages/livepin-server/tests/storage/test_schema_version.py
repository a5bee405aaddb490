"""Schema versions: one way forward, a backup before it, and no way for a stranger."""

import contextlib
import datetime as dt
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import livepin_server
import pytest
import tomllib
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from livepin_server import main
from livepin_server.errors import SchemaError, UnavailableError
from livepin_server.storage import schema, schema_version
from livepin_server.storage.database import sqlite_url
from sqlalchemy import insert, inspect, make_url, select

NOW = dt.datetime(2026, 11, 23, 12, tzinfo=dt.timezone.utc)
PACKAGE = Path(livepin_server.__file__).parent
_COMPILED = shutil.ignore_patterns("__pycache__")


@pytest.fixture
def empty(tmp_path, open_database):
    return open_database(sqlite_url(tmp_path / "livepin.db"))


@pytest.fixture(params=["sqlite", "postgresql"])
def either(request, open_database):
    """An empty database of each kind in turn."""
    if request.param == "sqlite":
        return request.getfixturevalue("empty")
    name = request.getfixturevalue("new_database")()
    return open_database(request.getfixturevalue("postgres").url(name))


def scripts():
    config = Config()
    config.set_main_option("script_location", str(PACKAGE / "storage" / "migrations"))
    config.set_main_option("path_separator", "os")
    return ScriptDirectory.from_config(config)


def set_revision(path, revision):
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (revision,))
        connection.commit()


def content(path):
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


# -- the migrations ------------------------------------------------------------------------------


def test_the_migrations_make_exactly_the_schema(either):
    schema_version.upgrade(either, now=NOW)
    with either.reading() as connection:
        context = MigrationContext.configure(connection, opts={"render_as_batch": True})
        assert compare_metadata(context, schema.metadata) == []


def test_there_is_one_head_and_one_line_that_leads_to_it():
    found = scripts()
    assert found.get_heads() == [schema_version.head()]
    assert len(found.get_bases()) == 1
    assert not [each.revision for each in found.walk_revisions() if each.is_merge_point]


def test_every_table_of_the_schema_is_there(either):
    schema_version.upgrade(either, now=NOW)
    with either.reading() as connection:
        tables = set(inspect(connection).get_table_names())
    assert tables - {"alembic_version"} == set(schema.metadata.tables)


# -- what may be opened --------------------------------------------------------------------------


def test_a_database_of_this_version_is_current(services):
    assert schema_version.current(services.database) == schema_version.head()
    schema_version.require_current(services.database)


def test_an_empty_database_has_no_version_and_is_made_without_a_backup(empty, tmp_path):
    assert schema_version.current(empty) is None
    assert schema_version.upgrade(empty, now=NOW) is None
    schema_version.require_current(empty)
    assert not list(tmp_path.glob("*.backup"))


def test_what_was_just_made_can_be_removed(either):
    schema_version.upgrade(either, now=NOW)
    schema_version.remove(either)
    assert schema_version.current(either) is None
    with either.reading() as connection:
        assert inspect(connection).get_table_names() == []


def test_of_two_that_begin_at_once_one_makes_the_tables(postgres, new_database, open_database):
    """Else both would use them, and the one that fails would drop those of the other."""
    url = postgres.url(new_database())

    def make(database):
        try:
            schema_version.create(database)
        except SchemaError as exc:
            return str(exc)
        return None

    databases = [open_database(url) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        said = list(pool.map(make, databases))
    assert said.count(None) == 1
    assert {*said} - {None} == {"the database is not empty: another program has a table accounts"}
    schema_version.require_current(databases[0])


def test_an_upgrade_of_a_current_database_changes_nothing(opened):
    before = content(opened.data / "livepin.db")
    assert schema_version.upgrade(opened.services.database, now=NOW) is None
    assert content(opened.data / "livepin.db") == before


def test_a_newer_database_is_refused_and_left_alone(data_folder, open_database):
    path = data_folder / "livepin.db"
    set_revision(path, "9999")
    before = content(path)
    database = open_database(sqlite_url(path))
    for use in (
        lambda: schema_version.require_current(database),
        lambda: schema_version.upgrade(database, now=NOW),
    ):
        with pytest.raises(SchemaError, match="9999, which this version does not know") as caught:
            use()
        assert caught.value.hint.startswith("it was made by a newer version")
    assert content(path) == before


def test_a_database_without_tables_names_the_command_that_makes_them(either):
    with pytest.raises(SchemaError, match="the schema of no version") as caught:
        schema_version.require_current(either)
    assert caught.value.hint == "run: livepin upgrade"


def test_an_upgrade_meanwhile_locked_out_is_reported(empty, tmp_path, pragma):
    pragma("busy_timeout=20")
    assert schema_version.current(empty) is None
    with contextlib.closing(sqlite3.connect(tmp_path / "livepin.db")) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(UnavailableError, match="locked by another process"):
            schema_version.upgrade(empty, now=NOW)


# -- from this version to the next ---------------------------------------------------------------

NEXT = '''
"""A later version's table."""

import sqlalchemy as sa
from alembic import op

revision = "next"
down_revision = "{head}"
branch_labels = None
depends_on = None


def upgrade():
    op.create_table("later", sa.Column("name", sa.Text(), primary_key=True))
    {then}
'''
START = """
import pathlib, sys
sys.path.insert(0, sys.argv[1])
from livepin_server import folder, main
from livepin_server.storage import schema_version
assert main.__file__.startswith(sys.argv[1])
data = pathlib.Path(sys.argv[2])
"""


@pytest.fixture
def next_version(tmp_path):
    """Run a script in a version that has one migration more, in a process of its own."""

    def one(script, data, then="pass"):
        source = tmp_path / "later"
        shutil.rmtree(source, ignore_errors=True)
        shutil.copytree(PACKAGE, source / "livepin_server", ignore=_COMPILED)
        text = NEXT.format(head=schema_version.head(), then=then)
        storage, head = source / "livepin_server/storage", f'_HEAD = "{schema_version.head()}"'
        (storage / "migrations/versions/next.py").write_text(text)
        module = (storage / "schema_version.py").read_text()
        assert head in module
        (storage / "schema_version.py").write_text(module.replace(head, '_HEAD = "next"'))
        return subprocess.run(
            [sys.executable, "-B", "-c", START + script, str(source), str(data)],
            env={k: v for k, v in os.environ.items() if not k.startswith(("COV", "LIVEPIN_"))},
            capture_output=True,
            text=True,
            check=False,
        )

    return one


def test_an_upgrade_backs_up_first(data_folder, next_version, open_database):
    path = data_folder / "livepin.db"
    before = content(path)
    done = next_version("print(*main.upgrade(data))", data_folder)
    assert done.returncode == 0, done.stderr
    revision, backup = done.stdout.split()
    assert revision == "next"
    assert any("later" in line for line in content(path))
    # The backup is the database of before, whole, and for its owner alone.
    assert Path(backup).parent == data_folder
    assert content(backup) == before
    assert stat.S_IMODE(Path(backup).stat().st_mode) == 0o600
    # And this version does not touch what the next one made.
    with pytest.raises(SchemaError, match="does not know"):
        schema_version.require_current(open_database(sqlite_url(path)))


def test_an_older_database_is_refused_by_the_name_of_the_command(data_folder, next_version):
    before = content(data_folder / "livepin.db")
    script = """
try:
    with folder.opened(data, {}, clock=main.clock):
        pass
except schema_version.SchemaError as exc:
    print(exc, exc.hint, sep="|")
"""
    done = next_version(script, data_folder)
    message, hint = done.stdout.strip().split("|")
    assert message.endswith(f"the schema {schema_version.head()}, this version needs next")
    assert hint == "run: livepin upgrade"
    assert content(data_folder / "livepin.db") == before


def test_an_upgrade_that_fails_changes_nothing_and_keeps_the_backup(data_folder, next_version):
    path = data_folder / "livepin.db"
    before = content(path)
    done = next_version("main.upgrade(data)", data_folder, "op.execute('SELECT * FROM gone')")
    assert "UnavailableError: the database does not answer: no such table: gone" in done.stderr
    assert content(path) == before
    (backup,) = data_folder.glob("*.backup")
    assert content(backup) == before
    assert main.upgrade(data_folder) == (schema_version.head(), None)  # still this version's


TWICE = """
now = main.clock()
(data / f"livepin.db.{now:%Y%m%dT%H%M%SZ}.backup").write_text("an older backup")
with folder.opened(data, {}, clock=main.clock, upgrading=True) as opened:
    try:
        schema_version.upgrade(opened.services.database, now=now)
    except schema_version.SchemaError as exc:
        print(exc, exc.hint, sep="|")
"""


def test_an_upgrade_that_cannot_be_backed_up_is_not_begun(data_folder, next_version):
    before = content(data_folder / "livepin.db")
    done = next_version(TWICE, data_folder)
    assert "cannot be backed up to" in done.stdout
    assert done.stdout.endswith(": File exists|nothing was changed\n")
    assert content(data_folder / "livepin.db") == before
    (backup,) = data_folder.glob("*.backup")
    assert backup.read_text() == "an older backup"


FULL = """
import os, resource
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))  # the backup cannot be written
try:
    main.upgrade(data)
except schema_version.SchemaError as exc:
    print(exc, exc.hint, sep="|")
"""


def test_an_upgrade_on_a_full_disk_is_not_begun_and_leaves_no_half_backup(
    data_folder, next_version
):
    before = content(data_folder / "livepin.db")
    done = next_version(FULL, data_folder)
    assert "cannot be backed up to" in done.stdout, done.stderr
    assert content(data_folder / "livepin.db") == before
    assert not list(data_folder.glob("*.backup"))


# -- the same on PostgreSQL ----------------------------------------------------------------------


def tables(postgres, data):
    url = make_url(tomllib.loads((data / "livepin.toml").read_text())["database"])
    with postgres.connect(url.database) as connection:
        rows = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        return {name for (name,) in rows}


def test_postgresql_is_upgraded_in_one_transaction(postgres, postgres_folder, next_version):
    before = tables(postgres, postgres_folder)
    failed = next_version("main.upgrade(data)", postgres_folder, "op.execute('SELECT * FROM gone')")
    assert "UnavailableError: the database lacks a table" in failed.stderr
    assert tables(postgres, postgres_folder) == before
    refused = next_version("folder.opened(data, {}, clock=main.clock).__enter__()", postgres_folder)
    assert "this version needs next" in refused.stderr
    done = next_version("print(*main.upgrade(data))", postgres_folder)
    assert done.stdout.split() == ["next", "None"], done.stderr
    assert tables(postgres, postgres_folder) == {*before, "later"}
    # And this version does not touch what the next one made.
    with pytest.raises(SchemaError, match="does not know"):
        main.upgrade(postgres_folder)


def test_two_upgrades_at_once_are_one_after_the_other(postgres, new_database, open_database):
    url = postgres.url(new_database())
    databases = [open_database(url), open_database(url)]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda each: schema_version.upgrade(each, now=NOW), databases))
    for each in databases:
        schema_version.require_current(each)


def test_texts_are_ordered_by_their_bytes_on_both(either):
    schema_version.upgrade(either, now=NOW)
    names = ["a-b", "a.b", "a0", "ab", "b", "*.a", "B"]
    row = {"created": NOW, "last_version": 0, "active": True, "delivery": ""}
    either.write(
        lambda each: each.execute(
            insert(schema.accounts), [{**row, "name": name} for name in names]
        )
    )
    query = select(schema.accounts.c.name).order_by(schema.accounts.c.name)
    with either.reading() as connection:
        assert list(connection.scalars(query)) == sorted(names)
