"""`TokenKeys`: the keys that sign tokens, each with its decoy, which is never published.

Of keys with one name the newest that has begun signs. A new one is published before it signs, and
the one before it until the last token that it signed has ended.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from livepin import tokens
from livepin.errors import MalformedError
from livepin.jose import PrivateKey
from livepin.tokens import Algorithm, SigningKey, TokenKey
from sqlalchemy import Connection, insert, select, update
from sqlalchemy.engine import Row

from livepin_server.bus.memory import Bus, TokensChanged
from livepin_server.custody.keeping import Custody
from livepin_server.custody.label import Label
from livepin_server.errors import ConflictError, CustodyError, InvalidError
from livepin_server.services import key_rows
from livepin_server.services.audit import Action, entry_of
from livepin_server.services.audit.log import Audit
from livepin_server.services.changes.domains import canonical
from livepin_server.services.model import Intent
from livepin_server.services.nearest import not_found
from livepin_server.services.publishing.published import require_account
from livepin_server.storage.database import Database
from livepin_server.storage.schema import token_keys

from .model import Alg, NewTokenKey, TokenKeyView

MAIN = "main"  # the key of domains that name no other
CACHED = timedelta(minutes=5)  # of the JWKS, at most
OVERLAP = 2 * CACHED  # from the publication of a key until it signs
OVERLAP_OF_SECRETS = timedelta(days=1)  # people bring them to the backend
LATE = timedelta(seconds=5)  # by which the clock of another server may be wrong
LONGEST_OVERLAP = timedelta(days=30)
_REST = tokens.LIFETIME + tokens.LEEWAY  # until the last token of a key has ended everywhere
_MOST = 100  # keys of an account
_MAKE: dict[str, Callable[[], Any]] = {
    "ES256": PrivateKey.generate,
    "EdDSA": Ed25519PrivateKey.generate,
    "HS256": lambda: secrets.token_bytes(tokens.SECRET),
}


class TokenKeys:
    """Makes, rotates, lists and opens the keys of tokens."""

    def __init__(
        self,
        database: Database,
        custody: Custody,
        bus: Bus,
        *,
        clock: Callable[[], datetime],
    ) -> None:
        self._database = database
        self._sealed = custody.sealed
        self._bus = bus
        self._clock = clock
        self._audit = Audit(database)

    def all(self, account: str) -> list[TokenKeyView]:
        """Return the keys of an account that sign, will sign, or still verify; by name and age."""
        now = self._clock()
        with self._database.reading() as connection:
            require_account(connection, account)
            return views(living(connection, account, now), now)

    def add(self, account: str, new: NewTokenKey, intent: Intent) -> TokenKeyView:
        """Make a key of a new name; it signs from now on.

        Raises:
            ConflictError: the name is taken. InvalidError: a secret without its one domain.
        """
        pattern = None if new.domain is None else canonical(new.domain)
        if (new.algorithm == "HS256") != (pattern is not None):
            raise InvalidError(
                "expected a domain for an HS256 key, and for no other",
                hint="a secret belongs to one domain: --alg HS256 --domain HOST",
            )

        def transaction(connection: Connection) -> TokenKeyView:
            now = self._clock()
            require_account(connection, account)
            if any(row.name == new.name for row in living(connection, account, now)):
                raise ConflictError(
                    f"there is a token key {new.name!r} already",
                    hint=f"livepin token-key rotate {new.name}",
                )
            made = self._make(connection, account, new.name, new.algorithm, pattern, now, now)
            self._tell(connection, "token-key.add", account, made, intent, now)
            return made

        made = self._database.write(transaction)
        self._bus.announce(TokensChanged(account=account))
        return made

    def ensure(self, account: str, intent: Intent) -> None:
        """Make the key of domains that name no other, if there is none."""
        now = self._clock()
        with self._database.reading() as connection:
            if any(row.name == MAIN for row in living(connection, account, now)):
                return
        try:
            self.add(account, NewTokenKey(name=MAIN), intent)
        except ConflictError:  # another process was first
            return

    def rotate(
        self, account: str, name: str, intent: Intent, *, overlap: timedelta | None = None
    ) -> TokenKeyView:
        """Make the next key of a name. It signs after `overlap`; with none at all, at once.

        Where it signs at once, the key of before verifies nothing any more: that is for a key
        that was stolen.

        Raises:
            NotFoundError: no such key. ConflictError: the next one waits already.
        """

        def transaction(connection: Connection) -> TokenKeyView:
            now = self._clock()
            require_account(connection, account)
            rows = living(connection, account, now)
            row = _newest(rows, name)
            after = _overlap(row, overlap)
            if row.signs_from > now and after:
                raise ConflictError(
                    f"the next token key {name!r} signs from {row.signs_from:%Y-%m-%d %H:%M} on",
                    hint="wait for it, or with --now make one that signs at once",
                )
            # At once also where the clock is late, on another server or at a backend.
            begins = now + after if after else now - LATE
            _end(connection, account, name, begins + _REST if after else begins)
            made = self._make(connection, account, name, row.algorithm, row.pattern, now, begins)
            self._tell(connection, "token-key.rotate", account, made, intent, now)
            return made

        made = self._database.write(transaction)
        self._bus.announce(TokensChanged(account=account))
        return made

    def secret(self, account: str, name: str, intent: Intent) -> tuple[TokenKeyView, bytes]:
        """Return the newest secret of a name, for the backend of its domain.

        Raises:
            NotFoundError: no such key. InvalidError: its private half stays here.
        """

        def transaction(connection: Connection) -> tuple[TokenKeyView, bytes]:
            now = self._clock()
            require_account(connection, account)
            row = _newest(living(connection, account, now), name)
            if row.algorithm != "HS256":
                raise InvalidError(
                    f"expected an HS256 key, found {row.algorithm}",
                    hint="backends verify by its public key: livepin token-key export",
                )
            (view,) = views([row], now)
            self._tell(connection, "token-key.export", account, view, intent, now)
            kept = key_rows.token_key(row)
            return view, self._sealed.open_secret(kept.data, kept.label)

        return self._database.write(transaction)

    def derive(self, purpose: bytes) -> bytes:
        """Return 32 bytes for a purpose; see `Sealed.derive`."""
        return self._sealed.derive(purpose)

    def open(self, row: Row[Any]) -> tuple[SigningKey, SigningKey]:
        """Return the key of a row and its decoy.

        Raises:
            CustodyError: one of them does not open.
        """
        found = []
        for kept in (key_rows.token_key(row), key_rows.decoy_key(row)):
            secret = self._sealed.open_secret(kept.data, kept.label)
            try:
                key = _opened(row.algorithm, secret)
            except (MalformedError, ValueError) as exc:
                raise CustodyError(f"the token key {row.kid} of {row.account} is damaged") from exc
            found.append(SigningKey(row.kid, Algorithm(row.algorithm), key))
        return found[0], found[1]

    def _make(
        self,
        connection: Connection,
        account: str,
        name: str,
        algorithm: Alg,
        pattern: str | None,
        now: datetime,
        signs_from: datetime,
    ) -> TokenKeyView:
        if len(living(connection, account, now)) >= _MOST:
            raise ConflictError(f"expected at most {_MOST} token keys in {account}")
        key, decoy = _MAKE[algorithm](), _MAKE[algorithm]()
        public = _public(algorithm, key)
        kid = secrets.token_urlsafe(16) if public is None else tokens.thumbprint(public)
        beside = key_rows.one_sealed(connection)
        sealed, decoyed = (
            self._sealed.keep_secret(_plain(each), Label(account, role, kid), beside=beside)
            for each, role in ((key, key_rows.TOKEN), (decoy, key_rows.DECOY))
        )
        values = {
            "account": account, "kid": kid, "name": name, "algorithm": algorithm,
            "pattern": pattern, "sealed": sealed, "decoy": decoyed, "created": now,
            "signs_from": signs_from, "verifies_until": None,
            "public": None if public is None else json.dumps({**public.jwk(), "kid": kid}),
        }  # fmt: skip
        connection.execute(insert(token_keys).values(**values))
        rows = living(connection, account, now)
        return next(each for each in views(rows, now) if each.kid == kid)

    def _tell(
        self,
        connection: Connection,
        action: Action,
        account: str,
        key: TokenKeyView,
        intent: Intent,
        now: datetime,
    ) -> None:
        after = {
            "kid": key.kid, "algorithm": key.algorithm, "domain": key.domain,
            "signs_from": key.signs_from,
        }  # fmt: skip
        entry = entry_of(
            intent, account=account, action=action, now=now, target=key.name, after=after
        )
        self._audit.append(connection, entry)
        if action != "token-key.export":
            self._bus.enclose(connection, TokensChanged(account=account))


def living(connection: Connection, account: str, now: datetime) -> list[Row[Any]]:
    """Return the rows of keys that sign, will sign, or verify; the newest of a name last."""
    query = (
        select(token_keys)
        .where(
            token_keys.c.account == account,
            token_keys.c.verifies_until.is_(None) | (token_keys.c.verifies_until > now),
        )
        .order_by(token_keys.c.name, token_keys.c.signs_from, token_keys.c.created)
    )
    return list(connection.execute(query).all())


def views(rows: list[Row[Any]], now: datetime) -> list[TokenKeyView]:
    """Return keys without their secrets; `rows` holds all of a name."""
    signing = {row.name: row.kid for row in rows if row.signs_from <= now}
    return [
        TokenKeyView(
            name=row.name,
            kid=row.kid,
            algorithm=row.algorithm,
            domain=row.pattern,
            created=row.created,
            signs_from=row.signs_from,
            verifies_until=row.verifies_until,
            jwk=public_jwk(row),
            signs=signing.get(row.name) == row.kid,
        )
        for row in rows
    ]


def _newest(rows: list[Row[Any]], name: str) -> Row[Any]:
    named = [row for row in rows if row.name == name]
    if not named:
        raise not_found("token key", name, {row.name for row in rows})
    return named[-1]


def _overlap(row: Row[Any], wanted: timedelta | None) -> timedelta:
    if wanted is None:
        return OVERLAP_OF_SECRETS if row.algorithm == "HS256" else OVERLAP
    if wanted and row.algorithm != "HS256" and wanted < OVERLAP:
        raise InvalidError(
            f"expected an overlap of at least {OVERLAP.seconds // 60} minutes, or none",
            hint="backends keep the JWKS for five minutes; --now is for a key that was stolen",
        )
    if wanted > LONGEST_OVERLAP:
        raise InvalidError(f"expected an overlap of at most {LONGEST_OVERLAP.days} days")
    return wanted


def _end(connection: Connection, account: str, name: str, moment: datetime) -> None:
    """Have the keys of a name verify nothing from a moment on."""
    of_name = (token_keys.c.account == account, token_keys.c.name == name)
    connection.execute(
        update(token_keys)
        .where(
            *of_name,
            token_keys.c.verifies_until.is_(None) | (token_keys.c.verifies_until > moment),
        )
        .values(verifies_until=moment)
    )


def _public(algorithm: Alg, key: PrivateKey | Ed25519PrivateKey | bytes) -> TokenKey | None:
    return None if algorithm == "HS256" else SigningKey("", Algorithm(algorithm), key).public()


def _plain(key: PrivateKey | Ed25519PrivateKey | bytes) -> bytes:
    if isinstance(key, bytes):
        return key
    return key.pkcs8() if isinstance(key, PrivateKey) else key.private_bytes_raw()


def _opened(algorithm: str, secret: bytes) -> PrivateKey | Ed25519PrivateKey | bytes:
    if algorithm == "ES256":
        return PrivateKey.from_pkcs8(secret)
    return Ed25519PrivateKey.from_private_bytes(secret) if algorithm == "EdDSA" else secret


def public_jwk(row: Row[Any]) -> dict[str, str] | None:
    """Return the public JWK of a row, or None of a secret."""
    return None if row.public is None else dict(json.loads(row.public))
