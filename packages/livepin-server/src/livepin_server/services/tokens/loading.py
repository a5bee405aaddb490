"""`Tokens`: what a server needs to answer token requests of an account, read from the database."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from livepin import tokens
from livepin.documents import Config
from livepin.documents.config import TYP
from livepin.documents.token_request import TokenRequest
from livepin.errors import MalformedError
from livepin.hostnames import normalise
from livepin.jose import PrivateKey, b64url_decode, parse_compact
from sqlalchemy import Connection
from sqlalchemy.engine import Row

from livepin_server.errors import InvalidError, NotFoundError
from livepin_server.services.appraisal.policies import newest
from livepin_server.services.apps.apps import Apps
from livepin_server.services.audit import entry_of
from livepin_server.services.audit.log import Audit
from livepin_server.services.model import Intent
from livepin_server.services.nearest import not_found
from livepin_server.services.publishing.published import Published
from livepin_server.storage.database import Database

from . import settings
from .checking import Checked, check
from .installations import decided, rule_of
from .issuing import Issuing, Pair, PublicKey, StreamConfig, Token
from .keys import TokenKeys, living, public_jwk
from .model import NewExample, Rule

_CHALLENGES = b"livepin-challenges"
_INTENT = Intent(author="livepin", reason="a domain asks for tokens")


class Tokens:
    """Reads what token requests are answered by, and opens the keys for it."""

    def __init__(
        self,
        database: Database,
        published: Published,
        keys: TokenKeys,
        apps: Apps,
        *,
        clock: Callable[[], datetime],
    ) -> None:
        self._database = database
        self._published = published
        self._keys = keys
        self._apps = apps
        self._clock = clock
        self._audit = Audit(database)

    def challenge_key(self) -> bytes:
        """Return what challenges are made with: the same on all servers of a master key."""
        return self._keys.derive(_CHALLENGES)

    def load(self, account: str) -> Issuing:
        """Return what tokens of an account are made of now; it makes the first key if need be.

        Raises:
            NotFoundError: no such account. CustodyError: a key does not open.
            UnavailableError: the database is not there.
        """
        streams = {
            name: _stream(found.raw)
            for name, found in self._published.documents(account).configs.items()
        }
        if any(each.token for found in streams.values() for each in found.config.domains):
            self._keys.ensure(account, _INTENT)
        overrides = self._published.overrides(account)
        first = self._published.delivery(account).urls[0].rstrip("/")
        with self._database.reading() as connection:
            of_account, of_domains = settings.read(connection, account)
            rows = living(connection, account, self._clock())
            policy = newest(connection, account)
            return Issuing(
                account=account,
                issuer=of_account.issuer or f"{first}/v1/{account}",
                streams=streams,
                keys=self._pairs(rows),
                published=tuple(_published(rows)),
                settings=of_domains,
                rules=self._rules(connection, account),
                policy=policy.policy,
                policy_version=policy.version,
                apps=self._apps.read(connection, account),
                overrides={name: each for name, each in overrides.items() if each is not None},
            )

    def check(self, account: str, token: str, bind: str | None) -> Checked:
        """Return what a token is: whether its backend takes it, and if not, why."""
        return check(self.load(account), token, bind, self._clock())

    def example(self, account: str, wanted: NewExample, intent: Intent) -> Token:
        """Return a token for a host, to try a backend with: a real one, or without `valid` a decoy.

        Raises:
            InvalidError: not a host. NotFoundError: no domain of the stream asks for tokens there.
        """
        host = _host(wanted.host)
        issuing = self.load(account)
        if wanted.stream not in issuing.streams:
            raise not_found("stream", wanted.stream, issuing.streams)
        now = self._clock()
        key = PrivateKey.generate()
        request = TokenRequest(
            account=account,
            app="example",
            key=key.public,
            challenge=None,
            stream=wanted.stream,
            root_version=1,
            config_version=1,
            hosts={host: None if wanted.bind is None else _digest(wanted.bind)},
        )
        if not wanted.valid:
            refused = Rule(
                verdict="fail",
                expires=None,
                reason=intent.reason,
                author=intent.author,
                created=now,
            )
            identity = tokens.installation_id(account, key.public.kid)
            issuing = replace(issuing, rules={identity: refused})
        found = (issuing.answer(request, "", now).tokens or {}).get(host)
        if found is None:
            raise NotFoundError(
                f"no domain of {wanted.stream} asks for tokens at {host}",
                hint=f"livepin domain set-token {host} on",
            )
        entry = entry_of(
            intent,
            account=account,
            action="tokens.example",
            now=now,
            target=host,
            after={"valid": wanted.valid},
        )
        self._audit.record(entry)
        return found

    def _pairs(self, rows: Sequence[Row[Any]]) -> dict[str, tuple[Pair, ...]]:
        return {
            name: tuple(Pair(row.signs_from, *self._keys.open(row), row.pattern) for row in found)
            for name, found in itertools.groupby(rows, key=lambda row: row.name)
        }

    def _rules(self, connection: Connection, account: str) -> dict[str, Rule]:
        now = self._clock()
        found = {name: rule_of(row, now) for name, row in decided(connection, account).items()}
        return {name: rule for name, rule in found.items() if rule is not None}


def _digest(text: str) -> bytes:
    try:
        return b64url_decode(text.encode())
    except MalformedError as exc:
        raise InvalidError(f"bind: {exc}", hint=exc.hint) from exc


def _host(text: str) -> str:
    try:
        return normalise(text)
    except MalformedError as exc:
        raise InvalidError(str(exc), hint=exc.hint) from exc


def _published(rows: Sequence[Row[Any]]) -> Iterator[PublicKey]:
    for row in rows:
        jwk = public_jwk(row)
        if jwk is not None:
            yield PublicKey(jwk, row.verifies_until)


def _stream(raw: bytes) -> StreamConfig:
    return StreamConfig(raw, Config.parse(parse_compact(raw, typ=TYP).payload))
