"""A child process that answers batches, seen from its parent, which it never holds up."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from queue import SimpleQueue
from typing import IO

import msgspec

from .addresses import MOST_ADDRESSES
from .answering import OVER, Batch
from .looks import Algorithm, Look, Question, Sight

_LONGEST = 1024 * 1024  # bytes of an answer: sixteen addresses with sixteen certificates twice
_END = 10.0  # seconds for a thread to see that its child was killed
_LOOK = msgspec.json.Decoder(Look)

Answers = SimpleQueue[tuple["Worker", Look | None]]


class NonsenseError(Exception):
    """What a child says is no answer to what it was asked."""


class Worker:
    """A child for certificates of one algorithm, and the thread that talks with it.

    Raises:
        OSError: there is no process to be had.
    """

    def __init__(
        self, command: Sequence[str], algorithm: Algorithm, environment: Mapping[str, str]
    ) -> None:
        self.algorithm = algorithm
        self.heard = time.monotonic()
        self.missing: dict[int, Question] = {}
        self.again = False  # it is asked what another one was asked before
        self.over = False  # its time was up, and what is missing it did not come to
        self._thread: threading.Thread | None = None
        self._process = subprocess.Popen(
            [*command, algorithm],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        self.pid = self._process.pid

    def alive(self) -> bool:
        """Tell whether it still runs."""
        return self._process.poll() is None

    def ask(self, batch: Batch, answers: Answers, *, again: bool = False) -> None:
        """Ask a batch whose questions are told apart by `id`.

        Looks come into `answers` one by one; None is the end: after all of them, when its time is
        `over`, or too early. `missing` is what has not been answered; whoever takes a look out of
        the queue keeps it.
        """
        self.missing = {each.id: each for each in batch.questions}
        self.again = again
        self.over = False
        self.heard = time.monotonic()
        arguments = (msgspec.json.encode(batch) + b"\n", dict(self.missing), answers)
        self._thread = threading.Thread(target=self._talk, args=arguments, daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Kill it by its id, and let go of it."""
        self._process.kill()
        self._process.wait()
        if self._thread is not None:
            self._thread.join(_END)
            if self._thread.is_alive():
                return  # something else has its pipes, and to close them would block
        for pipe in (self._process.stdin, self._process.stdout):
            _close(pipe)

    def _talk(self, asked: bytes, missing: dict[int, Question], answers: Answers) -> None:
        try:
            stdin, stdout = self._process.stdin, self._process.stdout
            assert stdin is not None
            assert stdout is not None
            stdin.write(asked)
            stdin.flush()
            while missing:
                line = stdout.readline(_LONGEST)
                self.heard = time.monotonic()
                if line == b"\n":
                    continue
                if line == OVER:
                    self.over = True
                    break
                look = _read(line, missing, self.algorithm)
                del missing[look.id]
                answers.put((self, look))
        except (OSError, ValueError, NonsenseError):
            pass  # it was killed, or is not itself any more: what is missing says so
        answers.put((self, None))


def _read(line: bytes, missing: Mapping[int, Question], algorithm: Algorithm) -> Look:
    """Return an answer to one of the questions.

    Raises:
        NonsenseError: it is none.
    """
    try:
        look = _LOOK.decode(line)
    except msgspec.DecodeError as exc:
        raise NonsenseError("expected a look") from exc
    sights = look.sights
    right = (
        look.id in missing
        and len(sights) <= MOST_ADDRESSES
        and all(each.algorithm == algorithm for each in sights)
        and bool(sights) == (look.failure is None)
        and all(each.observation or _confirms(each, missing[look.id]) for each in sights)
    )
    if not right:
        raise NonsenseError("expected an answer to a question that was asked")
    return look


def _confirms(sight: Sight, question: Question) -> bool:
    """Tell whether `fast` says of something known that it is as it was."""
    return sight.engine == "fast" and any(k.address == sight.address for k in question.known)


def _close(pipe: IO[bytes] | None) -> None:
    try:
        if pipe is not None:
            pipe.close()
    except OSError:
        return  # what it was to be told stays unsaid
