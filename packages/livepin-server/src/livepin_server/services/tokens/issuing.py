"""Answers to token requests: which tokens, signed by which key. Reads no clock and no database.

Everything that an answer depends on is in an `Issuing`, made anew whenever any of it changes.
Installations that do not pass get decoys by the same steps (`spec/tokens.md`, Decoys).
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from livepin import jsontext, tokens
from livepin.documents import Config
from livepin.documents.token_request import TokenRequest
from livepin.jose import b64url_encode
from livepin.tokens import Algorithm, Claims, SigningKey
from msgspec import Struct

from livepin_server.attestation.appraisal import UNASKED, Appraisal
from livepin_server.attestation.policy import DEFAULT, Policy
from livepin_server.attestation.registered import Registered
from livepin_server.services.model import OverrideDocument

from .model import DomainTokens, Rule

MAX_INLINE = 64 * 1024  # bytes of a config that comes along
_APPROOV_HEADER = b64url_encode(b'{"alg":"HS256","typ":"JWT"}')
_ORDINARY = DomainTokens()


class Token(Struct, frozen=True, kw_only=True):
    """A token, the field that carries it, and the seconds that it lives."""

    header: str
    token: str
    lives: int


class Newest(Struct, frozen=True, kw_only=True):
    """The newest config of a stream."""

    root_version: int
    version: int


class Answer(Struct, frozen=True, kw_only=True):
    """What a token request gets; `tokens` is None where its challenge was not good."""

    challenge: str
    tokens: dict[str, Token] | None
    newest: Newest
    config: str | None
    override: str | None


@dataclass(frozen=True, slots=True)
class Pair:
    """A key that signs tokens from a moment on, and its decoy; a secret, for one pattern alone."""

    signs_from: datetime
    key: SigningKey
    decoy: SigningKey
    pattern: str | None = None


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key that verifies tokens, as JWK, and until when."""

    jwk: Mapping[str, str]
    until: datetime | None


@dataclass(frozen=True, slots=True)
class StreamConfig:
    """The newest config of a stream, as it came and as it is read."""

    raw: bytes
    config: Config

    @property
    def newest(self) -> Newest:
        """Its versions."""
        return Newest(root_version=self.config.root_version, version=self.config.version)


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuing:
    """What tokens of one account are made of, at a time.

    `keys` are by name, the newest last; `settings` by pattern, `rules` by installation, `apps` by
    the name that requests name; `overrides` by thumbprint: they come along, and change nothing of
    tokens.
    """

    account: str
    issuer: str
    streams: Mapping[str, StreamConfig]
    keys: Mapping[str, tuple[Pair, ...]]
    published: tuple[PublicKey, ...]
    settings: Mapping[str, DomainTokens]
    rules: Mapping[str, Rule]
    overrides: Mapping[str, OverrideDocument]
    policy: Policy = DEFAULT
    policy_version: int = 0
    apps: Mapping[str, Registered] = field(default_factory=dict)

    def answer(
        self,
        request: TokenRequest,
        challenge: str,
        now: datetime,
        appraisal: Appraisal = UNASKED,
    ) -> Answer:
        """Return the answer to a request, of a stream that there is, whose challenge was good."""
        stream = self.streams[request.stream]
        installation = tokens.installation_id(self.account, request.key.kid)
        passes = self._passes(installation, now, appraisal)
        found: dict[str, Token] = {}
        for host, bound in request.hosts.items():
            token = self._token(stream.config, request, installation, host, bound, now, passes)
            if token is not None:
                found[host] = token
        return Answer(
            challenge=challenge,
            tokens=found,
            newest=stream.newest,
            config=_inline(stream, request),
            override=self._override(request.key.kid, now),
        )

    def challenged(self, request: TokenRequest, challenge: str) -> Answer:
        """Return the answer to a request whose challenge was not good."""
        newest = self.streams[request.stream].newest
        return Answer(challenge=challenge, tokens=None, newest=newest, config=None, override=None)

    def jwks(self, now: datetime, *, restricted: bool) -> bytes:
        """Return the JWK Set; with `restricted` also the keys that are for backends only."""
        algorithms = ("ES256", "EdDSA") if restricted else ("ES256",)
        return jsontext.dump(
            {
                "keys": [
                    dict(each.jwk)
                    for each in self.published
                    if each.jwk["alg"] in algorithms and (each.until is None or now < each.until)
                ]
            }
        )

    def _override(self, thumbprint: str, now: datetime) -> str | None:
        found = self.overrides.get(thumbprint)
        return found.raw.decode("ascii") if found is not None and now < found.until else None

    def _passes(self, installation: str, now: datetime, appraisal: Appraisal) -> bool:
        """Tell whether tokens are genuine: what an operator decided goes before any verdict."""
        rule = self.rules.get(installation)
        if rule is None or (rule.expires is not None and rule.expires <= now):
            return appraisal.passes
        return rule.verdict == "pass"

    def _token(
        self,
        config: Config,
        request: TokenRequest,
        installation: str,
        host: str,
        bound: bytes | None,
        now: datetime,
        passes: bool,
    ) -> Token | None:
        domain = config.lookup(host)
        if domain is None or not domain.token:
            return None
        settings = self.settings.get(domain.pattern, _ORDINARY)
        pair = self._pair(settings.key, now)
        if pair is None or pair.pattern not in (None, domain.pattern):
            return None
        key = pair.key if passes else pair.decoy
        issued = now - tokens.EARLY
        claims = Claims(
            issuer=settings.issuer or self.issuer,
            app=request.app,
            audience=settings.audience or host,
            issued=issued,
            expires=issued + timedelta(seconds=settings.lives),
            id=b64url_encode(secrets.token_bytes(16)).decode(),
            installation=installation,
            thumbprint=request.key.kid,
            config_version=config.version,
            binding=None if bound is None else b64url_encode(bound).decode(),
        )
        lives = settings.lives - int(tokens.EARLY.total_seconds())
        if settings.profile == "approov" and key.algorithm is Algorithm.HS256:
            text = _approov(claims, bound, key)
            return Token(header="Approov-Token", token=text, lives=lives)
        return Token(header=tokens.HEADER, token=tokens.issue(claims, key), lives=lives)

    def _pair(self, name: str, now: datetime) -> Pair | None:
        found = self.keys.get(name, ())
        begun = [each for each in found if each.signs_from <= now]
        # Of a key that is all there is, the clock of another server said so.
        return next(iter(begun[-1:] or found[:1]), None)


def _inline(stream: StreamConfig, request: TokenRequest) -> str | None:
    """Return the config to come along, if it is above the one held and not too large."""
    held = (request.root_version, request.config_version)
    newest = (stream.config.root_version, stream.config.version)
    if newest <= held or len(stream.raw) > MAX_INLINE:
        return None
    return stream.raw.decode("ascii")


def _approov(claims: Claims, bound: bytes | None, key: SigningKey) -> str:
    """Return a token with the claims that Approov's backend quickstarts check."""
    pay = {} if bound is None else {"pay": base64.b64encode(bound).decode()}
    payload = jsontext.dump(
        {
            "exp": int(claims.expires.timestamp()),
            "did": base64.b64encode(claims.installation[:16].encode()).decode(),
            **pay,
        }
    )
    signing_input = _APPROOV_HEADER + b"." + b64url_encode(payload)
    return (signing_input + b"." + b64url_encode(key.sign(signing_input))).decode()
