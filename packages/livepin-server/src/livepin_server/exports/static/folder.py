"""A folder as target, for a web server to serve."""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from livepin_server.errors import ExportError

from .documents import StaticFile
from .target import Held

_LOCK = ".livepin.lock"
_FOLDER, _FILE = 0o755, 0o644  # a web server is another user


class FolderTarget:
    """A folder. One process at a time writes, which its lock file ensures."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def name(self) -> str:
        """The path."""
        return str(self._folder)

    @contextmanager
    def working(self) -> Iterator[None]:
        """Hold the lock of the folder."""
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
            descriptor = os.open(self._folder / _LOCK, flags, 0o600)
        except FileNotFoundError as exc:
            raise ExportError(f"{self._folder} is not a folder", hint="make it first") from exc
        except OSError as exc:
            raise self._failed("write", exc) from exc
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def read(self, path: str, *, limit: int) -> Held | None:
        """Return what is there."""
        try:
            with (self._folder / path).open("rb") as file:
                return Held(body=file.read(limit + 1))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as exc:
            raise self._failed("read", exc) from exc

    def write(self, file: StaticFile, *, over: Held | None) -> None:
        """Write a file: whole and on disk before it has its name. The lock keeps others away."""
        place = self._folder / file.path
        try:
            self._make(place.parent)
            self._sweep(place)
            beside = place.with_name(f".{place.name}.{secrets.token_hex(4)}")
            descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _FILE)
            try:
                with os.fdopen(descriptor, "wb") as opened:
                    os.fchmod(descriptor, _FILE)  # whatever the umask says
                    opened.write(file.body)
                    opened.flush()
                    os.fsync(descriptor)
                beside.rename(place)
            except BaseException:
                with suppress(OSError):
                    beside.unlink()
                raise
            _sync(place.parent)
        except OSError as exc:
            raise self._failed("write", exc) from exc

    def remove(self, path: str) -> None:
        """Remove a file, for good."""
        place = self._folder / path
        try:
            place.unlink(missing_ok=True)
            _sync(place.parent)
        except OSError as exc:
            raise self._failed("write", exc) from exc

    def _make(self, folder: Path) -> None:
        for each in reversed([folder, *folder.parents]):
            if each.is_relative_to(self._folder) and not each.exists():
                each.mkdir()
                each.chmod(_FOLDER)
                _sync(each.parent)

    def _sweep(self, place: Path) -> None:
        """Remove what was left half-written by one that was killed; nobody else writes now."""
        for each in place.parent.glob(f".{place.name}.{'[0-9a-f]' * 8}"):
            each.unlink()

    def _failed(self, what: str, exc: OSError) -> ExportError:
        return ExportError(f"cannot {what} {self._folder}: {exc.strerror}")


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
