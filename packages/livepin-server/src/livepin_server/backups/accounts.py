"""The accounts of a restored server: how high each has to go on, and whether it still can."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import msgspec
from livepin.documents import Root
from livepin.documents.root import TYP
from livepin.jose import parse_general
from sqlalchemy import Connection, insert, select, update

from livepin_server.errors import BackupError, InvalidError
from livepin_server.exports.static import Documents
from livepin_server.services.delivery_settings import DeliverySettings
from livepin_server.services.numbering import HIGHEST, above_everything
from livepin_server.services.publishing.published import Published
from livepin_server.storage.database import Database
from livepin_server.storage.schema import accounts, keys, roots

from . import looking
from .looking import Sightings
from .sources import Source, Web

_AHEAD = timedelta(minutes=5)  # of the clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """How numbers are taken: since when they may have moved on, and what they go above anyhow."""

    moment: datetime
    now: datetime
    above: int | None = None

    def check(self) -> None:
        """Refuse a clock that cannot be right: without it nobody knows how far the server got.

        Raises:
            BackupError: it is before the backup was made.
        """
        if self.now < self.moment and self.above is None:
            raise BackupError(
                f"the clock says {self.now:%Y-%m-%d %H:%M} UTC, and the backup was made at "
                f"{self.moment:%Y-%m-%d %H:%M} UTC",
                hint="set the clock; or give --above a version that no app has seen",
            )

    def check_issued(self, issued: datetime | None) -> None:
        """Refuse a clock that is behind a document that was found.

        Raises:
            BackupError: it is.
        """
        if issued is not None and issued - self.now > _AHEAD and self.above is None:
            raise BackupError(
                f"the clock says {self.now:%Y-%m-%d %H:%M} UTC, and a document was found that was "
                f"issued at {issued:%Y-%m-%d %H:%M} UTC",
                hint="set the clock; or give --above a version that no app has seen",
            )

    def most(self, last: int) -> int:
        """Return what the lost server cannot have got above."""
        return above_everything(last, since=self.moment, now=self.now)

    def floor(self, last: int) -> int:
        """Return the number above which an account goes on.

        Raises:
            BackupError: there are too few above it.
        """
        found = max(self.most(last), self.above or 0)
        if not 0 <= last <= found <= HIGHEST:
            raise BackupError(
                f"versions would have to go on above {found}, where too few are left",
                hint="is the clock right, and --above?",
            )
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoredAccount:
    """What became of an account.

    It goes on above `floor`; `last` was the last number in the backup. Without `signs` the server
    holds no config key of its newest root. `foreign` is a version that no server of it has made.
    """

    name: str
    last: int
    floor: int
    root_version: int
    signs: bool
    foreign: int | None
    documents: Documents = field(repr=False)
    sightings: Sightings = field(repr=False)


def raise_all(connection: Connection, numbers: Numbers) -> dict[str, int]:
    """Have every account go on above what the lost server gave out; return the last numbers.

    It is part of the transaction that fills the database: there never is one that would not.
    """
    found = connection.execute(select(accounts.c.name, accounts.c.last_version)).all()
    for row in found:
        _set_last(connection, row.name, numbers.floor(row.last_version))
    return {row.name: row.last_version for row in found}


def recover(
    database: Database,
    last: Mapping[str, int],
    numbers: Numbers,
    sources: Sequence[Source],
    *,
    offline: bool,
) -> list[RestoredAccount]:
    """Judge the documents of each account, and look what is out there that they do not know.

    That is at the account's own URLs, unless `offline`, and at these sources.

    Raises:
        BackupError: the documents are not sound, or the clock is behind one that was found.
    """
    done = []
    for name in sorted(Published(database).accounts()):
        documents = _documents(database, name)
        own = [] if offline else _places(database, name)
        sightings = looking.look(documents, [*own, *sources])
        numbers.check_issued(sightings.issued)
        done.append(_raised(database, documents, last[name], numbers, sightings))
    return done


def _documents(database: Database, account: str) -> Documents:
    found = Published(database).documents(account)
    configs = {stream: each.raw for stream, each in found.configs.items()}
    documents = Documents(account=account, roots=found.roots, configs=configs)
    looking.check(documents)
    return documents


def _places(database: Database, account: str) -> list[Source]:
    """Return where an account says that its documents are."""
    with database.reading() as connection:
        query = select(accounts.c.delivery).where(accounts.c.name == account)
        text = connection.scalars(query).one()
    try:
        settings = msgspec.json.decode(text, type=DeliverySettings).checked()
    except (msgspec.DecodeError, InvalidError) as exc:
        raise BackupError(f"it does not say where {account} delivers: {exc}") from exc
    live = [Web(name=url, live=True, ca=settings.ca) for url in settings.urls]
    return [*live, *(Web(name=url) for url in settings.recovery_urls)]


def _raised(
    database: Database, documents: Documents, last: int, numbers: Numbers, sightings: Sightings
) -> RestoredAccount:
    """Keep the newer roots that were found, and go above the configs."""
    name = documents.account
    newest_root = max({*documents.roots, *sightings.roots})
    seen = [each.config for each in sightings.newer.values()]
    floor = max([numbers.floor(last), *(each.version for each in seen if each.version <= HIGHEST)])
    foreign = [
        each.version
        for each in seen
        if each.root_version == newest_root and each.version > numbers.most(last)
    ]

    def transaction(connection: Connection) -> bool:
        for version, raw in sorted(sightings.roots.items()):
            _keep_root(connection, name, version, raw, numbers.now)
        _set_last(connection, name, floor)
        return _signs(connection, name)

    return RestoredAccount(
        name=name,
        last=last,
        floor=floor,
        root_version=newest_root,
        signs=database.write(transaction),
        foreign=max(foreign, default=None),
        documents=documents,
        sightings=sightings,
    )


def _keep_root(
    connection: Connection, account: str, version: int, raw: bytes, now: datetime
) -> None:
    expires = _root(raw).expires
    connection.execute(
        insert(roots).values(
            account=account, version=version, document=raw, expires=expires, created=now
        )
    )


def _signs(connection: Connection, account: str) -> bool:
    """Tell whether the server holds a config key that the newest root names."""
    newest = connection.scalars(
        select(roots.c.document)
        .where(roots.c.account == account)
        .order_by(roots.c.version.desc())
        .limit(1)
    ).one()
    held = connection.scalars(
        select(keys.c.kid).where(keys.c.account == account, keys.c.role == "config")
    )
    return not _root(newest).roles["config"].keys.keys().isdisjoint(held.all())


def _root(raw: bytes) -> Root:
    return Root.parse(parse_general(raw, typ=TYP).payload)


def _set_last(connection: Connection, account: str, number: int) -> None:
    connection.execute(
        update(accounts).where(accounts.c.name == account).values(last_version=number)
    )
