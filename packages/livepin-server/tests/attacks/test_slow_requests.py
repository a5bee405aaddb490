"""A stranger sends as slowly as possible, to keep connections and places (slowloris)."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

HEAD = b"GET / HTTP/1.1\r\nHost: localhost\r\n"
_LATEST = 20.0  # seconds, twice what a head, a body and a handshake may take


def closed_after(sock: socket.socket, drip: bytes = b"") -> tuple[float, bytes]:
    """Wait until the server closes, sending now and then; return after how long, and its words."""
    started, found = time.monotonic(), b""
    sock.settimeout(0.5)
    while time.monotonic() - started < _LATEST:
        try:
            more = sock.recv(4096)
        except TimeoutError:
            with suppress(OSError):
                sock.sendall(drip) if drip else None
            continue
        except (ConnectionError, ssl.SSLError):
            break
        if not more:
            break
        found += more
    return time.monotonic() - started, found


def test_no_slow_sender_keeps_a_connection(server) -> None:
    """Everything at once: it takes as long as the slowest, which is ten seconds."""
    key = server.key().encode()

    def plain(to: str, start: bytes) -> Callable[[], Any]:
        def one() -> Any:
            with socket.create_connection(("127.0.0.1", server.ports[to])) as sock:
                sock.sendall(start)
                return closed_after(sock)

        return one

    def secure(to: str, start: bytes, drip: bytes = b"") -> Callable[[], Any]:
        def one() -> Any:
            with server.connect(to) as sock:
                sock.sendall(start)
                return closed_after(sock, drip)

        return one

    body = b"Content-Length: 100\r\n\r\n{"
    report = b"POST /v1/acme/reports HTTP/1.1\r\nHost: x\r\n" + body
    change = (
        b"POST /v1/api-keys HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + key + b"\r\n"
    )
    silent = [
        *[plain(to, start) for to in server.ports for start in (b"", b"\x16\x03\x01\x02\x00\x01")],
        *[secure(to, start) for to in server.ports for start in (b"", b"G", HEAD)],
        *[secure(to, HEAD, drip=b"X-A: b\r\n") for to in server.ports],
        *[secure(to, HEAD.replace(b"/ ", b"/healthz ") + b"\r\n") for to in server.ports],
    ]
    answered = [
        secure("delivery", report),
        secure("delivery", report, drip=b" "),
        secure("management", change + body),
        secure("management", change + body, drip=b" "),
    ]
    with ThreadPoolExecutor(len(silent) + len(answered)) as pool:
        waiting = [pool.submit(one) for one in silent]
        refused = [pool.submit(one) for one in answered]
        assert server.send("GET", "/v1/acme/config/main").status_code == 200  # meanwhile
        assert server.send("GET", "/healthz", to="management").status_code == 200
        for each in waiting:
            seconds, _ = each.result()
            assert seconds < _LATEST - 1
        for each in refused:
            seconds, found = each.result()
            assert found.startswith(b"HTTP/1.1 408 "), found
            assert b"expected the body within 10 s" in found
