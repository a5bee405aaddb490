"""Accounts: an owner's keys, roots, streams. Its root key never comes here unless told to.

`prepare` makes the online keys and says what root 1 is to hold; whoever has the root key signs
that; `create` takes the signed root and publishes the first, empty config.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import msgspec
from livepin.documents import Role, Root
from livepin.documents.members import name as check_name
from livepin.documents.root import TYP
from livepin.errors import MalformedError, VerificationError
from livepin.jose import PrivateKey, PublicKey, parse_general
from msgspec import structs
from sqlalchemy import Connection, delete, insert, select, update

from livepin_server.custody.sealed import Label, Vault
from livepin_server.errors import ConflictError, InvalidError
from livepin_server.storage.database import Database
from livepin_server.storage.schema import accounts, keys, roots, streams

from .audit import SERVER, entry_of
from .audit.log import Audit
from .delivery_settings import DeliverySettings
from .model import AccountView, Intent, Publication
from .publishing.publisher import Publisher

ROOT_LIFETIME = timedelta(days=3 * 365)
_ONLINE = ("config", "override")


class Accounts:
    """Makes and lists accounts. `delivery` gives the settings that a new account starts with."""

    def __init__(
        self,
        database: Database,
        vault: Vault,
        publisher: Publisher,
        *,
        clock: Callable[[], datetime],
        delivery: Callable[[], DeliverySettings],
    ) -> None:
        self._database = database
        self._vault = vault
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
        online = {role: PrivateKey.generate() for role in _ONLINE}
        root = self._root(account, root_keys, threshold, online, now)
        settings = msgspec.json.encode(self._delivery().checked()).decode()

        def transaction(connection: Connection) -> None:
            found = connection.execute(select(accounts).where(accounts.c.name == account)).first()
            if found is not None and found.active:
                raise ConflictError(
                    f"the account {account} exists already", hint="see: livepin account list"
                )
            connection.execute(delete(keys).where(keys.c.account == account))
            connection.execute(delete(accounts).where(accounts.c.name == account))
            connection.execute(
                insert(accounts).values(
                    name=account, created=now, last_version=0, active=False, delivery=settings
                )
            )
            for role, key in online.items():
                self._keep(connection, account, role, key, now)
            entry = entry_of(
                intent,
                account=SERVER,  # there is no such account yet, and may never be
                action="account.prepare",
                now=now,
                target=account,
                after={"root_keys": [*root.roles["root"].keys], "threshold": threshold},
            )
            self._audit.append(connection, entry)

        self._database.write(transaction)
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

    def keep_root_key(self, account: str, key: PrivateKey, intent: Intent) -> None:
        """Keep a root key on the server, sealed: for trials, and flagged in every status."""
        now = self._clock()

        def transaction(connection: Connection) -> None:
            self._keep(connection, account, "root", key, now)
            entry = entry_of(
                intent, account=account, action="root-key.keep", now=now, target=key.public.kid
            )
            self._audit.append(connection, entry)

        self._database.write(transaction)

    def all(self) -> list[AccountView]:
        """Return the accounts that have a root."""
        with self._database.reading() as connection:
            rows = connection.execute(
                select(accounts).where(accounts.c.active).order_by(accounts.c.name)
            ).all()
            online = set(connection.scalars(select(keys.c.account).where(keys.c.role == "root")))
            found = connection.execute(select(roots).order_by(roots.c.version)).all()
            named = connection.execute(select(streams).order_by(streams.c.name)).all()
        newest = {row.account: row for row in found}
        return [
            AccountView(
                name=row.name,
                root_version=newest[row.name].version,
                root_expires=newest[row.name].expires,
                root_online=row.name in online,
                streams=[each.name for each in named if each.account == row.name],
                created=row.created,
            )
            for row in rows
        ]

    def _root(
        self,
        account: str,
        root_keys: list[dict[str, object]],
        threshold: int,
        online: dict[str, PrivateKey],
        now: datetime,
    ) -> Root:
        try:
            check_name(account, what="an account")
            offline = [PublicKey.from_jwk(each) for each in root_keys]
            if not 1 <= threshold <= len({key.kid for key in offline}):
                raise MalformedError(f"expected a threshold of 1 to {len(offline)} root keys")
            roles = {"root": Role(keys={k.kid: k for k in offline}, threshold=threshold)}
        except MalformedError as exc:
            raise InvalidError(str(exc), hint=exc.hint) from exc
        for role, key in online.items():
            roles[role] = Role(keys={key.public.kid: key.public})
        return Root(
            account=account, version=1, issued=now, expires=now + ROOT_LIFETIME, roles=roles
        )

    def _keep(
        self, connection: Connection, account: str, role: str, key: PrivateKey, now: datetime
    ) -> None:
        kid = key.public.kid
        sealed = self._vault.seal(key, Label(account, role, kid))
        connection.execute(
            insert(keys).values(kid=kid, account=account, role=role, sealed=sealed, created=now)
        )

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
        held = connection.execute(select(keys).where(keys.c.account == account)).all()
        for role in _ONLINE:
            if not {row.kid for row in held if row.role == role} <= root.roles[role].keys.keys():
                raise InvalidError(
                    f"the root does not name the prepared {role} key", hint="prepare, then sign"
                )


def _parsed(root_document: bytes) -> Root:
    try:
        return Root.parse(parse_general(root_document, typ=TYP).payload)
    except (MalformedError, VerificationError) as exc:
        raise InvalidError(f"not a signed root: {exc}") from exc
