"""`Published`: what was published, for delivery and for people. No key, no table that holds one."""

from __future__ import annotations

import json
from datetime import datetime

import msgspec
from livepin.bootstrap import Bootstrap
from sqlalchemy import Connection, ScalarSelect, func, select
from sqlalchemy.engine import Row

from livepin_server.errors import NotFoundError
from livepin_server.services.delivery_settings import DeliverySettings
from livepin_server.services.expiry import Expiry
from livepin_server.services.model import (
    AccountDocuments,
    ConfigDocument,
    OverrideDocument,
    Publication,
)
from livepin_server.services.nearest import not_found
from livepin_server.storage.database import Database
from livepin_server.storage.schema import accounts, configs, overrides, roots, streams

_MOST_LISTED = 50  # versions
RECORD = [each for each in configs.c if each.name != "document"]  # a document may be megabytes


class Published:
    """Reads the tables `accounts`, `streams`, `roots`, `configs`, `overrides`, and no other."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def accounts(self) -> list[str]:
        """Return the names of the accounts that have a root."""
        with self._database.reading() as connection:
            return list(connection.scalars(select(accounts.c.name).where(accounts.c.active)))

    def is_delivered_by(self, pins: list[str]) -> bool:
        """Tell whether an account names exactly these pins for delivery."""
        with self._database.reading() as connection:
            texts = connection.scalars(select(accounts.c.delivery).where(accounts.c.active)).all()
        return any(msgspec.json.decode(each, type=DeliverySettings).pins == pins for each in texts)

    def expiries(self) -> list[Expiry]:
        """Return the newest root of each account and the newest config of each stream."""
        others = roots.alias()
        newest_root = select(func.max(others.c.version)).where(others.c.account == roots.c.account)
        of_roots = select(roots.c.account, roots.c.version, roots.c.created, roots.c.expires).where(
            roots.c.version == newest_root.scalar_subquery()
        )
        of_configs = select(
            configs.c.account, configs.c.stream, configs.c.version, configs.c.issued,
            configs.c.expires,
        ).where(configs.c.version == _newest_version())  # fmt: skip
        with self._database.reading() as connection:
            found = [
                Expiry(
                    kind="root", account=row.account, stream="", version=row.version,
                    issued=row.created, expires=row.expires,
                )
                for row in connection.execute(of_roots.order_by(roots.c.account))
            ]  # fmt: skip
            listed = connection.execute(of_configs.order_by(configs.c.account, configs.c.stream))
            return found + [Expiry(kind="config", **row._mapping) for row in listed]

    def documents(self, account: str) -> AccountDocuments:
        """Return everything that delivery serves for an account.

        Raises:
            NotFoundError: no such account.
        """
        with self._database.reading() as connection:
            names = require_account(connection, account)
            found = connection.execute(
                select(roots.c.version, roots.c.document).where(roots.c.account == account)
            ).all()
            rows = newest(connection, account)
        return AccountDocuments(
            configs={
                row.stream: ConfigDocument(
                    root_version=row.root_version, version=row.version, raw=row.document
                )
                for row in rows
                if row.stream in names
            },
            roots={row.version: row.document for row in found},
        )

    def overrides(self, account: str) -> dict[str, OverrideDocument | None]:
        """Return the newest override of each installation, by the thumbprint of its key.

        None stands where that names an older root: apps take it no more (rule 6).

        Raises:
            NotFoundError: no such account.
        """
        with self._database.reading() as connection:
            require_account(connection, account)
            of_account = select(func.max(roots.c.version)).where(roots.c.account == account)
            newest_root = connection.scalar(of_account)
            rows = newest_overrides(connection, account)
        return {
            row.thumbprint: _override(row) if row.root_version == newest_root else None
            for row in rows
        }

    def delivery(self, account: str) -> DeliverySettings:
        """Return where the documents of an account are delivered."""
        with self._database.reading() as connection:
            require_account(connection, account)
            text = connection.scalars(
                select(accounts.c.delivery).where(accounts.c.name == account)
            ).one()
        return msgspec.json.decode(text, type=DeliverySettings)

    def history(self, account: str, stream: str, *, limit: int = 50) -> list[Publication]:
        """Return the versions of a stream, the newest first."""
        with self._database.reading() as connection:
            require_stream(connection, account, stream)
            rows = connection.execute(
                select(*RECORD)
                .where(configs.c.account == account, configs.c.stream == stream)
                .order_by(configs.c.version.desc())
                .limit(limit)
            ).all()
        return [publication_of(row) for row in rows]

    def newest(self, account: str, stream: str | None = None) -> int:
        """Return the newest version of a stream, or of all streams of an account."""
        query = select(func.max(configs.c.version)).where(configs.c.account == account)
        with self._database.reading() as connection:
            require_account(connection, account)
            if stream is not None:
                require_stream(connection, account, stream)
                query = query.where(configs.c.stream == stream)
            return connection.scalar(query) or 0

    def changed_since(self, account: str, moment: datetime) -> list[Publication]:
        """Return the versions of all streams that changed something after a moment."""
        with self._database.reading() as connection:
            found = connection.execute(
                select(*RECORD)
                .where(
                    configs.c.account == account,
                    configs.c.issued >= moment,
                    configs.c.changed != "[]",
                )
                .order_by(configs.c.version.desc())
                .limit(_MOST_LISTED)
            ).all()
        return [publication_of(row) for row in found]

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
        return publication_of(row), row.document

    def bootstrap(self, account: str, stream: str) -> Bootstrap:
        """Return what an app built today embeds."""
        publication, raw = self.version(account, stream)
        documents = self.documents(account)
        return Bootstrap(root=documents.roots[publication.root_version], config=raw)


def require_account(connection: Connection, account: str) -> list[str]:
    """Return the streams of an account.

    Raises:
        NotFoundError: no such account, or none with a root yet.
    """
    active = connection.scalars(select(accounts.c.name).where(accounts.c.active)).all()
    if account not in active:
        raise not_found("account", account, active)
    return list(connection.scalars(select(streams.c.name).where(streams.c.account == account)))


def require_stream(connection: Connection, account: str, stream: str) -> None:
    """Refuse a stream that an account does not have."""
    names = require_account(connection, account)
    if stream not in names:
        raise not_found("stream", stream, names)


def newest(
    connection: Connection, account: str | None = None, stream: str | None = None
) -> list[Row[tuple[object, ...]]]:
    """Return the newest config of each stream, of all accounts unless one is named."""
    query = select(configs).where(configs.c.version == _newest_version())
    if account is not None:
        query = query.where(configs.c.account == account)
    if stream is not None:
        query = query.where(configs.c.stream == stream)
    return list(connection.execute(query).all())


def newest_overrides(
    connection: Connection, account: str, installation: str | None = None
) -> list[Row[tuple[object, ...]]]:
    """Return the newest override of each installation of an account, or of one."""
    others = overrides.alias()
    last = select(func.max(others.c.version)).where(
        others.c.account == overrides.c.account,
        others.c.installation == overrides.c.installation,
    )
    query = select(overrides).where(
        overrides.c.account == account, overrides.c.version == last.scalar_subquery()
    )
    if installation is not None:
        query = query.where(overrides.c.installation == installation)
    return list(connection.execute(query).all())


def _override(row: Row[tuple[object, ...]]) -> OverrideDocument:
    return OverrideDocument(
        root_version=row.root_version,
        version=row.version,
        raw=row.document,
        expires=row.expires if row.hosts else row.issued,  # without hosts it is an end
        until=row.until,
    )


def _newest_version() -> ScalarSelect[int]:
    others = configs.alias()
    return (
        select(others.c.version)
        .where(others.c.account == configs.c.account, others.c.stream == configs.c.stream)
        .order_by(others.c.version.desc())
        .limit(1)
        .scalar_subquery()
    )


def publication_of(row: Row[tuple[object, ...]]) -> Publication:
    """Return the publication that a row of `RECORD` tells of."""
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
