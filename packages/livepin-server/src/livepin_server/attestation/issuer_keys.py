"""Keys of issuers of workload identity: read from a JWKS, which is given or fetched.

Fetching is the one thing in this package that does I/O. It is done by a thread of its own, over
https alone, without redirects, at most once in a minute, and never while a token is judged.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Protocol

from cryptography.hazmat.primitives.asymmetric import rsa
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey
from livepin import jsontext
from livepin.errors import MalformedError
from livepin.jose import b64url_decode
from livepin.middleware.keys import RemoteSet
from livepin.tokens import MAX_JWKS, TokenError

from .attested import EvidenceError

MAX_KEYS = 64
MAX_KID = 256  # characters

_RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_EC = {"P-256": ("ES256",), "P-384": ("ES384",), "P-521": ("ES512",)}
_RSA_BITS = range(2048, 8193)  # RFC 7518, section 3.3; above that a verification takes too long
_MAX_EXPONENT = 32  # bits
_USES = (None, "sig", "jwt-svid")  # the last is that of SPIFFE's trust bundles


@dataclass(frozen=True, slots=True)
class IssuerKey:
    """A public key, and the algorithms that it may be used with: its JWK says, or its type."""

    kid: str
    algorithms: tuple[str, ...]
    key: RSAKey | ECKey


class IssuerKeySource(Protocol):
    """Where the keys of an issuer come from."""

    def fetching(self, kid: str) -> Future[None] | None:
        """Return the fetch to wait for before a token of this `kid` is judged, None for none."""

    def named(self, kid: str) -> tuple[IssuerKey, ...]:
        """Return the key of this name, without waiting.

        Raises:
            EvidenceError: check `keys`: there are none at all.
        """


class GivenKeys:
    """The keys of a JWKS that stays as it is.

    Raises:
        MalformedError: it is none, or has no key that can be used.
    """

    def __init__(self, jwks: bytes) -> None:
        self._keys = parse(jwks)
        if not self._keys:
            raise MalformedError("expected a JWKS with an RSA or EC key that has a kid, found none")

    def fetching(self, kid: str) -> Future[None] | None:
        """Return None."""

    def named(self, kid: str) -> tuple[IssuerKey, ...]:
        """Return the key of this name."""
        key = self._keys.get(kid)
        return () if key is None else (key,)


class FetchedKeys(RemoteSet[IssuerKey]):
    """The keys of the JWKS at `url`; `ca` is PEM with the only trust anchors of its server.

    Raises:
        ConfigurationError: not an https URL, or no PEM.
    """

    def __init__(
        self, url: str, *, ca: str | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(url, parse, ca=ca, clock=clock)

    def named(self, kid: str) -> tuple[IssuerKey, ...]:
        """Return the key of this name, without waiting.

        Raises:
            EvidenceError: check `keys`: there are none at all.
        """
        try:
            return super().named(kid)
        except TokenError as exc:
            raise EvidenceError("keys", str(exc)) from exc


def parse(raw: bytes) -> dict[str, IssuerKey]:
    """Return the keys of a JWK Set that verify tokens, by `kid`; others are left out.

    Raises:
        MalformedError: no JWK Set, too large, or a `kid` that stands twice.
    """
    if len(raw) > MAX_JWKS:
        raise MalformedError(f"expected a JWK Set of at most {MAX_JWKS} bytes")
    jsontext.check_depth(raw)
    listed = jsontext.parse_object(raw).get("keys")
    if not isinstance(listed, list) or not all(isinstance(each, dict) for each in listed):
        raise MalformedError("expected a JWK Set with the member keys")
    if len(listed) > MAX_KEYS:
        raise MalformedError(f"expected at most {MAX_KEYS} keys, found {len(listed)}")
    found: dict[str, IssuerKey] = {}
    for key in filter(None, map(_key, listed)):
        if key.kid in found:
            raise MalformedError(f"expected each kid once, found {key.kid[:80]!r} twice")
        found[key.kid] = key
    return found


def _key(jwk: dict[str, Any]) -> IssuerKey | None:
    """Return the key of a JWK, None where it is none that verifies tokens."""
    kid, algorithm = jwk.get("kid"), jwk.get("alg")
    # A key without a name would be tried on every token.
    if not isinstance(kid, str) or not 0 < len(kid) <= MAX_KID or jwk.get("use") not in _USES:
        return None
    try:
        key = _imported(jwk)
    except (JoseError, MalformedError, AttributeError, KeyError, TypeError, ValueError):
        return None
    if key is None:
        return None
    fitting: tuple[str, ...] = _RSA if isinstance(key, RSAKey) else _EC[key.curve_name]
    if algorithm is not None:
        fitting = tuple(each for each in fitting if each == algorithm)
    return IssuerKey(kid, fitting, key) if fitting else None


def _imported(jwk: dict[str, Any]) -> RSAKey | ECKey | None:
    # Of these members alone: some issuers write others in ways that the library refuses.
    if jwk.get("kty") == "EC" and jwk.get("crv") in _EC:
        return ECKey.import_key({each: jwk[each] for each in ("kty", "crv", "x", "y")})
    if jwk.get("kty") != "RSA":
        return None
    n, e = (int.from_bytes(b64url_decode(jwk[each].encode()), "big") for each in ("n", "e"))
    if n.bit_length() not in _RSA_BITS or e.bit_length() > _MAX_EXPONENT:
        return None
    return RSAKey.import_key(rsa.RSAPublicNumbers(e, n).public_key())
