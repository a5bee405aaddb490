"""`Roots`: the next root of an account, from its payload to its publishing.

`prepare` says what root N+1 is to hold; whoever has root keys signs that, elsewhere; `publish`
checks the exact bytes as every client would, and publishes a config of every stream under it, all
in one transaction. Only where the root key is on the server, for trials, `sign` signs it here.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from hashlib import sha256

from livepin.documents import Role, Root
from livepin.documents.root import ROLES, TYP
from livepin.errors import MalformedError, VerificationError
from livepin.jose import PublicKey, parse_general, sign_general
from livepin.trust import CLOCK_TOLERANCE
from msgspec import structs
from sqlalchemy import Connection, insert, select

from livepin_server.ceremony import changes
from livepin_server.custody.keeping import Custody, NewKey
from livepin_server.custody.label import Kept
from livepin_server.errors import ConflictError, InvalidError
from livepin_server.storage.database import Database
from livepin_server.storage.schema import roots

from . import key_rows
from .audit import Action, entry_of
from .audit.log import Audit
from .expiry import LIFETIME, Expiry, root_warnings
from .model import Intent, NextRoot, Publication, RootKeyView, RootRoleView, RootView
from .nearest import not_found
from .overrides import rows as overrides
from .overrides.model import OverrideView
from .publishing.check import check_root
from .publishing.published import require_account
from .publishing.publisher import Publisher

ROOT_LIFETIME = timedelta(days=3 * 365)
_PREPARE = "make it anew: livepin root prepare"
_LONGER = timedelta(days=1)  # that a root with the same keys must add


class Roots:
    """Shows, prepares and publishes roots."""

    def __init__(
        self,
        database: Database,
        custody: Custody,
        publisher: Publisher,
        *,
        clock: Callable[[], datetime],
    ) -> None:
        self._audit = Audit(database)
        self._database = database
        self._custody = custody
        self._publisher = publisher
        self._clock = clock

    def show(self, account: str) -> RootView:
        """Return the newest root, and where its keys are.

        Raises:
            NotFoundError: no such account.
        """
        with self._database.reading() as connection:
            require_account(connection, account)
            _, raw = newest(connection, account)
            held = {r.kid: r.sealed for r in key_rows.of_account(connection, account)}
        payload = parse_general(raw, typ=TYP).payload
        root = Root.parse(payload)
        where = {kid: self._custody.where(kept) for kid, kept in held.items()}
        named = {kid for role in root.roles.values() for kid in role.keys}
        online = bool(held.keys() & root.roles["root"].keys.keys())
        return RootView(
            account=account,
            version=root.version,
            issued=root.issued,
            expires=root.expires,
            sha256=sha256(payload).hexdigest(),
            roles={name: _role_view(root.roles[name], where) for name in ROLES},
            prepared=sorted(held.keys() - named),
            online=online,
            warnings=root_warnings(_expiry(root), self._clock(), online=online),
        )

    def prepare(self, account: str, wanted: NextRoot, intent: Intent) -> tuple[bytes, bytes]:
        """Return the payload of the next root, to be signed, and the root before it as signed.

        New keys of the server are made and kept at once, and are in force once the root is
        published. Those of an earlier time that no root names are dropped.

        Raises:
            NotFoundError: no such account, or root key to remove.
            InvalidError: what is to be added is no key, or the root would be none.
            ConflictError: it would change nothing.
        """
        now = self._clock().replace(microsecond=0)

        def transaction(connection: Connection) -> tuple[Root, bytes, list[Kept]]:
            require_account(connection, account)
            before, raw = newest(connection, account)
            after = _next(before, wanted, online, now)
            _require_change(before, after)
            named = [kid for role in before.roles.values() for kid in role.keys]
            dropped = key_rows.drop(connection, account, but=named)
            for each in online:
                key_rows.add(connection, each, now=now)
            self._tell(connection, "root.prepare", before, after, intent, now)
            return after, raw, dropped

        roles = key_rows.ONLINE if wanted.replace_online else ()
        with self._custody.making(account, roles) as online:
            after, raw, dropped = self._database.write(transaction)
        self._custody.forget(dropped)
        return after.payload(), raw

    def sign(self, account: str, payload: bytes, intent: Intent) -> bytes:
        """Return the next root as signed by the root keys that are on the server.

        Raises:
            ConflictError: no root key of the account is here, or it is not the next root.
            InvalidError: it is no root, or one that would not be published.
        """
        now = self._clock()

        def transaction(connection: Connection) -> bytes:
            require_account(connection, account)
            before, _ = newest(connection, account)
            after = self._acceptable(connection, before, payload, now)
            named = before.roles["root"].keys | after.roles["root"].keys
            found = [
                self._custody.open(row.sealed, key_rows.label(row))
                for row in key_rows.of_account(connection, account)
                if row.role == "root" and row.kid in named
            ]
            if not found:
                raise ConflictError(
                    f"no root key of {account} is on the server",
                    hint="sign where the root key is: livepin root sign FILE --key FILE",
                )
            self._tell(connection, "root.sign", before, after, intent, now)
            return sign_general(payload, typ=TYP, signers=found)

        return self._database.write(transaction)

    def publish(self, account: str, document: bytes, intent: Intent) -> list[Publication]:
        """Take the next root as signed, and publish a config of every stream under it.

        The keys of the server that it does not name are dropped.

        Raises:
            InvalidError: it is no root, or not one of the account.
            ConflictError: it is not the next one, clients would refuse it, or the server could
                not sign under it.
        """
        now = self._clock()
        payload = _payload(document)

        def transaction(connection: Connection) -> tuple[list[Publication], list[Kept]]:
            streams = require_account(connection, account)
            before, _ = newest(connection, account)
            after = self._acceptable(connection, before, payload, now)
            ended = overrides.in_force(connection, account, now)
            check_root(connection, account, document)
            connection.execute(
                insert(roots).values(
                    account=account,
                    version=after.version,
                    document=document,
                    expires=after.expires,
                    created=now,
                )
            )
            self._tell(connection, "root.publish", before, after, intent, now)
            lines = changes.lines(before, after)
            done = [
                self._publisher.issue(connection, account, stream, lines, intent, now=now)
                for stream in streams
            ]
            warnings = [*done[0].warnings, *map(_ended, ended)]
            done[0] = structs.replace(done[0], warnings=warnings)
            named = [kid for role in after.roles.values() for kid in role.keys]
            return done, key_rows.drop(connection, account, but=named)

        done, dropped = self._database.write(transaction)
        for each in done:
            self._publisher.announce(each)
        self._custody.forget(dropped)
        return done

    def _tell(
        self,
        connection: Connection,
        action: Action,
        before: Root,
        after: Root,
        intent: Intent,
        now: datetime,
    ) -> None:
        """Tell the audit log of the next root, by its payload's SHA-256."""
        said = {
            "version": after.version,
            "sha256": sha256(after.payload()).hexdigest(),
            "expires": after.expires,
            "changed": changes.lines(before, after),
        }
        entry = entry_of(
            intent,
            account=before.account,
            action=action,
            now=now,
            target=str(after.version),
            before={"version": before.version},
            after=said,
        )
        self._audit.append(connection, entry)

    def _acceptable(
        self, connection: Connection, before: Root, payload: bytes, now: datetime
    ) -> Root:
        """Return the next root; what no client would refuse, but nobody can want, is refused."""
        after = root_of(payload)
        account = before.account
        if after.account != account:
            raise InvalidError(
                f"expected a root of {account}, found one of {after.account}",
                hint=f"for that account: --account {after.account}",
            )
        if after.version != before.version + 1:
            what = "is published already" if after.version <= before.version else "is not the next"
            raise ConflictError(
                f"root {after.version} of {account} {what}: the newest is root {before.version}",
                hint=_PREPARE,
            )
        for kid, was, becomes in changes.moved(before, after):
            raise InvalidError(
                f"the key {kid} was a {was} key and would become a {becomes} key",
                hint="a key has one role for life: make a new one",
            )
        _require_change(before, after)
        require_time(after, now)
        for role in key_rows.ONLINE:
            if key_rows.signer(connection, self._custody, account, role, after) is None:
                raise ConflictError(
                    f"the server holds no {role} key that root {after.version} of {account} "
                    "names: it could sign nothing",
                    hint=_PREPARE,
                )
        return after


def newest(connection: Connection, account: str) -> tuple[Root, bytes]:
    """Return the newest root of an account, and its bytes as signed."""
    raw = connection.scalars(
        select(roots.c.document)
        .where(roots.c.account == account)
        .order_by(roots.c.version.desc())
        .limit(1)
    ).one()
    return root_of(parse_general(raw, typ=TYP).payload), raw


def root_of(payload: bytes) -> Root:
    """Return the root in a payload.

    Raises:
        InvalidError: it is none.
    """
    try:
        return Root.parse(payload)
    except VerificationError as exc:
        raise InvalidError(f"not a root: {exc}", hint=_PREPARE) from exc


def require_time(root: Root, now: datetime) -> None:
    """Refuse a root that is over before its configs are, or begins when nobody knows.

    Raises:
        InvalidError: it has expired, expires too soon, or is of the future.
    """
    what = f"root {root.version} of {root.account}"
    if root.expires <= now:
        raise InvalidError(f"{what} expired on {root.expires:%Y-%m-%d}", hint=_PREPARE)
    if root.expires - now < LIFETIME:
        raise InvalidError(
            f"{what} expires on {root.expires:%Y-%m-%d}, before the configs under it",
            hint=_PREPARE,
        )
    if root.issued - now > CLOCK_TOLERANCE:
        # Clients would take that for the time of day, and what they have for stale (rule 8).
        raise InvalidError(
            f"{what} was made on {root.issued:%Y-%m-%d}, which is in the future",
            hint="is the clock of the server right?",
        )


def _require_change(before: Root, after: Root) -> None:
    same = all(before.roles[role].keys.keys() == after.roles[role].keys.keys() for role in ROLES)
    thresholds = before.roles["root"].threshold == after.roles["root"].threshold
    if same and thresholds and after.expires - before.expires < _LONGER:
        raise ConflictError(
            f"root {after.version} of {after.account} would change nothing: the same keys, "
            "and no day longer",
            hint="new keys of the server: --replace-online; or --add-key, --remove-key, --days",
        )


def _next(before: Root, wanted: NextRoot, online: list[NewKey], now: datetime) -> Root:
    roles = before.roles | {each.label.role: each.role() for each in online}
    roles["root"] = _root_role(before, wanted)
    after = Root(
        account=before.account,
        version=before.version + 1,
        issued=now,
        expires=now + timedelta(days=wanted.days),
        roles=roles,
    )
    return root_of(after.payload())


def _root_role(before: Root, wanted: NextRoot) -> Role:
    role = before.roles["root"]
    found = dict(role.keys)
    for kid in wanted.remove_keys:
        if kid not in found:
            raise not_found("root key", kid, found)
        del found[kid]
    for jwk in wanted.add_keys:
        try:
            key = PublicKey.from_jwk(jwk)
        except MalformedError as exc:
            raise InvalidError(str(exc), hint="livepin root new-key makes one") from exc
        if key.kid in found:
            raise ConflictError(f"the key {key.kid} is a root key of {before.account} already")
        found[key.kid] = key
    threshold = role.threshold if wanted.threshold is None else wanted.threshold
    if not 1 <= threshold <= len(found):
        raise InvalidError(
            f"expected a threshold of 1 to {len(found)}, for so many root keys there would be; "
            f"found {threshold}",
            hint="--threshold N",
        )
    return Role(keys=found, threshold=threshold)


def _ended(found: OverrideView) -> str:
    return (
        f"the override {found.version} of the installation {found.installation} ends with the root "
        "before: who still needs one makes it anew"
    )


def _role_view(role: Role, where: dict[str, str]) -> RootRoleView:
    found = [RootKeyView(kid=kid, held=where.get(kid)) for kid in role.keys]
    return RootRoleView(threshold=role.threshold, keys=found)


def _expiry(root: Root) -> Expiry:
    return Expiry(
        kind="root", account=root.account, stream="", version=root.version, issued=root.issued,
        expires=root.expires,
    )  # fmt: skip


def _payload(document: bytes) -> bytes:
    try:
        return parse_general(document, typ=TYP).payload
    except MalformedError as exc:
        raise InvalidError(f"not a signed root: {exc}") from exc
