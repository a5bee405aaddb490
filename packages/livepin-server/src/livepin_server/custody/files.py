"""Secret files: written whole, 0600, never over another."""

from __future__ import annotations

import os
from pathlib import Path

from livepin_server.errors import CustodyError


def write_secret(path: Path, data: bytes) -> None:
    """Write a new file of mode 0600, synced to disk.

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
    except OSError as exc:
        path.unlink(missing_ok=True)  # half a key would be in the way of the next try
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
