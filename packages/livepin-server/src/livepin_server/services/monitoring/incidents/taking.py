"""`take`: what looks found becomes findings and incidents, in the transaction that keeps the looks.

For healthy endpoints it asks the database once for all of them, and writes nothing. A fault in what
one endpoint or one incident brings is logged, and does not lose the others.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from msgspec import structs
from sqlalchemy import Connection
from sqlalchemy.engine import Row

from livepin_server.services.monitoring import outbox
from livepin_server.services.monitoring.leases import LASTING
from livepin_server.services.monitoring.model import Judged, Severity

from . import rows
from .grouping import Put, enter, guarded, settle
from .states import Step, Tracked, bounded, rank, step

logger = logging.getLogger("livepin.monitoring")
_NOTED = timedelta(hours=1)
_Number = tuple[str, int]  # an account, and the number of an incident


@dataclass(frozen=True, slots=True, kw_only=True)
class _Move:
    """What a look at one endpoint changes."""

    judged: Judged
    step: Step
    known: frozenset[tuple[int, str, str]]
    values: list[dict[str, Any]]

    def key(self, each: Tracked) -> tuple[int, str, str]:
        """Return the primary key of a finding of it."""
        return self.judged.endpoint, self.judged.vantage, each.key


def take(
    connection: Connection, judged: Sequence[Judged], now: datetime, *, put: Put = outbox.put
) -> dict[rows.Place, timedelta]:
    """Take in what is wrong with endpoints that were looked at, and tell who is to be told.

    Returns which endpoints are to be looked at again by `verified`, from which vantage, and after
    how long: an empty time is at once.
    """
    held = rows.held(connection, judged)
    found = [each for each in judged if each.findings or (each.endpoint, each.vantage) in held]
    if not found:
        return {}
    moves = []
    for each in found:
        move = _move(each, held.get((each.endpoint, each.vantage), []), now)
        if move is not None and (move.step.kept or move.step.over):
            moves.append(move)
    if not moves:
        return {}
    rows.one_at_a_time(connection)
    moves = _written(connection, moves)
    _join(connection, moves, now, put)
    _go_on(connection, moves, now, put)
    return {
        (each.judged.endpoint, each.judged.vantage): each.step.again
        for each in moves
        if each.step.again is not None
    }


def _move(judged: Judged, held: Sequence[Row[Any]], now: datetime) -> _Move | None:
    """Return what a look changes, or None if what it brought makes no sense to this version."""
    try:
        before = {each.key: rows.tracked(each, now) for each in held}
        found = step(list(before.values()), judged, now)
        kept = [each for each in found.kept if not _is_told(before.get(each.key), each, now)]
        found = replace(found, kept=kept)
        values = [rows.values(judged, each) for each in found.kept]
    except Exception:  # whatever it is, the other endpoints are not to be lost with it
        logger.exception("what was found at the endpoint %s was not taken", judged.endpoint)
        return None
    known = frozenset(rows.key_of(each) for each in held)
    return _Move(judged=judged, step=found, known=known, values=values)


def _is_told(before: Tracked | None, each: Tracked, now: datetime) -> bool:
    """Tell whether a look brings nothing of what hangs on time alone, and stays for months.

    It is noted once in a while that it is still so, not at each look at each endpoint.
    """
    if before is None or each.incident is None or each.finding.kind not in LASTING:
        return False
    same = replace(before, seen=each.seen, times=each.times) == each
    return same and each.state == "firing" and now - before.seen < _NOTED


def _written(connection: Connection, moves: Sequence[_Move]) -> list[_Move]:
    """Keep the findings themselves; return the moves of which they are kept."""

    def write(some: Sequence[_Move]) -> None:
        known = {key for each in some for key in each.known}
        rows.write(connection, [row for each in some for row in each.values], known)
        rows.drop(connection, [each.key(gone) for each in some for gone in each.step.over])

    if guarded(connection, f"findings of {len(moves)} endpoints", lambda: write(moves)):
        return list(moves)
    return [each for each in moves if guarded(connection, "a finding", _call(write, [each]))]


def _join(connection: Connection, moves: Sequence[_Move], now: datetime, put: Put) -> None:
    """Put what is firing from now on into the incident of its cause, and open those."""
    causes: dict[tuple[str, str], list[tuple[_Move, Tracked]]] = {}
    for move in moves:
        for each in move.step.kept:
            if each.state == "firing" and each.incident is None:
                cause = bounded(each.finding.cause)
                causes.setdefault((move.judged.account, cause), []).append((move, each))
    for (account, cause), begun in causes.items():

        def one(account: str, cause: str, begun: Sequence[tuple[_Move, Tracked]]) -> None:
            worst = max((each for _, each in begun), key=lambda each: rank(each.finding.severity))
            finding = structs.replace(worst.finding, cause=cause)
            number, opened = enter(connection, account, finding, now)
            rows.join(connection, number, [move.key(each) for move, each in begun])
            row = rows.numbered(connection, account, number)
            assert row is not None
            if opened or rank(finding.severity) > rank(row.severity):
                settle(connection, account, number, now, put)
            else:  # the reminder tells of growth, and loads them all for that, once
                rows.change(connection, account, number, seen=now, next_notice=now)

        guarded(connection, f"an incident of {account}", _call(one, account, cause, begun))


def _go_on(connection: Connection, moves: Sequence[_Move], now: datetime, put: Put) -> None:
    """Have incidents that were there before be worse, seen again, or over."""
    worst: dict[_Number, Severity] = {}
    ended: set[_Number] = set()
    for move in moves:
        for each in move.step.kept:
            if each.incident is not None and each.state == "firing" and not each.good:
                number = move.judged.account, each.incident
                worst[number] = max(worst.get(number, "info"), each.finding.severity, key=rank)
        ended |= {
            (move.judged.account, each.incident)
            for each in move.step.over
            if each.incident is not None
        }

    def one(account: str, number: int) -> None:
        row = rows.numbered(connection, account, number)
        if row is None or row.resolved is not None:
            rows.leave(connection, account, number)
            return
        seen = worst.get((account, number))
        is_worse = seen is not None and rank(seen) > rank(row.severity)
        is_over = (account, number) in ended and not rows.is_firing(connection, account, number)
        if seen is not None:
            rows.change(connection, account, number, seen=now)
        if is_worse or is_over:
            settle(connection, account, number, now, put)
        elif (account, number) in ended:  # what is left may be less bad: the reminder looks
            rows.change(connection, account, number, next_notice=now)

    for account, changed in sorted({*worst, *ended}):
        what = f"the incident {changed} of {account}"
        guarded(connection, what, _call(one, account, changed))


def _call(change: Callable[..., Any], *arguments: Any) -> Callable[[], Any]:
    return lambda: change(*arguments)
