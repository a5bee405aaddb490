"""The database: many readers, one writer, and errors in words.

On SQLite all writes go through one connection in one thread (`BEGIN IMMEDIATE`), so a writer
never meets another writer's lock in mid-transaction. A commit is acknowledged when it is on disk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from livepin.errors import ConfigurationError
from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from livepin_server.errors import UnavailableError

_T = TypeVar("_T")
_BUSY = 5000  # milliseconds to wait for another process's lock


class Database:
    """An opened database; close it to end its writer thread.

    Raises:
        ConfigurationError: not the URL of a database, or its driver is not installed.
    """

    def __init__(self, url: str) -> None:
        self._engine = _engine(url)
        self.url = self._engine.url
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="livepin-writer")

    @property
    def path(self) -> Path | None:
        """The file of an SQLite database, or None."""
        sqlite = self.url.get_backend_name() == "sqlite"
        return Path(self.url.database) if sqlite and self.url.database else None

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Give a connection for reading; what it sees is one consistent state."""
        with _in_words(), self._engine.connect() as connection:
            if self._engine.dialect.name == "sqlite":
                connection.exec_driver_sql("BEGIN")
            yield connection

    def write(self, change: Callable[[Connection], _T]) -> _T:
        """Run `change` in one write transaction and return its result once that is on disk.

        Raises:
            UnavailableError: locked, full, read-only or gone; nothing of it was kept.
        """
        try:
            pending = self._writer.submit(self._transaction, change)
        except RuntimeError as exc:  # closed
            raise UnavailableError("the server is stopping", hint="try again in a moment") from exc
        return pending.result()

    def close(self) -> None:
        """Finish the write under way and close all connections."""
        self._writer.shutdown(wait=True)
        self._engine.dispose()

    def _transaction(self, change: Callable[[Connection], _T]) -> _T:
        with _in_words(), self._engine.connect() as connection:
            if self._engine.dialect.name == "sqlite":
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            try:
                result = change(connection)
                connection.commit()
            except BaseException:
                connection.rollback()
                raise
            return result


def sqlite_url(path: Path) -> str:
    """Return the URL of an SQLite file."""
    return f"sqlite:///{path}"


def _engine(url: str) -> Engine:
    try:
        if make_url(url).get_backend_name() != "sqlite":
            return create_engine(url, pool_size=16, max_overflow=0, pool_pre_ping=True)
    except (ArgumentError, ImportError) as exc:
        # The URL may hold a password: it is not repeated.
        raise ConfigurationError(
            "the setting database is not the URL of a database that can be used here",
            hint="leave it out to use SQLite in the data folder",
        ) from exc
    engine = create_engine(url, connect_args={"check_same_thread": False, "timeout": _BUSY / 1000})

    @event.listens_for(engine, "connect")
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

    return engine


@contextmanager
def _in_words() -> Iterator[None]:
    try:
        yield
    except PoolTimeoutError as exc:
        raise UnavailableError("the database is busy", hint="try again in a moment") from exc
    except DBAPIError as exc:
        # A bare DatabaseError is how SQLite reports a file that is damaged.
        damaged = type(exc) is DatabaseError
        if damaged or exc.connection_invalidated or isinstance(exc, OperationalError):
            raise _unavailable(exc) from exc
        raise


def _unavailable(exc: DBAPIError) -> UnavailableError:
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
