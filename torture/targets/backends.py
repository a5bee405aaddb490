"""What a backend is sent: tokens and proofs, also signed with a known key, and a JWKS."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timezone

from cryptography.hazmat.primitives.asymmetric import ec
from livepin import tokens
from livepin.errors import MalformedError
from livepin.jose import PrivateKey, b64url_decode, b64url_encode
from livepin.jsontext import dump
from livepin.middleware.check import RefusedError, Request, TokenCheck
from livepin.testing import FakeClock, TokenIssuer
from livepin.tokens import Algorithm, SigningKey

from .target import Target

_HOST = "api.example.com"
_URL = f"https://{_HOST}/"
_NOW = datetime(2026, 11, 26, 12, tzinfo=timezone.utc)
_KEY = SigningKey("k", Algorithm.HS256, bytes(range(64)))
_INSTALLATION = PrivateKey(ec.derive_private_key(7, ec.SECP256R1()))

_issuer = TokenIssuer(_HOST, clock=FakeClock(_NOW))
_issuer.installation = _INSTALLATION
_bound = TokenCheck(
    audience=_HOST, secret=bytes(range(64)), bind="Authorization", clock=_issuer.clock
)
_proven = TokenCheck(audience=_HOST, secret=bytes(range(64)), proof=True, clock=_issuer.clock)
_token = _issuer.token(key=_KEY, bound_to=b"Bearer user", id="j" * 22)


def _field(data: bytes) -> None:
    text = data.decode("latin-1")
    fields = {"livepin-token": [text], "authorization": ["Bearer user"]}
    request = Request(method="GET", path="/", values=lambda name: fields[name.lower()])
    try:
        claims = _bound.check(request)
    except RefusedError as exc:
        assert exc.status == 401
        return
    assert claims.audience == _HOST
    assert claims.expires > _NOW - tokens.LEEWAY  # which is no time after the last one
    assert claims.binding == tokens.binding(b"Bearer user")


def _claims(data: bytes) -> None:
    signed = b64url_encode(dump({"alg": "HS256", "kid": "k"})) + b"." + b64url_encode(data)
    _field(signed + b"." + b64url_encode(_KEY.sign(signed)))


def _proof(data: bytes) -> None:
    fields = {"livepin-token": [_token], "dpop": [data.decode("latin-1")]}
    request = Request(method="GET", path="/", values=lambda name: fields[name.lower()])
    try:
        _proven.check(request)
    except RefusedError as exc:
        assert exc.reason in ("proof", "replayed", "full")


def _proof_claims(data: bytes) -> None:
    header = {"typ": "dpop+jwt", "alg": "ES256", "jwk": _INSTALLATION.public.jwk()}
    signed = b64url_encode(dump(header)) + b"." + b64url_encode(data)
    _proof(signed + b"." + b64url_encode(_INSTALLATION.sign(signed)))


def _jwks(data: bytes) -> None:
    try:
        found = tokens.parse_jwks(data)
    except MalformedError as exc:
        assert str(exc).isprintable()
        return
    assert all(kid == key.kid for kid, key in found.items())
    assert tokens.parse_jwks(tokens.jwks(found.values())).keys() == found.keys()


def _payload(jws: str) -> bytes:
    return b64url_decode(jws.split(".")[1].encode())


def _tokens() -> Iterator[bytes]:
    yield _token.encode()
    yield _issuer.token().encode()


def _proofs() -> Iterator[bytes]:
    yield _issuer.proof(_token, "GET", _URL).encode()


def _sets() -> Iterator[bytes]:
    yield _issuer.jwks()
    okp = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
    other = {"kty": "RSA", "n": "AQAB", "e": "AQAB", "kid": "r"}
    yield json.dumps({"keys": [okp | {"kid": "o", "use": "sig", "alg": "EdDSA"}, other]}).encode()


TARGETS = {
    "token": Target(run=_field, seeds=_tokens, longest=2048),
    "signed_token": Target(run=_claims, seeds=lambda: [_payload(_token)], longest=2048, json=True),
    "proof": Target(run=_proof, seeds=_proofs, longest=2048),
    "signed_proof": Target(
        run=_proof_claims,
        seeds=lambda: [_payload(each.decode()) for each in _proofs()],
        longest=2048,
        json=True,
    ),
    "jwks": Target(run=_jwks, seeds=_sets, longest=2048, json=True),
}
