"""The database: many readers, one writer, and errors in words.

All writes of a process go through one connection in one thread, and begin with the lock that all
writers of the database share, so a writer never meets another in mid-transaction. A commit is
acknowledged when it is on disk. Who would wait too long for a turn is refused instead. What SQLite
and PostgreSQL do differently is in their modules.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, Protocol, TypeVar, cast

from livepin.errors import ConfigurationError
from sqlalchemy import URL, Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from livepin_server.errors import ServiceError, UnavailableError

from . import postgres, sqlite

_T = TypeVar("_T")
_TRIES = 5  # of a transaction that another one keeps from committing
MOST_WAITING = 64  # writes of one process, the one under way among them
_TURN = 30.0  # seconds until a write is given up that has not begun

logger = logging.getLogger("livepin.storage")


class _Tried(Exception):  # noqa: N818 - it is no error
    """Ends a transaction that is not to be kept."""

    def __init__(self, result: object) -> None:
        self.result = result


class _Kind(Protocol):
    def engine(self, url: URL) -> Engine: ...
    def settle(self, engine: Engine, /) -> None: ...
    def try_writing(self, connection: Connection) -> None: ...
    def begin_reading(self, connection: Connection) -> None: ...
    def begin_writing(self, connection: Connection) -> None: ...
    def begin_beside(self, connection: Connection) -> None: ...
    def lost_a_race(self, exc: DBAPIError, /) -> bool: ...
    def is_of_the_disk(self, exc: DBAPIError) -> bool: ...
    def in_words(self, exc: DBAPIError) -> ServiceError | None: ...


class Database:
    """An opened database; close it to end its writer thread.

    `problem` says why the disk did not take the last write, until it takes one; else it is None.

    Raises:
        ConfigurationError: not the URL of a database, or its driver is not installed.
    """

    def __init__(self, url: str) -> None:
        self._kind, self._engine = _opened(url)
        self.url = self._engine.url
        self.problem: str | None = None
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="livepin-writer")
        self._room = threading.BoundedSemaphore(MOST_WAITING)

    @property
    def path(self) -> Path | None:
        """The file of an SQLite database, or None."""
        name = self.url.database
        return Path(name) if self._kind is sqlite and name else None

    @property
    def shared(self) -> dict[str, Any] | None:
        """What psycopg takes to connect, where several processes may; None where only one may."""
        return postgres.connect_arguments(self.url) if self._kind is postgres else None

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Give a connection for reading; what it sees is one consistent state."""
        with self._in_words(), self._engine.connect() as connection:
            self._kind.begin_reading(connection)
            yield connection

    def write(self, change: Callable[[Connection], _T]) -> _T:
        """Run `change` in one write transaction and return its result once that is on disk.

        It may be run again, on a fresh state, if another transaction got in its way.

        Raises:
            UnavailableError: busy, locked, full, read-only or gone. Nothing of it was kept; only if
                the database goes away during the commit itself, nobody here can know.
            InvalidError: it holds what this database cannot keep.
        """
        if not self._room.acquire(blocking=False):
            raise _busy(f"{MOST_WAITING} changes are waiting already")
        try:
            return self._in_turn(change)
        finally:
            self._room.release()

    def write_beside(self, change: Callable[[Connection], _T]) -> _T:
        """Run `change` as `write` does; on PostgreSQL in this thread, beside all other writers.

        There it sees what others commit between its statements. So it is only for changes whose
        every statement says itself what it depends on, such as the fence of a row.

        Raises:
            UnavailableError, InvalidError: see `write`.
        """
        if self.shared is None:
            return self.write(change)
        return self._transaction(change, self._kind.begin_beside)

    def settle(self) -> None:
        """Bring to disk what an earlier process left, before anything of it is used.

        Raises:
            UnavailableError: the disk does not take it.
        """
        with self._in_words():
            self._kind.settle(self._engine)

    def require_writable(self) -> None:
        """Where the disk did not take the last write, try whether it takes one now.

        After it nothing of a refused one comes back, whenever this process dies.

        Raises:
            UnavailableError: it does not.
        """
        if self.problem is not None:
            self.write(self._kind.try_writing)

    def try_out(self, change: Callable[[Connection], _T]) -> _T:
        """Run `change` as `write` would, return its result, and keep nothing of it."""
        try:
            self.write(lambda connection: _give_up(change(connection)))
        except _Tried as exc:
            return cast("_T", exc.result)
        raise AssertionError("it was kept")

    def close(self) -> None:
        """Finish the write under way and close all connections."""
        self._writer.shutdown(wait=True)
        self._engine.dispose()

    def _in_turn(self, change: Callable[[Connection], _T]) -> _T:
        try:
            pending: Future[_T] = self._writer.submit(
                self._transaction, change, self._kind.begin_writing
            )
        except RuntimeError as exc:  # closed
            raise UnavailableError("the server is stopping", hint="try again in a moment") from exc
        wait([pending], timeout=_TURN)
        if pending.cancel():
            raise _busy(f"the changes before took over {_TURN:.0f} seconds")
        return pending.result()

    def _transaction(
        self, change: Callable[[Connection], _T], begin: Callable[[Connection], None]
    ) -> _T:
        with self._in_words():
            for _ in range(_TRIES - 1):
                try:
                    return self._once(change, begin)
                except DBAPIError as exc:
                    if not self._kind.lost_a_race(exc):
                        raise
            return self._once(change, begin)

    def _once(self, change: Callable[[Connection], _T], begin: Callable[[Connection], None]) -> _T:
        with self._engine.connect() as connection:
            try:
                begin(connection)
                result = change(connection)
                if self.problem is not None:
                    # A commit of nothing asks no disk, and leaves the refused one in SQLite's log.
                    self._kind.try_writing(connection)
                connection.commit()
            except BaseException as exc:
                connection.rollback()
                if isinstance(exc, DBAPIError) and self._kind.is_of_the_disk(exc):
                    self._note(exc)
                raise
            self.problem = None
            return result

    def _note(self, exc: DBAPIError) -> None:
        self.problem = str(self._kind.in_words(exc))
        logger.error("a change was refused: %s", self.problem)

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        try:
            yield
        except PoolTimeoutError as exc:
            raise UnavailableError("the database is busy", hint="try again in a moment") from exc
        except DBAPIError as exc:
            found = self._kind.in_words(exc)
            if found is None:
                raise
            raise found from exc


def _give_up(result: object) -> NoReturn:
    raise _Tried(result)


def _busy(reason: str) -> UnavailableError:
    return UnavailableError(
        f"the server is busy: {reason}", hint="nothing was changed; try again in a moment"
    )


def sqlite_url(path: Path) -> str:
    """Return the URL of an SQLite file."""
    return f"sqlite:///{path}"


def has_password(url: str) -> bool:
    """Tell whether the URL of a database holds a password."""
    try:
        found = make_url(url)
    except (ArgumentError, ValueError):
        return False
    return found.password is not None or any(name.endswith("password") for name in found.query)


def _opened(url: str) -> tuple[_Kind, Engine]:
    """Return the kind of a database and its engine."""
    try:
        parsed = make_url(url)
        kind = _KINDS[parsed.get_backend_name(), parsed.get_driver_name()]
        return kind, kind.engine(parsed)
    except (ArgumentError, KeyError, ValueError):
        # The URL may hold a password: nothing of it is repeated, such as what is no port.
        raise ConfigurationError(
            "the setting database is not the URL of a database that can be used here",
            hint="postgresql+psycopg://USER@HOST/NAME; leave it out for SQLite in the data folder",
        ) from None
    except ImportError as exc:
        raise ConfigurationError(
            "the driver of PostgreSQL is not installed", hint="install livepin-server[postgres]"
        ) from exc


_KINDS: dict[tuple[str, str], _Kind] = {
    ("sqlite", "pysqlite"): sqlite,
    ("postgresql", "psycopg"): postgres,
}
