"""How many endpoints are looked at from a vantage, and how many of them too late."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import BigInteger, Connection, case, cast, func, literal, select, type_coerce

from livepin_server.storage.schema import endpoints, schedule

SHORTEST_SILENCE = timedelta(minutes=5)
INTERVALS = 2  # that pass without a look which was due
_MICRO = timedelta(microseconds=1)
_PLACES = schedule.join(endpoints, endpoints.c.id == schedule.c.endpoint)


def looked_at(connection: Connection, vantage: str) -> dict[str, int]:
    """Return how many endpoints are to be looked at from a vantage, by account."""
    query = (
        select(endpoints.c.account, func.count())
        .select_from(_PLACES)
        .where(schedule.c.vantage == vantage)
        .group_by(endpoints.c.account)
        .order_by(endpoints.c.account)
    )
    return {row[0]: row[1] for row in connection.execute(query)}


def late(
    connection: Connection,
    vantage: str,
    now: datetime,
    *,
    least: timedelta = SHORTEST_SILENCE,
    since: datetime | None = None,
) -> dict[str, int]:
    """Return how many endpoints were due for too long, by account: two intervals, `least` at least.

    With `since` what was before that moment counts for nothing. Only what has been due for long is
    read. A minute of an interval is shorter than the lease of a worker that was killed.
    """
    due = type_coerce(schedule.c.next_due, BigInteger)
    intervals = cast(endpoints.c.every, BigInteger) * literal(INTERVALS * 1_000_000, BigInteger)
    shortest = literal(least // _MICRO, BigInteger)
    wait = case((intervals > shortest, intervals), else_=shortest)
    query = (
        select(endpoints.c.account, func.count())
        .select_from(_PLACES)
        .where(
            schedule.c.vantage == vantage,
            schedule.c.next_due < now - least,
            due + wait < literal(now, schedule.c.next_due.type),
        )
        .group_by(endpoints.c.account)
    )
    if since is not None:
        query = query.where(wait < literal((now - since) // _MICRO, BigInteger))
    return {row[0]: row[1] for row in connection.execute(query)}
