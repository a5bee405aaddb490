"""`Metering`: what Prometheus is told of monitoring, read out of the database in few statements."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, select

from livepin_server.storage.database import Database
from livepin_server.storage.schema import (
    accounts,
    beats,
    endpoints,
    incidents,
    observations,
    outbox,
    schedule,
)
from livepin_server.telemetry.monitoring import EndpointReading, Readings

MOST = 10_000  # endpoints, unless a setting says otherwise


class Metering:
    """Reads how monitoring fares: some endpoints one by one, and all of them in counts."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def read(self, *, most: int = MOST) -> Readings:
        """Return everything as it is now, with at most `most` endpoints one by one.

        Raises:
            UnavailableError: the database is not there.
        """
        with self._database.reading() as connection:
            known = list(connection.scalars(select(accounts.c.name)))
            open_ = outbox.c.delivered.is_(None) & outbox.c.dead.is_(None)
            waiting = open_ & outbox.c.told.is_(None)  # else it was told, and is told again
            return Readings(
                endpoints=_endpoints(connection, most),
                monitored=_monitored(connection),
                incidents=_incidents(connection),
                waiting=_notices(connection, known, waiting),
                dead=_notices(connection, known, outbox.c.dead.is_not(None)),
                looks=_latest(connection, schedule.c.vantage, schedule.c.looked),
                beats=_latest(connection, beats.c.vantage, beats.c.beat),
            )


def _endpoints(connection: Connection, most: int) -> list[EndpointReading]:
    """Return those with the lowest numbers: so the same ones each time.

    A host that is looked at in several places has one series, of the worst of them.
    """
    of_schedule = schedule.c.endpoint, schedule.c.vantage
    row, seen = endpoints.c, observations.c
    query = (
        select(
            row.account, row.domain, row.host, row.port, schedule.c.vantage,
            seen.pins_match, seen.expires, schedule.c.looked, schedule.c.took,
        )
        .join(endpoints, row.id == schedule.c.endpoint)
        .outerjoin(
            observations,
            (seen.endpoint == schedule.c.endpoint) & (seen.vantage == schedule.c.vantage),
        )
        .select_from(schedule)
        .order_by(*of_schedule)
        .limit(most)
    )  # fmt: skip
    found: dict[Any, EndpointReading] = {}
    for each in connection.execute(query):
        reading = EndpointReading(tuple(each[:5]), *each[5:])
        before = found.get(reading.labels)
        found[reading.labels] = reading if before is None else _worse(before, reading)
    return [*found.values()]


def _worse(one: EndpointReading, other: EndpointReading) -> EndpointReading:
    return EndpointReading(
        one.labels,
        min((e for e in (one.pins_match, other.pins_match) if e is not None), default=None),
        min((e for e in (one.expires, other.expires) if e is not None), default=None),
        min((e for e in (one.looked, other.looked) if e is not None), default=None),
        max((e for e in (one.took, other.took) if e is not None), default=None),
    )


def _monitored(connection: Connection) -> dict[tuple[str, str], int]:
    query = (
        select(endpoints.c.account, schedule.c.vantage, func.count())
        .join(endpoints, endpoints.c.id == schedule.c.endpoint)
        .select_from(schedule)
        .group_by(endpoints.c.account, schedule.c.vantage)
    )
    return {(account, vantage): count for account, vantage, count in connection.execute(query)}


def _incidents(connection: Connection) -> dict[tuple[str, str, str], int]:
    row = incidents.c
    labels = row.account, row.kind, row.severity
    query = select(*labels, func.count()).where(row.resolved.is_(None)).group_by(*labels)
    return {(a, kind, severity): count for a, kind, severity, count in connection.execute(query)}


def _notices(connection: Connection, known: list[str], which: Any) -> dict[str, int]:
    """Return the number of such notices of each account, also where it is none."""
    query = select(outbox.c.account, func.count()).where(which).group_by(outbox.c.account)
    found = {account: count for account, count in connection.execute(query)}
    return dict.fromkeys(known, 0) | found


def _latest(connection: Connection, vantage: Any, moment: Any) -> dict[str, datetime]:
    query = select(vantage, func.max(moment)).where(moment.is_not(None)).group_by(vantage)
    return {name: latest for name, latest in connection.execute(query)}
