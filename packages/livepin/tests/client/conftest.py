"""What the client's tests share: chains under one CA, servers that record, quick refusals."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from livepin.client import MemoryStore, PinnedContext
from livepin.client import healing as healing_module
from livepin.client.judge import ConfigJudge, Unlisted
from livepin.client.trusted import Trusted
from livepin.errors import PinMismatchError
from livepin.testing import (
    Authority,
    Chain,
    DeliverySimulator,
    RecordingServer,
    make_authority,
    make_chain,
    server_context,
)

HOST = "localhost"
GREETING = b"220 hello\r\n"
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer s3cret\r\n\r\n"

Serve = Callable[..., RecordingServer]


class Wired:
    """Trust, judge and context as `Client` wires them, without healing: a refusal does not wait."""

    def __init__(
        self, simulator: DeliverySimulator, ca: str | None, unlisted: Unlisted = "system"
    ) -> None:
        self.simulator = simulator
        self.reported: list[PinMismatchError] = []
        self.shut_down = 0
        self.trusted = Trusted(
            simulator.bootstrap(), MemoryStore(), clock=simulator.clock, on_change=self._changed
        )
        self.judge = ConfigJudge(self.trusted, clock=simulator.clock, unlisted=unlisted)
        self.context = PinnedContext(self.judge, anchors=ca, reporter=self.reported.append)

    def adopt(self) -> None:
        """Take the simulator's newest config."""
        self.trusted.adopt(self.trusted().advance_config(self.simulator.config))

    def exchange(self, port: int, host: str = HOST) -> bytes:
        """Send a request over a TLS socket; return the answer."""
        with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
            with self.context.wrap_socket(sock, server_hostname=host) as tls:
                tls.sendall(REQUEST)
                return tls.recv(65536)

    def _changed(self) -> None:
        self.judge.generation += 1
        self.shut_down += self.context.rejudge()


class Greeter:
    """A TLS server that speaks first, and says what it was sent when the client is gone."""

    def __init__(self, chain: Chain, *, tls12: bool = False) -> None:
        self._context = server_context(chain, tls12=tls12)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.received = bytearray()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def wait_closed(self) -> None:
        self._thread.join(timeout=10)
        assert not self._thread.is_alive()

    def close(self) -> None:
        self._listener.close()

    def _serve(self) -> None:
        with self._listener.accept()[0] as sock:
            sock.settimeout(10)
            try:
                with self._context.wrap_socket(sock, server_side=True) as tls:
                    tls.sendall(GREETING)
                    while data := tls.recv(65536):
                        self.received += data
            except OSError:
                return  # the client went away in the middle of the handshake


@pytest.fixture(scope="session")
def authority() -> Authority:
    return make_authority()


@pytest.fixture(scope="session")
def between(authority: Authority) -> Authority:
    return make_authority("Test Intermediate CA", issuer=authority)


@pytest.fixture(scope="session")
def chain(authority: Authority, between: Authority) -> Chain:
    """The chain that the owner of the host uses."""
    return make_chain(HOST, "127.0.0.1", authority=authority, intermediate=between)


@pytest.fixture(scope="session")
def other(authority: Authority) -> Chain:
    """Another chain for the host, by a CA that the client trusts: an attacker's, or a rotated."""
    return make_chain(HOST, "127.0.0.1", authority=authority)


@pytest.fixture
def simulator() -> DeliverySimulator:
    return DeliverySimulator()


@pytest.fixture
def wire(simulator: DeliverySimulator, authority: Authority) -> Callable[..., Wired]:
    """Return trust, judge and context by the simulator's config of now."""

    def make(unlisted: Unlisted = "system", ca: str | None = None) -> Wired:
        return Wired(simulator, ca or authority.pem, unlisted)

    return make


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start recording servers that are closed at the end of the test."""
    with ExitStack() as stack:

        def start(chain: Chain, **options: object) -> RecordingServer:
            return stack.enter_context(RecordingServer(chain, **options))  # type: ignore[arg-type]

        yield start


@pytest.fixture
def greet() -> Iterator[Callable[..., Greeter]]:
    """Start servers that speak first."""
    with ExitStack() as stack:

        def start(chain: Chain, **options: bool) -> Greeter:
            greeter = Greeter(chain, **options)
            stack.callback(greeter.close)
            return greeter

        yield start


@pytest.fixture
def quick_healing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the five seconds that a refused handshake waits for newer pins."""
    monkeypatch.setattr(healing_module, "DEADLINE", 0.3)
    monkeypatch.setattr(healing_module, "_PAUSE", 0.05)
