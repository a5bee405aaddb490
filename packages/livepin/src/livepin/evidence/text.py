"""The code of the loaded TLS libraries, in memory, against their files.

What intercepts a function writes a jump over its first bytes. The kernel knows which pages of a
file's mapping were written to, so that those alone are compared, which takes a fraction of a
millisecond. They stay marked when the bytes are put back.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from itertools import groupby, islice
from pathlib import PurePosixPath

from .finding import Finding, UnavailableError
from .memory import PAGE, Mapping, Memory

# What a pin check runs through: OpenSSL, Python, the extensions between them, `cryptography`; and
# the C library, which agents patch to watch the process.
_LIBRARIES = re.compile(
    r"lib(ssl|crypto|python3|c|pthread)[.\d-]|ld-|python|_(ssl|hashlib|rust|socket)\."
)
# The size of an instruction, which of its bits count, and what they are in a breakpoint: one that
# a debugger or the kernel (uprobes, by which operators trace) puts there changes nothing else.
_BREAKPOINTS = {
    "x86_64": (1, 0xFF, 0xCC),
    "i686": (1, 0xFF, 0xCC),
    "aarch64": (4, 0xFFE0001F, 0xD4200000),
}
_SAMPLE = 32  # pages


def changed(found: Iterable[Mapping], memory: Memory) -> Iterator[Finding]:
    """Give the libraries whose code is not that of their file, and those that were traced.

    Raises:
        UnavailableError: the kernel does not tell, or a library has no file to compare with.
    """
    missing = []
    libraries = [each for each in found if each.is_file and _LIBRARIES.match(each.name)]
    for path, parts in groupby(libraries, key=lambda each: each.path):
        written = [(part, page) for part in parts for page in memory.written(part)]
        if not written:
            continue
        name = PurePosixPath(path).name
        try:
            yield from _compared(name, path, written, memory)
        except OSError:
            missing.append(name)
    if missing:
        raise UnavailableError(f"no file to compare with: {', '.join(missing)}")


def only_breakpoints(now: bytes, file: bytes, machine: str) -> bool:
    """Tell whether all that differs is breakpoints."""
    if machine not in _BREAKPOINTS:
        return False
    size, mask, value = _BREAKPOINTS[machine]
    units = (slice(at, at + size) for at in range(0, len(file), size))
    return all(
        int.from_bytes(now[unit], "little") & mask == value
        for unit in units
        if now[unit] != file[unit]
    )


def _compared(
    name: str, path: str, written: list[tuple[Mapping, int]], memory: Memory
) -> Iterator[Finding]:
    machine = os.uname().machine
    first: int | None = None
    traced = ""
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - beside `os.pread`
        for part, page in written:
            now, then = memory.read(page, PAGE), _at(file.fileno(), part, page)
            if now == then or not now:
                traced = traced or "was written to, and put back"
            elif only_breakpoints(now, then, machine):
                traced = "holds breakpoints"
            elif first is None:
                _check_file(file.fileno(), part, written, memory)
                at = next(i for i in range(PAGE) if now[i : i + 1] != then[i : i + 1])
                first = part.offset + page - part.start + at
    if first is not None:
        yield Finding.of("changed_code", f"{name} at {first:#x}")
    if traced:
        yield Finding.of("tracing", f"{name} {traced}")


def _check_file(
    file: int, part: Mapping, written: list[tuple[Mapping, int]], memory: Memory
) -> None:
    """Check by pages that nobody wrote to that this is the file that was loaded.

    Raises:
        FileNotFoundError: it is another one, of an update.
    """
    pages = {page for _, page in written}
    others = (page for page in range(part.start, part.end, PAGE) if page not in pages)
    for page in islice(others, _SAMPLE):
        if memory.read(page, PAGE) != _at(file, part, page):
            raise FileNotFoundError(part.path)


def _at(file: int, part: Mapping, page: int) -> bytes:
    """Return a page as the file has it; beyond its end there are zeros."""
    return os.pread(file, PAGE, part.offset + page - part.start).ljust(PAGE, b"\0")
