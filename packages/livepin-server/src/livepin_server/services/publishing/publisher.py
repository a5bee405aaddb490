"""`Publisher`: every change of pins becomes a new, immutable, signed config version.

Rows, version number, signature, check and record are one transaction; the announcement comes
after the commit. A document is never changed, only followed by another.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from datetime import datetime, timedelta

import msgspec
from livepin.bootstrap import Bootstrap
from livepin.documents import Root, config
from livepin.documents.root import TYP as ROOT_TYP
from livepin.errors import LivepinError
from livepin.jose import PrivateKey, parse_general, sign_compact
from sqlalchemy import Connection, insert, select, update
from sqlalchemy.engine import Row

from livepin_server.bus.memory import Announcement, Bus
from livepin_server.custody.sealed import Label, Vault
from livepin_server.errors import ConflictError, NotFoundError, ServiceError
from livepin_server.services.delivery_settings import DeliverySettings
from livepin_server.services.expiry import Expiry
from livepin_server.services.model import AccountDocuments, Intent, Publication
from livepin_server.storage.database import Database
from livepin_server.storage.schema import accounts, configs, keys, roots

from .build import build
from .check import check
from .published import Published, newest, require_account, require_stream

LIFETIME = timedelta(days=14)
_RECORD = [each for each in configs.c if each.name != "document"]  # a document may be megabytes

logger = logging.getLogger("livepin.publishing")

Change = Callable[[Connection, datetime], list[str]]


class _DoneMeanwhileError(Exception):
    """Another process has done it."""


class Publisher:
    """Publishes configs, and gives out what was published."""

    def __init__(
        self,
        database: Database,
        vault: Vault,
        bus: Bus,
        *,
        clock: Callable[[], datetime],
        lifetime: timedelta = LIFETIME,
    ) -> None:
        self._database = database
        self._vault = vault
        self._bus = bus
        self._clock = clock
        self._lifetime = lifetime

    def publish(self, account: str, stream: str, change: Change, intent: Intent) -> Publication:
        """Apply `change` to the rows of a stream and publish the config that they say then.

        `change` returns what it changed, in lines for people.

        Raises:
            ServiceError: refused; nothing was changed.
        """
        now = self._clock()

        def transaction(connection: Connection) -> Publication:
            require_stream(connection, account, stream)
            changed = change(connection, now)
            return self.issue(connection, account, stream, changed, intent, now=now)

        return self._announced(self._database.write(transaction))

    def set_delivery(
        self, account: str, settings: DeliverySettings, intent: Intent
    ) -> list[Publication]:
        """Change where documents are delivered, in every stream of the account."""
        now, checked = self._clock(), settings.checked()

        def transaction(connection: Connection) -> list[Publication]:
            return self._deliver(connection, account, checked, intent, now)

        return [self._announced(each) for each in self._database.write(transaction)]

    def set_delivery_of_all(
        self, change: Callable[[DeliverySettings], DeliverySettings], intent: Intent
    ) -> list[Publication]:
        """Change where documents are delivered in every account, or in none."""
        now = self._clock()

        def transaction(connection: Connection) -> list[Publication]:
            found = connection.execute(select(accounts).where(accounts.c.active)).all()
            return [
                publication
                for row in found
                for publication in self._deliver(
                    connection,
                    row.name,
                    change(msgspec.json.decode(row.delivery, type=DeliverySettings)).checked(),
                    intent,
                    now,
                )
            ]

        return [self._announced(each) for each in self._database.write(transaction)]

    def _deliver(
        self,
        connection: Connection,
        account: str,
        settings: DeliverySettings,
        intent: Intent,
        now: datetime,
    ) -> list[Publication]:
        names = require_account(connection, account)
        connection.execute(
            update(accounts)
            .where(accounts.c.name == account)
            .values(delivery=msgspec.json.encode(settings).decode())
        )
        lines = [f"delivery is now {', '.join(settings.urls)}"]
        return [self.issue(connection, account, name, lines, intent, now=now) for name in names]

    def delivery(self, account: str) -> DeliverySettings:
        """Return where the documents of an account are delivered."""
        with self._database.reading() as connection:
            require_account(connection, account)
            text = connection.scalars(
                select(accounts.c.delivery).where(accounts.c.name == account)
            ).one()
        return msgspec.json.decode(text, type=DeliverySettings)

    def resign_due(self) -> list[Publication]:
        """Publish again, unchanged, each config that has lived half its time.

        One that cannot be signed is logged; the others do not wait for it.
        """
        now = self._clock()
        with self._database.reading() as connection:
            due = [(row.account, row.stream) for row in newest(connection) if _is_due(row, now)]
        done: list[Publication] = []
        for account, stream in due:
            try:
                done.append(self._resign(account, stream))
            except _DoneMeanwhileError:
                logger.debug("another process has signed %s/%s again", account, stream)
            except (ServiceError, LivepinError):
                logger.exception("the config of %s/%s could not be signed again", account, stream)
        return done

    def _resign(self, account: str, stream: str) -> Publication:
        def still_due(connection: Connection, now: datetime) -> list[str]:
            (row,) = newest(connection, account, stream)
            if not _is_due(row, now):
                raise _DoneMeanwhileError
            return []

        intent = Intent(author="livepin", reason="re-signed at half its lifetime")
        return self.publish(account, stream, still_due, intent)

    def issue(
        self,
        connection: Connection,
        account: str,
        stream: str,
        changed: list[str],
        intent: Intent,
        *,
        now: datetime,
    ) -> Publication:
        """Sign, check and keep the next version, inside the caller's transaction."""
        root = self.newest_root(connection, account)
        version = connection.execute(
            update(accounts)
            .where(accounts.c.name == account)
            .values(last_version=accounts.c.last_version + 1)
            .returning(accounts.c.last_version)
        ).scalar_one()
        document = build(
            connection,
            account,
            stream,
            root_version=root.version,
            version=version,
            now=now,
            lifetime=self._lifetime,
        )
        signer = self._signer(connection, account, root)
        raw = sign_compact(document.payload(), typ=config.TYP, signer=signer)
        check(connection, account, stream, raw)
        row = {
            "account": account,
            "stream": stream,
            "version": version,
            "root_version": root.version,
            "issued": document.issued,
            "expires": document.expires,
            "author": intent.author,
            "reason": intent.reason,
        }
        connection.execute(insert(configs).values(**row, document=raw, changed=json.dumps(changed)))
        publication = Publication(**row, changed=changed)
        self._bus.enclose(connection, _announcement(publication))
        return publication

    def newest_root(self, connection: Connection, account: str) -> Root:
        """Return the newest root of an account."""
        raw = connection.scalars(
            select(roots.c.document)
            .where(roots.c.account == account)
            .order_by(roots.c.version.desc())
            .limit(1)
        ).one()
        return Root.parse(parse_general(raw, typ=ROOT_TYP).payload)

    def announce(self, publication: Publication) -> None:
        """Tell delivery in this process that a version was committed."""
        self._bus.announce(_announcement(publication))

    # -- what was published ---------------------------------------------------------------------

    def history(self, account: str, stream: str, *, limit: int = 50) -> list[Publication]:
        """Return the versions of a stream, the newest first."""
        with self._database.reading() as connection:
            require_stream(connection, account, stream)
            rows = connection.execute(
                select(*_RECORD)
                .where(configs.c.account == account, configs.c.stream == stream)
                .order_by(configs.c.version.desc())
                .limit(limit)
            ).all()
        return [_publication(row) for row in rows]

    def version(
        self, account: str, stream: str, version: int | None = None
    ) -> tuple[Publication, bytes]:
        """Return one version of a stream, the newest unless said, and its signed bytes."""
        with self._database.reading() as connection:
            require_stream(connection, account, stream)
            query = select(configs).where(configs.c.account == account, configs.c.stream == stream)
            if version is not None:
                query = query.where(configs.c.version == version)
            row = connection.execute(query.order_by(configs.c.version.desc()).limit(1)).first()
        if row is None:
            raise NotFoundError(
                f"there is no config version {version} in {account}/{stream}",
                hint="livepin config log shows which there are",
            )
        return _publication(row), row.document

    def bootstrap(self, account: str, stream: str) -> Bootstrap:
        """Return what an app built today embeds."""
        publication, raw = self.version(account, stream)
        documents = self.documents(account)
        return Bootstrap(root=documents.roots[publication.root_version], config=raw)

    def expiries(self) -> list[Expiry]:
        """Return the newest root of each account and the newest config of each stream."""
        return Published(self._database).expiries()

    def documents(self, account: str) -> AccountDocuments:
        """Return everything that delivery serves for an account."""
        return Published(self._database).documents(account)

    def _announced(self, publication: Publication) -> Publication:
        self.announce(publication)
        return publication

    def _signer(self, connection: Connection, account: str, root: Root) -> PrivateKey:
        rows = connection.execute(
            select(keys).where(keys.c.account == account, keys.c.role == "config")
        ).all()
        for row in rows:
            if row.kid in root.roles["config"].keys:
                return self._vault.open(row.sealed, Label(account, "config", row.kid))
        raise ConflictError(
            f"the server holds no config key that root {root.version} of {account} names",
            hint="publish a new root that names the server's keys",
        )


def _is_due(row: Row[tuple[object, ...]], now: datetime) -> bool:
    return bool(now >= row.issued + (row.expires - row.issued) / 2)


def _announcement(publication: Publication) -> Announcement:
    return Announcement(
        account=publication.account,
        stream=publication.stream,
        root_version=publication.root_version,
        version=publication.version,
    )


def _publication(row: Row[tuple[object, ...]]) -> Publication:
    return Publication(
        account=row.account,
        stream=row.stream,
        root_version=row.root_version,
        version=row.version,
        issued=row.issued,
        expires=row.expires,
        author=row.author,
        reason=row.reason,
        changed=json.loads(row.changed),
    )
