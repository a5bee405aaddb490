"""The rows of apps and releases, inside the caller's transaction. Secrets stay sealed here."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import msgspec
from sqlalchemy import Connection, delete, func, select
from sqlalchemy.engine import Row

from livepin_server.attestation.attested import Level
from livepin_server.attestation.registered import FORMATS, Kind, provable
from livepin_server.storage.schema import apps, proofs, releases

from .model import Identities

# Without the manifest, which is long.
_RELEASES = select(
    releases.c.version, releases.c.digest, releases.c.files, releases.c.created, releases.c.author,
    releases.c.ended, releases.c.app,
)  # fmt: skip


def all_apps(connection: Connection, account: str) -> list[Row[Any]]:
    """Return the apps of an account, by name."""
    query = select(apps).where(apps.c.account == account).order_by(apps.c.name)
    return list(connection.execute(query).all())


def identities(row: Row[Any]) -> Identities:
    """Return what may be shown of the identities of an app."""
    return msgspec.json.decode(row.identities, type=Identities)


def of_app(connection: Connection, account: str, app: str) -> list[Row[Any]]:
    """Return the releases of an app, the one that was added last first."""
    query = _RELEASES.where(releases.c.account == account, releases.c.app == app)
    order = releases.c.created.desc(), releases.c.version.desc()
    return [*connection.execute(query.order_by(*order))]


def in_force(connection: Connection, account: str) -> dict[str, dict[str, str]]:
    """Return the releases that are in force, of each app that has any: versions by digest."""
    query = _RELEASES.where(releases.c.account == account, releases.c.ended.is_(None))
    found: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for row in connection.execute(query):
        found[row.app][row.digest] = row.version
    return dict(found)


def counted(connection: Connection, account: str) -> dict[str, int]:
    """Return how many releases are in force, of each app that has any."""
    query = (
        select(releases.c.app, func.count().label("number"))
        .where(releases.c.account == account, releases.c.ended.is_(None))
        .group_by(releases.c.app)
    )
    return {row.app: row.number for row in connection.execute(query)}


def levels(connection: Connection, account: str) -> dict[str, Level]:
    """Return the highest level that each registered app can prove."""
    found = all_apps(connection, account)
    return {row.name: provable(identities(row).kinds()) for row in found}


def forget_proofs(connection: Connection, account: str, app: str, kinds: Iterable[Kind]) -> None:
    """Forget what installations proved by identities that have ended: it counts no more."""
    formats = [FORMATS[each] for each in kinds]
    of_app = proofs.c.account == account, proofs.c.app == app
    connection.execute(delete(proofs).where(*of_app, proofs.c.format.in_(formats)))
