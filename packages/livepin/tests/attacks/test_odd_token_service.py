"""A token service that was taken over, or is broken: endless, slow, oversized, without sense."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from livepin import Pin, TokenState
from livepin.client import tokens
from livepin.jose import b64url_encode

if TYPE_CHECKING:
    from conftest import Delivery

HOST = "api.example.com"
DEADLINE = 0.5  # seconds for one fetch
SLACK = 5.0  # seconds that a busy machine may take beyond it
HEAD = b"HTTP/1.1 200 OK\r\n"


def endless(sock: socket.socket) -> None:
    sock.sendall(HEAD + b"\r\n")
    for _ in range(20_000):  # 1.3 GB, if nobody stops it
        sock.sendall(b"x" * 65536)


def dripping(sock: socket.socket) -> None:
    sock.sendall(HEAD + b"Content-Length: 100000\r\n\r\n")
    sock.settimeout(0.02)
    for _ in range(3000):
        sock.sendall(b" ")
        with contextlib.suppress(TimeoutError):
            sock.recv(65536)


def interim(sock: socket.socket) -> None:
    while True:
        sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n" * 100)


def nonsense(sock: socket.socket) -> None:
    sock.sendall(b"\0\1\2 sign in here\r\n\r\n")


def silent(sock: socket.socket) -> None:
    while sock.recv(65536):
        pass


@pytest.mark.parametrize("handle", [endless, dripping, interim, nonsense, silent])
def test_a_request_waits_for_it_a_bounded_time(
    delivery: Delivery,
    odd_server: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    handle: Callable[[socket.socket], None],
) -> None:
    monkeypatch.setattr(tokens, "DEADLINE", DEADLINE)
    delivery.simulator.pin(HOST, Pin(b"\1" * 32), token=True)
    delivery.publish(urls=(odd_server(handle, tls=True).url,))
    with delivery.client() as pins:
        started = time.monotonic()
        assert pins.token(HOST).state is TokenState.NO_SERVICE
        assert time.monotonic() - started < DEADLINE + SLACK
        assert pins.token(HOST).state is TokenState.NO_SERVICE  # at once: it is spared
        assert time.monotonic() - started < DEADLINE + SLACK


def test_an_oversized_answer_is_not_read(delivery: Delivery) -> None:
    """It would be a good one, if it were shorter."""

    def padded(*asked: Any) -> Any:
        status, fields, body = delivery.simulator.post(*asked)
        return status, fields, body + b" " * 512 * 1024

    delivery.simulator.pin(HOST, Pin(b"\1" * 32), token=True)
    delivery.answer_post = padded
    with delivery.client() as pins:
        assert pins.token(HOST).state is TokenState.NO_SERVICE


def test_it_cannot_write_other_requests(delivery: Delivery) -> None:
    """The field that it names comes from outside, and so does the value."""
    evil = b'{"challenge":"a","tokens":{"api.example.com":%s},' + (
        b'"newest":{"root_version":1,"version":1},"config":null,"override":null}'
    )
    delivery.simulator.pin(HOST, Pin(b"\1" * 32), token=True)
    for issued in (
        b'{"header":"Host","token":"evil.example","lives":9}',
        b'{"header":"X: y\\r\\nHost","token":"evil.example","lives":9}',
        b'{"header":"X","token":"a\\r\\n\\r\\nGET / HTTP/1.1","lives":9}',
    ):
        delivery.answer_post = lambda *_, body=evil % issued: (200, {}, body)
        with delivery.client() as pins:
            assert pins.token(HOST).state is TokenState.NO_SERVICE


def test_it_cannot_change_pins(delivery: Delivery) -> None:
    """A config that comes with tokens is judged as one that is fetched."""
    delivery.simulator.pin(HOST, Pin(b"\1" * 32), token=True)
    with delivery.client() as pins:
        before = pins.pins()
        header, _, signature = delivery.simulator.pin(HOST, Pin(b"\2" * 32), token=True).split(b".")
        delivery.simulator.pin(HOST, Pin(b"\6" * 32), token=True)
        forged = b64url_encode(delivery.simulator.document().payload())
        delivery.simulator.config = b".".join((header, forged, signature))
        assert pins.token(HOST).state is TokenState.SUCCESS
        assert pins.pins() == before
