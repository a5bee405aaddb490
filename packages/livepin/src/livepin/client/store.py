"""Where the trusted state outlives the process: one small file, replaced atomically.

What is stored is signed, so the store need not be secret; it is judged anew on each load.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Protocol

from livepin.errors import StoreError
from livepin.trust import MAX_STORED

if sys.platform != "win32":  # which has no flock: there, one process is to use one file
    import fcntl

_LOCK_WAIT = 2.0  # seconds; a process that was frozen with the lock must not hold up others
_LOCK_PAUSE = 0.01  # seconds


class Store(Protocol):
    """Keeps one value of bytes; the real one is `FileStore`."""

    def load(self) -> bytes | None:
        """Return what was saved, or None. Raises `StoreError`."""

    def save(self, data: bytes) -> None:
        """Replace what was saved, whole or not at all. Raises `StoreError`."""

    def set_aside(self) -> None:
        """Take a damaged value away, and keep it for whoever wants to know."""

    def locked(self) -> AbstractContextManager[None]:
        """Hold off other processes that use the same store."""


class FileStore:
    """A file that is written beside and renamed over; mode 0600.

    A damaged file is kept as `<name>.corrupt`, the newest only.
    """

    hint = "the app goes on with what it has in memory; after a restart, from its bootstrap"

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._thread_lock = threading.Lock()

    def load(self) -> bytes | None:
        """Return what was saved, or None where there is no file."""
        try:
            with self.path.open("rb") as file:
                # To read takes as much memory as it may give. One byte more is damage, by rule 1.
                size = os.fstat(file.fileno()).st_size
                return file.read(min(size, MAX_STORED) + 1)
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise self._error("read", exc) from exc

    def save(self, data: bytes) -> None:
        """Write beside, sync, rename over, sync the folder: after a crash the old or the new.

        The name beside is always the same, for whoever holds the lock: crashes leave one file.
        """
        beside = self.path.with_name(f"{self.path.name}.tmp")
        try:
            self._write(beside, data)
            beside.replace(self.path)
            self._sync_folder()
        except OSError as exc:
            with suppress(OSError):  # it may not be there
                beside.unlink()
            raise self._error("write", exc) from exc

    def set_aside(self) -> None:
        """Rename the file to `<name>.corrupt`."""
        try:
            self.path.replace(self.path.with_name(self.path.name + ".corrupt"))
        except FileNotFoundError:
            return
        except OSError as exc:
            raise self._error("set aside", exc) from exc

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold `<name>.lock` against other processes and threads, or raise `StoreError`."""
        if sys.platform == "win32":
            with self._thread_lock:
                yield
            return
        try:
            lock = os.open(f"{self.path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as exc:
            raise self._error("lock", exc) from exc
        try:
            self._acquire(lock)
            try:
                yield
            finally:
                # Closing is not enough: a child that was forked meanwhile holds it open too.
                fcntl.flock(lock, fcntl.LOCK_UN)
        finally:
            os.close(lock)

    def _acquire(self, lock: int) -> None:
        deadline = time.monotonic() + _LOCK_WAIT
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as exc:
                if time.monotonic() >= deadline:
                    raise self._error("lock", exc) from exc
                time.sleep(_LOCK_PAUSE)
            except OSError as exc:  # a file system without locks
                raise self._error("lock", exc) from exc
            else:
                return

    def _write(self, beside: Path, data: bytes) -> None:
        with suppress(FileNotFoundError):
            beside.unlink()  # what a crash has left
        # Exclusive: a link that somebody laid there is not followed.
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        with os.fdopen(os.open(beside, flags, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())

    def _sync_folder(self) -> None:
        if os.name != "posix":
            return
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _error(self, verb: str, exc: OSError) -> StoreError:
        return StoreError(f"cannot {verb} {self.path}: {exc.strerror or exc}", hint=self.hint)


class MemoryStore:
    """A store that lives as long as the process."""

    def __init__(self, data: bytes | None = None) -> None:
        self.data = data
        self.corrupt: bytes | None = None
        self._lock = threading.Lock()
        self._process = os.getpid()

    def load(self) -> bytes | None:
        """Return what was saved, or None."""
        return self.data

    def save(self, data: bytes) -> None:
        """Replace what was saved."""
        self.data = data

    def set_aside(self) -> None:
        """Keep a damaged value in `corrupt`."""
        self.corrupt, self.data = self.data, None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold off other threads of this process."""
        if self._process != os.getpid():  # forked, perhaps while another thread held the lock
            self._lock, self._process = threading.Lock(), os.getpid()
        with self._lock:
            yield
