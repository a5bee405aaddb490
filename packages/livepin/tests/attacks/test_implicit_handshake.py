"""A handshake that nobody asked for: OpenSSL runs it inside the first read or write."""

from __future__ import annotations

import contextlib
import io
import socket
import ssl
from collections.abc import Callable
from typing import Any

import pytest
from livepin.client import MemoryStore, PinnedContext
from livepin.client.judge import ConfigJudge
from livepin.client.trusted import Trusted
from livepin.errors import PinMismatchError
from livepin.testing import DeliverySimulator, RecordingServer, make_chain

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


def nothing_arrived(server: RecordingServer) -> bool:
    server.wait_closed()
    return bytes(server.received) == b""


STEPS: dict[str, Callable[[Any], Any]] = {
    "send": lambda tls: tls.send(REQUEST),
    "sendall": lambda tls: tls.sendall(REQUEST),
    "sendall of nothing": lambda tls: (tls.sendall(b""), tls.sendall(REQUEST)),
    "write": lambda tls: tls.write(REQUEST),
    "sendfile": lambda tls: tls.sendfile(io.BytesIO(REQUEST)),
    "makefile": lambda tls: _write_file(tls),
    "unwrap first": lambda tls: _ignoring_errors(tls.unwrap, lambda: tls.sendall(REQUEST)),
    "errors ignored": lambda tls: _ignoring_errors(tls.do_handshake, lambda: tls.sendall(REQUEST)),
}


def _write_file(tls: ssl.SSLSocket) -> None:
    with tls.makefile("wb") as file:
        file.write(REQUEST)


def _ignoring_errors(first: Callable[[], Any], then: Callable[[], Any]) -> None:
    with contextlib.suppress(OSError):
        first()
    then()


@TLS
@pytest.mark.parametrize("step", list(STEPS.values()), ids=list(STEPS))
def test_a_socket_that_never_shakes_hands_itself_sends_nothing(
    step: Callable[[Any], Any], tls12: bool
) -> None:
    attack = make_chain(HOST)
    simulator = DeliverySimulator()
    simulator.pin(HOST, make_chain(HOST).pin)
    context = pinned_context(simulator, attack.authority.pem)
    with RecordingServer(attack, tls12=tls12) as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as sock:
            with context.wrap_socket(
                sock, server_hostname=HOST, do_handshake_on_connect=False
            ) as tls:
                with pytest.raises(PinMismatchError):
                    step(tls)
        assert nothing_arrived(server)


@TLS
def test_buffers_that_are_only_written_to_send_nothing(tls12: bool) -> None:
    """A library may write, and pump what comes out of it to the peer, errors or not."""
    attack = make_chain(HOST)
    simulator = DeliverySimulator()
    simulator.pin(HOST, make_chain(HOST).pin)
    context = pinned_context(simulator, attack.authority.pem)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname=HOST)
    refusals = 0
    with RecordingServer(attack, tls12=tls12) as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as sock:
            while refusals < 3:
                try:
                    tls.write(REQUEST)
                except ssl.SSLWantReadError:
                    sock.sendall(outgoing.read())
                    incoming.write(sock.recv(65536))
                except PinMismatchError:
                    refusals += 1
                    sock.sendall(outgoing.read())
                else:
                    pytest.fail("the request was encrypted for the attacker")
        assert nothing_arrived(server)
