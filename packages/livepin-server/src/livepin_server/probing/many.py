"""Looking at many endpoints at once in one child process, for who waits in a thread."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Sequence
from typing import Annotated

import msgspec

from .addresses import look_at_each
from .child import COMMAND, environment
from .probe import Observation, Target

DEADLINE = 8.0  # seconds for all endpoints, the start of the child included
_LATE = "it was not seen in time"
_PATIENCE = 30.0  # seconds to wait for others that look
_LINE = msgspec.json.Decoder(tuple[Annotated[int, msgspec.Meta(ge=0)], Observation])


class Lookout:
    """Looks at endpoints for many threads, with few children at once.

    `seconds` are for all endpoints of one look, `patience` to wait for a child of one's own.
    """

    def __init__(
        self,
        *,
        at_once: int = 4,
        seconds: float = DEADLINE,
        patience: float = _PATIENCE,
        command: Sequence[str] = (*COMMAND, "each"),
    ) -> None:
        self._free = threading.BoundedSemaphore(at_once)
        self._seconds = seconds
        self._patience = patience
        self._command = command

    def look(self, targets: Sequence[Target]) -> dict[Target, list[Observation]]:
        """Return what is seen at each address of each target, at least one observation of each.

        Blocks. What is not seen in time has an observation that says so; nothing is raised.
        """
        if not targets:
            return {}
        if not self._free.acquire(timeout=self._patience):
            why = "the server is busy looking at other endpoints"
            return {each: [_unseen(each, why)] for each in targets}
        try:
            return self._seen([*dict.fromkeys(targets)])
        finally:
            self._free.release()

    def _seen(self, targets: list[Target]) -> dict[Target, list[Observation]]:
        found: dict[Target, list[Observation]] = {each: [] for each in targets}
        for line in self._lines(msgspec.json.encode((self._seconds, targets))):
            try:
                at, seen = _LINE.decode(line)
                found[targets[at]].append(seen)
            except (msgspec.DecodeError, IndexError):
                break  # it was killed in the midst of a line, or is not itself any more
        return {each: seen or [_unseen(each, _LATE)] for each, seen in found.items()}

    def _lines(self, asked: bytes) -> list[bytes]:
        """Return what a child has written when it ends, or is killed because time is up."""
        try:
            done = subprocess.run(
                self._command,
                input=asked,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment(),
                timeout=self._seconds,
                check=False,
            )
        except subprocess.TimeoutExpired as exc:
            return (exc.output or b"").splitlines()
        except OSError:  # there is no process or no memory left for a child
            return []
        return done.stdout.splitlines()


def look_here(
    targets: Sequence[Target], *, seconds: float = DEADLINE
) -> dict[Target, list[Observation]]:
    """Return what a `Lookout` returns, seen by threads of this process: where it serves nobody."""
    wanted = [*dict.fromkeys(targets)]
    found: dict[Target, list[Observation]] = {each: [] for each in wanted}
    for at, seen in look_at_each(wanted, seconds=seconds):
        found[wanted[at]].append(seen)
    return {each: seen or [_unseen(each, _LATE)] for each, seen in found.items()}


def _unseen(target: Target, why: str) -> Observation:
    return Observation(host=target.host, port=target.port, error=why)
