"""A token that a backend has verified before, and that is good no more."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from livepin import tokens
from livepin.jose import PrivateKey
from livepin.middleware.keys import RemoteKeys
from livepin.testing import Chain, FakeClock, TokenIssuer
from livepin.tokens import Algorithm, SigningKey

if TYPE_CHECKING:
    from conftest import Backend

FIELD = "Livepin-Token"
Start = Callable[..., "Backend"]


def test_it_ends_as_one_that_was_never_seen(
    backend: Start, issuer: TokenIssuer, clock: FakeClock
) -> None:
    """Which is its end and the leeway of clocks."""
    made, token, end = backend(), issuer.token(), issuer.claims().expires
    for away in (timedelta(), tokens.LEEWAY - timedelta(seconds=1)):
        assert made.ask((FIELD, token)).status == 200
        clock.now = end + away
        assert made.ask((FIELD, token)).status == 200
    clock.now = end + tokens.LEEWAY
    made.refuses("expired", (FIELD, token))
    made.refuses("expired", (FIELD, token))


def test_another_signature_on_what_is_remembered(backend: Start, issuer: TokenIssuer) -> None:
    made, token = backend(), issuer.token()
    assert made.ask((FIELD, token)).status == 200
    signed, _, signature = token.rpartition(".")
    other = "A" if signature[0] != "A" else "B"
    made.refuses("signature", (FIELD, f"{signed}.{other}{signature[1:]}"))
    made.refuses("malformed", (FIELD, f"{signed}."[:-1]))


@pytest.fixture
def remote(jwks_server: Any, delivery_chain: Chain, ticks: Any) -> RemoteKeys:
    url = f"https://localhost:{jwks_server().port}/jwks.json"
    return RemoteKeys(url, ca=delivery_chain.authority.pem, clock=ticks)


def test_a_key_that_was_taken_out_of_the_jwks_takes_it_along(
    backend: Start, remote: RemoteKeys, issuer: TokenIssuer, ticks: Any
) -> None:
    made, token, stolen = backend(jwks=remote), issuer.token(), issuer.key
    assert made.ask((FIELD, token)).status == 200
    del issuer.keys[stolen.kid]
    issuer.new_key()
    ticks.advance(300)
    made.refuses("unknown-key", (FIELD, token))
    assert made.ask((FIELD, issuer.token())).status == 200


def test_another_key_under_the_same_name_does_not_vouch_for_it(
    backend: Start, remote: RemoteKeys, issuer: TokenIssuer, ticks: Any
) -> None:
    made, token, stolen = backend(jwks=remote), issuer.token(), issuer.key
    assert made.ask((FIELD, token)).status == 200
    issuer.keys[stolen.kid] = SigningKey(stolen.kid, Algorithm.ES256, PrivateKey.generate())
    ticks.advance(300)
    made.refuses("signature", (FIELD, token))


def test_keys_that_are_too_old_vouch_for_nothing(
    backend: Start, remote: RemoteKeys, issuer: TokenIssuer, ticks: Any, monkeypatch: Any
) -> None:
    """Who keeps a backend from its JWKS keeps a stolen key alive for an hour, not longer."""
    made, token = backend(jwks=remote), issuer.token()
    assert made.ask((FIELD, token)).status == 200
    monkeypatch.setattr(issuer, "jwks", lambda: b"blocked")
    ticks.advance(300)
    assert made.ask((FIELD, token)).status == 200
    ticks.advance(3301)
    assert made.ask((FIELD, token)).status == 503
    assert made.refused == ["no-keys"]
