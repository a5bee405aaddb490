"""Whether anybody looks, from each vantage; where nobody does is an incident of each account there.

A worker that beats and hands nothing back is alive, and its looks are late: that is told apart, and
only to accounts that have such endpoints. One that looks and sees nothing hands back that nothing
answers, which is told as that: see `grouping`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, select

from livepin_server.services.monitoring.model import Finding
from livepin_server.storage.schema import beats, incidents, schedule

from . import lateness, rows
from .grouping import LATE, SILENT, Put, enter, guarded, late, settle, silent
from .states import bounded, rank

LEASES = 3  # that pass without a beat
AHEAD = timedelta(minutes=1)  # of our clock; a beat that is more is no time to reckon with
REMOVED = timedelta(days=7)  # without a worker, while others look: people know, or want it so
BY_ITSELF = "livepin"  # who acknowledges then


@dataclass(frozen=True, slots=True, kw_only=True)
class Vantage:
    """How a vantage fares. `beat` is when a worker of it was last heard of."""

    name: str
    beat: datetime | None


class Hearing:
    """When workers were heard of, by our own clock: theirs may be ahead, or have been.

    A beat of the future tells nothing of how long ago it was. That another one came does. `quiet`
    is when nobody was heard of from a vantage, the last time that it was so.
    """

    def __init__(self, started: datetime) -> None:
        self.quiet: dict[str, datetime] = {}
        self._started = started
        self._marked: datetime | None = None
        self._ahead: dict[tuple[str, str], tuple[datetime, datetime]] = {}

    def since(self, now: datetime, silence: timedelta) -> datetime:
        """Return since when we hear at all.

        Who just started does not know yet whether anybody looks. Nor does who could not ask for
        long, as the database was away or the machine slept: all was late then, and is swept now.
        """
        if self._marked is not None and not timedelta() <= now - self._marked < silence:
            self._started = now
        self._started, self._marked = min(self._started, now), now
        return self._started

    def last(self, connection: Connection, now: datetime) -> dict[str, datetime]:
        """Return when somebody was last heard of, by vantage."""
        found: dict[str, datetime] = {}
        for vantage, _, heard in self._heard(connection, now):
            found[vantage] = max(heard, found.get(vantage, heard))
        return found

    def clocks(
        self, connection: Connection, now: datetime, silence: timedelta
    ) -> dict[str, datetime]:
        """Return by vantage what the clocks there show, as far as somebody is alive; now at least.

        Is it ours that is behind, nothing of the others is ahead of its time.
        """
        found = dict.fromkeys(connection.scalars(select(schedule.c.vantage).distinct()), now)
        for vantage, beat, heard in self._heard(connection, now):
            if now - heard < silence and vantage in found:
                found[vantage] = max(beat, found[vantage])
        return found

    def _heard(self, connection: Connection, now: datetime) -> list[tuple[str, datetime, datetime]]:
        found, ahead = [], {}
        for vantage, worker, beat in connection.execute(
            select(beats.c.vantage, beats.c.worker, beats.c.beat)
        ):
            heard = beat
            if beat > now + AHEAD:
                known = self._ahead.get((vantage, worker))
                ahead[vantage, worker] = (
                    known if known is not None and known[0] == beat else (beat, now)
                )
                heard = min(ahead[vantage, worker][1], now)
            found.append((vantage, beat, heard))
        self._ahead = ahead
        return found


def vantages(connection: Connection, now: datetime, hearing: Hearing) -> list[Vantage]:
    """Return all vantages from which endpoints are to be looked at."""
    names = connection.scalars(select(schedule.c.vantage).distinct()).all()
    last = hearing.last(connection, now)
    return [Vantage(name=name, beat=last.get(name)) for name in sorted(names)]


def mark(
    connection: Connection, now: datetime, *, silence: timedelta, hearing: Hearing, put: Put
) -> None:
    """Open the incidents of vantages from where nobody looks, or too late; end those of others."""
    started = hearing.since(now, silence)
    found = vantages(connection, now, hearing)
    alive = {each.name for each in found if each.beat and now - each.beat < silence}
    for each in found:
        if each.name in alive:
            _end(connection, bounded(f"{SILENT}{each.name}"), now, put)
            since = max(started, hearing.quiet.get(each.name, started))
            late_ones = lateness.late(connection, each.name, now, least=silence, since=since)
            _late(connection, each.name, late_ones, now, put)
        else:
            hearing.quiet[each.name] = now
            if now - started >= silence:
                _open(connection, each, now, put, others=bool(alive))
    _end_of_gone(connection, {each.name for each in found}, now, put)


def _open(
    connection: Connection, vantage: Vantage, now: datetime, put: Put, *, others: bool
) -> None:
    removed = others and (vantage.beat is None or now - vantage.beat >= REMOVED)
    for account, count in lateness.looked_at(connection, vantage.name).items():
        finding = silent(vantage.name, count)
        row = rows.newest_of(connection, account, finding.cause)
        known = row is not None and row.resolved is None
        if known and not (removed and row is not None and row.acknowledged is None):
            continue

        def one(account: str = account, count: int = count) -> None:
            number, opened = enter(connection, account, silent(vantage.name, count), now)
            if opened:
                settle(connection, account, number, now, put)
            if removed:
                rows.change(
                    connection, account, number, acknowledged=now, acknowledged_by=BY_ITSELF
                )
                settle(connection, account, number, now, put)

        guarded(connection, f"the silence of {vantage.name}", one)


def _late(
    connection: Connection, vantage: str, counts: Mapping[str, int], now: datetime, put: Put
) -> None:
    """Have accounts hear whose endpoints are looked at too late, and others that it is over."""
    _end(connection, bounded(f"{LATE}{vantage}"), now, put, but=counts)
    of = lateness.looked_at(connection, vantage) if counts else {}
    for account, count in sorted(counts.items()):
        finding = late(vantage, count, of[account])

        def one(account: str = account, finding: Finding = finding) -> None:
            number, opened = enter(connection, account, finding, now)
            row = rows.numbered(connection, account, number)
            if opened or (row is not None and rank(finding.severity) > rank(row.severity)):
                settle(connection, account, number, now, put)

        guarded(connection, f"the late looks from {vantage}", one)


def _end(
    connection: Connection, cause: str, now: datetime, put: Put, *, but: Collection[str] = ()
) -> None:
    for account, number in _of(connection, cause):
        if account not in but:
            _over(connection, account, number, now, put, gone=False)


def _end_of_gone(connection: Connection, there: set[str], now: datetime, put: Put) -> None:
    """End the silence of vantages from which nothing is to be looked at any more."""
    known = {bounded(f"{cause}{each}") for each in there for cause in (SILENT, LATE)}
    query = select(incidents.c.account, incidents.c.number, incidents.c.cause).where(
        incidents.c.resolved.is_(None), incidents.c.cause.startswith(SILENT, autoescape=True)
    )
    for row in connection.execute(query).all():
        vantage = row.cause.removeprefix(LATE).removeprefix(SILENT)
        if row.cause not in known or row.account not in lateness.looked_at(connection, vantage):
            _over(connection, row.account, row.number, now, put, gone=True)


def _over(
    connection: Connection, account: str, number: int, now: datetime, put: Put, *, gone: bool
) -> None:
    def one() -> None:
        rows.change(connection, account, number, resolved=now)
        settle(connection, account, number, now, put, gone=gone)

    guarded(connection, f"the incident {number} of {account}", one)


def _of(connection: Connection, cause: str) -> list[tuple[str, int]]:
    query = select(incidents.c.account, incidents.c.number).where(
        incidents.c.cause == cause, incidents.c.resolved.is_(None)
    )
    return [(row.account, row.number) for row in connection.execute(query)]
