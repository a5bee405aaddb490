"""The rows of overrides, inside the caller's transaction. Without hosts one is an end."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, delete, func, insert, select, update
from sqlalchemy.engine import Row

from livepin_server.services.publishing.published import newest_overrides
from livepin_server.services.tokens.installations import tagged
from livepin_server.services.tokens.model import TEST
from livepin_server.storage.schema import installation_rules, overrides, roots

from .model import OverrideView

MOST_KEPT = 20  # of an installation; the audit log has them all


def listed(account: str, *, tested: bool) -> Select[Any]:
    """Return the query for what was created, the newest first; `tested` leaves out others."""
    query = select(overrides).where(overrides.c.account == account, overrides.c.hosts != "")
    if tested:
        query = query.where(overrides.c.installation.in_(_tested(account)))
    return query.order_by(overrides.c.version.desc())


def is_tested(connection: Connection, account: str, installation: str) -> bool:
    """Tell whether an installation has the tag for tests."""
    query = _tested(account).where(installation_rules.c.id == installation)
    return connection.execute(query).first() is not None


def numbered(connection: Connection, account: str, version: int) -> Row[Any] | None:
    """Return what was created under a number; an end has none that anybody knows."""
    place = overrides.c.account == account, overrides.c.version == version
    found: Row[Any] | None = connection.execute(
        select(overrides).where(*place, overrides.c.hosts != "")
    ).first()
    return found


def newest(connection: Connection, account: str, installation: str) -> Row[Any] | None:
    """Return the newest of an installation, which may be an end."""
    return next(iter(newest_overrides(connection, account, installation)), None)


def add(connection: Connection, row: dict[str, Any], *, now: datetime) -> Row[Any]:
    """Keep what was signed, and return it: what was in force until now has ended by it."""
    of_installation = (
        overrides.c.account == row["account"], overrides.c.installation == row["installation"],
    )  # fmt: skip
    before = newest(connection, row["account"], row["installation"])
    if before is not None and before.root_version == row["root_version"]:
        # Whoever has one of before in force has to hear of this one for as long.
        row = row | {"until": max(row["until"], before.until)}
        if before.hosts and before.expires > now:
            connection.execute(
                update(overrides)
                .where(*of_installation, overrides.c.version == before.version)
                .values(ended=now, ended_by=row["author"])
            )
    added = connection.execute(insert(overrides).values(**row).returning(overrides)).one()
    kept = (
        select(overrides.c.version)
        .where(*of_installation)
        .order_by(overrides.c.version.desc())
        .limit(MOST_KEPT)
    )
    connection.execute(delete(overrides).where(*of_installation, overrides.c.version.not_in(kept)))
    return added


def in_force(connection: Connection, account: str, now: datetime) -> list[OverrideView]:
    """Return what is in force in an account, at most one of each installation."""
    begun = roots_begun(connection, account)
    views = [view(row, begun, now) for row in newest_overrides(connection, account) if row.hosts]
    return [each for each in views if each.in_force]


def count_delivered(connection: Connection, account: str, now: datetime) -> int:
    """Return for how many installations of an account one is delivered."""
    query = select(func.count(overrides.c.installation.distinct())).where(
        overrides.c.account == account, overrides.c.until > now
    )
    return connection.scalar(query) or 0


def roots_begun(connection: Connection, account: str) -> dict[int, datetime]:
    """Return when each root of an account was published."""
    query = select(roots.c.version, roots.c.created).where(roots.c.account == account)
    return {row.version: row.created for row in connection.execute(query)}


def view(row: Row[Any], begun: dict[int, datetime], now: datetime) -> OverrideView:
    """Return what a row tells; an override ends with the root that it names (rule 7)."""
    ended, ended_by = row.ended, row.ended_by
    next_root = begun.get(row.root_version + 1)
    if ended is None and next_root is not None and next_root < row.expires:
        ended, ended_by = next_root, f"root {row.root_version + 1}"
    return OverrideView(
        version=row.version,
        installation=row.installation,
        thumbprint=row.thumbprint,
        stream=row.stream,
        root_version=row.root_version,
        domains=row.hosts.split(),
        mode=row.mode,
        pins=row.pins.split(),
        issued=row.issued,
        expires=row.expires,
        author=row.author,
        reason=row.reason,
        ended=ended,
        ended_by=ended_by,
        in_force=ended is None and now < row.expires,
    )


def _tested(account: str) -> Select[Any]:
    return select(installation_rules.c.id).where(
        installation_rules.c.account == account, tagged(TEST)
    )
