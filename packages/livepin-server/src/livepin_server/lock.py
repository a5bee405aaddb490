"""The lock of a data folder, or of an SQLite file elsewhere: one process at a time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from livepin.errors import ConfigurationError


class DataFolderBusyError(ConfigurationError):
    """Another process works on this data folder."""


@contextmanager
def holding(data: Path, name: str = "livepin.lock") -> Iterator[None]:
    """Hold the lock of a data folder, or another one in it.

    Raises:
        DataFolderBusyError: another process holds it. ConfigurationError: no such folder.
    """
    try:
        descriptor = os.open(data / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as exc:
        raise ConfigurationError(
            f"cannot use the data folder {data}: {exc.strerror}",
            hint=f"make one with: livepin init {data}",
        ) from exc
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise DataFolderBusyError(
                f"another process works on {data}", hint="is livepin serve running?"
            ) from exc
        yield
    finally:
        os.close(descriptor)
