"""Tokens: short-lived JWTs that only app installations get, and how a backend checks one.

    claims = tokens.verify(text, keys, audience="api.example.com", now=now)

`keys` is what `parse_jwks` read, or `{kid: TokenKey.from_secret(...)}`. The key fixes the
algorithm; nothing that a token says of itself is believed before its signature is verified. The
format is described in `spec/tokens.md`.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from enum import Enum
from functools import lru_cache
from hashlib import sha256
from typing import Any, Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from . import jsontext
from .errors import LivepinError, MalformedError
from .jose import PrivateKey, PublicKey, Signer, b64url_decode, b64url_encode

HEADER = "Livepin-Token"  # the field of a request
PROOF_HEADER = "DPoP"  # the field of a proof (RFC 9449, section 4)
LIFETIME = timedelta(seconds=300)  # at most
EARLY = timedelta(seconds=5)  # by which issue is set back, for backends whose clock is late
LEEWAY = timedelta(seconds=10)  # of a backend's clock
MAX_SIZE = 8192  # characters
PROOF_AGE = timedelta(seconds=60)  # of a DPoP proof, at most
SECRET = 64  # bytes of an HS256 secret that Livepin makes
MIN_SECRET = 32  # bytes (RFC 7518, section 3.2)
MAX_JWKS = 256 * 1024  # bytes

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_LATEST = 253_402_300_799  # 9999-12-31T23:59:59Z
_LAST_YEAR = 9999  # what is added to a time in it may be none
_PROOF_TYPE = "dpop+jwt"
_DID = 22  # characters: 132 bits

Reason = Literal[
    "malformed", "unknown-key", "signature", "expired", "early", "audience", "issuer", "binding",
    "proof",
    # What `middleware` adds: of the header field, of proofs, and of the backend itself.
    "missing", "repeated", "replayed", "full", "no-keys",
]  # fmt: skip


class TokenError(LivepinError):
    """A token was refused; `reason` is one word for logs. Clients are told 401, and not why."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason: Reason = reason


class Algorithm(str, Enum):
    """What signs tokens; each key is for one of them (RFC 7518, RFC 8037)."""

    ES256 = "ES256"
    EDDSA = "EdDSA"
    HS256 = "HS256"


@dataclass(frozen=True, slots=True)
class TokenKey:
    """A key that verifies tokens, and the one algorithm that it is for."""

    kid: str
    algorithm: Algorithm
    key: PublicKey | Ed25519PublicKey | bytes

    @classmethod
    def from_secret(cls, secret: str | bytes, *, kid: str = "") -> TokenKey:
        """Return the key of an HS256 secret: bytes, or base64 or base64url as text.

        Raises:
            MalformedError: another text, or less than 32 bytes.
        """
        raw = secret if isinstance(secret, bytes) else _secret_bytes(secret)
        if len(raw) < MIN_SECRET:
            raise MalformedError(f"expected a secret of at least {MIN_SECRET} bytes")
        return cls(kid, Algorithm.HS256, raw)

    @classmethod
    def from_jwk(cls, jwk: Mapping[str, Any]) -> TokenKey | None:
        """Return the key of a public JWK, or None where it is for something else.

        Raises:
            MalformedError: a P-256 or Ed25519 key that is damaged.
        """
        kid, kind = jwk.get("kid"), (jwk.get("kty"), jwk.get("crv"))
        algorithm = next((found for of, found in _ALGORITHMS.items() if of == kind), None)
        if not isinstance(kid, str) or algorithm is None:
            return None
        if jwk.get("alg", algorithm.value) != algorithm.value or jwk.get("use", "sig") != "sig":
            return None
        if algorithm is Algorithm.ES256:
            return cls(kid, algorithm, PublicKey.from_jwk(dict(jwk)))
        return cls(kid, algorithm, _ed25519(jwk.get("x")))

    def jwk(self) -> dict[str, str]:
        """Return the public JWK.

        Raises:
            MalformedError: of a secret there is none.
        """
        if isinstance(self.key, bytes):
            raise MalformedError("expected a public key, found a secret")
        parts = self.key.jwk() if isinstance(self.key, PublicKey) else _okp(self.key)
        return {**parts, "kid": self.kid, "alg": self.algorithm.value, "use": "sig"}

    def verifies(self, signature: bytes, data: bytes) -> bool:
        """Tell whether `signature` is this key's on `data`."""
        if isinstance(self.key, bytes):
            return hmac.compare_digest(hmac.digest(self.key, data, "sha256"), signature)
        if isinstance(self.key, PublicKey):
            return self.key.verifies(signature, data)
        try:
            self.key.verify(signature, data)
        except InvalidSignature:
            return False
        return True

    def __repr__(self) -> str:
        return f"TokenKey({self.kid}, {self.algorithm.value})"


_ALGORITHMS: Mapping[tuple[object, object], Algorithm] = {
    ("EC", "P-256"): Algorithm.ES256,
    ("OKP", "Ed25519"): Algorithm.EDDSA,
}


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key that signs tokens. It never prints itself.

    A decoy has the `kid` of the key whose place it takes, and another `key`.
    """

    kid: str
    algorithm: Algorithm
    key: PrivateKey | Ed25519PrivateKey | bytes

    def sign(self, data: bytes) -> bytes:
        """Return the signature on `data`."""
        if isinstance(self.key, bytes):
            return hmac.digest(self.key, data, "sha256")
        return self.key.sign(data)

    def public(self) -> TokenKey:
        """Return what verifies: for HS256 the same secret."""
        if isinstance(self.key, bytes):
            return TokenKey(self.kid, self.algorithm, self.key)
        if isinstance(self.key, PrivateKey):
            return TokenKey(self.kid, self.algorithm, self.key.public)
        return TokenKey(self.kid, self.algorithm, self.key.public_key())

    def __repr__(self) -> str:
        return f"SigningKey({self.kid}, {self.algorithm.value})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """What a token says (`spec/tokens.md`, Tokens).

    `binding` is None where it is bound to nothing. Who issues sets `issued` back by `EARLY`.
    """

    issuer: str
    app: str
    audience: str
    issued: datetime
    expires: datetime
    id: str
    installation: str
    thumbprint: str
    config_version: int
    binding: str | None = None

    def payload(self) -> bytes:
        """Return the payload to be signed."""
        issued = _seconds(self.issued)
        pay = {} if self.binding is None else {"pay": self.binding}
        return jsontext.dump(
            {
                "iss": self.issuer,
                "sub": self.app,
                "aud": self.audience,
                "iat": issued,
                "nbf": issued,
                "exp": _seconds(self.expires),
                "jti": self.id,
                "did": self.installation,
                "cnf": {"jkt": self.thumbprint},
                "pv": self.config_version,
                **pay,
            }
        )


def installation_id(account: str, thumbprint: str) -> str:
    """Return the id of an installation, 22 characters of base64url, another in each account."""
    data = b"\x00".join((b"livepin-installation", account.encode(), thumbprint.encode()))
    return b64url_encode(sha256(data).digest()).decode()[:_DID]


def binding(data: bytes) -> str:
    """Return what a token says of the bytes that it is bound to."""
    return b64url_encode(sha256(data).digest()).decode()


def issue(claims: Claims, key: SigningKey) -> str:
    """Return a token."""
    signing_input = _header_of(key.kid, key.algorithm) + b"." + b64url_encode(claims.payload())
    return (signing_input + b"." + b64url_encode(key.sign(signing_input))).decode()


def verify(
    token: str,
    keys: Mapping[str, TokenKey],
    *,
    audience: str,
    now: datetime,
    issuer: str | None = None,
    bound_to: bytes | None = None,
    leeway: timedelta = LEEWAY,
) -> Claims:
    """Return what a token says, if it is genuine, for `audience`, and of this time.

    `keys` are by `kid`; each fixes its algorithm (RFC 8725, section 3.1). With `bound_to`, a
    token that is bound to nothing is refused, too.

    Raises:
        TokenError: with the first reason to refuse it.
    """
    payload = _verified(token, keys)
    claims = _claims(payload)
    if claims.expires <= now - leeway:
        raise TokenError("expired", f"expected a token that lives, found {claims.expires:%F %T}")
    if _early(payload, claims) > now + leeway:
        raise TokenError("early", "expected a token that is valid already; is the clock right?")
    if claims.audience != audience:
        raise TokenError(
            "audience", f"expected a token for {audience}, found {claims.audience[:80]!r}"
        )
    if issuer is not None and claims.issuer != issuer:
        raise TokenError("issuer", f"expected a token by {issuer}, found {claims.issuer[:80]!r}")
    if bound_to is not None:
        check_binding(claims, bound_to)
    return claims


def key_id(token: str) -> str:
    """Return the `kid` that a token names, "" if none: it may choose a key, and proves nothing.

    Raises:
        TokenError: reason `malformed`.
    """
    return _named_in(token)[1]


def check_binding(claims: Claims, bound_to: bytes) -> None:
    """Refuse a token that is bound to other bytes, or to nothing.

    Raises:
        TokenError: reason `binding`.
    """
    found = "" if claims.binding is None else claims.binding
    # In constant time, and refused without a binding: to leave it out must not be a way around it.
    if not hmac.compare_digest(found.encode(), binding(bound_to).encode()):
        raise TokenError("binding", "expected a token that is bound to what came with it")


def issue_time(token: str) -> datetime:
    """Return the time of whoever issued a token, as it says itself: it proves nothing.

    Raises:
        TokenError: reason `malformed`; it says no time, or one that no clock shows.
    """
    try:
        issued = _time(_object(_named_in(token)[2][1]), "iat")
    except MalformedError as exc:
        raise TokenError("malformed", str(exc)) from exc
    if issued.year == _LAST_YEAR:
        raise TokenError("malformed", f"expected a time before {_LAST_YEAR}")
    return issued + EARLY


def prove(token: str, key: Signer, *, method: str, url: str, jti: str, now: datetime) -> str:
    """Return a DPoP proof that whoever sends `token` holds `key` (RFC 9449, section 4.2).

    `url` is that of the request, without query and fragment; `jti` is random, and another one in
    each proof.
    """
    header = {"alg": "ES256", "jwk": key.public.jwk(), "typ": _PROOF_TYPE}
    said = {
        "ath": binding(token.encode()),
        "htm": method,
        "htu": url,
        "iat": _seconds(now),
        "jti": jti,
    }
    data = b64url_encode(jsontext.dump(header)) + b"." + b64url_encode(jsontext.dump(said))
    return (data + b"." + b64url_encode(key.sign(data))).decode()


def verify_proof(
    proof: str, *, token: str, claims: Claims, method: str, url: str, now: datetime
) -> str:
    """Return the `jti` of a DPoP proof that whoever sends `token` holds the installation's key.

    `url` is that of the request, without query and fragment. Whether the `jti` was seen before is
    for the caller to know (RFC 9449, section 4.3).

    Raises:
        TokenError: reason `proof`.
    """
    try:
        return _verified_proof(proof, token, claims, (method, url), now)
    except (MalformedError, TokenError) as exc:
        raise TokenError("proof", str(exc)) from exc


def parse_jwks(raw: bytes) -> dict[str, TokenKey]:
    """Return the keys of a JWK Set that verify tokens, by `kid`; others are left out.

    Raises:
        MalformedError: no JWK Set, or a damaged key of ours.
    """
    if len(raw) > MAX_JWKS:
        raise MalformedError(f"expected a JWK Set of at most {MAX_JWKS} bytes")
    jsontext.check_depth(raw)
    listed = jsontext.parse_object(raw).get("keys")
    if not isinstance(listed, list) or not all(isinstance(each, dict) for each in listed):
        raise MalformedError("expected a JWK Set with the member keys")
    found = (TokenKey.from_jwk(each) for each in listed)
    return {key.kid: key for key in found if key is not None}


def jwks(keys: Iterable[TokenKey]) -> bytes:
    """Return public keys as JWK Set."""
    return jsontext.dump({"keys": [key.jwk() for key in keys]})


# -- parts ---------------------------------------------------------------------------------------


def _verified(token: str, keys: Mapping[str, TokenKey]) -> dict[str, Any]:
    algorithm, kid, (protected, payload, value) = _named_in(token)
    try:
        signature = b64url_decode(value)
    except MalformedError as exc:
        raise TokenError("malformed", str(exc)) from exc
    key = keys.get(kid)
    if key is None:
        raise TokenError("unknown-key", f"expected a key that is known, found {kid[:80]!r}")
    if algorithm != key.algorithm.value:
        raise TokenError("signature", f"expected {key.algorithm.value}, found {algorithm[:40]!r}")
    if not key.verifies(signature, protected + b"." + payload):
        raise TokenError("signature", "expected a signature by the key that it names")
    try:
        decoded = b64url_decode(payload)
        jsontext.check_depth(decoded)
        return jsontext.parse_object(decoded)
    except MalformedError as exc:
        raise TokenError("malformed", str(exc)) from exc


def _named_in(token: str) -> tuple[str, str, tuple[bytes, bytes, bytes]]:
    """Return `alg`, `kid` and the three parts of a token."""
    if len(token) > MAX_SIZE:
        raise TokenError("malformed", f"expected at most {MAX_SIZE} characters")
    try:
        parts = _parts(token)
        return *_header(parts[0]), parts
    except MalformedError as exc:
        raise TokenError("malformed", str(exc)) from exc


def _parts(token: str) -> tuple[bytes, bytes, bytes]:
    if not token.isascii():
        raise MalformedError("expected a compact JWS of three parts")
    parts = token.encode().split(b".", 3)
    if len(parts) != 3:
        raise MalformedError("expected a compact JWS of three parts")
    return parts[0], parts[1], parts[2]


@lru_cache(maxsize=256)
def _header_of(kid: str, algorithm: Algorithm) -> bytes:
    return b64url_encode(jsontext.dump({"alg": algorithm.value, "kid": kid, "typ": "JWT"}))


@lru_cache(maxsize=256)
def _header(protected: bytes) -> tuple[str, str]:
    """Return `alg` and `kid`, which choose the key and nothing else."""
    header = _object(protected)
    algorithm, kid = header.get("alg"), header.get("kid", "")
    if not isinstance(algorithm, str) or not isinstance(kid, str) or "crit" in header:
        raise MalformedError("expected a header with alg and kid, and without crit")
    return algorithm, kid


def _object(part: bytes) -> dict[str, Any]:
    decoded = b64url_decode(part)
    jsontext.check_depth(decoded)
    return jsontext.parse_object(decoded)


def _claims(payload: Mapping[str, Any]) -> Claims:
    confirmation = payload.get("cnf")
    if not isinstance(confirmation, dict):
        raise TokenError("malformed", "expected the claim cnf")
    return Claims(
        issuer=_text(payload, "iss"),
        app=_text(payload, "sub"),
        audience=_text(payload, "aud"),
        issued=_time(payload, "iat"),
        expires=_time(payload, "exp"),
        id=_text(payload, "jti"),
        installation=_text(payload, "did"),
        thumbprint=_text(confirmation, "jkt"),
        config_version=_number(payload, "pv"),
        binding=_text(payload, "pay") if "pay" in payload else None,
    )


def _early(payload: Mapping[str, Any], claims: Claims) -> datetime:
    return _time(payload, "nbf") if "nbf" in payload else claims.issued


def _verified_proof(
    proof: str, token: str, claims: Claims, request: tuple[str, str], now: datetime
) -> str:
    if len(proof) > MAX_SIZE:
        raise MalformedError(f"expected a proof of at most {MAX_SIZE} characters")
    protected, payload, value = _parts(proof)
    header = _object(protected)
    if header.get("typ") != _PROOF_TYPE or header.get("alg") != "ES256" or "crit" in header:
        raise MalformedError(f"expected a proof with typ {_PROOF_TYPE} and alg ES256")
    jwk = header.get("jwk")
    if not isinstance(jwk, dict) or "d" in jwk:
        raise MalformedError("expected a proof with a public jwk")
    key = PublicKey.from_jwk(jwk)
    if not hmac.compare_digest(key.kid.encode(), claims.thumbprint.encode()):
        raise MalformedError("expected a proof by the key that the token names")
    if not key.verifies(b64url_decode(value), protected + b"." + payload):
        raise MalformedError("expected a signature by the key of the proof")
    said = _object(payload)
    _check_proof(said, token, request, now)
    return _text(said, "jti")


def _check_proof(
    said: Mapping[str, Any], token: str, request: tuple[str, str], now: datetime
) -> None:
    if (said.get("htm"), said.get("htu")) != request:
        raise MalformedError("expected a proof for this method and URL")
    if said.get("ath") != binding(token.encode()):
        raise MalformedError("expected a proof for this token")
    if abs(now - _time(said, "iat")) > PROOF_AGE:
        raise MalformedError(f"expected a proof of the last {PROOF_AGE.seconds} seconds")


def _text(members: Mapping[str, Any], name: str) -> str:
    value = members.get(name)
    if not isinstance(value, str) or not value.isprintable():
        raise TokenError("malformed", f"expected the claim {name} as text")
    return value


def _number(members: Mapping[str, Any], name: str) -> int:
    value = members.get(name)
    if type(value) is not int or not 0 <= value < 2**53:
        raise TokenError("malformed", f"expected the claim {name} as a whole number")
    return value


def _time(members: Mapping[str, Any], name: str) -> datetime:
    value = _number(members, name)
    if value > _LATEST:
        raise TokenError("malformed", f"expected the claim {name} as seconds since 1970")
    return _EPOCH + timedelta(seconds=value)


def _seconds(moment: datetime) -> int:
    return int(moment.timestamp())


def _secret_bytes(text: str) -> bytes:
    """Return the bytes of base64 or base64url, with padding or without."""
    plain = text.strip().translate(str.maketrans("-_", "+/")).rstrip("=")
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError) as exc:
        raise MalformedError("expected a secret as base64") from exc


def _okp(key: Ed25519PublicKey) -> dict[str, str]:
    x = b64url_encode(key.public_bytes_raw()).decode()
    return {"crv": "Ed25519", "kty": "OKP", "x": x}


def _ed25519(x: object) -> Ed25519PublicKey:
    if not isinstance(x, str) or not x.isascii():
        raise MalformedError("expected a JWK with the member x")
    try:
        return Ed25519PublicKey.from_public_bytes(b64url_decode(x.encode()))
    except ValueError as exc:
        raise MalformedError("expected x of 32 bytes") from exc


def thumbprint(key: TokenKey) -> str:
    """Return the RFC 7638 thumbprint of a public key."""
    if isinstance(key.key, PublicKey):
        return key.key.kid
    if isinstance(key.key, bytes):
        raise MalformedError("expected a public key, found a secret")
    return b64url_encode(sha256(jsontext.dump(_okp(key.key))).digest()).decode()
