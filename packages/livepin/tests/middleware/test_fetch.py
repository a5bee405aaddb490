"""Fetching a JWKS over real TLS."""

from __future__ import annotations

import http.client
import re
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest
from livepin.errors import FetchError
from livepin.middleware import fetch as module
from livepin.middleware.fetch import Fetched, fetch
from livepin.testing import Chain, TokenIssuer, make_authority
from livepin.tokens import MAX_JWKS

HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.fixture
def get(delivery_chain: Chain) -> Callable[..., Fetched]:
    """Fetch from a port of this machine."""

    def one(port: int, path: str = "/jwks.json", **options: Any) -> Fetched:
        settings = {"ca": delivery_chain.authority.pem, "credential": None, "timeout": 10.0}
        return fetch(f"https://localhost:{port}{path}", **(settings | options))

    return one


def answering(data: bytes) -> Callable[[socket.socket], None]:
    """Return what answers any request with these bytes."""

    def handle(sock: socket.socket) -> None:
        sock.recv(65536)
        sock.sendall(data)

    return handle


def test_the_answer_comes_with_its_age(
    get: Callable[..., Fetched], jwks_server: Any, issuer: TokenIssuer
) -> None:
    server = jwks_server()
    found = get(server.port, credential="c0de")
    assert found == Fetched(issuer.jwks(), 300.0)
    assert b"Authorization: Bearer c0de\r\n" in server.received
    assert server.received.startswith(b"GET /jwks.json HTTP/1.1\r\n")


def test_a_url_without_a_path_asks_for_the_root(
    get: Callable[..., Fetched], jwks_server: Any
) -> None:
    server = jwks_server()
    get(server.port, path="")
    assert server.received.startswith(b"GET / HTTP/1.1\r\n")
    assert b"Authorization" not in server.received


@pytest.mark.parametrize("status", [204, 301, 302, 304, 307, 401, 404, 429, 500, 503])
def test_another_status_is_no_answer(
    get: Callable[..., Fetched], jwks_server: Any, status: int
) -> None:
    server = jwks_server(lambda *_: (status, {"Location": "/other", "Retry-After": "1"}, b""))
    with pytest.raises(FetchError, match=f"expected status 200, found {status}"):
        get(server.port)
    assert server.requests == 1


def test_a_jwks_at_the_bound_is_taken(get: Callable[..., Fetched], jwks_server: Any) -> None:
    server = jwks_server(lambda *_: (200, {}, b" " * MAX_JWKS))
    assert get(server.port) == Fetched(b" " * MAX_JWKS, None)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (HEAD + b"Content-Length: 9\r\n\r\n{}", "the answer ends early"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{}", "IncompleteRead"),
        (b"SSH-2.0-OpenSSH\r\n", "SSH-2.0"),
        (b"", "closed connection"),
        (b"HTTP/1.1 500 \x1b[31m\xff\r\n\r\n", "found 500"),
        (b"HTTP/1.1 \x1b[31m\r\n\r\n", r"HTTP/1.1 \?\[31m"),
        (HEAD + b"X: " + b"x" * 70_000 + b"\r\n\r\n", "got more than 65536 bytes"),
    ],
)
def test_a_broken_answer_is_refused_in_words(
    get: Callable[..., Fetched], odd_server: Any, answer: bytes, said: str
) -> None:
    server = odd_server(answering(answer), tls=True)
    with pytest.raises(FetchError, match=said) as caught:
        get(int(server.url.rpartition(":")[2]))
    assert str(caught.value).isprintable()


def test_nobody_answers(get: Callable[..., Fetched], closed_port: int) -> None:
    with pytest.raises(FetchError, match="refused"):
        get(closed_port)


def test_silence_ends_with_the_time(get: Callable[..., Fetched], odd_server: Any) -> None:
    server = odd_server(lambda _: server.ended.wait(30), tls=True)
    with pytest.raises(FetchError, match="no complete answer in time"):
        get(server.port, timeout=0.2)


@pytest.mark.parametrize("ca", [None, make_authority("Another CA").pem])
def test_a_server_that_is_not_verified_is_asked_nothing(
    get: Callable[..., Fetched], jwks_server: Any, ca: str | None
) -> None:
    server = jwks_server()
    with pytest.raises(FetchError, match="CERTIFICATE_VERIFY_FAILED"):
        get(server.port, ca=ca, credential="s3cret")
    assert not server.received


def test_authorities_that_cannot_be_read_are_no_authorities(get: Callable[..., Fetched]) -> None:
    with pytest.raises(FetchError):
        get(443, ca="-----BEGIN CERTIFICATE-----\n")


def test_without_a_thread_for_its_end_nothing_is_fetched(
    get: Callable[..., Fetched], jwks_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(threading.Timer):
        def start(self) -> None:
            raise RuntimeError("can't start new thread")

    monkeypatch.setattr(module.threading, "Timer", Full)
    with pytest.raises(FetchError, match="can't start new thread"):
        get(jwks_server().port)


def test_an_error_without_words_has_its_name(
    get: Callable[..., Fetched], monkeypatch: pytest.MonkeyPatch
) -> None:
    def connect(_: object) -> None:
        raise http.client.NotConnected

    monkeypatch.setattr(http.client.HTTPSConnection, "connect", connect)
    with pytest.raises(FetchError, match=re.escape("https://localhost:1: NotConnected")):
        get(1)
