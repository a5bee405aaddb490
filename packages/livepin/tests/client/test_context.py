"""The pinned context against real TLS servers: what passes, and what sends no byte."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator

import livepin
import pytest
from livepin.pins import Pin
from livepin.testing import (
    Chain,
    DeliverySimulator,
    RecordingServer,
    make_chain,
)

HOST = "localhost"
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer s3cret\r\n\r\n"


@pytest.fixture(scope="module")
def chain() -> Chain:
    return make_chain(HOST, intermediate=True)


@pytest.fixture(params=[False, True], ids=["tls13", "tls12"])
def server(request: pytest.FixtureRequest, chain: Chain) -> Iterator[RecordingServer]:
    with RecordingServer(chain, tls12=request.param) as running:
        yield running


@pytest.fixture
def simulator() -> DeliverySimulator:
    return DeliverySimulator()


def exchange(context: ssl.SSLContext, port: int, host: str = HOST) -> bytes:
    """Send a request over a socket of `context`; return the answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
        with context.wrap_socket(sock, server_hostname=host) as tls:
            tls.sendall(REQUEST)
            return tls.recv(65536)


def pinned(simulator: DeliverySimulator, chain: Chain, *pins: Pin) -> livepin.Client:
    simulator.pin(HOST, *pins)
    simulator.reachable = False
    return simulator.client(ca=chain.authority.pem)


@pytest.mark.parametrize("level", ["leaf", "intermediate", "root"])
def test_each_key_of_the_verified_chain_may_be_pinned(
    simulator: DeliverySimulator, chain: Chain, server: RecordingServer, level: str
) -> None:
    assert chain.intermediate is not None
    pin = {
        "leaf": chain.pin,
        "intermediate": chain.intermediate.pin,
        "root": chain.authority.pin,
    }[level]
    with pinned(simulator, chain, pin) as pins:
        assert exchange(pins.context(), server.port).startswith(b"HTTP/1.1 200")


def test_a_wrong_pin_sends_no_byte_and_names_everything(
    simulator: DeliverySimulator, chain: Chain, server: RecordingServer
) -> None:
    other = make_chain(HOST)
    with pinned(simulator, chain, other.pin) as pins:
        no_healing(pins)
        with pytest.raises(livepin.PinMismatchError) as caught:
            exchange(pins.context(), server.port)
    assert isinstance(caught.value, ssl.SSLCertVerificationError)
    assert caught.value.host == HOST
    assert caught.value.chain[0] == str(chain.pin)
    assert caught.value.expected == (str(other.pin),)
    assert f"config version {simulator.version}" in str(caught.value)
    assert "livepin domain check localhost" in (caught.value.hint or "")
    assert bytes(server.received) == b""


def no_healing(pins: livepin.Client) -> None:
    pins.context()._healer = None
