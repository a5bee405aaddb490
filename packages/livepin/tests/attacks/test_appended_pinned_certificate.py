"""A certificate of the pinned key, appended to a valid chain of another CA (CVE-2016-2402)."""

from __future__ import annotations

import socket
import ssl
from typing import Any

import pytest
from livepin.client import MemoryStore, PinnedContext
from livepin.client.judge import ConfigJudge
from livepin.client.trusted import Trusted
from livepin.errors import PinMismatchError
from livepin.testing import (
    Chain,
    DeliverySimulator,
    RecordingServer,
    make_authority,
    make_chain,
    pin_of,
)

HOST = "localhost"
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer s3cret\r\n\r\n"
TLS = pytest.mark.parametrize("tls12", [False, True], ids=["tls13", "tls12"])


def pinned_context(simulator: DeliverySimulator, ca: str) -> PinnedContext:
    """Return the context of a client that trusts `ca`, and does not wait for newer pins."""
    trusted = Trusted(
        simulator.bootstrap(), MemoryStore(), clock=simulator.clock, on_change=lambda: None
    )
    judge = ConfigJudge(trusted, clock=simulator.clock, unlisted="system")
    return PinnedContext(judge, anchors=ca)


def exchange(context: ssl.SSLContext, port: int, **options: Any) -> bytes:
    options = {"server_hostname": HOST} | options
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
        with context.wrap_socket(sock, **options) as tls:
            tls.sendall(REQUEST)
            return tls.recv(65536)


def nothing_arrived(server: RecordingServer) -> bool:
    server.wait_closed()
    return bytes(server.received) == b""


@TLS
@pytest.mark.parametrize("level", ["leaf", "intermediate", "root"])
def test_what_is_presented_but_not_verified_does_not_count(level: str, tls12: bool) -> None:
    victim = make_chain(HOST, intermediate=True)
    rogue = make_chain(HOST, authority=make_authority("Rogue CA"), intermediate=True)
    assert victim.intermediate is not None
    pinned = {
        "leaf": victim.leaf,
        "intermediate": victim.intermediate.certificate,
        "root": victim.authority.certificate,
    }[level]
    simulator = DeliverySimulator()
    simulator.pin(HOST, pin_of(pinned))
    context = pinned_context(simulator, victim.authority.pem + rogue.authority.pem)
    attack = rogue.also_presenting(*victim.presented, victim.authority.certificate)
    with RecordingServer(attack, tls12=tls12) as server:
        with pytest.raises(PinMismatchError) as caught:
            exchange(context, server.port)
        assert str(pin_of(pinned)) not in caught.value.chain
        assert nothing_arrived(server)
    with RecordingServer(_also_root(victim), tls12=tls12) as server:
        assert exchange(context, server.port).startswith(b"HTTP/1.1 200")


def _also_root(chain: Chain) -> Chain:
    return chain.also_presenting(chain.authority.certificate)
