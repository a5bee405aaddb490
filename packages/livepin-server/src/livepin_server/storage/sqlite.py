"""SQLite: one process, WAL, a commit on disk, transactions that are begun by hand."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DatabaseError, DBAPIError, OperationalError
from sqlalchemy.pool import QueuePool

from livepin_server.errors import ServiceError, UnavailableError

_BUSY = 5000  # milliseconds to wait for another process's lock
_PIECE = 64 * 1024  # bytes
_IO_ERROR, _FULL, _READ_ONLY = 10, 13, 8  # SQLite's primary result codes


def engine(url: URL) -> Engine:
    """Return the engine of a file."""
    made = create_engine(
        url,
        connect_args={"check_same_thread": False, "timeout": _BUSY / 1000},
        poolclass=QueuePool,
        pool_size=16,
        max_overflow=0,
        pool_timeout=5,
        hide_parameters=True,  # else errors, and so the log, show sealed keys and digests
    )

    @event.listens_for(made, "connect")
    def configure(connection: Any, _record: Any) -> None:
        # Transactions are begun by hand: the driver would begin them too late.
        connection.isolation_level = None
        cursor = connection.cursor()
        # Its answer is read: only then is it known to have failed, and without the log the readers
        # and the writer would hold each other up.
        (mode,) = cursor.execute("PRAGMA journal_mode=WAL").fetchone()
        if mode != "wal":
            raise sqlite3.OperationalError("unable to open the log")
        for pragma in (
            "synchronous=FULL",
            "foreign_keys=ON",
            f"busy_timeout={_BUSY}",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    return made


def settle(engine: Engine) -> None:
    """Write the log (WAL) over itself, and sync it and its folder.

    A sync that failed is told once; its pages count as clean from then on and can be read, though
    no disk has them. SQLite refuses such a commit and writes over it next time. But the log of a
    process that died in between shows it as committed: with the power it would go, and whatever
    was acknowledged after it too. Nor does SQLite tell if the folder could not be synced, and a
    log without a name is gone as well.

    Raises:
        UnavailableError: it cannot be written.
    """
    file = Path(engine.url.database or "").resolve()  # the log of a link is beside the file itself
    with engine.connect() as connection:
        try:
            begin_writing(connection)  # nobody adds to the log meanwhile, or begins it anew
        except DBAPIError as exc:
            if _code(exc) == _READ_ONLY:
                return  # nothing will be acknowledged after it
            raise
        try:
            _write_anew(file.with_name(f"{file.name}-wal"))
        except OSError as exc:
            raise UnavailableError(
                f"the database cannot be written: {exc.strerror}", hint="check the disk"
            ) from exc


def _write_anew(log: Path) -> None:
    with _opened(log, os.O_RDWR) as descriptor:
        place = 0
        while piece := os.pread(descriptor, _PIECE, place):
            place += os.pwrite(descriptor, piece, place)
        os.fsync(descriptor)
    with _opened(log.parent, os.O_RDONLY | os.O_DIRECTORY) as descriptor:
        os.fsync(descriptor)


@contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    descriptor = os.open(path, flags)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def try_writing(connection: Connection) -> None:
    """Write what nobody reads, the way of every change."""
    number = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
    connection.exec_driver_sql(f"PRAGMA user_version = {(number + 1) % 2**31}")


def begin_reading(connection: Connection) -> None:
    """Begin to read one consistent state."""
    connection.exec_driver_sql("BEGIN")


def begin_writing(connection: Connection) -> None:
    """Begin to write, as the only one."""
    connection.exec_driver_sql("BEGIN IMMEDIATE")


begin_beside = begin_writing  # nobody writes beside another here


def lost_a_race(_: DBAPIError) -> bool:
    """Tell whether the same transaction may succeed now: who has the lock never loses here."""
    return False


def is_of_the_disk(exc: DBAPIError) -> bool:
    """Tell whether the disk did not take what was to be written."""
    return _code(exc) in (_IO_ERROR, _FULL, _READ_ONLY)


def _code(exc: DBAPIError) -> int:
    code: int = getattr(exc.orig, "sqlite_errorcode", 0) & 0xFF
    return code


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
