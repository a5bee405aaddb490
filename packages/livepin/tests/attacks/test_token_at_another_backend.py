"""A token that a backend must not take: another API's, a forged one, an endless one, or two."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from livepin.jose import PrivateKey, b64url_encode
from livepin.jsontext import dump
from livepin.testing import FakeClock, TokenIssuer
from livepin.tokens import Algorithm, SigningKey

if TYPE_CHECKING:
    from conftest import Backend

FIELD = "Livepin-Token"
Start = Callable[..., "Backend"]
SPKI = PublicFormat.SubjectPublicKeyInfo


def forged(
    issuer: TokenIssuer, sign: Callable[[bytes], bytes], header: dict[str, Any], **changes: Any
) -> str:
    """Return a token of any header and claims."""
    members = json.loads(issuer.claims().payload()) | changes
    payload = dump({name: value for name, value in members.items() if value is not ...})
    data = b64url_encode(dump({"kid": issuer.key.kid} | header)) + b"." + b64url_encode(payload)
    return (data + b"." + b64url_encode(sign(data))).decode()


def test_the_token_of_another_api(backend: Start, issuer: TokenIssuer) -> None:
    made = backend()
    for audience in ("bank.example.com", "api.example.com.", "API.example.com", ""):
        made.refuses("audience", (FIELD, issuer.token(audience=audience)))
    assert made.ask((FIELD, issuer.token())).status == 200


def test_a_decoy(backend: Start, issuer: TokenIssuer) -> None:
    decoy = SigningKey(issuer.key.kid, Algorithm.ES256, PrivateKey.generate())
    backend().refuses("signature", (FIELD, issuer.token(key=decoy)))


@pytest.mark.parametrize("alg", ["none", "None", "", "ES384"])
def test_another_algorithm(backend: Start, issuer: TokenIssuer, alg: str) -> None:
    made = backend()
    made.refuses("signature", (FIELD, forged(issuer, lambda _: b"", {"alg": alg})))
    made.refuses("signature", (FIELD, forged(issuer, issuer.key.sign, {"alg": alg})))


@pytest.mark.parametrize("form", [Encoding.PEM, Encoding.DER])
def test_the_public_key_of_the_jwks_taken_for_a_secret(
    backend: Start, issuer: TokenIssuer, form: Encoding
) -> None:
    public = issuer.key.key.public.key.public_bytes(form, SPKI)  # type: ignore[union-attr]
    made = backend()
    for kid in (issuer.key.kid, ""):
        by_secret = SigningKey(kid, Algorithm.HS256, public)
        reason = "signature" if kid else "unknown-key"
        made.refuses(reason, (FIELD, issuer.token(key=by_secret)))


def test_a_signature_where_a_secret_is_expected(backend: Start, issuer: TokenIssuer) -> None:
    made = backend(secret=bytes(64))
    made.refuses("signature", (FIELD, issuer.token()))
    made.refuses("signature", (FIELD, forged(issuer, lambda _: b"", {"alg": "HS256"})))


def test_a_token_that_brings_its_own_key(backend: Start, issuer: TokenIssuer) -> None:
    own = PrivateKey.generate()
    made = backend()
    for kid in (own.public.kid, issuer.key.kid):
        header = {"alg": "ES256", "kid": kid, "jwk": own.public.jwk(), "jku": "https://evil/"}
        reason = "signature" if kid == issuer.key.kid else "unknown-key"
        made.refuses(reason, (FIELD, forged(issuer, own.sign, header)))


def test_a_token_without_end(backend: Start, issuer: TokenIssuer) -> None:
    made = backend()
    for end in (..., None, "never", -1, 1e99, True):
        endless = forged(issuer, issuer.key.sign, {"alg": "ES256"}, exp=end)
        made.refuses("malformed", (FIELD, endless))


def test_a_token_of_yesterday_and_one_of_tomorrow(
    backend: Start, issuer: TokenIssuer, clock: FakeClock
) -> None:
    made, day = backend(), timedelta(days=1)
    old = issuer.token(issued=clock.now - day, expires=clock.now - day + timedelta(minutes=5))
    made.refuses("expired", (FIELD, old))
    future = issuer.token(issued=clock.now + day, expires=clock.now + day + timedelta(minutes=5))
    made.refuses("early", (FIELD, future))


def test_two_tokens_of_which_the_app_may_read_the_other(
    backend: Start, issuer: TokenIssuer
) -> None:
    """A server that joins them makes one malformed value of them; else two are found."""
    good, bad = issuer.token(), issuer.token(audience="bank.example.com")
    made = backend()
    for two in ((good, bad), (bad, good), (good, good), (good, "")):
        before = len(made.seen)
        assert made.ask(*((FIELD, each) for each in two)).status == 401
        assert made.refused[-1] in ("repeated", "malformed")
        assert len(made.seen) == before
    made.refuses("malformed", (FIELD, f"{good},{good}"))
    made.refuses("malformed", (FIELD, f"Bearer {good}"))
