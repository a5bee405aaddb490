"""What every adapter asks for each hop, apart from libraries."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from livepin.adapters.token_field import Hop, awith_token, with_token
from livepin.client import Client
from livepin.errors import TokenUnavailableError
from livepin.jose import PrivateKey, PublicKey
from livepin.testing import DeliverySimulator, Pin
from livepin.tokens import binding, parse_jwks, verify, verify_proof

HOST = "api.example.com"


@pytest.fixture
def simulator() -> DeliverySimulator:
    found = DeliverySimulator()
    found.pin(HOST, Pin(b"\1" * 32), token=True)
    return found


@pytest.fixture
def pins(simulator: DeliverySimulator) -> Client:
    return simulator.client(bind="X-User")


def hop(host: str = HOST, scheme: str = "https", **changes: Any) -> Hop:
    return Hop("GET", scheme, host, None, "/")._replace(**changes)


def bound(simulator: DeliverySimulator, fields: object) -> str | None:
    assert isinstance(fields, list)
    keys = parse_jwks(simulator.jwks())
    return verify(fields[-1][1], keys, audience=HOST, now=simulator.clock()).binding


@pytest.mark.parametrize("scheme", ["http", "ws", "ftp", ""])
def test_without_tls_there_is_none(pins: Client, scheme: str) -> None:
    assert with_token(pins, hop(scheme=scheme), [("a", "b")]) is None


@pytest.mark.parametrize("host", ["127.1", "", "a" * 5000, "other.example.com"])
def test_what_is_no_host_that_asks_for_one_gets_none(pins: Client, host: str) -> None:
    assert with_token(pins, hop(host), [("a", "b")]) is None
    assert asyncio.run(awith_token(pins, hop(host, "wss"), [("a", "b")])) is None


def test_it_is_added_to_what_is_there(pins: Client) -> None:
    token = pins.token(HOST).value
    assert with_token(pins, hop("API.example.com"), [("a", b"b"), ("a", "c")]) == [
        ("a", b"b"),
        ("a", "c"),
        ("Livepin-Token", token),
    ]


def test_it_is_bound_to_the_octets_of_the_value(pins: Client, simulator: DeliverySimulator) -> None:
    for value in ("one", b" one\t"):
        fields = with_token(pins, hop(), [("x-USER", value)])
        assert bound(simulator, fields) == binding(b"one")
    several = [("X-User", "one"), ("other", "x"), ("X-User", b"two")]
    assert bound(simulator, with_token(pins, hop(), several)) == binding(b"one, two")
    assert bound(simulator, with_token(pins, hop(), [])) is None


def test_a_refusal_says_why_and_what_to_do(simulator: DeliverySimulator) -> None:
    simulator.reachable = False
    pins = simulator.client()
    with pytest.raises(TokenUnavailableError) as caught:
        with_token(pins, hop("API.example.com"), [])
    assert str(caught.value) == (
        "api.example.com asks for a token and there is none (no_network); nothing was sent; "
        "the app needs a connection to the delivery service"
    )
    assert (caught.value.host, caught.value.state) == (HOST, "no_network")
    with pytest.raises(TokenUnavailableError):
        asyncio.run(awith_token(pins, hop(), []))


# -- proofs ------------------------------------------------------------------------------------


class KeyStore:
    """A signer of the app's own, which takes its time or fails."""

    def __init__(self) -> None:
        self.key = PrivateKey.generate()
        self.threads: list[int] = []
        self.sealed = False

    @property
    def public(self) -> PublicKey:
        return self.key.public

    def sign(self, data: bytes) -> bytes:
        self.threads.append(threading.get_ident())
        if self.sealed:
            raise OSError("the device is locked")
        return self.key.sign(data)


def proven(simulator: DeliverySimulator, fields: object, method: str, url: str) -> str:
    """Return the `jti` of the proof in the last field, for the token in the one before."""
    assert isinstance(fields, list)
    (name, token), (proof_name, proof) = fields[-2:]
    assert (name, proof_name) == ("Livepin-Token", "DPoP")
    now = simulator.clock()
    claims = verify(token, parse_jwks(simulator.jwks()), audience=HOST, now=now)
    return verify_proof(proof, token=token, claims=claims, method=method, url=url, now=now)


@pytest.mark.parametrize(
    ("where", "url"),
    [
        (hop(), "https://api.example.com/"),
        (hop("API.Example.com", "wss"), "https://api.example.com/"),
        (hop(method="PATCH", target="/a%20b;c?page=1#x"), "https://api.example.com/a%20b;c"),
        (hop(port=443, target="//twice"), "https://api.example.com//twice"),
        (hop(port=8443), "https://api.example.com:8443/"),
    ],
)
def test_a_proof_is_for_the_method_and_url_of_its_hop(
    simulator: DeliverySimulator, where: Hop, url: str
) -> None:
    pins = simulator.client(proof=True)
    first, second = (
        proven(simulator, found, where.method, url)
        for found in (
            with_token(pins, where, [("a", "b")]),
            asyncio.run(awith_token(pins, where, [])),
        )
    )
    assert first != second


def test_the_url_of_an_address_has_brackets() -> None:
    assert hop("::1").url == "https://[::1]/"
    assert hop("[0::1]", port=8443).url == "https://[::1]:8443/"


def test_a_field_of_that_name_is_replaced_with_a_token_and_left_alone_without(
    simulator: DeliverySimulator,
) -> None:
    """What an app proves elsewhere, to a service of its own, is its own matter."""
    pins = simulator.client(proof=True)
    fields = with_token(pins, hop(), [("dpop", "own"), ("a", "b")])
    proven(simulator, fields, "GET", "https://api.example.com/")
    assert fields is not None
    assert [name for name, _ in fields] == ["a", "Livepin-Token", "DPoP"]
    assert with_token(pins, hop("other.example.com"), [("DPoP", "own")]) is None
    assert with_token(simulator.client(), hop(), [("DPoP", "own")])[0] == ("DPoP", "own")  # type: ignore[index]


def test_a_proof_in_a_request_elsewhere_is_removed(simulator: DeliverySimulator) -> None:
    pins = simulator.client()
    proof = pins.prove(pins.token(HOST), "GET", "https://api.example.com/")
    for value in (proof, proof.encode()):
        assert with_token(pins, hop("other.example.com"), [("X-Own", value)]) == []
        assert with_token(pins, hop(scheme="http"), [("DPoP", value)]) == []


@pytest.mark.parametrize("without_token", ["refuse", "send"])
@pytest.mark.parametrize("how", ["sealed", "target"])
def test_without_a_proof_nothing_is_sent_or_no_token_either(
    simulator: DeliverySimulator, without_token: Any, how: str
) -> None:
    store = KeyStore()
    pins = simulator.client(proof=True, installation=store, without_token=without_token)
    pins.token(HOST)
    where = hop(target="*", method="OPTIONS") if how == "target" else hop()
    store.sealed = how == "sealed"
    if without_token == "send":
        assert with_token(pins, where, []) is None
        assert asyncio.run(awith_token(pins, where, [])) is None
        return
    with pytest.raises(TokenUnavailableError, match="there is no proof for it") as caught:
        with_token(pins, where, [])
    assert (caught.value.host, caught.value.state) == (HOST, "no_proof")
    assert ("locked" if store.sealed else "path with / first") in str(caught.value)
    with pytest.raises(TokenUnavailableError):
        asyncio.run(awith_token(pins, where, []))


def test_a_key_store_signs_in_another_thread_than_the_event_loop(
    simulator: DeliverySimulator,
) -> None:
    store = KeyStore()
    pins = simulator.client(proof=True, installation=store)

    async def asked() -> object:
        return await awith_token(pins, hop(), [])

    proven(simulator, asyncio.run(asked()), "GET", "https://api.example.com/")
    assert len(store.threads) >= 2
    assert threading.get_ident() not in store.threads
    with_token(pins, hop(), [])
    assert store.threads[-1] == threading.get_ident()
