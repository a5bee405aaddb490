"""The worker that `sweeping` measures: a process of its own, which does what lines tell it to.

It has what `livepin monitor worker` is made of, on SQLite as well. But its endpoints are rows that
somebody made, so it keeps none in step with what is published, and it ends with its input.
"""

from __future__ import annotations

import json
import resource
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any

from livepin_server.bus.memory import MemoryBus
from livepin_server.main import clock
from livepin_server.monitor.running import worker_name
from livepin_server.monitor.sweeping import MOST, Sweeping
from livepin_server.probing.looks import Look, Question
from livepin_server.probing.prober import SECONDS, Prober
from livepin_server.services.monitoring.composition import compose_monitoring
from livepin_server.services.monitoring.model import HERE
from livepin_server.services.monitoring.sources import Sources
from livepin_server.storage.database import Database
from livepin_server.storage.schema import findings, micros, observations, schedule
from msgspec import structs
from sqlalchemy import Connection, delete, func, select, text, update

_DAY = 86_400_000_000  # microseconds
_SPREAD = text(
    """UPDATE schedule SET next_due = :start + CASE WHEN endpoint <= :spared THEN :day
        ELSE endpoint * :apart END WHERE endpoint <= :watched"""
)


class _Given:
    """A prober that remembers what it was asked. Where `fast` is not to be believed, none is."""

    def __init__(self, prober: Prober) -> None:
        self._prober = prober
        self.asked: list[list[Question]] = []
        self.fast = True

    def look(self, questions: Sequence[Question], *, seconds: float = SECONDS) -> Iterator[Look]:
        """Give one look for each question."""
        given = [*questions]
        if not self.fast:
            given = [structs.replace(each, known=[]) for each in given]
        self.asked.append(given)
        return self._prober.look(given, seconds=seconds)

    def close(self) -> None:
        """Do nothing: the prober is somebody else's."""


class _Sweeper:
    """Does one thing after the other; each method is one, and returns what is to be said of it."""

    def __init__(self, url: str, watched: int, prober: Prober) -> None:
        self._database = Database(url)
        self._watched = watched
        self._prober = prober
        self._given = _Given(prober)
        self._monitoring = compose_monitoring(self._database, MemoryBus(), clock=clock)
        self._sweeping = self._new()
        self._running: threading.Thread | None = None

    def reset(self, first: bool) -> int:
        """Have everything that is watched be due, as if never looked at if it is the `first`."""

        def change(connection: Connection) -> int:
            if first:
                connection.execute(
                    delete(observations).where(observations.c.endpoint <= self._watched)
                )
            due = update(schedule).where(schedule.c.endpoint <= self._watched)
            return connection.execute(due.values(next_due=clock())).rowcount

        return self._database.write(change)

    def sweep(self, fast: bool) -> int:
        """Claim, look, judge and write back what is watched; return how many were kept."""
        self._given.asked, self._given.fast = [], fast
        kept = 0
        # What has come due meanwhile is left: in batches of one it would be no sweep.
        while kept < self._watched and (some := self._sweeping.once()):
            kept += some
        return kept

    def paced(self, apart: float, seconds: float) -> int:
        """Look with `verified`, so long, at what comes due one by one; return how often."""
        self._spread(apart)
        self._given.asked, self._given.fast = [], False
        sweeping = self._new()
        thread = threading.Thread(target=sweeping.run)
        thread.start()
        time.sleep(seconds)
        sweeping.stop()
        thread.join()
        return sum(map(len, self._given.asked))

    def alone(self) -> int:
        """Look as in the last sweep, at the same and by the same, and do nothing with it."""
        asked = [each for some in self._given.asked for each in some]
        batches = [asked[at : at + MOST] for at in range(0, len(asked), MOST)]
        return sum(1 for each in batches for _ in self._prober.look(each))

    def read(self) -> int:
        """Read all that endpoints are judged by, as is done anew each hour."""
        found = Sources(self._database, clock=clock).judging("bench", "h1.example.com", 443)
        return len(found.served)

    def wrong(self) -> int:
        """Count the findings."""
        with self._database.reading() as connection:
            return connection.scalar(select(func.count()).select_from(findings)) or 0

    def memory(self) -> int:
        """Return the most memory that this process took so far, in bytes."""
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    def run(self, apart: float, spared: int) -> None:
        """Look until the end at what comes due one by one, but for the first ones."""
        self._spread(apart, spared)
        self._given.fast = True
        self._running = threading.Thread(target=self._sweeping.run)
        self._running.start()

    def due(self, endpoint: int, seconds: float) -> float:
        """Have an endpoint be due in some seconds; return when that is, since 1970."""
        at = clock() + timedelta(seconds=seconds)
        one = update(schedule).where(schedule.c.endpoint == endpoint).values(next_due=at)
        self._database.write(lambda each: each.execute(one))
        return at.timestamp()

    def close(self) -> None:
        """End a run, and let go of the database."""
        self._sweeping.stop()
        if self._running is not None:
            self._running.join()
        self._database.close()

    def _new(self) -> Sweeping:
        return Sweeping(
            self._monitoring.schedule, self._monitoring.beats, self._given,
            vantage=HERE, worker=worker_name(), clock=clock,
        )  # fmt: skip

    def _spread(self, apart: float, spared: int = 0) -> None:
        start, step = micros(clock()), round(apart * 1e6)
        given = {
            "start": start, "apart": step, "watched": self._watched, "spared": spared, "day": _DAY,
        }  # fmt: skip
        self._database.write(lambda each: each.execute(_SPREAD, given))


def main(url: str, watched: int) -> None:
    """Do what lines of standard input say, until it ends."""
    prober = Prober()
    sweeper = _Sweeper(url, watched, prober)
    try:
        for line in sys.stdin:
            name, *arguments = json.loads(line)
            one: Callable[..., Any] = getattr(sweeper, name)
            print(json.dumps(one(*arguments)), flush=True)
    finally:
        sweeper.close()
        prober.close()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
