"""Looking at many endpoints for monitoring, in child processes that stay.

There are children for ECDSA certificates and others for RSA: before Python 3.15 the standard
library cannot say which signatures it takes, so they are started with an OpenSSL configuration of
their own, in the place of the operator's, which they do not read. Not in here: TLS and the network.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty
from typing import Protocol

from msgspec import structs

from .answering import Batch
from .child import COMMAND, environment
from .looks import ALGORITHMS, Algorithm, Look, Question, Sight
from .probe import Observation
from .workers import Answers, Worker

SECONDS = 60.0  # for a batch
_SILENCE = 20.0  # seconds without a sign of life, after which a child is killed
_TICK = 0.25  # seconds between two looks at whether children are silent
_UNANSWERED = "it was not seen in time"
# For TLS 1.3 these stand in certificates alone (RFC 8446, section 4.2.3): so that a server presents
# an ECDSA key that an RSA key certifies. In TLS 1.2 the cipher suites keep RSA keys away.
_ISSUERS = "RSA+SHA256:RSA+SHA384:RSA+SHA512"
_SIGNATURES: dict[Algorithm, str] = {
    "ecdsa": f"ECDSA+SHA256:ECDSA+SHA384:ECDSA+SHA512:ed25519:ed448:{_ISSUERS}",
    "rsa": "rsa_pss_rsae_sha256:rsa_pss_rsae_sha384:rsa_pss_rsae_sha512:"
    f"rsa_pss_pss_sha256:rsa_pss_pss_sha384:rsa_pss_pss_sha512:{_ISSUERS}",
}
_CONFIGURATION = """\
openssl_conf = livepin
[livepin]
ssl_conf = tls
[tls]
system_default = look
[look]
SignatureAlgorithms = {signatures}
"""


class Looking(Protocol):
    """What looks at endpoints: a `Prober`, or a fake of it."""

    def look(self, questions: Sequence[Question], *, seconds: float = SECONDS) -> Iterator[Look]:
        """Give a look for each question, as it comes, in any order, within `seconds`.

        What there was no time for has none.
        """

    def close(self) -> None:
        """Let go of everything."""


class Prober:
    """Looks at endpoints in `processes` children for each algorithm, which start when needed.

    Each child has `at_once` conversations at once; an address has `patience` seconds, and a name
    as many. `command` is what a child is, with the algorithm behind. One caller at a time: others
    wait. `close` may come from any thread, and ends a look that goes on.
    """

    def __init__(
        self,
        *,
        processes: int | None = None,
        at_once: int = 256,
        patience: float = 10.0,
        silence: float = _SILENCE,
        command: Sequence[str] = (*COMMAND, "looks"),
    ) -> None:
        self._processes = processes or max(1, (os.cpu_count() or 1) // 2)
        self._at_once = at_once
        self._patience = patience
        self._silence = silence
        self._command = command
        self._turn = threading.Lock()  # of callers
        self._lock = threading.Lock()  # of what follows
        self._idle: list[Worker] = []
        self._busy: set[Worker] = set()
        self._files: dict[Algorithm, Path] = {}
        self._closed = False

    def look(self, questions: Sequence[Question], *, seconds: float = SECONDS) -> Iterator[Look]:
        """Give a look for each question, as it comes, in any order, within `seconds`.

        Blocks. Nothing is raised for what strangers or children do. What there was no time for, or
        no child, has no look: nobody tried it. What two children have ended over has the failure
        "timeout". Whoever stops to take looks has the children ended that go on.
        """
        deadline = time.monotonic() + seconds
        merging = _Merging(questions)
        answers: Answers = Answers()
        with self._turn:
            try:
                self._ask_all(merging, answers, deadline)
                while self._busy and (time.monotonic() < deadline or not answers.empty()):
                    yield from self._taken(merging, answers, deadline)
            finally:
                self._end_busy()

    def close(self) -> None:
        """End the children, and remove what they were configured with."""
        with self._lock:
            self._closed = True
            workers = [*self._idle, *self._busy]
            self._idle.clear()
            self._busy.clear()
        for worker in workers:
            worker.end()
        for file in self._files.values():
            file.unlink(missing_ok=True)
        self._files.clear()

    # -- a batch -----------------------------------------------------------------------------

    def _ask_all(self, merging: _Merging, answers: Answers, deadline: float) -> None:
        for algorithm in ALGORITHMS:
            questions = merging.questions(algorithm)
            for at in range(self._processes):
                share = questions[at :: self._processes]
                if share:
                    self._ask(algorithm, share, answers, deadline, again=False)

    def _ask(
        self,
        algorithm: Algorithm,
        questions: list[Question],
        answers: Answers,
        deadline: float,
        *,
        again: bool,
    ) -> None:
        left = deadline - time.monotonic()
        worker = self._worker(algorithm) if left > 0 else None
        if worker is None:
            return
        batch = Batch(
            seconds=max(left - 1.0, left * 0.8),  # so that it can still say where it was
            patience=self._patience,
            at_once=self._at_once,
            questions=questions,
        )
        worker.ask(batch, answers, again=again)

    def _taken(self, merging: _Merging, answers: Answers, deadline: float) -> Iterator[Look]:
        """Take one answer, or wait for a tick; give the look that is whole by it."""
        try:
            worker, look = answers.get(timeout=max(min(deadline - time.monotonic(), _TICK), 0))
        except Empty:
            for silent in [w for w in self._busy if time.monotonic() - w.heard > self._silence]:
                yield from self._replace(silent, merging, answers, deadline)
            return
        if worker not in self._busy:
            return  # it was given up
        if look is None:
            if worker.missing and not worker.over:
                yield from self._replace(worker, merging, answers, deadline)
                return
            with self._lock:
                self._busy.discard(worker)
                self._idle.append(worker)
        elif worker.missing.pop(look.id, None) is not None:
            yield from merging.add(worker.algorithm, look)

    def _replace(
        self, worker: Worker, merging: _Merging, answers: Answers, deadline: float
    ) -> Iterator[Look]:
        """End a child, and ask another one what it has not answered, once.

        If that one ends over it as well, it has failed: else what ends children would be asked
        again and again, and hold others.
        """
        with self._lock:
            self._busy.discard(worker)
        worker.end()
        missing = [*worker.missing.values()]
        if not worker.again:
            self._ask(worker.algorithm, missing, answers, deadline, again=True)
            return
        for each in missing:
            late = Look(id=each.id, failure="timeout", error=_UNANSWERED)
            yield from merging.add(worker.algorithm, late)

    # -- children ----------------------------------------------------------------------------

    def _worker(self, algorithm: Algorithm) -> Worker | None:
        """Return a child that is free, or a new one; None if there is none to be had."""
        with self._lock:
            for worker in [each for each in self._idle if each.algorithm == algorithm]:
                self._idle.remove(worker)
                if worker.alive():
                    self._busy.add(worker)
                    return worker
                worker.end()
            if self._closed:
                return None
            try:
                variables = environment() | {"OPENSSL_CONF": str(self._file(algorithm))}
                worker = Worker(self._command, algorithm, variables)
            except OSError:
                return None
            self._busy.add(worker)
            return worker

    def _file(self, algorithm: Algorithm) -> Path:
        found = self._files.get(algorithm)
        if found is None or not found.exists():  # some systems tidy up
            handle, name = tempfile.mkstemp(prefix="livepin-look-", suffix=".cnf")
            with os.fdopen(handle, "w", encoding="ascii") as file:
                file.write(_CONFIGURATION.format(signatures=_SIGNATURES[algorithm]))
            found = self._files[algorithm] = Path(name)
        return found

    def _end_busy(self) -> None:
        with self._lock:
            workers = [*self._busy]
            self._busy.clear()
        for worker in workers:
            worker.end()


@dataclass(slots=True)
class _Merging:
    """The looks of both algorithms, put together for each question, whatever their numbers."""

    asked: Sequence[Question]
    found: dict[int, dict[Algorithm, Look]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.found = {at: {} for at in range(len(self.asked))}

    def questions(self, algorithm: Algorithm) -> list[Question]:
        """Return what to ask for one algorithm, numbered by their place."""
        return [
            structs.replace(
                each, id=at, known=[known for known in each.known if known.algorithm == algorithm]
            )
            for at, each in enumerate(self.asked)
        ]

    def add(self, algorithm: Algorithm, look: Look) -> Iterator[Look]:
        """Take what was seen for one algorithm; give the whole, once there is all of it."""
        self.found[look.id][algorithm] = look
        if len(self.found[look.id]) == len(ALGORITHMS):
            yield self._whole(look.id)

    def _whole(self, at: int) -> Look:
        question, found = self.asked[at], self.found.pop(at)
        both = {algorithm: found[algorithm] for algorithm in ALGORITHMS}
        addresses = dict.fromkeys(s.address for look in both.values() for s in look.sights)
        sights: list[Sight] = []
        for algorithm, look in both.items():
            sights += look.sights or [
                _unseen(question, each, algorithm, look) for each in addresses
            ]
        first = both["ecdsa"]  # without any sight, neither algorithm has one
        return Look(
            id=question.id,
            sights=sights,
            failure=None if sights else first.failure,
            error=None if sights else first.error,
            elapsed_ms=max(look.elapsed_ms for look in both.values()),
        )


def _unseen(question: Question, address: str, algorithm: Algorithm, look: Look) -> Sight:
    """Return that one algorithm was not looked at where the other one was: never as if fine."""
    seen = Observation(
        host=question.host,
        port=question.port,
        address=address,
        failure=look.failure,
        error=look.error,
    )
    return Sight(address=address, algorithm=algorithm, engine="verified", observation=seen)
