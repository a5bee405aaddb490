"""The rows of `schedule`, claimed and given back by the batch: one statement for each.

A lease ends by itself; the fence of a row rises with each claim, so that whoever was too slow is
known by it. Both kinds of database have the same statements, but for how a batch gets into one.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import msgspec
from sqlalchemy import Connection, TextClause, bindparam, text, update
from sqlalchemy.engine import Row

from livepin_server.storage.schema import Moment, beats, micros, schedule

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
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
        observations.vantage, state, pins_match, schedule.looked
        FROM endpoints LEFT JOIN observations ON observations.endpoint = endpoints.id
        LEFT JOIN schedule ON schedule.endpoint = observations.endpoint
            AND schedule.vantage = observations.vantage
        WHERE endpoints.id {ids}"""  # noqa: S608 - all parts are from here
    for kind, ids in _IN.items()
}


_WRONG = {
    kind: f"SELECT DISTINCT endpoint, vantage FROM findings WHERE endpoint {ids}"  # noqa: S608
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
# Rows that somebody is claiming or keeping just now are passed over: nobody waits for nobody.
_ELSEWHERE = {
    kind: f"""UPDATE schedule SET next_due = :now FROM (SELECT endpoint, vantage FROM schedule
        WHERE endpoint {ids} AND vantage <> :vantage AND next_due > :now {lock}) AS other
        WHERE schedule.endpoint = other.endpoint
            AND schedule.vantage = other.vantage"""  # noqa: S608 - all parts are from here
    for (kind, ids), lock in zip(_IN.items(), ("", "FOR UPDATE SKIP LOCKED"), strict=True)
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
    """Return endpoints with what each vantage holds of them: a row for each vantage, or one."""
    query = _of(_LOADED, connection).columns(looked=Moment())
    return connection.execute(query, _ids(connection, ids)).all()


def wrong(connection: Connection, ids: Collection[int]) -> set[Place]:
    """Return which of these endpoints have findings, and from which vantage."""
    found = connection.execute(_of(_WRONG, connection), _ids(connection, ids))
    return {(row.endpoint, row.vantage) for row in found}


def still(connection: Connection, done: Sequence[Done]) -> set[Place]:
    """Return the rows that nobody has claimed since, and let nobody until the transaction ends."""
    found = connection.execute(_of(_STILL, connection), {"rows": _rows(done)})
    return {(row.endpoint, row.vantage) for row in found}


def keep(connection: Connection, done: Sequence[Done], *, now: datetime) -> set[Place]:
    """Write back the rows that nobody has claimed since, and return which they were."""
    query = _of(_KEEP, connection).bindparams(bindparam("now", type_=Moment()))
    found = connection.execute(query, {"rows": _rows(done), "now": now})
    return {(row.endpoint, row.vantage) for row in found}


def look_elsewhere(
    connection: Connection, ids: Collection[int], vantage: str, *, now: datetime
) -> None:
    """Have the other vantages look at these endpoints at once."""
    query = _of(_ELSEWHERE, connection).bindparams(bindparam("now", type_=Moment()))
    given = {**_ids(connection, ids), "vantage": vantage, "now": now}
    connection.execute(query, given)


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
