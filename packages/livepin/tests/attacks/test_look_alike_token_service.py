"""Somebody else answers where tokens are asked for, or answers something else.

He wants the request, which names the installation and what it holds, or has the app send one host
a token that is for another.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from livepin import Pin, TokenState
from livepin.testing import Chain, RecordingServer, make_authority, make_chain

if TYPE_CHECKING:
    from conftest import Delivery, PlainServer

HOST, OTHER = "api.example.com", "other.example.com"
PIN = Pin(b"\1" * 32)


@pytest.fixture(autouse=True)
def protected(delivery: Delivery) -> None:
    for host in (HOST, OTHER):
        delivery.simulator.pin(host, PIN, token=True)


@pytest.fixture
def look_alike(
    request: pytest.FixtureRequest, delivery: Delivery, delivery_chain: Chain
) -> Iterator[RecordingServer]:
    """A server with a certificate for the delivery host: of its own CA, or of a stranger's."""
    authority = delivery_chain.authority if request.param == "unpinned" else make_authority()
    chain = make_chain("localhost", authority=authority)
    with RecordingServer(chain, post=delivery.simulator.post) as running:
        delivery.publish(urls=(f"https://localhost:{running.port}",))
        yield running


@pytest.mark.parametrize("look_alike", ["unpinned", "unverified"], indirect=True)
def test_a_look_alike_gets_no_request(delivery: Delivery, look_alike: RecordingServer) -> None:
    with delivery.client() as pins:
        assert pins.token(HOST).state is TokenState.UNTRUSTED_NETWORK
    look_alike.wait_closed()
    assert bytes(look_alike.received) == b""
    assert delivery.simulator.token_requests == []


def test_a_recovery_host_is_never_asked(
    delivery: Delivery, plain_server: Callable[..., PlainServer], closed_port: int
) -> None:
    """The way there is not pinned: roots and configs may come that way, and nothing else."""
    recovery = plain_server(delivery.simulator.respond)
    delivery.publish(urls=(f"https://localhost:{closed_port}",), recovery_urls=(recovery.url,))
    with delivery.client() as pins:
        pins.refresh()
        assert pins.token(HOST).state is TokenState.NO_NETWORK
    assert {method for method, _, _ in recovery.requests} == {"GET"}
    assert {path for _, path, _ in recovery.requests} == {"/v1/acme/config/main"}


def test_an_answer_for_another_host_gives_no_token(delivery: Delivery) -> None:
    """It was right once, for the other host."""
    with delivery.client() as pins:
        kept: list[Any] = []

        def noting(*asked: Any) -> Any:
            kept.append(delivery.simulator.post(*asked))
            return kept[-1]

        delivery.answer_post = noting
        other = pins.token(OTHER)
        assert other.state is TokenState.SUCCESS
        delivery.answer_post = lambda *_: kept[-1]
        found = pins.token(HOST)
    assert (found.state, found.value) == (TokenState.NO_SERVICE, "")


def test_a_host_that_was_not_asked_for_is_given_nothing(delivery: Delivery) -> None:
    """A service cannot put tokens beside those that are waited for."""

    def more(*asked: Any) -> Any:
        status, fields, body = delivery.simulator.post(*asked)
        answer = json.loads(body)
        if answer["tokens"]:
            answer["tokens"][OTHER] = {"header": "X", "token": "planted", "lives": 300}
        return status, fields, json.dumps(answer).encode()

    with delivery.client() as pins:
        delivery.answer_post = more
        assert pins.token(HOST).state is TokenState.SUCCESS
        delivery.answer_post = None
        assert pins.token(OTHER).value not in ("planted", "")
