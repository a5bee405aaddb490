"""When each endpoint is looked at, by whom, and what becomes of what was seen.

A healthy endpoint that has not changed costs its narrow row alone, written beside all others. What
has changed or is wrong is written in one transaction with its history and its incidents, as the
only writer: so a kill loses no finding, and whoever lost the lease leaves nothing behind.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import msgspec
from livepin.hostnames import pattern_covers
from msgspec import structs
from sqlalchemy import Connection, bindparam, func, insert, select, text, update
from sqlalchemy.engine import Row

from livepin_server.errors import ServiceError, UnavailableError
from livepin_server.probing.looks import Look
from livepin_server.services.changes.domains import canonical
from livepin_server.services.publishing.published import require_account
from livepin_server.storage.database import Database
from livepin_server.storage.schema import (
    Moment,
    certificate_changes,
    endpoints,
    findings,
    micros,
    moment,
    schedule,
)

from . import history, holding, leases
from .holding import Changed, number_of
from .leases import Done, Place
from .model import Claimed, Finding, Held, Judged, Judging
from .sources import Sources

AT_ONCE = timedelta(seconds=1)  # after which a suspect is looked at again, at the soonest
# What one vantage suspects, others are asked about before it is told: wrong pins, or somebody in
# between. They look within seconds; who does not is not waited for.
ELSEWHERE = timedelta(seconds=20)
_MANY = 500  # rows at a time

Judge = Callable[[Claimed, Held, Judging, datetime], list[Finding]]
Take = Callable[[Connection, Sequence[Judged], datetime], Mapping[Place, timedelta]]

logger = logging.getLogger("livepin.monitor")

_held_of = msgspec.json.Decoder(Held)
_finding_of = msgspec.json.Decoder(Finding)
_encode = msgspec.json.Encoder().encode
_KEEP_HELD = text(
    """INSERT INTO observations
        (endpoint, vantage, state, changed, addresses, expires, pins_match)
    VALUES (:endpoint, :vantage, :state, :changed, :addresses, :expires, :pins_match)
    ON CONFLICT (endpoint, vantage) DO UPDATE SET state = excluded.state,
        changed = excluded.changed, addresses = excluded.addresses, expires = excluded.expires,
        pins_match = excluded.pins_match"""
).bindparams(bindparam("changed", type_=Moment()), bindparam("expires", type_=Moment()))
_NOTHING = Held()
_SUSPECT = timedelta()  # after which a suspect is to be looked at again


@dataclass(frozen=True, slots=True, kw_only=True)
class _Looked:
    """An endpoint that was looked at, and what is to be written of it."""

    claimed: Claimed
    done: Done
    held: Held
    history: list[dict[str, Any]]
    judged: Judged
    pins_match: bool | None
    trouble: bool = False

    @property
    def place(self) -> Place:
        return self.done.endpoint, self.done.vantage

    @property
    def is_quiet(self) -> bool:
        """Whether nothing but its row in the schedule is to be written."""
        return (
            self.held is self.claimed.held
            and not self.judged.findings
            and not self.claimed.wrong
            and self.pins_match is self.claimed.pins_match
        )


class Schedule:
    """Gives out endpoints that are due, and takes back what was seen of them.

    `judge` is pure; `take` moves incidents within the transaction, and returns who is to be looked
    at again, and after how long.
    """

    def __init__(
        self,
        database: Database,
        sources: Sources,
        *,
        clock: Callable[[], datetime],
        judge: Judge,
        take: Take,
    ) -> None:
        self._database = database
        self._sources = sources
        self._clock = clock
        self._judge = judge
        self._take = take

    def claim(self, vantage: str, most: int, *, lease: timedelta) -> list[Claimed]:
        """Claim at most so many due endpoints for a vantage; nobody else gets them meanwhile."""
        now = self._clock()

        def transaction(connection: Connection) -> list[Claimed]:
            fences = leases.claim(connection, vantage, most, now=now, until=now + lease)
            return _claimed(connection, vantage, fences, now) if fences else []

        return self._database.write_beside(transaction)

    def complete(self, done: Sequence[tuple[Claimed, Look]]) -> int:
        """Keep what was seen, and return how many of these were still ours.

        Nothing is kept of the others: somebody else looks there, or they are monitored no more.
        """
        now = self._clock()
        looked = [self._looked(claimed, look, now) for claimed, look in done]
        quiet = [each.done for each in looked if each.is_quiet]
        loud = [each for each in looked if not each.is_quiet]
        kept = 0
        if loud:
            kept += self._keep_loud(loud, now)
            for each in loud:
                self._sources.note(each.claimed.account, holding.served(each.held), now)
        if quiet:
            kept += len(self._database.write_beside(lambda c: leases.keep(c, quiet, now=now)))
        return kept

    def give_back(self, claims: Sequence[Claimed]) -> None:
        """Let others have what was claimed and not looked at."""
        rows = [_done(each, each.at or self._clock(), 0) for each in claims]
        if rows:
            self._database.write_beside(lambda each: leases.give_back(each, rows))

    def look_now(self, account: str, pattern: str | None = None) -> int:
        """Make the endpoints of an account due at once, or those that a pattern covers."""
        now = self._clock()
        wanted = None if pattern is None else canonical(pattern)

        def transaction(connection: Connection) -> int:
            require_account(connection, account)
            found = connection.execute(
                select(endpoints.c.id, endpoints.c.host, endpoints.c.domain).where(
                    endpoints.c.account == account
                )
            )
            ids = [
                row.id
                for row in found
                if wanted is None or row.domain == wanted or pattern_covers(wanted, row.host)
            ]
            for start in range(0, len(ids), _MANY):
                some = schedule.c.endpoint.in_(ids[start : start + _MANY])
                connection.execute(update(schedule).where(some).values(next_due=now))
            return len(ids)

        return self._database.write(transaction)

    def next_due(self, vantage: str) -> datetime | None:
        """Return when the next endpoint of a vantage may be claimed; None if there is none."""
        row = schedule.c
        now = self._clock()
        here = row.vantage == vantage
        free = select(row.next_due).where(here, row.lease_until <= now).order_by(row.next_due)
        leased = select(func.min(row.lease_until)).where(
            here, row.next_due <= now, row.lease_until > now
        )
        with self._database.reading() as connection:
            found = (connection.scalar(free.limit(1)), connection.scalar(leased))
        return min((each for each in found if each is not None), default=None)

    # -- what was seen ---------------------------------------------------------------------------

    def _looked(self, claimed: Claimed, look: Look, now: datetime) -> _Looked:
        """Judge what was seen. A fault costs this endpoint its findings of now, and no other."""
        held, kept = claimed.held, list[dict[str, Any]]()
        match, trouble = claimed.pins_match, False
        try:
            held, changes = holding.fold(claimed.held, look, now)
            kept = [self._change(claimed, each, now) for each in changes]
            by = self._sources.judging(claimed.account, claimed.host, claimed.port)
            wrong = self._judge(claimed, held, by, now)
            match = holding.pins_match(held, by, now)
        except UnavailableError:
            raise
        except Exception:
            logger.exception("%s:%s could not be judged", claimed.host, claimed.port)
            wrong, trouble = [_not_judged(claimed)], True
        return _Looked(
            claimed=claimed,
            done=_done(claimed, slot_of(claimed, now), round(look.elapsed_ms)),
            held=held,
            history=kept,
            judged=_judged(claimed, held, wrong),
            pins_match=match,
            trouble=trouble,
        )

    def _change(self, claimed: Claimed, changed: Changed, now: datetime) -> dict[str, Any]:
        """Return the row of history for a change."""
        pinned, pin = None, None
        if changed.keys:
            before = claimed.at or now
            pinned, pin = self._sources.pinned(claimed.account, claimed.host, changed.keys, before)
        return history.row_of(claimed, changed, now=now, pinned=pinned, pin=pin)

    def _keep_loud(self, looked: list[_Looked], now: datetime) -> int:
        """Keep these together; or, where a fault keeps that from being done, each by itself."""
        try:
            return self._database.write(lambda each: self._keep(each, looked, now))
        except ServiceError:
            raise
        except Exception:
            logger.exception("what was seen of %s endpoints could not be kept", len(looked))
        if len(looked) > 1:
            return sum(self._keep_loud([each], now) for each in looked)
        # Looked at again at once it would fail again: it waits for its turn.
        row = looked[0].done
        return len(self._database.write_beside(lambda each: leases.keep(each, [row], now=now)))

    def _keep(self, connection: Connection, looked: list[_Looked], now: datetime) -> int:
        ours = leases.still(connection, [each.done for each in looked])
        kept = [each for each in looked if each.place in ours]
        if not kept:
            return 0
        _keep_held(connection, kept, now)
        rows = [row for each in kept for row in each.history]
        if rows:
            connection.execute(insert(certificate_changes), rows)
        judged = [_with_before(connection, each) if each.trouble else each.judged for each in kept]
        again = self._take(connection, judged, now)
        done = [
            replace(each.done, due=now + max(again[each.place], _least(each)))
            if each.place in again
            else each.done
            for each in kept
        ]
        _look_elsewhere(connection, [e for e in kept if again.get(e.place) == _SUSPECT], now)
        return len(leases.keep(connection, done, now=now))


def _least(looked: _Looked) -> timedelta:
    """Return how long it takes at least until a place is looked at again."""
    return ELSEWHERE if looked.claimed.others else AT_ONCE


def _look_elsewhere(connection: Connection, suspects: list[_Looked], now: datetime) -> None:
    """Ask other vantages about what is suspect from one."""
    by: dict[str, list[int]] = {}
    for each in suspects:
        if each.claimed.others:
            by.setdefault(each.done.vantage, []).append(each.done.endpoint)
    for vantage, ids in by.items():
        leases.look_elsewhere(connection, ids, vantage, now=now)


def slot_of(claimed: Claimed, now: datetime) -> datetime:
    """Return when an endpoint is due next: at times of its own, the same after each restart."""
    every = claimed.every * 1_000_000
    place = (claimed.account, claimed.host, str(claimed.port), claimed.vantage)
    offset, since = number_of(*place) % every, micros(now)
    return moment(since + every - (since - offset) % every)


def _claimed(
    connection: Connection, vantage: str, fences: dict[int, int], now: datetime
) -> list[Claimed]:
    wrong = leases.wrong(connection, fences)
    troubled = {endpoint for endpoint, _ in wrong}
    found: dict[int, dict[str | None, Row[Any]]] = {}
    for row in leases.loaded(connection, fences):
        found.setdefault(row.id, {})[row.vantage] = row
    claims = []
    for endpoint, by in found.items():
        row, ours = next(iter(by.values())), by.get(vantage)
        held = _NOTHING if ours is None else _held(ours.state)
        others = {name: _seen_at(e) for name, e in by.items() if name and name != vantage}
        claims.append(
            Claimed(
                endpoint=endpoint,
                account=row.account,
                host=row.host,
                port=row.port,
                connect=row.connect or None,
                ca=row.ca,
                every=row.every,
                vantage=vantage,
                fence=fences[endpoint],
                held=held,
                # While anything is wrong, only `verified` is believed.
                known=[] if endpoint in troubled else holding.known(held, now),
                others=others,
                wrong=(endpoint, vantage) in wrong,
                pins_match=None
                if ours is None or ours.pins_match is None
                else bool(ours.pins_match),
                at=now,
            )
        )
    return claims


def _seen_at(row: Row[Any]) -> Held:
    """Return what another vantage holds, with the moment of its last look.

    A look that finds all as it was is written to the schedule alone.
    """
    held = _held(row.state)
    if row.looked is None:
        return held
    sights = [
        structs.replace(each, verified=max(each.verified, row.looked)) for each in held.sights
    ]
    return structs.replace(held, sights=sights)


def _held(state: str) -> Held:
    try:
        return _held_of.decode(state)
    except msgspec.DecodeError:  # of another version, or written by hand: it is seen anew
        logger.warning("what is held of an endpoint cannot be read")
        return Held()


def _keep_held(connection: Connection, looked: list[_Looked], now: datetime) -> None:
    rows = [
        {
            "endpoint": each.claimed.endpoint,
            "vantage": each.claimed.vantage,
            "state": _encode(each.held).decode(),
            "changed": now,
            "addresses": len({sight.address for sight in each.held.sights}),
            "expires": holding.expires(each.held),
            "pins_match": each.pins_match,
        }
        for each in looked
        if each.held is not each.claimed.held or each.pins_match is not each.claimed.pins_match
    ]
    if rows:
        connection.execute(_KEEP_HELD, rows)


def _with_before(connection: Connection, looked: _Looked) -> Judged:
    """Return what could not be judged with what was wrong before: nothing is said to be mended."""
    claimed, row = looked.claimed, findings.c
    found = connection.scalars(
        select(row.finding).where(
            row.endpoint == claimed.endpoint,
            row.vantage == claimed.vantage,
            row.state.in_(("suspect", "firing")),
        )
    )
    now = looked.judged.findings
    keys = {each.key for each in now}
    before = [_finding_of.decode(each) for each in found]
    listed = [*now, *(each for each in before if each.key not in keys)]
    return structs.replace(looked.judged, findings=listed)


def _judged(claimed: Claimed, held: Held, wrong: list[Finding]) -> Judged:
    return Judged(
        account=claimed.account,
        endpoint=claimed.endpoint,
        vantage=claimed.vantage,
        host=claimed.host,
        port=claimed.port,
        findings=wrong,
        addresses=sorted({each.address for each in held.sights}) or None,
    )


def _not_judged(claimed: Claimed) -> Finding:
    return Finding(
        kind="monitor_silent",
        code="not_judged",
        severity="warning",
        key="monitor_silent not_judged",
        cause="monitor_silent not_judged",
        host=claimed.host,
        port=claimed.port,
        sentence=f"{claimed.host}:{claimed.port} was looked at, and could not be judged: "
        "the server's log says why",
        command="livepin monitor status",
    )


def _done(claimed: Claimed, due: datetime, took: int) -> Done:
    return Done(
        endpoint=claimed.endpoint,
        vantage=claimed.vantage,
        fence=claimed.fence,
        due=due,
        took=took,
    )
