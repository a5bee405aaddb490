"""What the adapters' tests share: chains under one CA, recording servers, quick refusals."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest
from livepin.client import Client, healing
from livepin.testing import (
    Authority,
    Chain,
    DeliverySimulator,
    RecordingServer,
    make_authority,
    make_chain,
    server_context,
)

HOSTS = "localhost", "127.0.0.1", "api.example.com"


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no proxy and no bundle of the machine's take part."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def authority() -> Authority:
    return make_authority()


@pytest.fixture(scope="session")
def chain(authority: Authority) -> Chain:
    """The chain that the owner of the hosts uses."""
    return make_chain(*HOSTS, authority=authority)


@pytest.fixture(scope="session")
def other(authority: Authority) -> Chain:
    """Another chain for the hosts, by a CA that the client trusts: an attacker's, or a rotated."""
    return make_chain(*HOSTS, authority=authority)


@pytest.fixture(scope="session")
def stranger() -> Chain:
    """A chain for the hosts by a CA that nobody trusts."""
    return make_chain(*HOSTS, authority=make_authority("Stranger CA"))


@pytest.fixture
def simulator() -> DeliverySimulator:
    return DeliverySimulator()


@pytest.fixture
def pins(simulator: DeliverySimulator, authority: Authority, chain: Chain) -> Iterator[Client]:
    """A client that pins the owner's chain for each host."""
    for host in HOSTS:
        simulator.pin(host, chain.pin)
    with simulator.client(ca=authority.pem) as found:
        yield found


@pytest.fixture
def serve() -> Iterator[Callable[..., RecordingServer]]:
    """Start recording servers that are closed at the end of the test."""
    with ExitStack() as stack:

        def start(
            chain: Chain, *, kind: type[RecordingServer] = RecordingServer, **options: Any
        ) -> RecordingServer:
            return stack.enter_context(kind(chain, **options))

        yield start


@pytest.fixture
def quick_healing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the five seconds that a refused handshake waits for newer pins."""
    monkeypatch.setattr(healing, "DEADLINE", 0.3)


class Tunnel:
    """An HTTP proxy that knows CONNECT only, and takes every host for a port of loopback."""

    def __init__(self, chain: Chain | None = None) -> None:
        self.asked: list[str] = []
        self._tls = None if chain is None else server_context(chain)
        self._listener = socket.create_server(("127.0.0.1", 0))
        scheme = "http" if chain is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self._listener.getsockname()[1]}"
        self._threads: list[threading.Thread] = []
        self._accepting = threading.Thread(target=self._accept)
        self._accepting.start()

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in (self._accepting, *self._threads):
            thread.join(timeout=10)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(sock,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, sock: socket.socket) -> None:
        with sock, suppress(OSError):
            if self._tls is not None:
                sock = self._tls.wrap_socket(sock, server_side=True)
            self._tunnel(sock)

    def _tunnel(self, sock: socket.socket) -> None:
        with sock:
            head = b""
            while b"\r\n\r\n" not in head:
                more = sock.recv(65536)
                if not more:
                    return
                head += more
            line = head.split(b"\r\n")[0].decode()
            self.asked.append(line)
            method, target, _ = line.split(" ")
            if method != "CONNECT":
                sock.sendall(b"HTTP/1.1 501 X\r\nContent-Length: 0\r\n\r\n")
                return
            port = int(target.rpartition(":")[2])
            with socket.create_connection(("127.0.0.1", port), timeout=10) as onward:
                sock.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
                _pass_on(sock, onward)


def _pass_on(one: socket.socket, other: socket.socket) -> None:
    while True:
        held = [each for each in (one, other) if getattr(each, "pending", int)()]
        for ready in held or select.select([one, other], [], [], 10)[0]:
            data = ready.recv(65536)
            if not data:
                return
            (other if ready is one else one).sendall(data)


@pytest.fixture
def tls_tunnel() -> Iterator[Callable[[Chain], Tunnel]]:
    """Start a proxy that is spoken to over TLS."""
    running: list[Tunnel] = []

    def start(chain: Chain) -> Tunnel:
        running.append(Tunnel(chain))
        return running[-1]

    yield start
    for each in running:
        each.close()


@pytest.fixture
def tunnel() -> Iterator[Tunnel]:
    running = Tunnel()
    yield running
    running.close()
