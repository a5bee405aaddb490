"""An attacker between app and server, with a certificate of a CA that the device trusts."""

from __future__ import annotations

import asyncio
import http.client
import socket
import ssl
import threading
from collections.abc import Iterator

import pytest
from livepin.adapters import stdlib
from livepin.client import healing
from livepin.errors import PinMismatchError, find
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
BODY = b"card=4111"


@pytest.fixture(scope="module")
def authority() -> Authority:
    """A CA that app and device trust, and that gave the attacker a certificate."""
    return make_authority("Public CA")


@pytest.fixture(scope="module")
def genuine(authority: Authority) -> Chain:
    return make_chain(HOST, authority=authority)


@pytest.fixture
def simulator(genuine: Chain) -> DeliverySimulator:
    found = DeliverySimulator()
    found.pin(HOST, genuine.pin)
    return found


@pytest.fixture(autouse=True)
def _quick_healing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a refused handshake wait for newer pins for less than five seconds."""
    monkeypatch.setattr(healing, "DEADLINE", 0.2)


class Interceptor:
    """Reads and passes on: TLS with its own certificate to the app, TLS to the real server."""

    def __init__(self, chain: Chain, target: int, authority: Authority) -> None:
        self.seen = bytearray()
        self._chain, self._target, self._authority = chain, target, authority
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._listener.close()
        self._thread.join(timeout=10)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        sock, _ = self._listener.accept()
        sock.settimeout(10)
        try:
            with server_context(self._chain).wrap_socket(sock, server_side=True) as app:
                while BODY not in self.seen:
                    data = app.recv(65536)
                    if not data:
                        return
                    self.seen += data
                app.sendall(self._ask_the_server())
        except OSError:
            sock.close()

    def _ask_the_server(self) -> bytes:
        onward = ssl.create_default_context(cadata=self._authority.pem)
        with socket.create_connection(("127.0.0.1", self._target), timeout=10) as plain:
            with onward.wrap_socket(plain, server_hostname=HOST) as server:
                server.sendall(self.seen)
                return server.recv(65536)


@pytest.fixture
def server(genuine: Chain) -> Iterator[RecordingServer]:
    with RecordingServer(genuine) as running:
        yield running


@pytest.fixture
def interceptor(
    authority: Authority, genuine: Chain, server: RecordingServer
) -> Iterator[Interceptor]:
    found = Interceptor(make_chain(HOST, authority=authority), server.port, authority)
    yield found
    found.close()


def fetch(context: ssl.SSLContext, port: int) -> int:
    connection = http.client.HTTPSConnection(HOST, port, context=context, timeout=10)
    try:
        connection.request("POST", "/pay", BODY, {"Authorization": "Bearer s3cret"})
        return connection.getresponse().status
    finally:
        connection.close()


def test_without_pins_the_attacker_reads_everything(
    authority: Authority, interceptor: Interceptor
) -> None:
    """The control: what the other tests prove is that this does not happen."""
    assert fetch(ssl.create_default_context(cadata=authority.pem), interceptor.port) == 200
    assert b"s3cret" in interceptor.seen
    assert BODY in interceptor.seen


@pytest.mark.parametrize("reachable", [True, False], ids=["delivery answers", "delivery blocked"])
def test_with_pins_the_attacker_reads_nothing(
    authority: Authority,
    simulator: DeliverySimulator,
    server: RecordingServer,
    interceptor: Interceptor,
    reachable: bool,
) -> None:
    simulator.reachable = reachable
    with simulator.client(ca=authority.pem) as pins, pytest.raises(PinMismatchError):
        fetch(pins.context(), interceptor.port)
    interceptor.close()
    assert bytes(interceptor.seen) == b""
    assert server.connections == 0


def test_the_refusal_says_whom_the_app_talked_to(
    authority: Authority, genuine: Chain, simulator: DeliverySimulator, interceptor: Interceptor
) -> None:
    with simulator.client(ca=authority.pem) as pins:
        opener = stdlib.opener(pins)
        with pytest.raises(OSError, match="no pinned key") as caught:
            opener.open(f"https://{HOST}:{interceptor.port}/", timeout=10)
    error = find(caught.value)
    assert isinstance(error, PinMismatchError)
    assert error.host == HOST
    assert error.expected == (str(genuine.pin),)
    assert str(genuine.pin) not in error.chain


def test_an_event_loop_sends_nothing_either(
    authority: Authority, simulator: DeliverySimulator, interceptor: Interceptor
) -> None:
    async def run() -> None:
        with simulator.client(ca=authority.pem) as pins:
            await asyncio.open_connection(
                "127.0.0.1", interceptor.port, ssl=pins.context(), server_hostname=HOST
            )

    with pytest.raises(PinMismatchError):
        asyncio.run(run())
    interceptor.close()
    assert bytes(interceptor.seen) == b""


def test_the_genuine_server_is_reached(
    authority: Authority, simulator: DeliverySimulator, server: RecordingServer
) -> None:
    with simulator.client(ca=authority.pem) as pins:
        assert fetch(pins.context(), server.port) == 200
