"""Names to addresses, in a few threads: the system's resolver blocks, and name servers hang.

Not in here: which name is asked for when, and what becomes of an answer.
"""

from __future__ import annotations

import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue

from .addresses import MOST_ADDRESSES
from .probe import WITHOUT_ADDRESS, Failure

THREADS = 8
_MOST_THREADS = 64  # those that hang included, until the system gives up
_LONGEST = 100  # characters of a name in an error


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """The addresses of a host, IPv4 and IPv6; without one there is a failure, in words too."""

    host: str
    addresses: tuple[str, ...] = ()
    failure: Failure | None = None
    error: str | None = None


def addresses_of(host: str) -> list[str]:
    """Return the addresses of a host. Blocks.

    Raises:
        OSError: it has none, or nobody says whether it has; `socket.gaierror` is one.
        UnicodeError: what can be no name.
    """
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    # Without the scope that only this machine knows, which is no part of an address.
    return [*dict.fromkeys(str(each[4][0]).partition("%")[0] for each in found)]


def numeric(host: str) -> Resolved | None:
    """Return what a host that is an address resolves to, None for a name."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except (OSError, ValueError):
            continue
        return Resolved(host=host, addresses=(host,))
    return None


@dataclass(slots=True)
class _Task:
    host: str
    started: float | None = None
    over: bool = False


@dataclass(slots=True)
class Resolving:
    """Asks for names, for one thread that must never block.

    `wake` can be read from when there is something in `answers`. A name that takes longer than
    `patience` is answered all the same, by `late`; its thread is left alone, and another one takes
    its place.
    """

    patience: float
    resolve: Callable[[str], list[str]] = addresses_of
    clock: Callable[[], float] = time.monotonic
    wake: socket.socket = field(init=False)
    _waker: socket.socket = field(init=False)
    _todo: SimpleQueue[_Task | None] = field(default_factory=SimpleQueue)
    _done: SimpleQueue[tuple[_Task, Resolved]] = field(default_factory=SimpleQueue)
    _open: deque[_Task] = field(default_factory=deque)
    _threads: int = 0
    _hanging: int = 0

    def __post_init__(self) -> None:
        self.wake, self._waker = socket.socketpair()
        self.wake.setblocking(False)
        self._waker.setblocking(False)

    def ask(self, host: str) -> None:
        """Have a name resolved."""
        task = _Task(host)
        self._open.append(task)
        self._todo.put(task)
        if self._threads - self._hanging < min(THREADS, len(self._open)):
            self._start()

    def answers(self) -> list[Resolved]:
        """Return what has come since the last time."""
        try:
            while self.wake.recv(4096):
                pass
        except BlockingIOError:
            pass
        found: list[Resolved] = []
        while True:
            try:
                task, resolved = self._done.get_nowait()
            except Empty:
                return found
            if task.over:
                self._hanging -= 1
                continue
            self._open.remove(task)
            found.append(resolved)

    def late(self) -> list[Resolved]:
        """Return those whose time is up."""
        now = self.clock()
        late = [
            each
            for each in self._open
            if each.started is not None and now - each.started >= self.patience
        ]
        for task in late:
            task.over = True
            self._open.remove(task)
            self._hanging += 1
            if self._open:
                self._start()
        return [unanswered(task.host) for task in late]

    def forget(self) -> None:
        """Ask for nothing more of what has not been answered: the batch has ended."""
        for task in self._open:
            task.over = True
            self._hanging += 1  # until its thread comes back, which takes no time if it is new
        self._open.clear()

    def close(self) -> None:
        """End the threads, once name servers have let go of them."""
        self.forget()
        for _ in range(self._threads):
            self._todo.put(None)
        self.wake.close()
        self._waker.close()

    def _start(self) -> None:
        if self._threads < _MOST_THREADS:
            self._threads += 1
            threading.Thread(target=self._work, daemon=True).start()

    def _work(self) -> None:
        while (task := self._todo.get()) is not None:
            if not task.over:
                task.started = self.clock()
            self._done.put((task, self._resolved(task)))
            try:
                self._waker.send(b"\0")
            except OSError:  # there is enough in it to wake anybody, or nobody is left
                continue

    def _resolved(self, task: _Task) -> Resolved:
        host = task.host
        if task.over:
            return unanswered(host)
        try:
            found = tuple(self.resolve(host)[:MOST_ADDRESSES])
        except (OSError, UnicodeError) as exc:
            return _unresolved(host, exc)
        return Resolved(host=host, addresses=found) if found else _unresolved(host, UnicodeError())


def unanswered(host: str) -> Resolved:
    """Return what is said of a name for which nobody has answered in time."""
    error = f"no name server answered for {host[:_LONGEST]} in time"
    return Resolved(host=host, failure="no_name_server", error=error)


def _unresolved(host: str, exc: Exception) -> Resolved:
    name = host[:_LONGEST]
    none = isinstance(exc, UnicodeError) or getattr(exc, "errno", None) in WITHOUT_ADDRESS
    if none:
        error = f"{name} does not resolve to an address"
        return Resolved(host=host, failure="no_address", error=error)
    error = f"no name server says whether {name} has an address"
    return Resolved(host=host, failure="no_name_server", error=error)
