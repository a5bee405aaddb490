"""Secret files: written whole, 0600, over another only where that is to be replaced."""

from __future__ import annotations

import fcntl
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from livepin_server.errors import CustodyError


def write_secret(path: Path, data: bytes) -> None:
    """Write a new file of mode 0600, synced to disk with its name.

    Raises:
        CustodyError: the file exists, or cannot be written.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as exc:
        raise CustodyError(f"{path} exists already", hint="name a new file") from exc
    except OSError as exc:
        raise CustodyError(
            f"cannot write {path}: {exc.strerror}", hint="is its folder there, and yours to change?"
        ) from exc
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        sync_folder(path.parent)
    except OSError as exc:
        path.unlink(missing_ok=True)  # half a key would be in the way of the next try
        raise CustodyError(f"cannot write {path}: {exc.strerror}") from exc


def replace_secret(path: Path, data: bytes) -> None:
    """Write a file of mode 0600 in the place of an older one, whole or not at all.

    It belongs to the owner of the older one also where root writes it. Where that is a link, what
    it leads to is replaced.

    Raises:
        CustodyError: it cannot be written, and the older one is as it was. If only the folder
            cannot be synced, the new one is there, and a power cut may bring the older one back.
    """
    path = path.resolve()
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    write_secret(beside, data)
    try:
        if os.name == "posix" and os.geteuid() == 0:
            with suppress(FileNotFoundError):
                older = path.stat()
                os.chown(beside, older.st_uid, older.st_gid)
        beside.replace(path)
        sync_folder(path.parent)
    except OSError as exc:
        beside.unlink(missing_ok=True)
        raise CustodyError(f"cannot write {path}: {exc.strerror}") from exc


def read_secret(path: Path, *, limit: int) -> bytes:
    """Return the content of a file that only its owner may read.

    Raises:
        CustodyError: it is not there, too large, or open to others.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(limit + 1)
    except OSError as exc:
        raise CustodyError(f"cannot read {path}: {exc.strerror}") from exc
    if os.name == "posix" and mode & 0o077:
        raise CustodyError(f"{path} can be read by others", hint=f"chmod 600 {path}")
    if len(data) > limit:
        raise CustodyError(f"expected {path} to hold at most {limit} bytes")
    return data


@contextmanager
def replacing(path: Path, *, kind: bytes) -> Iterator[IO[bytes]]:
    """Give a file to write that becomes `path` once it is whole and on disk, mode 0600.

    It takes the place of nothing but a file that begins with `kind`. What a run that was killed
    left beside it is written over by the next one.

    Raises:
        CustodyError: another file is there, another run writes it, or it cannot be written.
    """
    try:
        _require_kind(path, kind)
        beside = path.with_name(f".{path.name}.part")
        with os.fdopen(_locked(beside), "r+b") as file:
            try:
                file.truncate()
                yield file
                file.flush()
                os.fsync(file.fileno())
                _require_kind(path, kind)
                beside.rename(path)
            except BaseException:
                beside.unlink(missing_ok=True)
                raise
        sync_folder(path.parent)
    except OSError as exc:
        raise CustodyError(f"cannot write {path}: {exc.strerror or exc}") from exc


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on disk: that a file is there, or has another name."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _require_kind(path: Path, kind: bytes) -> None:
    if not os.path.lexists(path):
        return
    if path.is_file():
        with path.open("rb") as file:
            if file.read(len(kind)) == kind:
                return
    raise CustodyError(
        f"{path} exists, and is none of these", hint="name another file; it was left alone"
    )


def _locked(path: Path) -> int:
    """Open a file of ours for writing, and hold its lock.

    Whoever held the lock may have renamed it meanwhile: then it is another one's by now.
    """
    while True:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o600)
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
                raise CustodyError(f"{path} is another user's", hint="choose another folder")
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and path.stat().st_ino == found.st_ino:
                os.fchmod(descriptor, 0o600)
                return descriptor
        except BlockingIOError as exc:
            os.close(descriptor)
            raise CustodyError(
                f"another process is writing {path}", hint="try again when it has ended"
            ) from exc
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
