"""Proofs that a client makes: for which URL, at which time, and whose they are."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any

import pytest
from livepin import Client, ConfigurationError, MalformedError, Token, TokenState, tokens
from livepin.jose import b64url_decode
from livepin.jsontext import parse_object
from livepin.middleware.check import Request, TokenCheck
from livepin.testing import DeliverySimulator, Pin

HOST = "api.example.com"
URL = f"https://{HOST}/orders"


@pytest.fixture
def simulator() -> DeliverySimulator:
    found = DeliverySimulator()
    found.pin(HOST, Pin(b"\1" * 32), token=True)
    return found


@pytest.fixture
def pins(simulator: DeliverySimulator) -> Client:
    return simulator.client()


def said(proof: str) -> dict[str, Any]:
    return parse_object(b64url_decode(proof.split(".")[1].encode()))


def test_a_proof_by_hand_is_taken_by_a_backend(pins: Client, simulator: DeliverySimulator) -> None:
    check = TokenCheck(audience=HOST, jwks=simulator.jwks(), proof=True, clock=simulator.clock)
    token = pins.token(HOST)
    for proof in (
        pins.prove(token, "GET", f"{URL}?page=2#top"),
        asyncio.run(pins.aprove(token, "GET", URL)),
    ):
        fields = {token.header: [token.value], tokens.PROOF_HEADER: [proof]}
        request = Request(method="GET", path="/orders", values=fields.__getitem__)
        assert check.check(request).installation == pins.installation_id


def test_each_proof_is_another(pins: Client) -> None:
    token = pins.token(HOST)
    found = [said(pins.prove(token, "GET", URL)) for _ in range(3)]
    assert len({each.pop("jti") for each in found}) == 3
    assert found[0] == found[2]


@pytest.mark.parametrize(
    "url", ["http://api.example.com/", "https://api.example.com", "https:///x", "/orders", ""]
)
def test_what_is_no_https_url_with_a_path_is_not_proven(pins: Client, url: str) -> None:
    with pytest.raises(MalformedError, match="https URL with a path"):
        pins.prove(pins.token(HOST), "GET", url)


def test_without_a_token_there_is_nothing_to_prove(pins: Client) -> None:
    none = Token(state=TokenState.NO_NETWORK)
    with pytest.raises(ConfigurationError, match="no_network"):
        pins.prove(none, "GET", URL)
    with pytest.raises(ConfigurationError, match="no_network"):
        asyncio.run(pins.aprove(none, "GET", URL))


def test_a_client_knows_its_own_proofs_only(pins: Client, simulator: DeliverySimulator) -> None:
    other = simulator.client()
    foreign = other.prove(other.token(HOST), "GET", URL)
    assert not pins.is_proof(foreign)
    own = pins.prove(pins.token(HOST), "GET", URL)
    assert pins.is_proof(own)
    assert not pins.is_proof(foreign)
    assert not pins.is_proof("")


@pytest.mark.parametrize("days", [-400, 400])
def test_a_proof_has_the_time_of_the_token_service(simulator: DeliverySimulator, days: int) -> None:
    """The clock of a device may be wrong by years."""
    wrong = simulator.clock() + timedelta(days=days)
    pins = simulator.client(clock=lambda: wrong)
    found = said(pins.prove(pins.token(HOST), "GET", URL))["iat"]
    assert 0 <= found - simulator.clock().timestamp() < 60


def test_a_proof_for_a_token_that_tells_no_time_has_that_of_the_device(
    simulator: DeliverySimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But none from before what was published since."""
    monkeypatch.setattr(simulator, "token", lambda *_, **__: "opaque")

    def at(now: datetime) -> Any:
        pins = simulator.client(clock=lambda: now)
        return said(pins.prove(pins.token(HOST), "GET", URL))["iat"]

    now = simulator.clock()
    assert at(now + timedelta(days=1)) == int((now + timedelta(days=1)).timestamp())
    assert at(now - timedelta(days=1)) == int(now.timestamp())
