"""Asking for tokens over real sockets: what is sent, where to, and what is made of the answer."""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from livepin import TokenState, tokens
from livepin.client import Client, token_fetcher
from livepin.documents import Mode
from livepin.errors import FetchError
from livepin.jose import PrivateKey, PublicKey
from livepin.pins import PinSet
from livepin.testing import (
    Chain,
    DeliverySimulator,
    Pin,
    RecordingServer,
)

if TYPE_CHECKING:
    from conftest import Delivery

HOST, OTHER = "api.example.com", "other.example.com"
TOKEN = "/v1/acme/token"
PIN = Pin(b"\1" * 32)


@pytest.fixture
def pins(delivery: Delivery) -> Iterator[Client]:
    """A client whose account has one host that asks for tokens."""
    delivery.simulator.pin(HOST, PIN, token=True)
    with delivery.client(app="com.example.app") as found:
        yield found


def again(pins: Client) -> TokenState:
    """Ask for a token that is not held: each is bound to something else."""
    return pins.token(HOST, f"{time.monotonic_ns()}").state


def eventually(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


# -- what is asked -----------------------------------------------------------------------------


def test_a_token_is_got_on_the_pinned_channel(delivery: Delivery, pins: Client) -> None:
    found = pins.token(HOST, b"bound")
    assert (found.state, found.header) == (TokenState.SUCCESS, tokens.HEADER)
    claims = tokens.verify(
        found.value,
        tokens.parse_jwks(delivery.simulator.jwks()),
        audience=HOST,
        now=delivery.simulator.clock(),
        bound_to=b"bound",
    )
    assert (claims.installation, claims.app) == (pins.installation_id, "com.example.app")
    assert {path for path, _ in delivery.asked} == {TOKEN}
    assert delivery.asked[0][1]["content-type"] == "application/jose"
    (request,) = delivery.simulator.token_requests
    assert (request.stream, request.root_version) == ("main", 1)
    assert request.config_version == pins.status().version


def test_the_first_takes_two_round_trips_and_each_other_one(
    delivery: Delivery, pins: Client
) -> None:
    assert [again(pins) for _ in range(3)] == [TokenState.SUCCESS] * 3
    assert len(delivery.paths) == 4
    used = [each.challenge for each in delivery.simulator.token_requests]
    assert len({*used}) == 3


def test_a_challenge_that_is_not_good_any_more_costs_one_round_trip(
    delivery: Delivery, pins: Client
) -> None:
    again(pins)
    delivery.simulator._challenges.clear()
    assert again(pins) is TokenState.SUCCESS
    assert len(delivery.paths) == 4


def test_no_token_twice_is_no_service(delivery: Delivery, pins: Client) -> None:
    def never(*asked: Any) -> Any:
        status, fields, body = delivery.simulator.post(*asked)
        return status, fields, json.dumps(json.loads(body) | {"tokens": None}).encode()

    delivery.answer_post = never
    assert pins.token(HOST).state is TokenState.NO_SERVICE
    assert len(delivery.paths) == 2


# -- what comes along --------------------------------------------------------------------------


def test_a_newer_config_that_comes_along_is_adopted(delivery: Delivery, pins: Client) -> None:
    delivery.simulator.pin("new.example.com", PIN)
    assert again(pins) is TokenState.SUCCESS
    assert pins.status().version == delivery.simulator.version
    assert {*delivery.paths} == {TOKEN}


def test_the_roots_that_it_needs_are_fetched_first(delivery: Delivery, pins: Client) -> None:
    delivery.simulator.keys["config"] = PrivateKey.generate()
    delivery.simulator.publish_root()
    delivery.publish()
    assert again(pins) is TokenState.SUCCESS
    assert pins.status().root_version == 2
    assert delivery.paths[:3] == [TOKEN, TOKEN, "/v1/acme/root/2"]


def test_a_config_that_a_rule_refuses_changes_nothing(
    delivery: Delivery, pins: Client, caplog: pytest.LogCaptureFixture
) -> None:
    before = pins.status().version
    forged = delivery.simulator.document(version=before + 1)
    delivery.simulator.version += 1
    delivery.simulator.config = delivery.simulator.sign(forged, key=PrivateKey.generate())
    assert again(pins) is TokenState.SUCCESS
    assert pins.status().version == before
    assert "the config that came with tokens was not taken: rule" in caplog.text


def test_a_config_that_is_too_large_to_come_along_is_fetched(
    delivery: Delivery, pins: Client
) -> None:
    delivery.simulator.pin_sets["many"] = PinSet(
        tuple(Pin(n.to_bytes(32, "big")) for n in range(1, 2000))
    )
    delivery.simulator.pin(HOST, PIN, token=True)
    assert len(delivery.simulator.config) > 64 * 1024
    assert again(pins) is TokenState.SUCCESS
    eventually(lambda: pins.status().version == delivery.simulator.version)


def test_a_domain_that_asks_for_no_token_any_more_is_left_alone(
    delivery: Delivery, pins: Client
) -> None:
    """The answer leaves it out, and the config that came with it says why."""
    delivery.simulator.pin(HOST, PIN)
    assert pins.token(HOST).state is TokenState.NOT_PROTECTED


def test_a_token_that_is_left_out_without_a_reason_is_no_service(
    delivery: Delivery, pins: Client
) -> None:
    """Only a signed config says that a host asks for none."""

    def without(*asked: Any) -> Any:
        status, fields, body = delivery.simulator.post(*asked)
        return status, fields, json.dumps(json.loads(body) | {"tokens": {}}).encode()

    delivery.answer_post = without
    assert pins.token(HOST).state is TokenState.NO_SERVICE


def test_an_override_that_comes_along_is_adopted(delivery: Delivery, pins: Client) -> None:
    delivery.simulator.override(pins.installation_thumbprint, HOST, mode=Mode.OFF)
    assert [again(pins), again(pins)] == [TokenState.SUCCESS] * 2
    domain = pins.domain(HOST)
    assert domain is not None
    assert (domain.mode, domain.token) == (Mode.OFF, True)
    assert {*delivery.paths} == {TOKEN}


def test_an_override_under_a_new_root_comes_with_config_and_root(
    delivery: Delivery, pins: Client
) -> None:
    delivery.simulator.keys["override"] = PrivateKey.generate()
    delivery.simulator.publish_root()
    delivery.publish()
    delivery.simulator.override(pins.installation_thumbprint, HOST, mode=Mode.REPORT)
    assert again(pins) is TokenState.SUCCESS
    found = pins.status().override
    assert found is not None
    assert found.modes == {HOST: Mode.REPORT}
    assert delivery.paths == [TOKEN, TOKEN, "/v1/acme/root/2"]


def test_an_override_that_a_rule_refuses_changes_nothing_and_costs_no_token(
    delivery: Delivery, pins: Client, caplog: pytest.LogCaptureFixture
) -> None:
    theirs = delivery.simulator.override("x" * 43, HOST, mode=Mode.OFF)
    delivery.simulator.overrides[pins.installation_thumbprint] = theirs
    assert [again(pins), again(pins)] == [TokenState.SUCCESS] * 2
    assert pins.status().override is None
    problem = pins.status().override_problem
    assert problem == "rule 9: the override is for another installation"
    assert caplog.text.count(problem) == 1


# -- why there is none -------------------------------------------------------------------------


def test_a_service_that_cannot_be_reached_is_no_network(
    delivery: Delivery, closed_port: int
) -> None:
    delivery.simulator.pin(HOST, PIN, token=True)
    delivery.publish(urls=(f"https://localhost:{closed_port}",))
    with delivery.client() as pins:
        assert pins.token(HOST).state is TokenState.NO_NETWORK
        assert pins.status().tokens is TokenState.NO_NETWORK


@pytest.mark.parametrize(
    "answer",
    [
        (500, {}, b"{}"),
        (204, {}, b""),
        (301, {"Location": "https://localhost:1/"}, b""),
        (200, {}, b"<html>sign in</html>"),
        (200, {}, b"x" * (512 * 1024 + 1)),
        (200, {"Content-Encoding": "br"}, b"x"),
    ],
    ids=["500", "204", "redirect", "garbage", "oversized", "encoding"],
)
def test_a_service_that_answers_otherwise_is_no_service(
    delivery: Delivery, pins: Client, answer: tuple[int, dict[str, str], bytes]
) -> None:
    delivery.answer_post = lambda *_: answer
    assert pins.token(HOST).state is TokenState.NO_SERVICE


def test_the_next_delivery_url_is_asked_too(
    delivery: Delivery, delivery_chain: Chain, closed_port: int
) -> None:
    delivery.simulator.pin(HOST, PIN, token=True)
    good = delivery.simulator.urls[0]
    with RecordingServer(delivery_chain, post=lambda *_: (503, {}, b"")) as failing:
        bad = f"https://localhost:{failing.port}"
        delivery.publish(urls=(f"https://localhost:{closed_port}", bad, good))
        with delivery.client() as pins:
            assert pins.token(HOST).state is TokenState.SUCCESS
        assert failing.requests == 1


def test_what_is_told_is_what_says_most(
    delivery: Delivery, delivery_chain: Chain, closed_port: int
) -> None:
    delivery.simulator.pin(HOST, PIN, token=True)
    with RecordingServer(delivery_chain, post=lambda *_: (503, {}, b"")) as failing:
        urls = f"https://localhost:{failing.port}", f"https://localhost:{closed_port}"
        delivery.publish(urls=urls)
        with delivery.client() as pins:
            assert pins.token(HOST).state is TokenState.NO_SERVICE


def test_a_key_that_cannot_sign_is_no_service(simulator: DeliverySimulator) -> None:
    class Broken:
        public: PublicKey = PrivateKey.generate().public

        def sign(self, data: bytes) -> bytes:
            raise RuntimeError("the key store is locked")

    simulator.pin(HOST, PIN, token=True)
    with simulator.client(installation=Broken()) as pins:
        assert pins.token(HOST).state is TokenState.NO_SERVICE


def test_a_connection_that_breaks_off_is_no_untrusted_network() -> None:
    error = FetchError("broken off")
    error.__cause__ = ssl.SSLEOFError()
    assert token_fetcher._state_of(error) is TokenState.NO_NETWORK


@pytest.fixture
def simulator() -> DeliverySimulator:
    return DeliverySimulator()
