"""Every change of a certificate: a row when it was seen, and what was pinned then."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, delete, select, text

from livepin_server.storage.schema import Moment, certificate_changes, micros

from .holding import Changed
from .model import ChangeView, Claimed

_LONGEST = 300  # characters of a name in a certificate
_row = certificate_changes.c
_view_of = msgspec.json.Decoder(ChangeView)


class _Kept(ChangeView, frozen=True, kw_only=True, omit_defaults=True):
    """A change with all keys of the chain before, which nothing may serve any more."""

    left: list[str] = []  # noqa: RUF012 - msgspec copies it


# PostgreSQL refuses to read NUL, which a stranger can write into the name of a certificate.
_LEFT = {
    kind: f"""SELECT each.value AS key, MAX(moment) AS at FROM certificate_changes, {each}
        WHERE account = :account AND moment >= :since GROUP BY each.value"""  # noqa: S608
    for kind, each in {
        "sqlite": "json_each(change, '$.left') AS each",
        "postgresql": """LATERAL json_array_elements_text(
            CAST(replace(change, '\\u0000', '\\u0020') AS json)->'left') AS each(value)""",
    }.items()
}


def row_of(
    claimed: Claimed, changed: Changed, *, now: datetime, pinned: bool | None, pin: str | None
) -> dict[str, Any]:
    """Return the row that a change is kept as."""
    leaf = changed.leaf
    kept = _Kept(
        host=claimed.host,
        port=claimed.port,
        vantage=claimed.vantage,
        address=changed.address,
        algorithm=changed.algorithm,
        moment=now,
        was=next(iter(changed.left), None),
        became=next(iter(changed.keys), None),
        subject=leaf.subject[:_LONGEST] if leaf else "",
        issuer=leaf.issuer[:_LONGEST] if leaf else "",
        expires=leaf.not_after if leaf else None,
        pinned=pinned,
        pin=pin,
        left=changed.left,
    )
    place = ("host", "port", "vantage", "address", "algorithm", "moment")
    return {
        **{name: getattr(kept, name) for name in place},
        "account": claimed.account,
        "change": msgspec.json.encode(kept).decode(),
    }


def changes(connection: Connection, account: str, pattern: str, limit: int) -> list[ChangeView]:
    """Return the changes at the hosts that a canonical pattern covers, the newest first."""
    covered = _row.host == pattern
    if pattern.startswith("*."):
        covered = _row.host.endswith(pattern[1:], autoescape=True)
    query = select(_row.change).where(_row.account == account, covered)
    found = connection.scalars(query.order_by(_row.moment.desc(), _row.id.desc()).limit(limit))
    return [_view_of.decode(each) for each in found]


def left(
    connection: Connection, account: str, since: datetime | None
) -> Iterator[tuple[str, datetime]]:
    """Give each key that was served until a change, and when that last was.

    The database reads the changes, which can be millions; with `since` those from then on.
    """
    query = text(_LEFT[connection.dialect.name]).columns(at=Moment())
    given = {"account": account, "since": 0 if since is None else micros(since)}
    for row in connection.execute(query, given):
        yield row.key, row.at


def forget(connection: Connection, before: datetime) -> int:
    """Forget the changes of before a moment; return how many they were."""
    return connection.execute(delete(certificate_changes).where(_row.moment < before)).rowcount
