"""A process that tampers with itself in many ways; it prints what is found each time.

It runs alone, because some of it cannot be undone, and some of it would end other tests.
"""

from __future__ import annotations

import _ctypes
import contextlib
import ctypes
import json
import mmap
import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from livepin.evidence.memory import PAGE, Map, Mapping
from livepin.evidence.signals import Signals

FOLDER = Path(sys.argv[1])
LIBRARY = Path(_ctypes.__file__)
RWX = mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
libc = ctypes.CDLL(None, use_errno=True)
kept: list[object] = []  # what must stay mapped


def from_memory() -> None:
    descriptor = os.memfd_create("agent")
    os.write(descriptor, LIBRARY.read_bytes())
    kept.append(ctypes.CDLL(f"/proc/self/fd/{descriptor}"))
    os.close(descriptor)


def from_deleted_file() -> None:
    kept.append(ctypes.CDLL(shutil.copy(LIBRARY, FOLDER / "deleted.so")))
    (FOLDER / "deleted.so").unlink()


def from_updated_file() -> None:
    kept.append(ctypes.CDLL(shutil.copy(LIBRARY, FOLDER / "updated.so")))
    shutil.copy(LIBRARY, FOLDER / "newer.so")
    (FOLDER / "newer.so").replace(FOLDER / "updated.so")


def by_name() -> None:
    kept.append(ctypes.CDLL(shutil.copy(LIBRARY, FOLDER / "frida-gadget.so")))


def compiled_twice() -> None:
    """What libffi and others do: the same pages, to be written and to be executed."""
    descriptor = os.memfd_create("compiler")
    os.ftruncate(descriptor, PAGE)
    access = mmap.PROT_READ | mmap.PROT_EXEC
    kept.append(mmap.mmap(descriptor, PAGE, mmap.MAP_SHARED, access))
    os.close(descriptor)


def writable_code() -> None:
    kept.append(mmap.mmap(-1, PAGE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, RWX))


@contextlib.contextmanager
def named_thread() -> Iterator[None]:
    named, over = threading.Event(), threading.Event()

    def run() -> None:
        libc.prctl(15, b"gum-js-loop", 0, 0, 0)  # PR_SET_NAME
        named.set()
        over.wait(10)

    thread = threading.Thread(target=run)
    thread.start()
    named.wait(10)
    yield
    over.set()
    thread.join()


@contextlib.contextmanager
def traced_thread() -> Iterator[None]:
    began, over = threading.Event(), threading.Event()

    def trace(*_: object) -> Callable[..., object]:
        return trace

    def inner() -> None:
        began.set()
        over.wait(10)

    def run() -> None:
        sys.settrace(trace)
        inner()

    thread = threading.Thread(target=run)
    thread.start()
    began.wait(10)
    yield
    over.set()
    thread.join()


def text_of(name: str) -> Mapping:
    (found, *_) = (each for each in Map().executable if each.name.startswith(name))
    return found


def write(address: int, data: bytes) -> None:
    start = address // PAGE * PAGE
    if libc.mprotect(ctypes.c_void_p(start), PAGE, RWX):
        raise OSError(ctypes.get_errno(), "mprotect")
    ctypes.memmove(address, data, len(data))
    libc.mprotect(ctypes.c_void_p(start), PAGE, mmap.PROT_READ | mmap.PROT_EXEC)


@contextlib.contextmanager
def other_code(name: str, page: int, code: bytes) -> Iterator[None]:
    """Change a page of a library for a moment; nobody runs there meanwhile."""
    address = text_of(name).end - page * PAGE
    before = ctypes.string_at(address, len(code))
    write(address, code)
    yield
    write(address, before)


def after(attack: Callable[[], object]) -> list[str]:
    """Return what a client that was there before finds more."""
    signals = Signals()
    before = signals.texts()
    with contextlib.ExitStack() as stack:
        found = attack()
        if found is not None:
            stack.enter_context(found)  # type: ignore[call-overload]
        signals.look()
    return [each for each in signals.texts() if each not in before]


def known_file() -> list[str]:
    """A file that was there when a client looked, and is deleted then."""
    signals = Signals()
    kept.append(ctypes.CDLL(shutil.copy(LIBRARY, FOLDER / "known.so")))
    signals.look()
    before = signals.texts()
    (FOLDER / "known.so").unlink()
    signals.look()
    return [each for each in signals.texts() if each not in before]


def put_back() -> dict[str, list[str]]:
    """Code that was changed, and is as it was: by who saw it in between, and who did not."""
    signals = Signals()
    with other_code("libcrypto", 2, b"\xe9\0\0\0\0"):
        signals.look()
    signals.look()
    return {"saw": list(signals.texts()), "came_later": list(Signals().texts())}


def main() -> None:
    told: dict[str, object] = {
        "put_back": put_back(),
        "known_file": known_file(),
        "traced_thread": after(traced_thread),
        "named_thread": after(named_thread),
        "jump": after(lambda: other_code("libcrypto", 1, b"\xe9\0\0\0\0")),
        "breakpoints": after(lambda: other_code("libssl", 1, b"\xcc")),
        "libc": after(lambda: other_code("libc.so", 1, b"\xe9\0\0\0\0")),
    }
    for attack in (
        from_updated_file, compiled_twice, writable_code, by_name, from_deleted_file, from_memory,
    ):  # fmt: skip
        told[attack.__name__] = after(attack)
    print(json.dumps(told))


if __name__ == "__main__":
    main()
