"""Whether anybody looks, from each vantage; where nobody does is an incident of each account there.

A worker that beats and hands nothing back is not alive, and its endpoints are overdue. One that
looks and sees nothing hands back that nothing answers, which is told as that: see `grouping`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import BigInteger, Connection, cast, func, literal, select, type_coerce

from livepin_server.services.monitoring.model import SHORTEST
from livepin_server.storage.schema import beats, endpoints, incidents, schedule

from . import rows
from .grouping import SILENT, Put, enter, guarded, settle, silent
from .states import bounded

SHORTEST_SILENCE = timedelta(minutes=5)
LEASES = 3  # that pass without a beat
INTERVALS = 2  # that pass without a look which was due
AHEAD = timedelta(minutes=1)  # of our clock; a beat that is more is no time to reckon with
REMOVED = timedelta(days=7)  # without a worker, while others look: people know, or want it so
BY_ITSELF = "livepin"  # who acknowledges then


@dataclass(frozen=True, slots=True, kw_only=True)
class Vantage:
    """How a vantage fares. `beat` is when a worker of it was last heard of."""

    name: str
    beat: datetime | None
    overdue: int  # endpoints


class Hearing:
    """When workers were heard of, by our own clock: theirs may be ahead, or have been.

    A beat of the future tells nothing of how long ago it was. That another one came does.
    """

    def __init__(self) -> None:
        self._ahead: dict[tuple[str, str], tuple[datetime, datetime]] = {}

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


def vantages(
    connection: Connection, now: datetime, since: datetime, hearing: Hearing
) -> list[Vantage]:
    """Return all vantages from which endpoints are to be looked at.

    Overdue is what was due for too long, not counting what was before `since`.
    """
    names = connection.scalars(select(schedule.c.vantage).distinct()).all()
    last = hearing.last(connection, now)
    late = _overdue(connection, now, since)
    return [
        Vantage(name=name, beat=last.get(name), overdue=late.get(name, 0)) for name in sorted(names)
    ]


def mark(
    connection: Connection,
    now: datetime,
    *,
    started: datetime,
    silence: timedelta,
    hearing: Hearing,
    put: Put,
) -> None:
    """Open the incidents of vantages from where nobody looks, and end those of others.

    Whoever just `started` does not know yet whether anybody looks; that somebody does shows.
    """
    found = vantages(connection, now, started, hearing)
    alive = {each.name for each in found if each.beat and now - each.beat < silence}
    for each in found:
        quiet = each.name not in alive
        if not quiet and not each.overdue:
            _end(connection, each.name, now, put)
        elif (now - started >= silence and quiet) or each.overdue:
            _open(connection, each, now, put, others=bool(alive - {each.name}))
    _end_of_gone(connection, {each.name for each in found}, now, put)


def _open(
    connection: Connection, vantage: Vantage, now: datetime, put: Put, *, others: bool
) -> None:
    removed = others and (vantage.beat is None or now - vantage.beat >= REMOVED)
    for account, count in _accounts(connection, vantage.name):
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


def _end(connection: Connection, vantage: str, now: datetime, put: Put) -> None:
    for account, number in _of(connection, bounded(f"{SILENT}{vantage}")):
        _over(connection, account, number, now, put, gone=False)


def _end_of_gone(connection: Connection, there: set[str], now: datetime, put: Put) -> None:
    """End the silence of vantages from which nothing is to be looked at any more."""
    known = {bounded(f"{SILENT}{each}") for each in there}
    query = select(incidents.c.account, incidents.c.number, incidents.c.cause).where(
        incidents.c.resolved.is_(None), incidents.c.cause.startswith(SILENT, autoescape=True)
    )
    for row in connection.execute(query).all():
        vantage = row.cause.removeprefix(SILENT)
        if row.cause not in known or all(
            account != row.account for account, _ in _accounts(connection, vantage)
        ):
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


def _accounts(connection: Connection, vantage: str) -> Sequence[tuple[str, int]]:
    """Return the accounts with endpoints that are looked at from a vantage, and how many."""
    query = (
        select(endpoints.c.account, func.count())
        .select_from(schedule.join(endpoints, endpoints.c.id == schedule.c.endpoint))
        .where(schedule.c.vantage == vantage)
        .group_by(endpoints.c.account)
        .order_by(endpoints.c.account)
    )
    return [(account, count) for account, count in connection.execute(query)]


def _overdue(connection: Connection, now: datetime, since: datetime) -> dict[str, int]:
    """Return how many endpoints are overdue, by vantage: only what has been due long is read."""
    due = type_coerce(schedule.c.next_due, BigInteger)
    wait = cast(endpoints.c.every, BigInteger) * literal(INTERVALS * 1_000_000, BigInteger)
    micros = timedelta(microseconds=1)
    query = (
        select(schedule.c.vantage, func.count().label("late"))
        .select_from(schedule.join(endpoints, endpoints.c.id == schedule.c.endpoint))
        .where(
            schedule.c.next_due < now - timedelta(seconds=INTERVALS * SHORTEST),
            due + wait < literal(now, schedule.c.next_due.type),
            wait < literal((now - since) // micros, BigInteger),
        )
        .group_by(schedule.c.vantage)
    )
    return {row.vantage: row.late for row in connection.execute(query)}
