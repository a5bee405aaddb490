"""Livepin's own threads, and how they end with the process.

When a process ends, OpenSSL frees its tables while daemon threads go on: one that loads
certificates or shakes hands just then crashes it. So before the interpreter ends, connections of
these threads are cut, and the threads waited for. One that is `resting` is not: it may wait for a
network that never answers, and when it wakes up, it ends instead of going on.

The app's own threads and connections are the app's.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Protocol

_PATIENCE = 2.0  # seconds; loading a system's certificates takes 0.05, on a busy machine ten times


class Cuttable(Protocol):
    """What keeps a thread busy until it is cut."""

    def cut(self) -> None:
        """Let what waits here go on, from another thread; it may be over already."""


class Background(threading.Thread):
    """A daemon thread that is not inside OpenSSL any more when the process ends."""

    def __init__(self, target: Callable[[], object], *, name: str) -> None:
        super().__init__(target=target, name=name, daemon=True)
        self.resting = False

    def start(self) -> None:
        """Start the thread.

        Raises:
            RuntimeError: the system starts no more threads, or the process is ending.
        """
        _end.start(self, super().start)

    def run(self) -> None:
        """Run; where the process ends, to the end of a rest."""
        with contextlib.suppress(SystemExit):  # an app's `threading.excepthook` may tell of it
            super().run()


@contextlib.contextmanager
def resting() -> Iterator[None]:
    """Mark a wait during which a background thread uses nothing that ends with the process.

    Where the process is ending, the thread ends, by `SystemExit`. Other threads just wait.
    """
    thread = threading.current_thread()
    if not isinstance(thread, Background):
        yield
        return
    _end.rest(thread, resting=True)
    try:
        yield
    finally:
        _end.rest(thread, resting=False)


def cut_at_end(what: Cuttable) -> None:
    """Have `what` cut when the process ends, at once if it is ending."""
    _end.cut(what)


def is_ending() -> bool:
    """Tell whether the process is ending, and no thread starts any more."""
    return _end.began


class _End:
    def __init__(self) -> None:
        self.began = False
        self.after_fork()

    def after_fork(self) -> None:
        """Forget what belongs to the parent."""
        self._lock = threading.Lock()
        self._threads: weakref.WeakSet[Background] = weakref.WeakSet()
        self._cuttable: weakref.WeakSet[Cuttable] = weakref.WeakSet()

    def start(self, thread: Background, start: Callable[[], None]) -> None:
        with self._lock:
            if self.began:
                raise RuntimeError("the process is ending")
            start()
            self._threads.add(thread)

    def rest(self, thread: Background, *, resting: bool) -> None:
        with self._lock:
            if self.began:
                raise SystemExit
            thread.resting = resting

    def cut(self, what: Cuttable) -> None:
        with self._lock:
            self._cuttable.add(what)
        if self.began:
            what.cut()

    def begin(self) -> None:
        with self._lock:
            self.began = True
            busy = [each for each in self._threads if not each.resting]
            cuttable = list(self._cuttable)
        for each in cuttable:
            each.cut()
        deadline = time.monotonic() + _PATIENCE
        for thread in busy:
            thread.join(max(deadline - time.monotonic(), 0.0))


_end = _End()
atexit.register(_end.begin)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_end.after_fork)
