"""The rows of findings and incidents, inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Connection, bindparam, delete, func, insert, select, text, update
from sqlalchemy.engine import Row
from sqlalchemy.sql import ColumnElement

from livepin_server.services.monitoring.model import Finding, Judged
from livepin_server.storage.schema import findings, incidents

from .reminding import Said
from .states import Tracked
from .wording import Firing

Place = tuple[int, str]  # an endpoint, and the vantage that looks
MOST_LOADED = 5000  # findings of an incident that are read; more are counted
_AT_A_TIME = 500
_LOCK = 0x6C69_7665_7069_6E01  # one number for all processes and versions; not the writers'
_T = TypeVar("_T")

_decode = lru_cache(maxsize=4096)(msgspec.json.Decoder(Finding).decode)
_said = msgspec.json.Decoder(Said)


def one_at_a_time(connection: Connection) -> None:
    """Let nobody else change incidents until the transaction ends.

    All writers of SQLite have that anyway. On PostgreSQL, who hands back what was looked at need
    not have the lock of the writers: two would open an incident of one cause twice.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))


def held(connection: Connection, judged: Sequence[Judged]) -> dict[Place, list[Row[Any]]]:
    """Return what is held of these endpoints, by endpoint and vantage, as it is written."""
    found: dict[Place, list[Row[Any]]] = {}
    for some in pieces([each.endpoint for each in judged]):
        for row in connection.execute(_HELD, {"endpoints": some}):
            found.setdefault((row.endpoint, row.vantage), []).append(row)
    return found


def tracked(row: Row[Any]) -> Tracked:
    """Return what a row of findings tells."""
    return Tracked(
        key=row.key, state=row.state, since=row.since, seen=row.seen, times=row.times,
        good=row.good, incident=row.incident, finding=_decode(row.finding),
    )  # fmt: skip


def values(judged: Judged, each: Tracked) -> dict[str, Any]:
    """Return the row of a finding.

    Raises:
        ValueError: it holds what cannot be written.
    """
    return {
        "endpoint": judged.endpoint, "vantage": judged.vantage, "key": each.key,
        "account": judged.account, "state": each.state, "since": each.since, "seen": each.seen,
        "times": each.times, "good": each.good, "incident": each.incident,
        "finding": msgspec.json.encode(each.finding).decode(),
    }  # fmt: skip


def write(connection: Connection, rows: Sequence[dict[str, Any]], known: Collection[Any]) -> None:
    """Keep rows of findings; `known` are the primary keys of those that are there."""
    new = [each for each in rows if _key(each) not in known]
    old = [{f"b_{n}": v for n, v in each.items()} for each in rows if _key(each) in known]
    if new:
        connection.execute(insert(findings), new)
    if old:
        connection.execute(_UPDATE, old)


def drop(connection: Connection, gone: Sequence[tuple[int, str, str]]) -> None:
    """Forget findings, by endpoint, vantage and key."""
    if gone:
        names = ("b_endpoint", "b_vantage", "b_key")
        connection.execute(_DELETE, [dict(zip(names, each, strict=True)) for each in gone])


def join(connection: Connection, number: int | None, keys: Sequence[tuple[int, str, str]]) -> None:
    """Put findings into an incident."""
    names = ("b_endpoint", "b_vantage", "b_key")
    rows = [dict(zip(names, each, strict=True)) | {"b_incident": number} for each in keys]
    connection.execute(_JOIN, rows)


def firing(
    connection: Connection, account: str, number: int, most: int = MOST_LOADED
) -> list[Firing]:
    """Return what is firing in an incident: all, or as many as may be read, the first first."""
    query = (
        select(findings.c.endpoint, findings.c.vantage, findings.c.since, findings.c.finding)
        .where(*_firing_in(account, number))
        .order_by(findings.c.since, findings.c.endpoint, findings.c.vantage, findings.c.key)
        .limit(most)
    )
    return [
        Firing(
            endpoint=row.endpoint, vantage=row.vantage, since=row.since,
            finding=_decode(row.finding),
        )
        for row in connection.execute(query)
    ]  # fmt: skip


def is_firing(connection: Connection, account: str, number: int) -> bool:
    """Tell whether anything is firing in an incident."""
    query = select(findings.c.endpoint).where(*_firing_in(account, number)).limit(1)
    return connection.execute(query).first() is not None


def count(connection: Connection, account: str, number: int) -> int:
    """Return how many endpoints are in an incident."""
    query = select(func.count(findings.c.endpoint.distinct())).where(*_firing_in(account, number))
    return connection.scalar(query) or 0


def numbered(connection: Connection, account: str, number: int) -> Row[Any] | None:
    """Return an incident."""
    place = incidents.c.account == account, incidents.c.number == number
    found: Row[Any] | None = connection.execute(select(incidents).where(*place)).first()
    return found


def newest_of(connection: Connection, account: str, cause: str) -> Row[Any] | None:
    """Return the newest incident of a cause; one that is open is the newest."""
    query = (
        select(incidents)
        .where(incidents.c.account == account, incidents.c.cause == cause)
        .order_by(incidents.c.number.desc())
        .limit(1)
    )
    found: Row[Any] | None = connection.execute(query).first()
    return found


def resolved_since(connection: Connection, account: str, cause: str, moment: datetime) -> int:
    """Return how many incidents of a cause have been over since then."""
    row = incidents.c
    query = select(func.count()).select_from(incidents).where(
        row.account == account, row.cause == cause, row.resolved > moment
    )  # fmt: skip
    return connection.scalar(query) or 0


def add(connection: Connection, row: dict[str, Any]) -> int:
    """Keep a new incident under the next number of its account; return that."""
    last = select(func.max(incidents.c.number)).where(incidents.c.account == row["account"])
    number = (connection.scalar(last) or 0) + 1
    connection.execute(insert(incidents).values(**row, number=number))
    return number


def change(connection: Connection, account: str, number: int, **changed: Any) -> None:
    """Change an incident."""
    place = incidents.c.account == account, incidents.c.number == number
    connection.execute(update(incidents).where(*place).values(**changed))


def leave(connection: Connection, account: str, number: int) -> None:
    """Have what fires in an incident that is none look for another one, at the next look."""
    connection.execute(update(findings).where(*_firing_in(account, number)).values(incident=None))


def said(row: Row[Any]) -> Said:
    """Return what was told of an incident."""
    return _said.decode(row.said)


def written(said: Said) -> str:
    """Return what was told, as it is kept."""
    return msgspec.json.encode(said).decode()


def pieces(listed: Sequence[_T]) -> Iterator[Sequence[_T]]:
    """Give the elements, as many at a time as a statement takes."""
    for start in range(0, len(listed), _AT_A_TIME):
        yield listed[start : start + _AT_A_TIME]


def ended(connection: Connection, condition: ColumnElement[bool]) -> list[tuple[str, int]]:
    """Forget the findings that fulfil a condition; return the incidents they were in."""
    query = delete(findings).where(condition).returning(findings.c.account, findings.c.incident)
    rows = connection.execute(query).all()
    return sorted({(row.account, row.incident) for row in rows if row.incident is not None})


def key_of(row: Row[Any]) -> tuple[int, str, str]:
    """Return the primary key of a finding."""
    return row.endpoint, row.vantage, row.key


def _key(values: dict[str, Any]) -> tuple[int, str, str]:
    return values["endpoint"], values["vantage"], values["key"]


def _firing_in(account: str, number: int) -> tuple[Any, ...]:
    return (
        findings.c.account == account, findings.c.incident == number,
        findings.c.state == "firing",
    )  # fmt: skip


_HELD = select(findings).where(findings.c.endpoint.in_(bindparam("endpoints", expanding=True)))
_PLACE = (
    findings.c.endpoint == bindparam("b_endpoint"),
    findings.c.vantage == bindparam("b_vantage"),
    findings.c.key == bindparam("b_key"),
)
_CHANGED = ("state", "since", "seen", "times", "good", "incident", "finding")
_UPDATE = update(findings).where(*_PLACE).values({n: bindparam(f"b_{n}") for n in _CHANGED})
_JOIN = update(findings).where(*_PLACE).values(incident=bindparam("b_incident"))
_DELETE = delete(findings).where(*_PLACE)
