"""An answer of 50 MB: the device reads what a document may take, and hangs up."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from livepin import FetchError
from livepin.documents import config

if TYPE_CHECKING:
    from conftest import Account, Delivery

MIB = 1024 * 1024
HUGE = 50 * MIB
BUFFERS = 8 * MIB  # what the system's buffers between the two may hold

HEADS = {
    "a length": f"HTTP/1.1 200 OK\r\nContent-Length: {HUGE}\r\n\r\n",
    "no length": "HTTP/1.1 200 OK\r\n\r\n",
    "gzip": f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {HUGE}\r\n\r\n",
    "an error": f"HTTP/1.1 500 No\r\nContent-Length: {HUGE}\r\n\r\n",
    "endless headers": "HTTP/1.1 200 OK\r\nX: ",
}


class Flood:
    """Sends 50 MB to whoever asks, and counts what was taken."""

    def __init__(self, head: str, fill: bytes = b"A" * 16) -> None:
        self.sent = 0
        self.ended = threading.Event()
        self._head, self._chunk = head.encode("latin-1"), fill * 4096

    def __call__(self, sock: socket.socket) -> None:
        try:
            sock.recv(65536)
            sock.sendall(self._head)
            while self.sent < HUGE:
                sock.sendall(self._chunk)
                self.sent += len(self._chunk)
        finally:
            self.ended.set()


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
@pytest.mark.parametrize("tls", [True, False], ids=["delivery", "recovery"])
def test_a_config_of_50_mb_is_not_read_to_its_end(
    delivery: Delivery, odd_server: Callable[..., Any], closed_port: int, head: str, tls: bool
) -> None:
    flood = Flood(head)
    server = odd_server(flood, tls=tls)
    urls = {"urls": (server.url,)}
    if not tls:
        urls = {"urls": (f"https://localhost:{closed_port}",), "recovery_urls": (server.url,)}
    delivery.publish(**urls)
    with delivery.client() as pins:
        before = pins.status().version
        with pytest.raises(FetchError):
            pins.refresh(timeout=30)
        assert pins.status().version == before
        assert flood.ended.wait(10)
    assert flood.sent <= config.MAX_SIZE + BUFFERS


def test_what_expands_to_nothing_is_measured_as_it_comes(
    delivery: Delivery, odd_server: Callable[..., Any]
) -> None:
    """A gzip stream of empty blocks: however long it is, the document does not grow."""
    head = HEADS["gzip"] + "\x1f\x8b\x08" + "\0" * 6 + "\x03"
    flood = Flood(head, b"\0\0\0\xff\xff")
    delivery.publish(urls=(odd_server(flood, tls=True).url,))
    with delivery.client() as pins:
        with pytest.raises(FetchError, match="expected at most"):
            pins.refresh(timeout=30)
        assert flood.ended.wait(10)
    assert flood.sent <= config.MAX_COMPRESSED + BUFFERS


def test_a_root_of_50_mb_is_not_read_to_its_end(
    delivery: Delivery, odd_server: Callable[..., Any], closed_port: int
) -> None:
    """Its bound is that of a root, not that of a config."""
    flood = Flood(HEADS["a length"])
    newest: list[bytes] = []

    def handle(sock: socket.socket) -> None:
        if b"/config/" in sock.recv(65536, socket.MSG_PEEK):
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(newest[0]))
            sock.sendall(newest[0])
            sock.recv(65536)
        else:
            flood(sock)

    server = odd_server(handle)
    delivery.publish(urls=(f"https://localhost:{closed_port}",), recovery_urls=(server.url,))
    with delivery.client() as pins:
        delivery.simulator.publish_root()
        newest.append(delivery.publish())
        with pytest.raises(FetchError):
            pins.refresh(timeout=30)
        assert pins.status().root_version == 1
        assert flood.ended.wait(10)
    assert flood.sent <= BUFFERS


@pytest.mark.parametrize("step", ["advance_config", "advance_root", "missing_roots"])
def test_a_document_of_50_mb_is_measured_before_it_is_read(
    account: Account, refused, step: str
) -> None:
    refused(1, getattr(account.state(), step), b"." * HUGE)


def test_an_override_of_50_mb_is_measured_before_it_is_read(account: Account, refused) -> None:
    give = {"thumbprint": account.thumbprint, "now": account.now}
    refused(1, account.state().advance_override, b"." * HUGE, **give)


def test_a_genuine_config_beyond_the_bound_is_refused(account: Account, refused) -> None:
    """Not even the holder of the key may make devices read more."""
    raw = account.config(2, padding="x" * config.MAX_SIZE)
    refused(1, account.state().advance_config, raw)
