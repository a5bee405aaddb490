"""One client, several contexts: each offers its own protocols, all are judged alike."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from livepin.client import Client
from livepin.client.connections import PinnedObject
from livepin.testing import (
    Authority,
    Chain,
    DeliverySimulator,
    RecordingServer,
    make_authority,
    make_chain,
)

HOST = "localhost"


@pytest.fixture(scope="module")
def authority() -> Authority:
    return make_authority()


@pytest.fixture(scope="module")
def chain(authority: Authority) -> Chain:
    return make_chain(HOST, authority=authority)


@pytest.fixture(scope="module")
def other(authority: Authority) -> Chain:
    return make_chain(HOST, authority=authority)


@pytest.fixture
def simulator(chain: Chain) -> DeliverySimulator:
    found = DeliverySimulator()
    found.pin(HOST, chain.pin)
    return found


@pytest.fixture
def pins(simulator: DeliverySimulator, authority: Authority) -> Iterator[Client]:
    with simulator.client(ca=authority.pem) as found:
        yield found


@pytest.fixture
def server(chain: Chain) -> Iterator[RecordingServer]:
    with RecordingServer(chain) as found:
        found.context.set_alpn_protocols(["h2", "http/1.1"])
        yield found


def connect(context: ssl.SSLContext, port: int) -> ssl.SSLSocket:
    sock = socket.create_connection(("127.0.0.1", port), timeout=10)
    return context.wrap_socket(sock, server_hostname=HOST)


def test_each_offer_of_protocols_has_its_own_context(pins: Client, server: RecordingServer) -> None:
    assert pins.context() is pins.context()
    assert pins.context(alpn=["h2"]) is pins.context(alpn=("h2",))
    chosen = []
    for offer in ([], ["h2"], ["http/1.1"]):
        with connect(pins.context(alpn=offer), server.port) as tls:
            chosen.append(tls.selected_alpn_protocol())
    assert chosen == [None, "h2", "http/1.1"]


def test_the_connections_of_all_contexts_are_counted_and_cut(
    pins: Client, simulator: DeliverySimulator, other: Chain, server: RecordingServer
) -> None:
    with connect(pins.context(), server.port), connect(pins.context(alpn=["h2"]), server.port):
        assert pins.status().open_connections == 2
        simulator.pin(HOST, other.pin)
        pins.refresh()
        server.wait_closed()


def test_a_connection_is_current_while_its_pins_hold(
    pins: Client, simulator: DeliverySimulator, chain: Chain, other: Chain, server: RecordingServer
) -> None:
    with connect(pins.context(), server.port) as tls:
        states = [tls.is_current()]
        for host_pins in ((chain.pin, other.pin), (other.pin,), (chain.pin,)):
            simulator.pin(HOST, *host_pins)
            pins.refresh()
            states.append(tls.is_current())
    assert states == [True, True, False, True]


def test_a_connection_that_was_never_judged_is_not_current(pins: Client) -> None:
    found = pins.context().wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname=HOST)
    assert isinstance(found, PinnedObject)
    assert not found.is_current()


@pytest.mark.parametrize("library", ["asyncio", "uvloop"])
def test_an_attached_connection_is_cut_on_each_event_loop(
    pins: Client,
    simulator: DeliverySimulator,
    other: Chain,
    server: RecordingServer,
    library: str,
) -> None:
    """The sockets that uvloop hands out have no shutdown."""
    module: Any = pytest.importorskip(library, reason=f"the livepin wheel brings no {library}")
    new_loop: Callable[[], asyncio.AbstractEventLoop] = module.new_event_loop

    async def run() -> None:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", server.port, ssl=pins.context(), server_hostname=HOST
        )
        connection = writer.get_extra_info("ssl_object")
        connection.attach(writer.get_extra_info("socket"))
        simulator.pin(HOST, other.pin)
        await pins.arefresh()
        with suppress(OSError):  # closing it may fail too
            assert await asyncio.wait_for(reader.read(), 10) == b""
        writer.transport.abort()
        await asyncio.sleep(0)
        pins.context().rejudge()  # closed by now

    loop = new_loop()
    try:
        loop.run_until_complete(run())
        loop.run_until_complete(loop.shutdown_default_executor())
    finally:
        loop.close()
