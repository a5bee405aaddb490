"""Endpoints on loopback for tests of monitoring: real TLS servers, and many that misbehave.

`with Servers() as servers` ends them all. A port is returned by each; `connect(port)` is what a
question takes. They are threads of the test's process, one for each connection.
"""

from __future__ import annotations

import os
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from contextlib import suppress

from livepin.testing import Chain, load_chain, server_context

HOST = "api.example.test"
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: no orderly end


def connect(port: int, address: str = "127.0.0.1") -> str:
    """What leads a question to a server."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def context(*chains: Chain, tls12: bool = False) -> ssl.SSLContext:
    """A server's context with a certificate of each algorithm, or one."""
    found = server_context(chains[0], tls12=tls12)
    for each in chains[1:]:
        load_chain(found, each)
    return found


class Servers:
    """Starts servers, counts their connections, and keeps what TLS clients have sent."""

    def __init__(self) -> None:
        self.connections: dict[int, int] = {}
        self.received = bytearray()
        self._listeners: list[socket.socket] = []
        self._open: list[socket.socket] = []
        self._over = threading.Event()

    def start(
        self, behave: Callable[[socket.socket], None], address: str = "127.0.0.1", port: int = 0
    ) -> int:
        """A server that does one thing with each connection, such as those functions below."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        listener = socket.create_server((address, port), family=family, backlog=1024)
        self._listeners.append(listener)
        found: int = listener.getsockname()[1]
        self.connections.setdefault(found, 0)
        arguments = (listener, found, behave)
        threading.Thread(target=self._accept, args=arguments, daemon=True).start()
        return found

    def tls(self, served: ssl.SSLContext | Chain, address: str = "127.0.0.1", port: int = 0) -> int:
        """A TLS server with a chain or a context: expired, self-signed, mutual, as it comes."""
        found = served if isinstance(served, ssl.SSLContext) else context(served)

        def behave(sock: socket.socket) -> None:
            with found.wrap_socket(sock, server_side=True) as tls:
                while more := tls.recv(4096):
                    self.received += more

        return self.start(behave, address, port)

    def silent(self, address: str = "127.0.0.1", port: int = 0) -> int:
        """A server that accepts, reads, and never answers."""
        return self.start(_swallow, address, port)

    def stalled(self) -> int:
        """A server that begins an answer of TLS, and stops in its midst."""
        return self.start(lambda sock: _say(sock, b"\x16\x03\x03\x00\x7a\x02\x00", then=_swallow))

    def resetting(self) -> int:
        """A server that resets each connection once it has heard something."""
        return self.start(_reset)

    def closing(self) -> int:
        """A server that closes each connection once it has heard something."""
        return self.start(lambda sock: _say(sock, b""))

    def http(self) -> int:
        """A server that speaks plain HTTP."""
        return self.start(lambda sock: _say(sock, b"HTTP/1.1 400 Bad Request\r\n\r\n"))

    def garbage(self) -> int:
        """A server that sends chance bytes."""
        return self.start(lambda sock: _say(sock, os.urandom(4096)))

    def endless_certificate(self) -> int:
        """A server whose message with its certificates has no end."""
        certificate = b"\x0b\xff\xff\xff\xff\xff\xfc\xff\xff\xf9" + bytes(16_000)
        return self.start(lambda sock: _endless(sock, certificate, bytes(16_000)))

    def endless(self) -> int:
        """A server that goes on with its handshake for ever, by messages that change nothing."""
        hello_requests = bytes(16_000)  # each is four bytes of zero (RFC 5246, section 7.4.1.1)
        return self.start(lambda sock: _endless(sock, hello_requests, hello_requests))

    def refusing(self) -> int:
        """A port where nobody listens."""
        with socket.create_server(("127.0.0.1", 0)) as closed:
            port: int = closed.getsockname()[1]
        return port

    def __enter__(self) -> Servers:
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for each in (*self._listeners, *self._open):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(
        self, listener: socket.socket, port: int, behave: Callable[[socket.socket], None]
    ) -> None:
        with suppress(OSError):
            while not self._over.is_set():
                sock, _ = listener.accept()
                self._open.append(sock)
                self.connections[port] += 1
                threading.Thread(target=_serve, args=(sock, behave), daemon=True).start()


def _serve(sock: socket.socket, behave: Callable[[socket.socket], None]) -> None:
    with suppress(OSError, ValueError), sock:
        behave(sock)


def _swallow(sock: socket.socket) -> None:
    while sock.recv(4096):
        pass


def _reset(sock: socket.socket) -> None:
    sock.recv(4096)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)


def _say(
    sock: socket.socket, words: bytes, then: Callable[[socket.socket], None] | None = None
) -> None:
    sock.recv(4096)
    sock.sendall(words)
    if then is not None:
        then(sock)
    else:
        sock.shutdown(socket.SHUT_WR)
        _swallow(sock)


def _record(message: bytes) -> bytes:
    return b"\x16\x03\x03" + len(message).to_bytes(2, "big") + message


def _endless(sock: socket.socket, first: bytes, more: bytes) -> None:
    """Answer with a ServerHello of TLS 1.2 for either algorithm, then without an end."""
    hello = sock.recv(4096)
    suite = next(s for s in (b"\xc0\x2b", b"\xc0\x2f") if s in hello)
    body = b"\x03\x03" + os.urandom(32) + b"\0" + suite + b"\0" + b"\0\x05\xff\x01\0\x01\0"
    sock.sendall(_record(b"\x02" + len(body).to_bytes(3, "big") + body) + _record(first))
    while True:
        sock.sendall(_record(more))
