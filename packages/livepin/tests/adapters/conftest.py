"""What the adapters' tests share: chains under one CA, recording servers, quick refusals."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress

import pytest
from livepin.client import healing
from livepin.testing import (
    Authority,
    Chain,
    DeliverySimulator,
    RecordingServer,
    make_authority,
    make_chain,
)

HOSTS = "localhost", "127.0.0.1", "api.example.com"


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
def serve() -> Iterator[Callable[..., RecordingServer]]:
    """Start recording servers that are closed at the end of the test."""
    with ExitStack() as stack:

        def start(chain: Chain, **options: object) -> RecordingServer:
            return stack.enter_context(RecordingServer(chain, **options))  # type: ignore[arg-type]

        yield start


@pytest.fixture
def quick_healing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the five seconds that a refused handshake waits for newer pins."""
    monkeypatch.setattr(healing, "DEADLINE", 0.3)


class Tunnel:
    """An HTTP proxy that knows CONNECT only, and takes every host for a port of loopback."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
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
            head = b""
            while b"\r\n\r\n" not in head:
                head += sock.recv(65536)
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
        for ready in select.select([one, other], [], [], 10)[0]:
            data = ready.recv(65536)
            if not data:
                return
            (other if ready is one else one).sendall(data)


@pytest.fixture
def tunnel() -> Iterator[Tunnel]:
    running = Tunnel()
    yield running
    running.close()
