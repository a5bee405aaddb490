"""Which schema a database has, which one this version needs, and the way from one to the other.

Only who goes that way waits for Alembic to be imported: it takes a tenth of a second.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from sqlalchemy import Connection, inspect, text

from livepin_server.errors import SchemaError

from . import rows
from .database import Database
from .schema import metadata

if TYPE_CHECKING:
    from alembic.config import Config

_HEAD = "0009"  # the newest of the migrations
_TABLE = "alembic_version"
_T = TypeVar("_T")


def head() -> str:
    """Return the revision that this version needs."""
    return _HEAD


def current(database: Database) -> str | None:
    """Return the revision of a database, or None where it has no tables yet."""
    with database.reading() as connection:
        return revision(connection)


def revision(connection: Connection) -> str | None:
    """Return the revision of a database as a connection sees it."""
    if not inspect(connection).has_table(_TABLE):
        return None
    query = text(f"SELECT version_num FROM {_TABLE}")  # noqa: S608 - its name is ours
    found: str | None = connection.execute(query).scalar_one_or_none()
    return found


def require_current(database: Database) -> None:
    """Refuse a database of another schema.

    Raises:
        SchemaError: older, newer, or empty.
    """
    require(current(database))


def require(found: str | None) -> None:
    """Refuse a revision that is not the one that this version needs; see `require_current`."""
    needed = head()
    if found == needed:
        return
    _require_known(found)
    raise SchemaError(
        f"the database has the schema {found or 'of no version'}, this version needs {needed}",
        hint="run: livepin upgrade",
    )


def create(database: Database) -> None:
    """Make the tables in an empty database: all or none, and only where nobody else made any.

    Raises:
        SchemaError: it is not empty; it was left alone. UnavailableError: it cannot be written.
    """
    database.write(_create)


def restore(database: Database, revision: str, fill: Callable[[Connection, set[str]], _T]) -> _T:
    """Make the tables of a schema in an empty database, fill them, bring them to this version.

    `fill` gets the names of the tables. All of it is one transaction.

    Raises:
        SchemaError: it is not empty, or this version does not know the schema; it was left alone.
            UnavailableError: it cannot be written.
    """
    _require_known(revision)

    def change(connection: Connection) -> _T:
        _require_empty(connection)
        before = rows.names(connection)
        _migrate(connection, revision)
        result = fill(connection, rows.names(connection) - before - {_TABLE})
        _migrate(connection)
        return result

    return database.write(change)


def upgrade(database: Database, *, now: datetime) -> Path | None:
    """Bring a database to the schema of this version; return the backup made before, if any.

    A database of SQLite is backed up; of PostgreSQL its operators have backups.

    Raises:
        SchemaError: a newer version of Livepin made it, or it cannot be backed up; it was left
            alone. UnavailableError: it cannot be written.
    """
    _require_known(current(database))
    backup = None
    if database.path is not None and current(database) not in (None, head()):
        backup = database.path.with_name(f"{database.path.name}.{now:%Y%m%dT%H%M%SZ}.backup")
        _back_up(database.path, backup)
    database.write(_migrate)
    return backup


def remove(database: Database) -> None:
    """Drop every table of a database that was just made."""
    database.write(_drop)


def _drop(connection: Connection) -> None:
    metadata.drop_all(connection)
    connection.execute(text(f"DROP TABLE IF EXISTS {_TABLE}"))


def _create(connection: Connection) -> None:
    _require_empty(connection)
    _migrate(connection)


def _require_empty(connection: Connection) -> None:
    """Look in the same transaction: two that begin at once would share the tables of the first."""
    taken = {*metadata.tables, _TABLE} & rows.names(connection)
    if taken:
        raise SchemaError(
            f"the database is not empty: another program has a table {min(taken)}",
            hint="name an empty database",
        )


def _migrate(connection: Connection, revision: str = "head") -> None:
    """Take every step in the caller's transaction: all tables or none."""
    from alembic import command

    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def _require_known(found: str | None) -> None:
    from alembic.script import ScriptDirectory

    known = {each.revision for each in ScriptDirectory.from_config(_config()).walk_revisions()}
    if found is not None and found not in known:
        raise SchemaError(
            f"the database has the schema {found}, which this version does not know",
            hint="it was made by a newer version of livepin-server: install that one",
        )


def _back_up(source: Path, target: Path) -> None:
    try:
        target.touch(0o600, exist_ok=False)  # its owner's, before anything is in it
    except OSError as exc:
        raise _no_backup(target, exc.strerror) from exc
    try:
        with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(target)) as new:
            old.backup(new)
    except sqlite3.Error as exc:
        target.unlink()
        raise _no_backup(target, str(exc)) from exc


def _no_backup(target: Path, reason: str | None) -> SchemaError:
    return SchemaError(
        f"the database cannot be backed up to {target}: {reason}", hint="nothing was changed"
    )


def _config() -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    return config
