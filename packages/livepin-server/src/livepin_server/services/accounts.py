"""Accounts: an owner's keys, roots, streams. Its root key never comes here unless told to.

`prepare` makes the online keys and says what root 1 is to hold; whoever has the root key signs
that; `create` takes the signed root and publishes the first, empty config.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec
from livepin.documents import Role, Root
from livepin.documents.members import name as check_name
from livepin.documents.root import TYP
from livepin.errors import MalformedError, VerificationError
from livepin.jose import PublicKey, parse_general
from msgspec import structs
from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.engine import Row

from livepin_server.custody.keeping import Custody, NewKey
from livepin_server.custody.label import Kept
from livepin_server.errors import ConflictError, InvalidError
from livepin_server.storage.database import Database
from livepin_server.storage.schema import accounts, keys, roots, streams

from . import key_rows
from .audit import SERVER, entry_of
from .audit.log import Audit
from .delivery_settings import DeliverySettings
from .expiry import Expiry, root_warnings
from .model import AccountView, Intent, Publication
from .publishing.publisher import Publisher
from .roots import ROOT_LIFETIME, require_time


class Accounts:
    """Makes and lists accounts. `delivery` gives the settings that a new account starts with."""

    def __init__(
        self,
        database: Database,
        custody: Custody,
        publisher: Publisher,
        *,
        clock: Callable[[], datetime],
        delivery: Callable[[], DeliverySettings],
    ) -> None:
        self._database = database
        self._custody = custody
        self._publisher = publisher
        self._clock = clock
        self._delivery = delivery
        self._audit = Audit(database)

    def prepare(
        self,
        account: str,
        root_keys: list[dict[str, object]],
        intent: Intent,
        *,
        threshold: int = 1,
    ) -> bytes:
        """Make and seal the online keys; return the payload of root 1, to be signed.

        Calling it again before `create` starts over.

        Raises:
            InvalidError: not a name, not keys, or no such threshold.
            ConflictError: the account exists.
        """
        now = self._clock().replace(microsecond=0)
        role = _root_role(account, root_keys, threshold)
        settings = msgspec.json.encode(self._delivery().checked()).decode()

        def transaction(connection: Connection) -> list[Kept]:
            found = connection.execute(select(accounts).where(accounts.c.name == account)).first()
            if found is not None and found.active:
                raise ConflictError(
                    f"the account {account} exists already", hint="see: livepin account list"
                )
            dropped = key_rows.drop(connection, account)
            connection.execute(delete(accounts).where(accounts.c.name == account))
            connection.execute(
                insert(accounts).values(
                    name=account, created=now, last_version=0, active=False, delivery=settings
                )
            )
            for each in online:
                key_rows.add(connection, each, now=now)
            entry = entry_of(
                intent,
                account=SERVER,  # there is no such account yet, and may never be
                action="account.prepare",
                now=now,
                target=account,
                after={"root_keys": [*role.keys], "threshold": threshold},
            )
            self._audit.append(connection, entry)
            return dropped

        with self._custody.making(account, key_rows.ONLINE) as online:
            self._custody.forget(self._database.write(transaction))
        roles = {"root": role} | {each.label.role: each.role() for each in online}
        root = Root(
            account=account, version=1, issued=now, expires=now + ROOT_LIFETIME, roles=roles
        )
        return root.payload()

    def create(self, account: str, root_document: bytes, intent: Intent) -> Publication:
        """Take root 1 as signed, and publish the first config.

        Raises:
            InvalidError: not a root 1 of this account with the prepared keys.
            ConflictError: the account exists or was not prepared, or clients would refuse the
                root: it is not signed by the keys that it names.
        """
        now = self._clock()
        root = _parsed(root_document)
        require_time(root, now)

        def transaction(connection: Connection) -> Publication:
            self._require_prepared(connection, account, root)
            connection.execute(
                update(accounts).where(accounts.c.name == account).values(active=True)
            )
            connection.execute(insert(streams).values(account=account, name="main", created=now))
            connection.execute(
                insert(roots).values(
                    account=account,
                    version=1,
                    document=root_document,
                    expires=root.expires,
                    created=now,
                )
            )
            role = root.roles["root"]
            entry = entry_of(
                intent,
                account=account,
                action="account.create",
                now=now,
                target=account,
                after={"root_keys": [*role.keys], "threshold": role.threshold},
            )
            self._audit.append(connection, entry)
            why = structs.replace(intent, reason=intent.reason or f"account {account} created")
            return self._publisher.issue(connection, account, "main", [], why, now=now)

        publication = self._database.write(transaction)
        self._publisher.announce(publication)
        return publication

    def keep_root_key(self, key: NewKey, intent: Intent) -> None:
        """Keep a root key on the server: for trials, and flagged in every status."""
        now = self._clock()

        def transaction(connection: Connection) -> None:
            key_rows.add(connection, key, now=now)
            entry = entry_of(
                intent,
                account=key.label.account,
                action="root-key.keep",
                now=now,
                target=key.label.kid,
            )
            self._audit.append(connection, entry)

        self._database.write(transaction)

    def all(self) -> list[AccountView]:
        """Return the accounts that have a root."""
        now = self._clock()
        with self._database.reading() as connection:
            rows = connection.execute(
                select(accounts).where(accounts.c.active).order_by(accounts.c.name)
            ).all()
            online = set(connection.scalars(select(keys.c.account).where(keys.c.role == "root")))
            found = connection.execute(select(roots).order_by(roots.c.version)).all()
            named = connection.execute(select(streams).order_by(streams.c.name)).all()
        newest = {row.account: _expiry(row) for row in found}
        return [
            AccountView(
                name=row.name,
                root_version=newest[row.name].version,
                root_expires=newest[row.name].expires,
                root_online=row.name in online,
                streams=[each.name for each in named if each.account == row.name],
                created=row.created,
                warnings=root_warnings(newest[row.name], now, online=row.name in online),
            )
            for row in rows
        ]

    def unsigned(self) -> list[tuple[str, int]]:
        """Return the accounts for which the server cannot sign, each with its newest root.

        After a restore, when a newer root was found than the backup has keys of.
        """
        with self._database.reading() as connection:
            active = connection.scalars(select(accounts.c.name).where(accounts.c.active)).all()
            held = connection.execute(select(keys).where(keys.c.role == "config")).all()
            newest = {name: self._publisher.newest_root(connection, name) for name in active}
        kids = {(row.account, row.kid) for row in held}
        return [
            (name, root.version)
            for name, root in sorted(newest.items())
            if not any((name, kid) in kids for kid in root.roles["config"].keys)
        ]

    def _require_prepared(self, connection: Connection, account: str, root: Root) -> None:
        found = connection.execute(select(accounts).where(accounts.c.name == account)).first()
        if found is None:
            raise ConflictError(f"the account {account} was not prepared")
        if found.active:
            raise ConflictError(f"the account {account} exists already")
        if root.account != account or root.version != 1:
            raise InvalidError(
                f"expected root 1 of {account}, found root {root.version} of {root.account}"
            )
        held = key_rows.of_account(connection, account)
        for role in key_rows.ONLINE:
            if not {row.kid for row in held if row.role == role} <= root.roles[role].keys.keys():
                raise InvalidError(
                    f"the root does not name the prepared {role} key", hint="prepare, then sign"
                )


def _expiry(row: Row[Any]) -> Expiry:
    return Expiry(
        kind="root", account=row.account, stream="", version=row.version, issued=row.created,
        expires=row.expires,
    )  # fmt: skip


def _root_role(account: str, root_keys: list[dict[str, object]], threshold: int) -> Role:
    try:
        check_name(account, what="an account")
        offline = {key.kid: key for key in map(PublicKey.from_jwk, root_keys)}
        if not 1 <= threshold <= len(offline):
            raise MalformedError(f"expected a threshold of 1 to {len(offline)} root keys")
    except MalformedError as exc:
        raise InvalidError(str(exc), hint=exc.hint) from exc
    return Role(keys=offline, threshold=threshold)


def _parsed(root_document: bytes) -> Root:
    try:
        return Root.parse(parse_general(root_document, typ=TYP).payload)
    except (MalformedError, VerificationError) as exc:
        raise InvalidError(f"not a signed root: {exc}") from exc
