"""`Sweeping`: claims what is due, has it looked at, and hands back what was seen.

It runs in a thread of its own, for one vantage. What a batch has claimed and not seen is given back
when it stops; what a killed process had claimed is due again after the lease. When endpoints are
due and what is made of what was seen is elsewhere.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Protocol

from livepin_server.probing.looks import Look, Question
from livepin_server.probing.prober import Looking
from livepin_server.services.monitoring.model import Claimed

MOST = 500  # endpoints of a batch
PATIENCE = 60.0  # seconds that a batch may take
LEASE = timedelta(seconds=2 * PATIENCE)
_MANY = 100  # looks that are kept together
_WAITS = 0.25  # seconds that a look waits for others to be kept with it
_IDLE = 1.0  # seconds; another process may make something due, and tells nobody
_FEW, _GATHER = 100, 1.0  # endpoints of a batch, after which others are waited for; seconds
_BEATS = timedelta(seconds=30)
_AGAIN = 5.0  # seconds until what failed is tried again

logger = logging.getLogger("livepin.monitor")


class Due(Protocol):
    """Gives out endpoints that are due, and takes back what was seen."""

    def claim(self, vantage: str, most: int, *, lease: timedelta) -> list[Claimed]:
        """Claim at most so many."""

    def complete(self, done: Sequence[tuple[Claimed, Look]]) -> int:
        """Keep what was seen; return of how many."""

    def give_back(self, claims: Sequence[Claimed]) -> None:
        """Let others have these."""

    def next_due(self, vantage: str) -> datetime | None:
        """Return when the next may be claimed."""


class Beating(Protocol):
    """Notes that a worker is there."""

    def beat(self, vantage: str, worker: str, looks: int) -> None:
        """Note it, and how often it has looked."""


class Sweeping:
    """Looks at what is due, until it is stopped. `wake` and `stop` are safe from any thread."""

    def __init__(
        self,
        schedule: Due,
        beats: Beating,
        prober: Looking,
        *,
        vantage: str,
        worker: str,
        clock: Callable[[], datetime],
        most: int = MOST,
        patience: float = PATIENCE,
        lease: timedelta = LEASE,
        again: float = _AGAIN,
        idle: float = _IDLE,
        gather: float = _GATHER,
    ) -> None:
        if lease.total_seconds() <= patience:
            raise ValueError("expected a lease that is longer than a batch may take")
        self._schedule = schedule
        self._beats = beats
        self._prober = prober
        self._vantage = vantage
        self._worker = worker
        self._clock = clock
        self._most = most
        self._patience = patience
        self._lease = lease
        self._again = again
        self._idle = idle
        self._gather = gather
        self._looks = 0
        self._beaten: datetime | None = None
        self._failing = False
        self._waits = set[int]()  # endpoints that there was no time for
        self._late = False
        self._woken = threading.Event()
        self._stopped = threading.Event()

    def wake(self) -> None:
        """See at once whether something is due."""
        self._woken.set()

    def stop(self) -> None:
        """Have `run` end soon: what was claimed and not seen is given back."""
        self._stopped.set()
        self._woken.set()

    def run(self) -> None:
        """Look until stopped. A round that fails is logged once, and tried again after a pause."""
        while not self._stopped.is_set():
            self._woken.clear()
            try:
                self._beat()
                pause = self._pause_after(self.once())
            except Exception:
                if not self._failing:
                    logger.exception("what is due from %s cannot be looked at", self._vantage)
                self._failing = True
                self._stopped.wait(self._again)
                continue
            if self._failing:
                logger.info("what is due from %s is looked at again", self._vantage)
            self._failing = False
            if pause and not self._stopped.is_set():
                self._woken.wait(pause)

    def once(self) -> int:
        """Look at one batch of what is due; return how many were seen and kept.

        What was seen and could not be kept is due again after the lease. What there was no time
        for, behind others that do not answer, is given back, and comes first in the next batch.
        """
        claims = self._schedule.claim(self._vantage, self._most, lease=self._lease)
        if not claims:
            return 0
        claims.sort(key=lambda each: each.endpoint not in self._waits)
        left = dict(enumerate(claims))
        kept, trouble = 0, None
        for looks in self._gathered([_question(n, each) for n, each in left.items()]):
            done = [(left.pop(each.id), each) for each in looks if each.id in left]
            self._looks += len(done)
            try:
                kept += self._schedule.complete(done)
                self._beat()
            except Exception as exc:  # noqa: BLE001 - raised below, when the others are kept
                trouble = trouble or exc
        self._waits = {each.endpoint for each in left.values()}
        if left:
            self._give_back([*left.values()])
        if trouble is not None:
            raise trouble
        if not self._stopped.is_set():
            self._crowded(len(left), len(claims))
        return kept

    def _crowded(self, left: int, claimed: int) -> None:
        """Tell once that there is no time for all endpoints, as others do not answer.

        Raises:
            RuntimeError: none was looked at.
        """
        if left == claimed:
            raise RuntimeError(f"{left} endpoints were not looked at")
        if left and not self._late:
            logger.warning(
                "%d of %d endpoints wait for the next batch, as too many others do not answer",
                left,
                claimed,
            )
        self._late = left > 0

    def _gathered(self, questions: Sequence[Question]) -> Iterator[list[Look]]:
        """Give looks some at a time, so that one that is slow does not hold the others."""
        coming: queue.SimpleQueue[Look | None] = queue.SimpleQueue()

        def pump() -> None:
            try:
                for each in self._prober.look(questions, seconds=self._patience):
                    coming.put(each)
            except Exception:
                if not self._stopped.is_set():
                    logger.exception("the prober failed")
            finally:
                coming.put(None)

        # A daemon: it may have to wait for what answers slowly, and the end does not.
        threading.Thread(target=pump, name="livepin-looks", daemon=True).start()
        ended = False
        while not ended and not self._stopped.is_set():
            try:
                found, ended = _some(coming)
            except queue.Empty:
                continue
            if found:
                yield found

    def _give_back(self, claims: Sequence[Claimed]) -> None:
        try:
            self._schedule.give_back(claims)
        except Exception:
            logger.exception("%d endpoints are due again only after the lease", len(claims))

    def _pause_after(self, looked: int) -> float:
        """Return how long to wait: one by one, endpoints would cost twice as much as together."""
        if looked > _FEW:
            return 0.0
        return self._gather if looked else self._until_due()

    def _until_due(self) -> float:
        due = self._schedule.next_due(self._vantage)
        if due is None:
            return self._idle
        return min(max((due - self._clock()).total_seconds(), 0.01), self._idle)

    def _beat(self) -> None:
        now = self._clock()
        if self._beaten is None or not timedelta(0) <= now - self._beaten < _BEATS:
            self._beats.beat(self._vantage, self._worker, self._looks)
            self._beaten = now


def _question(number: int, claimed: Claimed) -> Question:
    return Question(
        id=number,
        host=claimed.host,
        port=claimed.port,
        connect=claimed.connect,
        ca=claimed.ca,
        known=claimed.known,
    )


def _some(coming: queue.SimpleQueue[Look | None]) -> tuple[list[Look], bool]:
    """Return what has come within a moment of the first, and whether nothing else will.

    Raises:
        queue.Empty: nothing has come.
    """
    found = list[Look]()
    each = coming.get(timeout=_WAITS)
    by = time.monotonic() + _WAITS
    with suppress(queue.Empty):
        while each is not None:
            found.append(each)
            if len(found) == _MANY:
                return found, False
            each = coming.get(timeout=max(by - time.monotonic(), 0.001))
        return found, True
    return found, False
