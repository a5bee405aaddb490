"""The lock of a data folder: one process at a time, because SQLite has one writer."""

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
def holding(data: Path) -> Iterator[None]:
    """Hold the lock of a data folder.

    Raises:
        DataFolderBusyError: another process holds it. ConfigurationError: no such folder.
    """
    try:
        descriptor = os.open(data / "livepin.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
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
