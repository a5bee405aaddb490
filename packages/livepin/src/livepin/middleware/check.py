"""What a backend does with a request before anything else: it takes a token, or refuses.

    check = TokenCheck(audience="api.example.com", jwks="https://pins.example.com/v1/acme/jwks.json")

That is all that a backend says; `asgi`, `wsgi` and `django` beside put it into a framework. What is
checked is in `spec/tokens.md`, What a backend does.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import wait
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from livepin import jsontext, tokens
from livepin.errors import ConfigurationError, LivepinError
from livepin.tokens import Claims, Reason, TokenError, TokenKey

from .keys import RETRY, TIMEOUT, FixedKeys, KeySource, RemoteKeys, Secrets
from .memory import SeenProofs, VerifiedTokens

_PATIENCE = TIMEOUT + 1  # seconds for which a request waits for keys
_FIELD = re.compile(r"[A-Za-z0-9-]{1,64}\Z")
_PATH = "/:@!$&'()*+,;=~"  # what RFC 3986, section 3.3, leaves as it is, beside letters and digits
# What is no fault of the client's, and may be over soon.
_OURS: frozenset[Reason] = frozenset({"no-keys", "full"})
_TITLES = {401: "Unauthorized", 503: "Service Unavailable"}

_log = logging.getLogger("livepin.middleware")


class RefusedError(LivepinError):
    """A request was refused; `status` is 401, or 503 where it is no fault of the client's.

    `reason` is one word, `kid` what the token says of its key ("" if nothing). Both are for logs,
    and neither is for the client.
    """

    def __init__(self, reason: Reason, kid: str) -> None:
        super().__init__(f"refused: {reason}")
        self.reason: Reason = reason
        self.kid = kid
        self.status = 503 if reason in _OURS else 401

    def headers(self) -> list[tuple[str, str]]:
        """Return the header fields of the answer."""
        found = [
            ("Content-Type", "application/problem+json"),
            ("Content-Length", str(len(self.body()))),
            ("Cache-Control", "no-store"),
        ]
        if self.status == 503:
            return [*found, ("Retry-After", f"{RETRY:.0f}")]
        return [*found, ("WWW-Authenticate", tokens.HEADER)]

    def body(self) -> bytes:
        """Return the body of the answer: a problem (RFC 9457) that says nothing of why."""
        return jsontext.dump({"title": self.title, "status": self.status})

    @property
    def title(self) -> str:
        """The words for the status."""
        return _TITLES[self.status]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is looked at of a request.

    `path` is percent-encoded, and has neither query nor fragment. `values` gives the value of each
    header field of a name, read as latin-1.
    """

    method: str
    path: str
    values: Callable[[str], Sequence[str]]


class TokenCheck:
    """Takes requests that carry a token for `audience`, and refuses others.

    Its keys are those of `jwks`: an https URL, the path of a file, or its bytes; or one `secret`
    for HS256, as base64, or several while it is changed. `credential` is for a JWKS that is for
    backends alone, `ca` is PEM with the only authorities of its server, None for the system's.

    `issuer` is who must have issued tokens, None for anybody with the keys. `header` is the field
    of the token. `bind` is a field whose exact value each token must be bound to. With `proof`, a
    DPoP proof (RFC 9449) must come with each request, for `origin` and its path; that is
    `https://` and the audience unless said otherwise. Requests to the paths in `exempt`, exactly,
    need nothing. `on_refused` is called with each refusal.

    Raises:
        ConfigurationError: something of that is not as described.
    """

    def __init__(
        self,
        *,
        audience: str,
        jwks: str | os.PathLike[str] | bytes | KeySource | None = None,
        secret: str | bytes | Sequence[str | bytes] | None = None,
        credential: str | None = None,
        ca: str | None = None,
        issuer: str | None = None,
        header: str = tokens.HEADER,
        bind: str | None = None,
        proof: bool = False,
        origin: str | None = None,
        exempt: Collection[str] = (),
        on_refused: Callable[[RefusedError], object] | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
    ) -> None:
        self._audience = _text("audience", audience)
        self._issuer = None if issuer is None else _text("issuer", issuer)
        self._header = _field("header", header)
        self._bind = None if bind is None else _field("bind", bind)
        self._keys = _keys(jwks, secret, credential, ca)
        self._proofs = SeenProofs() if _flag("proof", proof) else None
        self._origin = _origin(origin, audience)
        self._exempt = _paths(exempt)
        self._on_refused = on_refused
        self._clock = clock
        self._verified = VerifiedTokens()

    def is_exempt(self, path: str) -> bool:
        """Tell whether requests to this path, decoded, and as the app routes by, need no token."""
        return path in self._exempt

    def check(self, request: Request) -> Claims:
        """Return what the token of a request says; it may wait for keys.

        Raises:
            RefusedError: what to answer instead.
        """
        kid = ""
        try:
            token = self._one(request, self._header)
            kid = tokens.key_id(token)
            fetching = self._keys.fetching(kid)
            if fetching is not None:
                wait([fetching], timeout=_PATIENCE)
            return self._judged(request, token, kid)
        except TokenError as exc:
            raise self._refused(exc, kid) from exc

    async def acheck(self, request: Request) -> Claims:
        """Return what the token of a request says, without blocking the event loop; see `check`."""
        kid = ""
        try:
            token = self._one(request, self._header)
            kid = tokens.key_id(token)
            fetching = self._keys.fetching(kid)
            if fetching is not None:
                import asyncio  # late: backends with threads do without

                await asyncio.wait([asyncio.wrap_future(fetching)], timeout=_PATIENCE)
            return self._judged(request, token, kid)
        except TokenError as exc:
            raise self._refused(exc, kid) from exc

    def _judged(self, request: Request, token: str, kid: str) -> Claims:
        now = self._clock()
        claims = self._claims(token, kid, now)
        # These are of the request, so that no token is remembered to have passed them.
        if self._bind is not None:
            value = self._one(request, self._bind, absent="binding")
            tokens.check_binding(claims, value.encode("latin-1"))
        if self._proofs is not None:
            jti = tokens.verify_proof(
                self._one(request, tokens.PROOF_HEADER, absent="proof"),
                token=token,
                claims=claims,
                method=request.method,
                url=self._origin + request.path,
                now=now,
            )
            self._proofs.spend(jti, claims, now=now)
        return claims

    def _claims(self, token: str, kid: str, now: datetime) -> Claims:
        keys = self._keys.named(kid)
        claims = self._verified.get(token, keys, now=now)
        if claims is None:
            claims, key = self._verify(token, kid, keys, now)
            self._verified.put(token, claims, key)
        return claims

    def _verify(
        self, token: str, kid: str, keys: tuple[TokenKey, ...], now: datetime
    ) -> tuple[Claims, TokenKey]:
        refused = TokenError("unknown-key", "expected a key that is known")
        for key in keys:
            try:
                claims = tokens.verify(
                    token, {kid: key}, audience=self._audience, issuer=self._issuer, now=now
                )
            except TokenError as exc:
                if exc.reason != "signature":
                    raise
                refused = exc  # another secret may have signed it
            else:
                return claims, key
        raise refused

    def _one(self, request: Request, name: str, *, absent: Reason = "missing") -> str:
        # What reads the first of two fields here may stand before what reads the last.
        values = request.values(name)
        if len(values) > 1:
            raise TokenError("repeated", f"expected one field {name}, found {len(values)}")
        if not values:
            raise TokenError(absent, f"expected a field {name}")
        return values[0]

    def _refused(self, exc: TokenError, kid: str) -> RefusedError:
        found = RefusedError(exc.reason, kid)
        # Who sends a token chooses its kid.
        _log.info("refused: %s, kid %s", found.reason, ascii(kid[:80]))
        if self._on_refused is not None:
            self._on_refused(found)
        return found


def encoded(path: str | bytes) -> str:
    """Return a decoded path as it stands in a URL."""
    return quote(path, safe=_PATH)


def _keys(jwks: Any, secret: Any, credential: str | None, ca: str | None) -> KeySource:
    if (jwks is None) == (secret is None):
        raise ConfigurationError("expected jwks, or secret for HS256, and not both")
    if isinstance(jwks, str) and "://" in jwks:
        return RemoteKeys(jwks, credential=credential, ca=ca)
    if credential is not None or ca is not None:
        raise ConfigurationError("credential and ca are for a JWKS with a URL")
    if secret is not None:
        return Secrets(*([secret] if isinstance(secret, (str, bytes)) else secret))
    if isinstance(jwks, bytes):
        return FixedKeys(jwks)
    if isinstance(jwks, (str, os.PathLike)):
        return FixedKeys(_read(Path(jwks)))
    found: KeySource = jwks
    return found


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(tokens.MAX_JWKS + 1)
    except OSError as exc:
        raise ConfigurationError(f"the JWKS cannot be read: {exc}") from exc


def _text(name: str, value: object) -> str:
    if not isinstance(value, str) or not value or not value.isprintable():
        raise ConfigurationError(f"expected {name} as text")
    return value


def _field(name: str, value: object) -> str:
    if not isinstance(value, str) or not _FIELD.match(value):
        raise ConfigurationError(f"expected {name} as the name of a header field")
    return value


def _flag(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise ConfigurationError(f"expected {name} as True or False, found {value!r}")
    return value


def _origin(origin: str | None, audience: str) -> str:
    found = f"https://{audience}" if origin is None else origin
    parts = urlsplit(found)
    if origin is not None and (
        parts.scheme not in ("https", "http")
        or not parts.netloc
        or parts.query
        or parts.fragment
        or found.endswith("/")
    ):
        raise ConfigurationError(
            "expected origin as a URL without a closing slash, such as https://api.example.com"
        )
    return found


def _paths(exempt: Collection[str]) -> frozenset[str]:
    # Of a text, each character would be a path: "/" among them.
    if isinstance(exempt, str) or not all(str(each).startswith("/") for each in exempt):
        raise ConfigurationError('expected exempt as a list of paths, such as ["/healthz"]')
    return frozenset(exempt)


__all__ = ["RefusedError", "Request", "TokenCheck", "encoded"]
