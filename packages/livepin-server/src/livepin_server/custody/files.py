"""Secret files: written whole, 0600, over another only where that is to be replaced."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path

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
        CustodyError: it cannot be written; the older one is as it was.
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
        _sync_folder(path.parent)
    except OSError as exc:
        beside.unlink(missing_ok=True)
        raise CustodyError(f"cannot write {path}: {exc.strerror}") from exc


def _sync_folder(folder: Path) -> None:
    """Have a new name in a folder on disk; not on Windows, which opens no folders."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on disk: that a file is there, or has another name."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
