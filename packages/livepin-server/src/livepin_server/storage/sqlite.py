"""SQLite: one process, WAL, a commit on disk, transactions that are begun by hand."""

from __future__ import annotations

from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DatabaseError, DBAPIError, OperationalError

from livepin_server.errors import ServiceError, UnavailableError

_BUSY = 5000  # milliseconds to wait for another process's lock


def engine(url: URL) -> Engine:
    """Return the engine of a file."""
    made = create_engine(
        url,
        connect_args={"check_same_thread": False, "timeout": _BUSY / 1000},
        hide_parameters=True,  # else errors, and so the log, show sealed keys and digests
    )

    @event.listens_for(made, "connect")
    def configure(connection: Any, _record: Any) -> None:
        # Transactions are begun by hand: the driver would begin them too late.
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
            f"busy_timeout={_BUSY}",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    return made


def begin_reading(connection: Connection) -> None:
    """Begin to read one consistent state."""
    connection.exec_driver_sql("BEGIN")


def begin_writing(connection: Connection) -> None:
    """Begin to write, as the only one."""
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def lost_a_race(_: DBAPIError) -> bool:
    """Tell whether the same transaction may succeed now: who has the lock never loses here."""
    return False


def in_words(exc: DBAPIError) -> ServiceError | None:
    """Return the trouble that an error of the driver means; None if the mistake is ours."""
    # A bare DatabaseError is how SQLite reports a file that is damaged.
    damaged = type(exc) is DatabaseError
    if not (damaged or exc.connection_invalidated or isinstance(exc, OperationalError)):
        return None
    text = str(exc.orig)
    for found, message, hint in _TROUBLE:
        if found in text:
            return UnavailableError(f"the database {message}", hint=hint)
    return UnavailableError(
        f"the database does not answer: {text}", hint="nothing was changed; see the server's log"
    )


_TROUBLE = (
    ("locked", "is locked by another process", "stop the other process, then try again"),
    ("full", "cannot grow: the disk is full", "make room, then try again; nothing was lost"),
    ("readonly", "is read-only", "make the data folder writable for the server's user"),
    ("disk I/O", "cannot be written: input/output error", "check the disk; nothing was lost"),
    ("unable to open", "cannot be opened", "does the data folder exist, and is it readable?"),
    ("not a database", "is not one of SQLite's", "put the backup of the data folder back"),
    ("malformed", "is damaged", "put the backup of the data folder back"),
)
