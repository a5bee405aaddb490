"""Many conversations at once in one thread: sockets, deadlines, and which engine is asked.

An address is asked by `fast` where its chain is known, and at once by `verified` where `fast` does
not find that chain. Every conversation is bounded in time and bytes. A question of which not each
address had its time has no answer: that it does not answer would be a lie. Not in here: TLS,
resolving, and how questions come and answers go.
"""

from __future__ import annotations

import errno
import os
import selectors
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush

from msgspec import structs

from .fast import FastConversation
from .looks import Algorithm, Look, Question, Sight
from .probe import Failure, Observation, Target, split_address, trouble
from .resolving import Resolved, Resolving, numeric
from .verified import (
    NO_ANCHORS,
    PresentedConversation,
    Probe,
    VerifiedConversation,
    anchored,
    failed,
)

MOST_BYTES = 256 * 1024  # of a conversation
_CHUNK = 64 * 1024
_BEAT = 1.0  # seconds between two signs of life


@dataclass(slots=True, eq=False)
class _Asked:
    """A question of which not everything has been seen."""

    question: Question
    number: int
    host: str
    port: int
    started: float
    known: dict[str, str]  # digests by address
    begun: bool = False
    stalls: bool = False  # an address of it did not answer in time
    missing: set[str] = field(default_factory=set)
    sights: list[Sight] = field(default_factory=list)

    def target(self, address: str) -> Target:
        where = f"[{address}]:{self.port}" if ":" in address else f"{address}:{self.port}"
        asked = self.question
        return Target(host=asked.host, port=asked.port, connect=where, ca=asked.ca)


@dataclass(slots=True, eq=False)
class _Talk:
    """What is said with one address, by one engine after the other."""

    asked: _Asked
    address: str
    target: Target
    started: float
    deadline: float
    fast: bool
    refused: Observation | None = None  # by the look before
    probe: Probe | None = None
    sock: socket.socket | None = None
    pending: bytes = b""
    received: int = 0
    until: float = 0.0  # of the engine that is asked now


class Loop:
    """Looks at endpoints, for certificates of one algorithm."""

    def __init__(
        self,
        algorithm: Algorithm,
        *,
        at_once: int,
        patience: float,
        resolving: Resolving,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._algorithm = algorithm
        self._at_once = at_once
        self._patience = patience
        self._resolving = resolving
        self._clock = clock
        self._selector = selectors.DefaultSelector()
        self._selector.register(resolving.wake, selectors.EVENT_READ)
        self._todo: list[tuple[int, int, str, _Asked]] = []
        self._late: list[tuple[int, int, str, _Asked]] = []  # of those that stall
        self._talks: set[_Talk] = set()
        self._deadlines: list[tuple[float, int, _Talk]] = []
        self._count = 0
        self._open: set[_Asked] = set()
        self._named: dict[str, list[_Asked]] = {}  # those that wait for the addresses of a host
        self._tell: Callable[[Look], None] = lambda _: None

    def close(self) -> None:
        """Let go of everything."""
        self._end()
        self._selector.close()

    def run(
        self,
        questions: Sequence[Question],
        *,
        seconds: float,
        tell: Callable[[Look], None],
        beat: Callable[[], None] = lambda: None,
        flush: Callable[[], None] = lambda: None,
    ) -> int:
        """Tell one look for each question, in any order, within `seconds`; `beat` meanwhile.

        `flush` is called before it waits for others, so that what was told goes out together.
        Returns how many were not answered, as there was no time for them.
        """
        self._tell = tell
        end = self._clock() + seconds
        for number, question in enumerate(questions):
            self._ask(number, question)
        told = self._clock()
        while self._open:
            now = self._clock()
            if now >= end:
                break
            if now - told >= _BEAT:
                beat()
                told = now
            self._start(now)
            flush()
            self._wait(min(end, told + _BEAT))
            self._expire()
        flush()
        return self._end()

    def _wait(self, until: float) -> None:
        if not self._open:
            return
        soonest = min(until, self._deadlines[0][0]) if self._deadlines else until
        for key, _ in self._selector.select(max(soonest - self._clock(), 0)):
            if key.data is None:
                for found in self._resolving.answers():
                    self._resolved(found)
            elif key.data in self._talks and key.data.sock is key.fileobj:
                self._step(key.data)

    # -- questions ---------------------------------------------------------------------------

    def _ask(self, number: int, question: Question) -> None:
        host, port = question.host, question.port
        known = {k.address: k.digest for k in question.known if k.algorithm == self._algorithm}
        asked = _Asked(question, number, host, port, self._clock(), known)
        self._open.add(asked)
        try:
            if question.connect is not None:
                asked.host, asked.port = split_address(question.connect)
        except ValueError as exc:
            self._fail(asked, "no_address", str(exc))
            return
        found = numeric(asked.host)
        if found is not None:
            self._spread(asked, found)
            return
        waiting = self._named.setdefault(asked.host, [])
        waiting.append(asked)
        if len(waiting) == 1:
            self._resolving.ask(asked.host)

    def _resolved(self, found: Resolved) -> None:
        for asked in self._named.pop(found.host, []):
            self._spread(asked, found)

    def _spread(self, asked: _Asked, found: Resolved) -> None:
        if found.failure is not None or not found.addresses:
            self._fail(asked, found.failure or "no_address", found.error or "")
            return
        asked.missing.update(found.addresses)
        for rank, address in enumerate(found.addresses):
            heappush(self._todo, (rank, asked.number, address, asked))

    def _next(self) -> tuple[_Asked, str] | None:
        """Return whose turn it is: the first address of each question, then the second, and so on.

        What stalls comes behind all that answers, question by question: else a host with many
        addresses that swallow packets would take the time of others.
        """
        while self._todo:
            rank, number, address, asked = heappop(self._todo)
            if not asked.stalls:
                return asked, address
            heappush(self._late, (number, rank, address, asked))
        if self._late:
            _, _, address, asked = heappop(self._late)
            return asked, address
        return None

    def _fail(self, asked: _Asked, failure: Failure, error: str) -> None:
        self._answer(asked, failure=failure, error=error)

    def _answer(
        self, asked: _Asked, *, failure: Failure | None = None, error: str | None = None
    ) -> None:
        self._open.discard(asked)
        elapsed = round((self._clock() - asked.started) * 1000, 1)
        self._tell(
            Look(
                id=asked.question.id,
                sights=asked.sights,
                failure=failure,
                error=error,
                elapsed_ms=elapsed,
            )
        )

    def _end(self) -> int:
        """Let go of what is left, as time is up; return how many questions that is."""
        for talk in self._talks:
            self._close(talk)
        self._talks.clear()
        self._todo.clear()
        self._late.clear()
        self._resolving.forget()
        self._named.clear()
        self._deadlines.clear()
        left = len(self._open)
        self._open.clear()
        return left

    # -- conversations -----------------------------------------------------------------------

    def _start(self, now: float) -> None:
        while len(self._talks) < self._at_once and (turn := self._next()) is not None:
            asked, address = turn
            target = asked.target(address)
            if not asked.begun:  # what it waited for others is no time of its own
                asked.begun, asked.started = True, now
            fast = address in asked.known
            talk = _Talk(asked, address, target, now, now + self._patience, fast)
            self._talks.add(talk)
            self._connect(talk)

    def _connect(self, talk: _Talk) -> None:
        """Begin a conversation with the engine whose turn it is."""
        now = self._clock()
        talk.until = now + (talk.deadline - now) / 2 if talk.fast else talk.deadline
        try:
            anchored(talk.target.ca, self._algorithm)
        except ValueError:
            self._finish(talk, failed(talk.target, "untrusted", NO_ANCHORS))
            return
        try:
            talk.probe = self._engine(talk)
            talk.pending, talk.probe.outgoing, talk.received = talk.probe.outgoing, b"", 0
            talk.sock = self._socket(talk)
        except (OSError, ValueError) as exc:
            self._broken(talk, exc)
            return
        self._selector.register(talk.sock, selectors.EVENT_WRITE, talk)
        self._count += 1
        heappush(self._deadlines, (talk.until, self._count, talk))

    def _engine(self, talk: _Talk) -> Probe:
        if talk.fast:
            known = talk.asked.known[talk.address]
            return FastConversation(talk.target.host, self._algorithm, known)
        if talk.refused is not None:
            return PresentedConversation(talk.target, talk.refused, self._algorithm)
        return VerifiedConversation(talk.target, self._algorithm)

    @staticmethod
    def _socket(talk: _Talk) -> socket.socket:
        family = socket.AF_INET6 if ":" in talk.address else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            found = sock.connect_ex((talk.address, talk.asked.port))
            if found not in (0, errno.EINPROGRESS):
                raise OSError(found, os.strerror(found))
        except BaseException:
            sock.close()
            raise
        return sock

    def _step(self, talk: _Talk) -> None:
        """Go on with a conversation whose socket is ready."""
        assert talk.sock is not None
        assert talk.probe is not None
        try:
            if talk.pending:
                self._send(talk)
                return
            data = talk.sock.recv(_CHUNK)
            talk.received += len(data)
            if talk.received > MOST_BYTES:
                raise ValueError(f"more than {MOST_BYTES} bytes came before the handshake ended")
            answer = talk.probe.receive(data)
        except (BlockingIOError, InterruptedError):
            return
        except (OSError, ValueError) as exc:
            self._broken(talk, exc)
            return
        talk.pending, talk.probe.outgoing = talk.probe.outgoing, b""
        if answer is None:
            if talk.pending:
                self._selector.modify(talk.sock, selectors.EVENT_WRITE, talk)
            return
        self._answered(talk, answer)

    def _send(self, talk: _Talk) -> None:
        assert talk.sock is not None
        talk.pending = talk.pending[talk.sock.send(talk.pending) :]
        if not talk.pending:
            self._selector.modify(talk.sock, selectors.EVENT_READ, talk)

    def _answered(self, talk: _Talk, answer: object) -> None:
        """Take an engine's answer: it ends the look, or another engine is asked."""
        if talk.fast:
            same = answer == "unchanged" or (
                answer == "none" and talk.asked.known[talk.address] == ""
            )
            if same:
                self._finish(talk, None)
            else:
                self._verify(talk)
            return
        assert isinstance(answer, Observation)
        if answer.failure == "untrusted" and talk.refused is None:
            self._close(talk)
            talk.refused = answer
            self._connect(talk)
            return
        if talk.pending and talk.sock is not None:
            try:  # the end of the handshake, in which nothing more is of interest
                talk.sock.send(talk.pending)
            except OSError:
                talk.pending = b""
        self._finish(talk, answer)

    def _verify(self, talk: _Talk) -> None:
        """Have `verified` look at once at what `fast` did not find as it was known."""
        self._close(talk)
        talk.fast = False
        self._connect(talk)

    def _broken(self, talk: _Talk, exc: Exception) -> None:
        """Take a conversation that ended without an answer."""
        if talk.fast:
            self._verify(talk)
            return
        self._finish(talk, talk.refused or failed(talk.target, *trouble(exc, talk.target)))

    def _expire(self) -> None:
        """End what has lasted too long."""
        now = self._clock()
        while self._deadlines and self._deadlines[0][0] <= now:
            until, _, talk = heappop(self._deadlines)
            if talk in self._talks and talk.until == until:
                self._broken(talk, TimeoutError())
        for found in self._resolving.late():
            self._resolved(found)

    def _finish(self, talk: _Talk, found: Observation | None) -> None:
        self._close(talk)
        self._talks.discard(talk)
        if found is not None:
            elapsed = round((self._clock() - talk.started) * 1000, 1)
            found = structs.replace(found, elapsed_ms=elapsed)
            talk.asked.stalls |= found.failure == "timeout"
        self._add(talk.asked, talk.address, found)

    def _add(self, asked: _Asked, address: str, found: Observation | None) -> None:
        if found is not None:
            found = structs.replace(found, address=address)
        asked.sights.append(
            Sight(
                address=address,
                algorithm=self._algorithm,
                engine="fast" if found is None else "verified",
                observation=found,
            )
        )
        asked.missing.discard(address)
        if not asked.missing:
            self._answer(asked)

    def _close(self, talk: _Talk) -> None:
        if talk.sock is not None:
            self._selector.unregister(talk.sock)
            talk.sock.close()
            talk.sock = None
