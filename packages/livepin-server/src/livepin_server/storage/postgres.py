"""PostgreSQL: several processes, one writer at a time among all of them.

A write transaction begins with an advisory lock that every writer of the database takes. So it
holds what `BEGIN IMMEDIATE` gives on SQLite: what a change reads is the newest state, and stays so
until its commit. The server gives the lock back with the end of the transaction, however it ends.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, text
from sqlalchemy.exc import DataError, DBAPIError, OperationalError

from livepin_server.errors import InvalidError, ServiceError, UnavailableError

_BUSY = 5000  # milliseconds to wait for another writer
_IDLE = 30_000  # milliseconds after which a writer whose host has gone gives up its lock
_LOCK = 0x6C69_7665_7069_6E00  # one number for all processes and versions

# A host that vanishes is noticed within half a minute; the URL may say otherwise.
_PATIENCE = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
    "application_name": "livepin",
}

# A commit is acknowledged when it is on disk, whatever the default of the database.
_SETTINGS = f"""
    SELECT set_config('lock_timeout', '{_BUSY}', true),
           set_config('idle_in_transaction_session_timeout', '{_IDLE}', true),
           set_config('synchronous_commit', CASE current_setting('synchronous_commit')
               WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END, true)
"""
_BEGIN_BESIDE = text(_SETTINGS)
_BEGIN_WRITING = text(f"{_SETTINGS}, pg_advisory_xact_lock({_LOCK})")


def engine(url: URL) -> Engine:
    """Return the engine of a database."""
    return create_engine(
        url,
        connect_args={n: v for n, v in _PATIENCE.items() if n not in url.query},
        isolation_level="READ COMMITTED",  # each statement sees what is newest when it has the lock
        pool_size=16,
        max_overflow=0,
        pool_timeout=5,
        pool_pre_ping=True,
        hide_parameters=True,  # else errors, and so the log, show sealed keys and digests
    )


def settle(_: Engine) -> None:
    """Do nothing: the server does it, and ends rather than go on after a sync that failed."""


def try_writing(connection: Connection) -> None:
    """Write what nobody reads, the way of every change."""
    connection.execute(text("SELECT pg_logical_emit_message(true, 'livepin', '')"))


def connect_arguments(url: URL) -> dict[str, Any]:
    """Return what psycopg takes to connect there, for a connection of one's own."""
    _, found = url.get_dialect()().create_connect_args(url)
    return {**_PATIENCE, **found}


def begin_reading(connection: Connection) -> None:
    """Begin to read one consistent state."""
    connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)


def begin_writing(connection: Connection) -> None:
    """Begin to write, as the only one among all processes."""
    connection.execute(_BEGIN_WRITING)


def begin_beside(connection: Connection) -> None:
    """Begin to write beside others."""
    connection.execute(_BEGIN_BESIDE)


def lost_a_race(exc: DBAPIError) -> bool:
    """Tell whether the same transaction may succeed now: it was chosen to give way."""
    return _state(exc) in ("40001", "40P01")


def is_of_the_disk(exc: DBAPIError) -> bool:
    """Tell whether the disk did not take what was to be written."""
    return _state(exc) in _OF_THE_DISK


def in_words(exc: DBAPIError) -> ServiceError | None:
    """Return the trouble that an error of the driver means; None if the mistake is ours."""
    state = _state(exc)
    for found, message, hint in _TROUBLE:
        if state.startswith(found):
            return UnavailableError(f"the database {message}", hint=hint)
    if isinstance(exc, DataError):
        return InvalidError(f"the database cannot keep this: {_line(exc)}")
    if exc.connection_invalidated or isinstance(exc, OperationalError):
        line = _line(exc)
        hint = "what was not confirmed may be kept all the same: look, then try again"
        if "password" in line:
            hint = "PGPASSWORD, PGPASSFILE or ~/.pgpass gives the password"
        return UnavailableError(f"the database does not answer: {line}", hint=hint)
    return None


def _state(exc: DBAPIError) -> str:
    return getattr(exc.orig, "sqlstate", None) or ""


def _line(exc: DBAPIError) -> str:
    """Return the reason alone, without the address and the user that the driver names."""
    return str(exc.orig).partition("\n")[0].rpartition("failed: ")[2]


_OF_THE_DISK = ("53100", "58030", "25006")  # full, input/output error, read-only
_TROUBLE = (
    ("55P03", "is locked by another process", "try again in a moment; nothing was changed"),
    ("40", "is locked by another process", "try again in a moment; nothing was changed"),
    ("53100", "cannot grow: the disk is full", "make room, then try again; nothing was lost"),
    ("58030", "cannot be written: input/output error", "see the log of PostgreSQL"),
    ("53300", "has too many connections", "raise max_connections of PostgreSQL"),
    ("25006", "is read-only", "is it a standby? give the URL of the primary"),
    ("42501", "does not allow this", "see docs/operations.md for the rights that are needed"),
    ("42P01", "lacks a table", "run: livepin upgrade"),
)
