"""One incident for a cause: found, opened, opened again, told of, and over when nothing fires.

What an incident is and what is told of it changes here alone, in the transaction of its findings.
If a notice cannot be written the incident stands all the same, and it is tried again.
"""

from __future__ import annotations

import logging
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, Protocol

from livepin.hostnames import pattern_covers
from msgspec import structs
from sqlalchemy import Connection, select
from sqlalchemy.engine import Row
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError

from livepin_server.services.monitoring.model import HERE, Finding, Notice
from livepin_server.storage.schema import maintenance

from . import lateness, rows
from .reminding import QUIET, Decision, Said, Standing, after, decide, heard
from .states import bounded
from .wording import Firing, Told, compose, over, worst_first

AGAIN = QUIET  # after which what comes back is a new incident
# What was over that often within a day flaps, and is the same incident for longer.
FLAPS, FLAPPING, _DAY = 3, timedelta(hours=6), timedelta(days=1)
SILENT = "monitor_silent:"  # how the cause begins of a vantage from where nobody looks
LATE = f"{SILENT}late:"  # where somebody does, and does not keep up
_TRY_AGAIN = timedelta(minutes=1)
MOST_HOSTS = 100
MOST_VIEWED = 500  # findings of each that are read to list incidents

logger = logging.getLogger("livepin.monitoring")


class Put(Protocol):
    """Puts a notice into the outbox, in the caller's transaction."""

    def __call__(
        self, connection: Connection, notice: Notice, now: datetime, *, key: str | None = None
    ) -> int: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A time in which nobody is told, that is now."""

    pattern: str
    ends: datetime

    def covers(self, pattern: str, host: str) -> bool:
        """Tell whether it is for that domain or that host."""
        if self.pattern in ("", pattern, host):
            return True
        return bool(host) and pattern_covers(self.pattern, host)


def enter(
    connection: Connection, account: str, finding: Finding, now: datetime
) -> tuple[int, bool]:
    """Return the open incident of a finding's cause, and whether it is open only from now on.

    One that was over a short while ago is opened again; else it is a new one.
    """
    cause = finding.cause
    row = rows.newest_of(connection, account, cause)
    if row is not None and row.resolved is None:
        return row.number, False
    if row is not None and now - row.resolved < _apart(connection, account, cause, now):
        rows.change(
            connection, account, row.number, resolved=None, acknowledged=None,
            acknowledged_by=None, seen=now, next_notice=now,
            said=rows.written(structs.replace(rows.said(row), gone=False)),
        )  # fmt: skip
        return row.number, True
    nothing = Notice(
        account=account, event="opened", incident=None, kind=finding.kind, endpoints=0,
        severity=finding.severity, title="", sentence="", moment=now, since=now,
    )  # fmt: skip
    number = rows.add(
        connection,
        {
            "account": account, "cause": cause, "kind": finding.kind,
            "severity": finding.severity, "opened": now, "seen": now, "notices": 0,
            "next_notice": now, "said": rows.written(Said(shown=nothing)),
        },
    )  # fmt: skip
    return number, True


def _apart(connection: Connection, account: str, cause: str, now: datetime) -> timedelta:
    """Return how long after its end an incident of a cause is opened again, if that comes back."""
    often = rows.resolved_since(connection, account, cause, now - _DAY) >= FLAPS
    return FLAPPING if often else AGAIN


def settle(
    connection: Connection,
    account: str,
    number: int,
    now: datetime,
    put: Put,
    *,
    gone: bool = False,
) -> None:
    """Bring an incident to what is firing now, and tell what there is to tell.

    Without anything that fires it is over; `gone` tells that nobody looks there any more.
    """
    row = rows.numbered(connection, account, number)
    if row is None:
        return
    troubles = _troubles(connection, row, now)
    if not troubles and row.resolved is None:
        rows.change(connection, account, number, resolved=now)
        row = rows.numbered(connection, account, number)
        assert row is not None
    standing, telling = _standing(connection, row, troubles, now, gone=gone)
    decision = decide(standing, now)
    shown = _notice(connection, row, standing, telling or troubles, decision, now)
    said = structs.replace(standing.said, shown=shown)
    told = decision.event is not None and _tell(connection, row, shown, now, put)
    broken = told and decision.event == "worse" and standing.snoozed is not None
    wait = decision.next
    if told:
        said = after(said, shown, standing)
        standing = replace(standing, said=said, snoozed=None if broken else standing.snoozed)
        wait = decide(standing, now).next
    elif decision.event is not None:
        wait = now + _TRY_AGAIN
    changed: dict[str, Any] = {"said": rows.written(said), "next_notice": wait}
    if troubles:
        changed |= {"kind": shown.kind, "severity": shown.severity}
    if told:
        changed |= {"notices": row.notices + 1}
    if broken:
        changed |= {"snoozed_until": None}
    rows.change(connection, account, number, **changed)


def would_say(
    connection: Connection, row: Row[Any], now: datetime, most: int = MOST_VIEWED
) -> tuple[Notice, list[str]]:
    """Return what would be told of an incident now, and the endpoints in it, some at least."""
    troubles = _troubles(connection, row, now, most)
    standing, telling = _standing(connection, row, troubles, now, gone=False)
    shown = _notice(connection, row, standing, telling or troubles, Decision(), now)
    return shown, standing.said.hosts


def goes_on(connection: Connection, row: Row[Any], now: datetime) -> Notice | None:
    """Return what is told of an incident to who comes later; None while nobody is reminded of it.

    What nobody was told yet is not told here either: that comes by itself, to all.
    """
    troubles = _troubles(connection, row, now, MOST_VIEWED)
    standing, telling = _standing(connection, row, troubles, now, gone=False)
    told = standing.said.told
    is_snoozed = standing.snoozed is not None and standing.snoozed > now
    if told is None or told.event == "resolved" or not telling:
        return None
    if standing.acknowledged or is_snoozed:
        return None
    return _notice(connection, row, standing, telling, Decision(event="again"), now)


def windows(connection: Connection, account: str, now: datetime) -> list[Window]:
    """Return the maintenance windows of an account that are now."""
    query = select(maintenance.c.pattern, maintenance.c.ends).where(
        maintenance.c.account == account, maintenance.c.starts <= now, maintenance.c.ends > now
    )
    return [Window(pattern=row.pattern, ends=row.ends) for row in connection.execute(query)]


def silent(vantage: str, count: int) -> Finding:
    """Return what is wrong where nobody looks from a vantage."""
    name = shlex.quote(vantage)
    mend, else_ = "the server or its monitor does not run", ""
    if vantage != HERE:
        mend = "its worker does not run"
        else_ = f"; if it was taken away on purpose: livepin monitor forget {name}"
    command = "livepin serve" if vantage == HERE else f"livepin monitor worker --vantage {name}"
    return Finding(
        kind="monitor_silent", code="silent", severity="critical",
        key=bounded(f"{SILENT}{vantage}"), cause=bounded(f"{SILENT}{vantage}"),
        host=vantage, port=0, command=command,
        sentence=(
            f"nobody looks at {count} endpoints from {vantage}, so what breaks is not found from "
            f"there: {mend}, or cannot keep up{else_}"
        ),
    )  # fmt: skip


def late(vantage: str, count: int, of: int) -> Finding:
    """Return what is wrong where somebody looks from a vantage, and too late."""
    command = "livepin monitor status"
    return Finding(
        kind="monitor_silent", code="late", severity="critical" if 2 * count >= of else "warning",
        key=bounded(f"{LATE}{vantage}"), cause=bounded(f"{LATE}{vantage}"),
        host=vantage, port=0, command=command,
        sentence=(
            f"{count} of {of} endpoints are looked at too late from {vantage}, so what breaks is "
            "found late there: its workers are alive, and cannot keep up, or cannot keep what they "
            "see; the log of the server and of its workers says which"
        ),
    )  # fmt: skip


def guarded(connection: Connection, what: str, change: Callable[[], Any]) -> bool:
    """Make a change that is kept whole or not at all; tell whether it is kept.

    A fault of one incident must not lose the others. What the database itself cannot do now is
    raised: it is the same for all.
    """
    try:
        with connection.begin_nested():
            change()
    except Exception as exc:
        if isinstance(exc, DBAPIError) and not isinstance(exc, IntegrityError | DataError):
            raise
        logger.exception("%s was not kept", what)
        return False
    return True


def _troubles(
    connection: Connection, row: Row[Any], now: datetime, most: int | None = None
) -> list[Firing]:
    if not row.cause.startswith(SILENT):
        return rows.firing(connection, row.account, row.number, most or rows.MOST_LOADED)
    if row.resolved is not None:
        return []
    if row.cause.startswith(LATE):
        vantage = row.cause.removeprefix(LATE)
        count = lateness.late(connection, vantage, now).get(row.account, 0)
        finding = late(vantage, count, looked_at(connection, row.account, vantage))
    else:
        vantage = row.cause.removeprefix(SILENT)
        count = looked_at(connection, row.account, vantage)
        finding = silent(vantage, count)
    return [Firing(endpoint=0, vantage=vantage, since=row.opened, finding=finding)] if count else []


def looked_at(connection: Connection, account: str, vantage: str) -> int:
    """Return how many endpoints of an account are to be looked at from a vantage."""
    return lateness.looked_at(connection, vantage).get(account, 0)


def _standing(
    connection: Connection,
    row: Row[Any],
    troubles: Sequence[Firing],
    now: datetime,
    *,
    gone: bool,
) -> tuple[Standing, list[Firing]]:
    """Return how an incident stands, and of what of it is told."""
    said = rows.said(row)
    found = windows(connection, row.account, now)
    if not troubles:
        patterns = said.patterns or [said.shown.domain]
        ends = [_until(found, each, each) for each in patterns]
        covered = min((e for e in ends if e is not None), default=None) if all(ends) else None
        said = structs.replace(heard(said, (), now), gone=said.gone or gone)
        return _stands(row, said, [], 0, covered), []
    until = [_until(found, each.finding.pattern, each.finding.host) for each in troubles]
    telling = [each for each, end in zip(troubles, until, strict=True) if end is None]
    covered = min((each for each in until if each is not None), default=None)
    count = len({each.endpoint for each in telling})
    if len(troubles) >= MOST_VIEWED and telling:
        count = max(count, rows.count(connection, row.account, row.number))
    places = {(each.finding.pattern, each.finding.host) for each in troubles}
    if len(troubles) >= rows.MOST_LOADED:  # a domain that joined may be among those not loaded
        places |= rows.places(connection, row.account, row.number)
    said = heard(said, {pattern or host for pattern, host in places}, now)
    hosts = sorted({each.place for each in troubles})[:MOST_HOSTS]
    standing = _stands(row, structs.replace(said, hosts=hosts), telling, count, covered)
    uncovered = {pattern or host for pattern, host in places if not _until(found, pattern, host)}
    return replace(standing, patterns=frozenset(uncovered)), telling


def _stands(
    row: Row[Any], said: Said, telling: Sequence[Firing], count: int, covered: datetime | None
) -> Standing:
    lead = worst_first(telling)[0].finding.severity if telling else row.severity
    return Standing(
        open=row.resolved is None, severity=lead, count=count, patterns=frozenset(), said=said,
        acknowledged=row.acknowledged is not None, snoozed=row.snoozed_until, covered=covered,
    )  # fmt: skip


def _until(found: Sequence[Window], pattern: str, host: str) -> datetime | None:
    """Return until when nobody is told of a domain, or None where people are."""
    return max((each.ends for each in found if each.covers(pattern, host)), default=None)


def _notice(
    connection: Connection,
    row: Row[Any],
    standing: Standing,
    troubles: Sequence[Firing],
    decision: Decision,
    now: datetime,
) -> Notice:
    """Return what is told now, or what would be."""
    said = standing.said
    known = [said.shown.since] if said.shown.title else []
    told = Told(
        account=row.account, number=row.number, count=standing.count, now=now,
        event=decision.event or ("opened" if said.told is None else "again"),
        since=min([*known, *(each.since for each in troubles)], default=row.opened),
    )  # fmt: skip
    if not troubles:
        if decision.event is None:
            return said.shown
        return over(said, told, row.resolved)
    if not standing.count:
        told = replace(told, count=len({each.endpoint for each in troubles}))
    return compose(troubles, told, _where_all_is_dark(connection, row, troubles))


def _where_all_is_dark(
    connection: Connection, row: Row[Any], troubles: Sequence[Firing]
) -> list[str]:
    """Return a line for each vantage from which nothing at all answers.

    A prober that sees nothing looks like an outage of everything. It is told once, as that, with
    the words that it may be the one that is ill.
    """
    seen: dict[str, set[int]] = {}
    for each in troubles:
        if each.finding.kind == "unreachable":
            seen.setdefault(each.vantage, set()).add(each.endpoint)
    dark = [
        vantage for vantage, found in sorted(seen.items())
        if len(found) > 1 and len(found) >= looked_at(connection, row.account, vantage)
    ]  # fmt: skip
    return [
        f"nothing at all answers from {each}: it may be the worker there, or its network, that "
        "is ill"
        for each in dark
    ]


def _tell(connection: Connection, row: Row[Any], notice: Notice, now: datetime, put: Put) -> bool:
    name = f"{row.account}/{row.number}/{notice.event}/{row.notices + 1}"
    key = sha256(name.encode()).hexdigest()[:32]
    return guarded(
        connection, f"a notice of incident {row.number} of {row.account}",
        lambda: put(connection, notice, now, key=key),
    )  # fmt: skip
