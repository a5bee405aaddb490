"""The rows of `schedule`, claimed and given back by the batch: one statement for each.

A lease ends by itself; the fence of a row rises with each claim, so that whoever was too slow is
known by it. Both kinds of database have the same statements, but for how a batch gets into one.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

import msgspec
from sqlalchemy import (
    BigInteger,
    Connection,
    TextClause,
    and_,
    bindparam,
    cast,
    literal,
    or_,
    select,
    text,
    type_coerce,
    update,
)
from sqlalchemy.engine import Row

from livepin_server.storage.schema import Moment, beats, endpoints, micros, schedule

from .model import SHORTEST

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
REST = timedelta(seconds=5)  # that vantages which wake each other leave to an endpoint
_SLACK = timedelta(minutes=1)  # by which the clocks of two machines may differ
LASTING = ("at_risk", "would_break")  # kinds that hang on pins and time, not on one look
_FAR = 2**32  # fences that no lost server can have given out since

_GIVEN = {
    "sqlite": """(SELECT json_extract(value, '$[0]') AS endpoint,
        json_extract(value, '$[1]') AS vantage, json_extract(value, '$[2]') AS fence,
        json_extract(value, '$[3]') AS due, json_extract(value, '$[4]') AS took
        FROM json_each(:rows))""",
    "postgresql": """(SELECT (value->>0)::bigint AS endpoint, value->>1 AS vantage,
        (value->>2)::bigint AS fence, (value->>3)::bigint AS due, (value->>4)::integer AS took
        FROM json_array_elements(CAST(:rows AS json)))""",
}
_OURS = """schedule.endpoint = given.endpoint AND schedule.vantage = given.vantage
    AND schedule.fence = given.fence"""
_DUE = "vantage = :vantage AND next_due <= :now AND lease_until <= :now ORDER BY next_due"

_CLAIM = {
    "sqlite": f"""UPDATE schedule SET lease_until = :until, fence = fence + 1
        WHERE rowid IN (SELECT rowid FROM schedule WHERE {_DUE} LIMIT :most)
        RETURNING endpoint, fence""",  # noqa: S608 - all parts are from here
    "postgresql": f"""WITH due AS (SELECT endpoint FROM schedule WHERE {_DUE} LIMIT :most
        FOR UPDATE SKIP LOCKED)
        UPDATE schedule SET lease_until = :until, fence = fence + 1 FROM due
        WHERE schedule.vantage = :vantage AND schedule.endpoint = due.endpoint
        RETURNING schedule.endpoint, schedule.fence""",  # noqa: S608 - all parts are from here
}
_IN = {
    "sqlite": "IN (SELECT value FROM json_each(:ids))",
    "postgresql": "= ANY(CAST(:ids AS bigint[]))",
}
_LOADED = {
    kind: f"""SELECT endpoints.id, account, host, port, connect, ca, every,
        schedule.vantage, looked, took, state, pins_match, beat
        FROM endpoints JOIN schedule ON schedule.endpoint = endpoints.id
        LEFT JOIN observations ON observations.endpoint = schedule.endpoint
            AND observations.vantage = schedule.vantage
        LEFT JOIN (SELECT vantage, max(beat) AS beat FROM beats GROUP BY vantage) AS heard
            ON heard.vantage = schedule.vantage
        WHERE endpoints.id {ids}"""  # noqa: S608 - all parts are from here
    for kind, ids in _IN.items()
}


_WRONG = {
    kind: f"""SELECT endpoint, vantage, MAX(CASE WHEN state = 'firing'
            AND kind IN {LASTING} THEN 0 ELSE 1 END) AS seen
        FROM findings WHERE endpoint {ids} GROUP BY endpoint, vantage"""  # noqa: S608
    for kind, ids in _IN.items()
}
_KEEP = {
    kind: f"""UPDATE schedule SET next_due = given.due, lease_until = 0, looked = :now,
        took = given.took FROM {given} AS given WHERE {_OURS}
        RETURNING schedule.endpoint, schedule.vantage"""  # noqa: S608 - all parts are from here
    for kind, given in _GIVEN.items()
}
_STILL = {
    kind: f"""SELECT schedule.endpoint, schedule.vantage FROM schedule JOIN {given} AS given
        ON {_OURS} {lock}"""  # noqa: S608 - all parts are from here
    for (kind, given), lock in zip(_GIVEN.items(), ("", "FOR UPDATE OF schedule"), strict=True)
}
_RETURN = {
    kind: f"""UPDATE schedule SET lease_until = 0 FROM {given} AS given WHERE {_OURS}"""  # noqa: S608
    for kind, given in _GIVEN.items()
}

Place = tuple[int, str]  # an endpoint, and a vantage


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A row that was looked at, and when it is due again. `took` is in milliseconds."""

    endpoint: int
    vantage: str
    fence: int
    due: datetime
    took: int


def claim(
    connection: Connection, vantage: str, most: int, *, now: datetime, until: datetime
) -> dict[int, int]:
    """Claim due rows, those first that are due longest; return the fence of each endpoint."""
    query = _of(_CLAIM, connection).bindparams(
        bindparam("now", type_=Moment()), bindparam("until", type_=Moment())
    )
    given = {"vantage": vantage, "most": most, "now": now, "until": until}
    return {row.endpoint: row.fence for row in connection.execute(query, given)}


def loaded(connection: Connection, ids: Collection[int]) -> Sequence[Row[Any]]:
    """Return endpoints with what each vantage holds of them: a row for each vantage."""
    query = _of(_LOADED, connection).columns(looked=Moment(), beat=Moment())
    return connection.execute(query, _ids(connection, ids)).all()


def wrong(connection: Connection, ids: Collection[int]) -> dict[Place, bool]:
    """Return which of these endpoints have findings from which vantage, and whether looks show it.

    What hangs on pins and time alone stays for months, and looks at it are as good as any.
    """
    found = connection.execute(_of(_WRONG, connection), _ids(connection, ids))
    return {(row.endpoint, row.vantage): bool(row.seen) for row in found}


def still(connection: Connection, done: Sequence[Done]) -> set[Place]:
    """Return the rows that nobody has claimed since, and let nobody until the transaction ends."""
    found = connection.execute(_of(_STILL, connection), {"rows": _rows(done)})
    return {(row.endpoint, row.vantage) for row in found}


def keep(connection: Connection, done: Sequence[Done], *, now: datetime) -> set[Place]:
    """Write back the rows that nobody has claimed since, and return which they were."""
    query = _of(_KEEP, connection).bindparams(bindparam("now", type_=Moment()))
    found = connection.execute(query, {"rows": _rows(done), "now": now})
    return {(row.endpoint, row.vantage) for row in found}


def wake(connection: Connection, places: Collection[Place], *, now: datetime) -> None:
    """Have these looked at now, but for those that were looked at a moment ago.

    What somebody has locked is being looked at or kept: to wait for it might be to wait for ever.
    """
    row, by = schedule.c, dict[str, list[int]]()
    for endpoint, vantage in sorted(places):
        by.setdefault(vantage, []).append(endpoint)
    for vantage, ids in by.items():
        here = (row.vantage == vantage, row.endpoint.in_(ids))
        rested = or_(row.looked.is_(None), row.looked <= now - REST)
        query = select(row.endpoint).where(*here, row.next_due > now, rested)
        free = connection.scalars(query.with_for_update(skip_locked=True)).all()
        some = (row.vantage == vantage, row.endpoint.in_(free))
        connection.execute(update(schedule).where(*some).values(next_due=now))


def give_back(connection: Connection, done: Sequence[Done]) -> None:
    """End the leases of rows that nobody has claimed since: they are due as they were."""
    connection.execute(_of(_RETURN, connection), {"rows": _rows(done)})


def begin_anew(connection: Connection, now: datetime) -> None:
    """Let no lease and no silence of before a restore count.

    Workers of the lost server may be alive: their fences must not be given out again. Who looked
    then has until now to be back, before anybody is told that nobody looks.
    """
    row = schedule.c
    connection.execute(update(schedule).values(lease_until=_EPOCH, fence=row.fence + _FAR))
    connection.execute(update(beats).values(beat=now))


def are_ahead(connection: Connection, vantage: str, clock: datetime, longest: timedelta) -> bool:
    """Tell whether rows of a vantage are due, or leased, later than anything can be."""
    for each in _ahead(vantage, clock, longest):
        if connection.execute(select(schedule.c.endpoint).where(each).limit(1)).first():
            return True
    return False


def set_right(
    connection: Connection, vantage: str, clock: datetime, longest: timedelta, now: datetime
) -> int:
    """Have what a clock that was ahead put off be due now; return how many rows that were.

    Without it nothing would be looked at until the time that the clock has shown.
    """
    due, leased = _ahead(vantage, clock, longest)
    row = schedule.c
    free = update(schedule).where(leased).values(lease_until=_EPOCH, fence=row.fence + 1)
    count = connection.execute(free).rowcount
    return count + connection.execute(update(schedule).where(due).values(next_due=now)).rowcount


def _ahead(vantage: str, clock: datetime, longest: timedelta) -> tuple[Any, Any]:
    """Return which rows are due, and which are leased, later than anything can be."""
    row = schedule.c
    every = select(cast(endpoints.c.every, BigInteger) * literal(1_000_000, BigInteger))
    latest = (
        literal(micros(clock + _SLACK), BigInteger)
        + every.where(endpoints.c.id == row.endpoint).scalar_subquery()
    )
    due = and_(
        row.vantage == vantage,
        row.next_due > clock + timedelta(seconds=SHORTEST),
        type_coerce(row.next_due, BigInteger) > latest,
    )
    return due, and_(row.vantage == vantage, row.lease_until > clock + longest)


def _of(statements: dict[str, str], connection: Connection) -> TextClause:
    return text(statements[connection.dialect.name])


def _ids(connection: Connection, ids: Collection[int]) -> dict[str, Any]:
    listed = list(ids)
    if connection.dialect.name == "sqlite":
        return {"ids": msgspec.json.encode(listed).decode()}
    return {"ids": listed}


def _rows(done: Sequence[Done]) -> str:
    found = [(d.endpoint, d.vantage, d.fence, micros(d.due), d.took) for d in done]
    return msgspec.json.encode(found).decode()
