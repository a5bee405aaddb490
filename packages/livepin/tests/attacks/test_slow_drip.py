"""An answer that comes byte by byte: no single wait is long, and the end never comes."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from livepin import FetchError

if TYPE_CHECKING:
    from conftest import Delivery

DEADLINE = 0.4  # seconds for the update
SLACK = 5.0  # seconds that a busy machine may take beyond it; a drip goes on for a minute
PACE = 0.02

HEAD = b"HTTP/1.1 200 OK\r\n"
DRIPS = {
    "the body": (HEAD + b"Content-Length: 1000000\r\n\r\n", b"A"),
    "the body in chunks": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nA\r\n"),
    "the body without a length": (HEAD + b"\r\n", b"A"),
    "a header": (HEAD + b"X: ", b"A"),
    "many headers": (HEAD, b"X: y\r\n"),
    "the status line": (b"HTTP/1.1 200 ", b"O"),
    "interim answers": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "nothing": (b"", b""),
}


class Drip:
    """Answers piece by piece until the device hangs up, which `left` says."""

    def __init__(self, head: bytes, piece: bytes) -> None:
        self.left, self._pace = threading.Event(), threading.Event()
        self._head, self._piece = head, piece

    def __call__(self, sock: socket.socket) -> None:
        end = time.monotonic() + 60
        try:
            sock.sendall(self._head)
            sock.settimeout(PACE)
            while time.monotonic() < end:
                sock.sendall(self._piece)
                if self._hung_up(sock):
                    break
        except OSError:
            pass
        self.left.set()

    def _hung_up(self, sock: socket.socket) -> bool:
        try:
            return sock.recv(65536) == b""
        except TimeoutError:
            return False


def check(client: Any, drip: Drip) -> None:
    """Check that an update ends with its deadline, and takes its connection with it."""
    before = client.status().version
    started = time.monotonic()
    with pytest.raises(FetchError):
        client.refresh(timeout=DEADLINE)
    assert time.monotonic() - started < DEADLINE + SLACK
    assert drip.left.wait(SLACK)
    assert client.status().version == before


@pytest.mark.parametrize(("head", "piece"), DRIPS.values(), ids=DRIPS)
@pytest.mark.parametrize("tls", [True, False], ids=["delivery", "recovery"])
def test_a_drip_ends_with_the_deadline(
    delivery: Delivery,
    odd_server: Callable[..., Any],
    closed_port: int,
    head: bytes,
    piece: bytes,
    tls: bool,
) -> None:
    drip = Drip(head, piece)
    server = odd_server(drip, tls=tls)
    urls = {"urls": (server.url,)}
    if not tls:
        urls = {"urls": (f"https://localhost:{closed_port}",), "recovery_urls": (server.url,)}
    delivery.publish(**urls)
    with delivery.client() as pins:
        check(pins, drip)


def test_a_handshake_that_drips_ends_with_the_deadline(
    delivery: Delivery, odd_server: Callable[..., Any]
) -> None:
    """A record of the TLS handshake, announced with 16 KiB and sent byte by byte."""
    drip = Drip(b"\x16\x03\x03\x40\x00", b"\x02")
    server = odd_server(drip)
    delivery.publish(urls=(server.url.replace("http:", "https:"),))
    with delivery.client() as pins:
        check(pins, drip)


def test_a_drip_on_both_channels_ends_with_one_deadline(
    delivery: Delivery, odd_server: Callable[..., Any]
) -> None:
    drips = [Drip(*DRIPS["the body"]), Drip(*DRIPS["the body"])]
    urls = [odd_server(drip, tls=tls).url for drip, tls in zip(drips, (True, False), strict=True)]
    delivery.publish(urls=(urls[0],), recovery_urls=(urls[1],))
    with delivery.client() as pins:
        started = time.monotonic()
        with pytest.raises(FetchError):
            pins.refresh(timeout=1.5)  # the recovery channel is tried after a second
        assert time.monotonic() - started < 1.5 + SLACK
    assert all(drip.left.wait(SLACK) for drip in drips)
