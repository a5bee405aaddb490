"""`Beats`: that somebody looks, from where, and since when nobody has."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from sqlalchemy import Connection, bindparam, func, select, text

from livepin_server.storage.database import Database
from livepin_server.storage.schema import Moment, beats

from .model import BeatView

SILENT = timedelta(minutes=5)
_LONGEST = 63  # characters of a name

# Fewer looks than before are those of a worker that was started anew.
_BEAT = text(
    """INSERT INTO beats (vantage, worker, started, beat, looks)
    VALUES (:vantage, :worker, :now, :now, :looks)
    ON CONFLICT (vantage, worker) DO UPDATE SET beat = excluded.beat, looks = excluded.looks,
        started = CASE WHEN excluded.looks < beats.looks THEN excluded.started
            ELSE beats.started END"""
).bindparams(bindparam("now", type_=Moment()))


class Beats:
    """Notes that workers look, and tells which have fallen silent."""

    def __init__(self, database: Database, *, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    def beat(self, vantage: str, worker: str, looks: int) -> None:
        """Note that a worker is there, and how often it has looked since its start."""
        given = {
            "vantage": vantage[:_LONGEST],
            "worker": worker[:_LONGEST],
            "now": self._clock(),
            "looks": looks,
        }
        self._database.write_beside(lambda each: each.execute(_BEAT, given))

    def all(self) -> list[BeatView]:
        """Return all workers, by vantage and name."""
        with self._database.reading() as connection:
            return beat_views(connection, self._clock())

    def forget(self, before: datetime) -> None:
        """Forget workers that were last heard of before a moment.

        The last one of each vantage stays: it says since when nobody looks from there.
        """
        other = beats.alias()
        newest = select(func.max(other.c.beat)).where(other.c.vantage == beats.c.vantage)
        gone = beats.delete().where(beats.c.beat < before, beats.c.beat < newest.scalar_subquery())
        self._database.write(lambda each: each.execute(gone))


def beat_views(connection: Connection, now: datetime) -> list[BeatView]:
    """Return all workers, by vantage and name."""
    found = connection.execute(select(beats).order_by(beats.c.vantage, beats.c.worker))
    return [BeatView(**row._mapping, silent=now - row.beat > SILENT) for row in found]
