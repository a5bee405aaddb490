"""Where the trusted state outlives the process: one small file, replaced atomically.

What is stored is signed, so the store need not be secret; it is judged anew on each load.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from livepin.errors import StoreError
from livepin.trust import MAX_STORED

if sys.platform != "win32":  # which has no flock: there, one process is to use one file
    import fcntl


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

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self._thread_lock = threading.Lock()

    def load(self) -> bytes | None:
        """Return what was saved, or None where there is no file."""
        try:
            with self._path.open("rb") as file:
                data = file.read(MAX_STORED + 1)
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise self._error("read", exc) from exc
        if len(data) > MAX_STORED:
            raise StoreError(f"{self._path}: expected at most {MAX_STORED} bytes")
        return data

    def save(self, data: bytes) -> None:
        """Write beside, sync, rename over, sync the folder: after a crash the old or the new."""
        beside = self._path.with_name(f"{self._path.name}.{os.getpid()}.tmp")
        try:
            self._write(beside, data)
            beside.replace(self._path)
            self._sync_folder()
        except OSError as exc:
            beside.unlink(missing_ok=True)
            raise self._error("write", exc) from exc

    def set_aside(self) -> None:
        """Rename the file to `<name>.corrupt`."""
        try:
            self._path.replace(self._path.with_name(self._path.name + ".corrupt"))
        except FileNotFoundError:
            return
        except OSError as exc:
            raise self._error("set aside", exc) from exc

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold `<name>.lock` against other processes."""
        with self._thread_lock:
            if sys.platform == "win32":
                yield
                return
            try:
                lock = os.open(f"{self._path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except OSError as exc:
                raise self._error("lock", exc) from exc
            try:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield
            finally:
                os.close(lock)

    def _write(self, beside: Path, data: bytes) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0)
        with os.fdopen(os.open(beside, flags, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())

    def _sync_folder(self) -> None:
        if os.name != "posix":
            return
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _error(self, verb: str, exc: OSError) -> StoreError:
        return StoreError(
            f"cannot {verb} {self._path}: {exc.strerror or exc}",
            hint="the app goes on with what it has in memory; after a restart, from its bootstrap",
        )


class MemoryStore:
    """A store that lives as long as the process."""

    def __init__(self, data: bytes | None = None) -> None:
        self.data = data
        self.corrupt: bytes | None = None
        self._lock = threading.Lock()

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
        """Hold off other threads."""
        with self._lock:
            yield
