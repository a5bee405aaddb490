"""What stands in a file, as far as a manifest says it."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path
from typing import IO

from livepin.errors import MalformedError

from .manifest import MAX_SIZE, File, shown, too_much

_PIECE = 256 * 1024  # bytes; the other threads run on meanwhile
# A pipe must not hold whoever opens it; Windows has neither, and would else translate.
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


def read(path: Path) -> File:
    """Return the content of a regular file, or of what a link to one leads to.

    Raises:
        MalformedError: it is something else, or too large.
        OSError: it cannot be read.
    """
    if path.is_dir():
        raise _no_file(path)
    with open(os.open(path, _FLAGS), "rb", buffering=0) as file:  # noqa: PTH123 - by descriptor
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise _no_file(path)
        if found.st_size > MAX_SIZE:
            raise too_much(found.st_size)
        return content(file)


def content(file: IO[bytes]) -> File:
    """Return the content of an open file.

    Raises:
        MalformedError: it grows beyond every limit meanwhile.
        OSError: it cannot be read.
    """
    digest = hashlib.sha256()
    size = 0
    while piece := file.read(_PIECE):
        digest.update(piece)
        size += len(piece)
        if size > MAX_SIZE:
            raise too_much(size)
    return File(digest.hexdigest(), size)


def _no_file(path: Path) -> MalformedError:
    return MalformedError(f"expected a regular file, found something else at {shown(str(path))}")
