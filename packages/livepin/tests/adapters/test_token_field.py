"""What every adapter asks for each hop, apart from libraries."""

from __future__ import annotations

import asyncio

import pytest
from livepin.adapters.token_field import awith_token, with_token
from livepin.client import Client
from livepin.errors import TokenUnavailableError
from livepin.testing import DeliverySimulator, Pin
from livepin.tokens import binding, parse_jwks, verify

HOST = "api.example.com"


@pytest.fixture
def simulator() -> DeliverySimulator:
    found = DeliverySimulator()
    found.pin(HOST, Pin(b"\1" * 32), token=True)
    return found


@pytest.fixture
def pins(simulator: DeliverySimulator) -> Client:
    return simulator.client(bind="X-User")


def bound(simulator: DeliverySimulator, fields: object) -> str | None:
    assert isinstance(fields, list)
    keys = parse_jwks(simulator.jwks())
    return verify(fields[-1][1], keys, audience=HOST, now=simulator.clock()).binding


@pytest.mark.parametrize("scheme", ["http", "ws", "ftp", ""])
def test_without_tls_there_is_none(pins: Client, scheme: str) -> None:
    assert with_token(pins, scheme, HOST, [("a", "b")]) is None


@pytest.mark.parametrize("host", ["127.1", "", "a" * 5000, "other.example.com"])
def test_what_is_no_host_that_asks_for_one_gets_none(pins: Client, host: str) -> None:
    assert with_token(pins, "https", host, [("a", "b")]) is None
    assert asyncio.run(awith_token(pins, "wss", host, [("a", "b")])) is None


def test_it_is_added_to_what_is_there(pins: Client) -> None:
    token = pins.token(HOST).value
    assert with_token(pins, "https", "API.example.com", [("a", b"b"), ("a", "c")]) == [
        ("a", b"b"),
        ("a", "c"),
        ("Livepin-Token", token),
    ]


def test_it_is_bound_to_the_octets_of_the_value(pins: Client, simulator: DeliverySimulator) -> None:
    for value in ("one", b" one\t"):
        fields = with_token(pins, "https", HOST, [("x-USER", value)])
        assert bound(simulator, fields) == binding(b"one")
    several = [("X-User", "one"), ("other", "x"), ("X-User", b"two")]
    assert bound(simulator, with_token(pins, "https", HOST, several)) == binding(b"one, two")
    assert bound(simulator, with_token(pins, "https", HOST, [])) is None


def test_a_refusal_says_why_and_what_to_do(simulator: DeliverySimulator) -> None:
    simulator.reachable = False
    pins = simulator.client()
    with pytest.raises(TokenUnavailableError) as caught:
        with_token(pins, "https", "API.example.com", [])
    assert str(caught.value) == (
        "api.example.com asks for a token and there is none (no_network); nothing was sent; "
        "the app needs a connection to the delivery service"
    )
    assert (caught.value.host, caught.value.state) == (HOST, "no_network")
    with pytest.raises(TokenUnavailableError):
        asyncio.run(awith_token(pins, "https", HOST, []))
