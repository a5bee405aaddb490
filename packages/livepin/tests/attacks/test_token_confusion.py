"""A token that talks a backend into another key, algorithm, host or time."""

from __future__ import annotations

import hashlib
import hmac
import json
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from livepin import tokens
from livepin.jose import PrivateKey, b64url_encode
from livepin.jsontext import dump
from livepin.tokens import Algorithm, Claims, SigningKey, TokenError, TokenKey

NOW = datetime(2026, 11, 26, 12, tzinfo=timezone.utc)
ES256 = SigningKey("es", Algorithm.ES256, PrivateKey.generate())
SHOP = SigningKey("shop", Algorithm.HS256, b"shop" * 16)
BANK = SigningKey("bank", Algorithm.HS256, b"bank" * 16)
KEYS = {key.kid: key.public() for key in (ES256, SHOP)}
PUBLIC = ES256.key.public.key  # type: ignore[union-attr]
SPKI = PublicFormat.SubjectPublicKeyInfo


def claims(audience: str = "shop.example.com", **changes: Any) -> bytes:
    found = Claims(
        issuer="https://pins.example.com/v1/acme",
        app="app",
        audience=audience,
        issued=NOW,
        expires=NOW + tokens.LIFETIME,
        id="j" * 22,
        installation="i" * 22,
        thumbprint="t" * 43,
        config_version=1,
    )
    members = json.loads(found.payload()) | changes
    return dump({name: value for name, value in members.items() if value is not ...})


def token(header: dict[str, Any], payload: bytes, sign: Any) -> str:
    data = b64url_encode(dump(header)) + b"." + b64url_encode(payload)
    return (data + b"." + b64url_encode(sign(data))).decode()


def refused(text: str, **options: Any) -> str:
    with pytest.raises(TokenError) as caught:
        tokens.verify(
            text, **({"keys": KEYS, "audience": "shop.example.com", "now": NOW} | options)
        )
    return caught.value.reason


def hmac_by(secret: bytes) -> Any:
    return lambda data: hmac.new(secret, data, hashlib.sha256).digest()


@pytest.mark.parametrize("alg", ["none", "None", "NONE", ""])
@pytest.mark.parametrize("kid", ["es", "shop"])
def test_no_algorithm(alg: str, kid: str) -> None:
    assert refused(token({"alg": alg, "kid": kid}, claims(), lambda _: b"")) == "signature"


@pytest.mark.parametrize("form", [Encoding.PEM, Encoding.DER])
def test_a_public_key_taken_for_a_secret(form: Encoding) -> None:
    forged = token(
        {"alg": "HS256", "kid": "es"}, claims(), hmac_by(PUBLIC.public_bytes(form, SPKI))
    )
    assert refused(forged) == "signature"


def test_a_signature_by_the_right_key_under_another_algorithm() -> None:
    assert refused(token({"alg": "ES384", "kid": "es"}, claims(), ES256.sign)) == "signature"


@pytest.mark.parametrize("name", ["jwk", "jku", "x5c"])
def test_a_token_that_brings_its_own_key(name: str) -> None:
    own = PrivateKey.generate()
    header = {"alg": "ES256", "kid": own.public.kid, name: own.public.jwk()}
    assert refused(token(header, claims(), own.sign)) == "unknown-key"
    assert refused(token(header | {"kid": "es"}, claims(), own.sign)) == "signature"


def test_the_token_of_one_api_at_another() -> None:
    assert refused(tokens_for("bank.example.com", ES256)) == "audience"


def test_a_list_of_audiences() -> None:
    both = claims(aud=["bank.example.com", "shop.example.com"])
    assert refused(token({"alg": "ES256", "kid": "es"}, both, ES256.sign)) == "malformed"


def test_the_secret_of_one_domain_on_another() -> None:
    """Who runs the backend of the bank has its secret, and makes a token for the shop."""
    assert refused(tokens_for("shop.example.com", BANK)) == "unknown-key"
    assert refused(
        tokens_for("shop.example.com", SigningKey("shop", BANK.algorithm, BANK.key))
    ) == ("signature")


def test_a_token_without_end() -> None:
    endless = token({"alg": "ES256", "kid": "es"}, claims(exp=...), ES256.sign)
    assert refused(endless) == "malformed"


def test_a_token_of_the_future() -> None:
    later = int((NOW + timedelta(minutes=5)).timestamp())
    future = token({"alg": "ES256", "kid": "es"}, claims(nbf=later), ES256.sign)
    assert refused(future) == "early"


def test_a_token_of_yesterday() -> None:
    assert refused(tokens_for("shop.example.com", ES256), now=NOW + timedelta(days=1)) == "expired"


def test_a_request_is_no_token() -> None:
    """An installation signs requests, with a key that stands in `cnf` of each token."""
    own = PrivateKey.generate()
    keys = {own.public.kid: TokenKey(own.public.kid, Algorithm.ES256, own.public)}
    header = {"alg": "ES256", "kid": own.public.kid, "typ": "livepin-token-request+jws"}
    assert refused(token(header, claims(), own.sign), keys=KEYS) == "unknown-key"
    assert refused(token(header, b'{"account":"acme"}', own.sign), keys=keys) == "malformed"


def tokens_for(audience: str, key: SigningKey) -> str:
    header = {"alg": key.algorithm.value, "kid": key.kid, "typ": "JWT"}
    return token(header, claims(audience), key.sign)
