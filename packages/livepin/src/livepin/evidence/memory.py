"""The memory map of this process, as Linux tells it: only what can be executed.

`/proc/self` is what a process may always read of itself, without privileges and in a container.
"""

from __future__ import annotations

import mmap
import os
import re
import sys
from collections.abc import Iterator
from typing import NamedTuple

from .finding import UnavailableError

PAGE = mmap.PAGESIZE
_MAPS, _PAGEMAP, _MEMORY = "/proc/self/maps", "/proc/self/pagemap", "/proc/self/mem"
_LONGEST = 8 * 1024 * 1024  # bytes of a map; that of a JVM has one
_PIECE = 256 * 1024  # bytes of it at a time: to read takes as much memory as it may give
_ENTRY = 8  # bytes for each page, a number
_FLAGS = _ENTRY - 1 if sys.byteorder == "little" else 0  # its highest byte
# Documentation/admin-guide/mm/pagemap.rst: bit 63 present, 62 swapped, 61 a page of a file. What
# is there and is no page of the file any more has been written to.
_WRITTEN = bytes(flags & 0x40 != 0 or flags & 0xA0 == 0x80 for flags in range(256))
_DELETED = " (deleted)"
_ACCESS = 40  # bytes of a line in which it stands
_KERNEL = {"[vdso]", "[vsyscall]", "[uprobes]", "[vectors]", "[sigpage]"}  # its own pages


class Mapping(NamedTuple):
    """One mapping that can be executed."""

    start: int
    end: int
    writable: bool
    offset: int
    file: bytes  # device and inode
    path: str

    @classmethod
    def parse(cls, line: bytes) -> Mapping:
        """Return the mapping in a line of `/proc/self/maps`."""
        where, access, offset, device, inode, *path = line.split(None, 5)
        start, _, end = where.partition(b"-")
        return cls(
            start=int(start, 16),
            end=int(end, 16),
            writable=access[1:2] == b"w",
            offset=int(offset, 16),
            file=device + b" " + inode,
            path=path[0].decode("utf-8", "replace") if path else "",
        )

    @property
    def is_file(self) -> bool:
        """Whether it has a file, be it deleted or one that never had a name."""
        return self.path.startswith("/")

    @property
    def is_deleted(self) -> bool:
        """Whether its file has no name any more."""
        return self.path.endswith(_DELETED)

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.path.removesuffix(_DELETED).rpartition("/")[2]


class Map:
    """What is mapped into this process just now.

    Raises:
        UnavailableError: this is no Linux, or one that does not tell.
    """

    def __init__(self) -> None:
        self._text = _read_maps()
        # Nothing before a path has an x but the access, and a path begins further on.
        lines = [line for line in self._text.splitlines() if line.find(b"x", 0, _ACCESS) != -1]
        self.executable = [each for each in map(Mapping.parse, lines) if each.path not in _KERNEL]

    def begin_of(self, file: bytes) -> int:
        """Return where the first byte of a file is, or 0 if it is not mapped."""
        found = re.search(
            rb"^([0-9a-f]+)-\S+ \S+ 0+ %b" % re.escape(file), self._text, re.MULTILINE
        )
        return int(found[1], 16) if found else 0


def _read_maps() -> bytes:
    pieces, left = [], _LONGEST
    try:
        with open(_MAPS, "rb") as file:  # noqa: PTH123 - it is read before each token
            while left >= 0 and (piece := file.read(_PIECE)):
                pieces.append(piece)
                left -= len(piece)
    except OSError as exc:
        raise UnavailableError(f"{_MAPS}: {exc.strerror}") from exc
    if left < 0:
        raise UnavailableError(f"{_MAPS} is over {_LONGEST} bytes")
    return b"".join(pieces)


class Memory:
    """Reads this process's memory, and which pages of it were written to. It never faults."""

    def __init__(self) -> None:
        self._memory = _opened(_MEMORY)
        self._pages: int | None = None

    def read(self, start: int, length: int) -> bytes:
        """Return what is there; empty where nothing is mapped any more."""
        try:
            return os.pread(self._memory, length, start)
        except OSError:
            return b""

    def written(self, mapping: Mapping) -> Iterator[int]:
        """Give the addresses of the pages that are not the file's own any more.

        Raises:
            UnavailableError: the kernel does not tell.
        """
        if self._pages is None:
            self._pages = _opened(_PAGEMAP)
        count = (mapping.end - mapping.start) // PAGE
        try:
            entries = os.pread(self._pages, count * _ENTRY, mapping.start // PAGE * _ENTRY)
        except OSError as exc:
            raise UnavailableError(f"{_PAGEMAP}: {exc.strerror}") from exc
        flags = entries[_FLAGS::_ENTRY].translate(_WRITTEN)
        at = flags.find(1)
        while at != -1:
            yield mapping.start + at * PAGE
            at = flags.find(1, at + 1)

    def __enter__(self) -> Memory:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._memory)
        if self._pages is not None:
            os.close(self._pages)


def _opened(path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY)
    except OSError as exc:
        raise UnavailableError(f"{path}: {exc.strerror}") from exc
