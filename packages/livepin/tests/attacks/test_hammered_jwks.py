"""Tokens of keys that nobody has, sent to make a backend ask for its keys without end."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from livepin.middleware.keys import INTERVAL, RemoteKeys
from livepin.testing import Chain, TokenIssuer
from livepin.tokens import Algorithm, SigningKey

if TYPE_CHECKING:
    from conftest import Backend

FIELD = "Livepin-Token"
Start = Callable[..., "Backend"]


def unknown(issuer: TokenIssuer, number: int) -> tuple[str, str]:
    return FIELD, issuer.token(key=SigningKey(f"key {number}", Algorithm.HS256, bytes(64)))


@pytest.fixture
def remote(jwks_server: Any, delivery_chain: Chain, ticks: Any) -> Callable[..., RemoteKeys]:
    def make(*respond: Any) -> RemoteKeys:
        url = f"https://localhost:{jwks_server(*respond).port}/jwks.json"
        return RemoteKeys(url, ca=delivery_chain.authority.pem, clock=ticks)

    return make


def test_a_thousand_unknown_keys_cost_one_fetch(
    backend: Start, remote: Callable[..., RemoteKeys], issuer: TokenIssuer, ticks: Any
) -> None:
    made = backend(jwks=remote())
    assert made.ask((FIELD, issuer.token())).status == 200
    ticks.advance(INTERVAL)
    for number in range(1000):
        made.refuses("unknown-key", unknown(issuer, number))
    assert issuer.fetched == 2
    assert made.ask((FIELD, issuer.token())).status == 200


def test_a_thousand_unknown_keys_while_the_jwks_is_away(
    backend: Start, remote: Callable[..., RemoteKeys], issuer: TokenIssuer, ticks: Any
) -> None:
    asked: list[str] = []
    away = threading.Event()

    def respond(path: str, headers: dict[str, str]) -> Any:
        asked.append(path)
        return (500, {}, b"") if away.is_set() else issuer.respond(path, headers)

    made = backend(jwks=remote(respond))
    assert made.ask((FIELD, issuer.token())).status == 200
    away.set()
    ticks.advance(INTERVAL)
    for number in range(1000):
        made.refuses("unknown-key", unknown(issuer, number))
    assert len(asked) == 2
    assert made.ask((FIELD, issuer.token())).status == 200


def test_who_has_a_token_does_not_wait_for_the_answer_to_one_who_has_none(
    backend: Start, remote: Callable[..., RemoteKeys], issuer: TokenIssuer, ticks: Any
) -> None:
    goes = threading.Event()
    goes.set()

    def respond(path: str, headers: dict[str, str]) -> Any:
        assert goes.wait(30)
        return issuer.respond(path, headers)

    keys = remote(respond)
    made = backend(jwks=keys)
    assert made.ask((FIELD, issuer.token())).status == 200
    ticks.advance(INTERVAL)
    goes.clear()
    fetching = keys.fetching("unknown")
    assert fetching is not None
    for _ in range(10):
        assert made.ask((FIELD, issuer.token())).status == 200
    assert not fetching.done()
    goes.set()
    fetching.result(timeout=30)


def test_a_jwks_that_is_away_keeps_no_thread_waiting(
    backend: Start, remote: Callable[..., RemoteKeys], issuer: TokenIssuer, ticks: Any
) -> None:
    """Each unknown key would else hold one for as long as a fetch may take, again and again."""
    goes, away = threading.Event(), threading.Event()

    def respond(path: str, headers: dict[str, str]) -> Any:
        if not away.is_set():
            return issuer.respond(path, headers)
        assert goes.wait(30)
        return 500, {}, b""

    keys = remote(respond)
    made = backend(jwks=keys)
    assert made.ask((FIELD, issuer.token())).status == 200
    away.set()
    goes.set()
    ticks.advance(INTERVAL)
    made.refuses("unknown-key", unknown(issuer, 0))
    goes.clear()
    ticks.advance(INTERVAL)
    for number in range(20):
        made.refuses("unknown-key", unknown(issuer, number))
    assert keys._under_way is not None
    fetching = keys._under_way.done
    assert not fetching.done()
    goes.set()
    fetching.result(timeout=30)


def test_tokens_that_are_none_ask_for_nothing(
    backend: Start, remote: Callable[..., RemoteKeys], issuer: TokenIssuer
) -> None:
    made = backend(jwks=remote())
    for text in ("x", "a.b.c", "." * 3, "x" * 8193, "eyJhbGciOiJub25lIn0"):
        made.refuses("malformed", (FIELD, text))
    made.refuses("missing")
    assert issuer.fetched == 0
