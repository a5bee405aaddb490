"""A JWKS that comes from somebody else, or without end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from livepin.errors import ConfigurationError
from livepin.jsontext import dump
from livepin.middleware import keys
from livepin.testing import Chain, FakeClock, TokenIssuer, make_authority, make_chain
from livepin.tokens import MAX_JWKS

if TYPE_CHECKING:
    from conftest import Backend

FIELD = "Livepin-Token"
SLACK = 20.0  # seconds, for a busy machine
Start = Callable[..., "Backend"]


@pytest.fixture
def thief(clock: FakeClock) -> TokenIssuer:
    """Who has a key and a JWKS of his own."""
    return TokenIssuer("api.example.com", clock=clock)


@pytest.fixture
def by(backend: Start, delivery_chain: Chain) -> Callable[[int], Backend]:
    """Start a backend whose JWKS is at a port of this machine."""
    ca = delivery_chain.authority.pem
    return lambda port: backend(jwks=f"https://localhost:{port}/jwks.json", ca=ca)


def unavailable(made: Backend, thief: TokenIssuer) -> None:
    assert made.ask((FIELD, thief.token())).status == 503
    assert made.refused == ["no-keys"]
    assert not made.seen


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_to_another_jwks(
    by: Callable[[int], Backend], jwks_server: Any, thief: TokenIssuer, status: int
) -> None:
    other = jwks_server(thief.respond)
    location = {"Location": f"https://localhost:{other.port}/jwks.json"}
    server = jwks_server(lambda *_: (status, location, thief.jwks()))
    unavailable(by(server.port), thief)
    assert (server.requests, other.requests) == (1, 0)


def test_a_jwks_without_end(
    by: Callable[[int], Backend], jwks_server: Any, thief: TokenIssuer
) -> None:
    """It would be a good one if it were not so large."""
    padded = thief.jwks() + b" " * (MAX_JWKS - len(thief.jwks()) + 1)
    unavailable(by(jwks_server(lambda *_: (200, {}, padded)).port), thief)


def test_a_jwks_that_is_announced_as_endless(
    by: Callable[[int], Backend], odd_server: Any, thief: TokenIssuer
) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\n"
    sent: list[int] = []

    def handle(sock: Any) -> None:
        sock.recv(65536)
        sock.sendall(head)
        while sum(sent) < 64 * 1024 * 1024:
            sent.append(sock.send(b" " * 65536))

    unavailable(by(odd_server(handle, tls=True).port), thief)
    assert sum(sent) < 16 * 1024 * 1024, "what stands in buffers, and not more"


@pytest.mark.parametrize(
    ("head", "piece", "tls"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n", b" ", True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n", True),
        (b"HTTP/1.1 200 OK\r\nX: ", b"x", True),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n", True),
        (b"\x16\x03\x03\x40\x00", b"\x02", False),
    ],
    ids=["body", "chunks", "header", "interim answers", "handshake"],
)
def test_a_jwks_that_drips(
    by: Callable[[int], Backend],
    odd_server: Any,
    thief: TokenIssuer,
    monkeypatch: pytest.MonkeyPatch,
    head: bytes,
    piece: bytes,
    tls: bool,
) -> None:
    monkeypatch.setattr(keys, "TIMEOUT", 0.3)
    left = threading.Event()

    def handle(sock: Any) -> None:
        try:
            sock.recv(65536)
            sock.sendall(head)
            while True:
                sock.sendall(piece)
                left.wait(0.02)
        finally:
            left.set()

    server = odd_server(handle, tls=tls)
    began = time.monotonic()
    unavailable(by(server.port), thief)
    assert left.wait(SLACK)
    assert time.monotonic() - began < SLACK


def test_the_jwks_of_who_has_another_authority(
    by: Callable[[int], Backend], serve_as: Any, thief: TokenIssuer
) -> None:
    unavailable(by(serve_as(make_chain("localhost", authority=make_authority()))), thief)


def test_the_jwks_of_another_host_of_the_same_authority(
    by: Callable[[int], Backend], serve_as: Any, thief: TokenIssuer, delivery_chain: Chain
) -> None:
    other = make_chain("evil.example", authority=delivery_chain.authority)
    unavailable(by(serve_as(other)), thief)


@pytest.fixture
def serve_as(thief: TokenIssuer) -> Any:
    from contextlib import ExitStack

    from livepin.testing import RecordingServer

    with ExitStack() as stack:
        yield lambda chain: stack.enter_context(RecordingServer(chain, respond=thief.respond)).port


def test_a_jwks_in_cleartext(backend: Start) -> None:
    for url in ("http://pins.example.com/jwks.json", "HTTP://localhost/", "ftp://localhost/x"):
        with pytest.raises(ConfigurationError, match="expected the https URL"):
            backend(jwks=url)


def test_a_jwks_with_a_damaged_key_changes_nothing(
    by: Callable[[int], Backend], jwks_server: Any, issuer: TokenIssuer, ticks: Any
) -> None:
    off_curve = {"kty": "EC", "crv": "P-256", "kid": "k", "x": "A" * 43, "y": "A" * 43}
    server = jwks_server(lambda *_: (200, {}, dump({"keys": [off_curve]})))
    unavailable(by(server.port), issuer)
