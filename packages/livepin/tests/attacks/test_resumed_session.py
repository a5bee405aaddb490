"""A resumed TLS session: nothing is verified anew, so old sessions must not outlive pins."""

from __future__ import annotations

import datetime as dt
import socket
import ssl
from typing import Any

import pytest
from livepin.client import MemoryStore, PinnedContext
from livepin.client.judge import ConfigJudge
from livepin.client.trusted import Trusted
from livepin.errors import PinMismatchError, UnverifiedChainError
from livepin.pins import Pin
from livepin.testing import (
    Chain,
    DeliverySimulator,
    RecordingServer,
    make_authority,
    make_chain,
)

HOST = "localhost"
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer s3cret\r\n\r\n"
TLS = pytest.mark.parametrize("tls12", [False, True], ids=["tls13", "tls12"])


def exchange(context: ssl.SSLContext, port: int, **options: Any) -> bytes:
    options = {"server_hostname": HOST} | options
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
        with context.wrap_socket(sock, **options) as tls:
            tls.sendall(REQUEST)
            return tls.recv(65536)


class Client:
    """Trust and a context, on a config that can be replaced."""

    def __init__(self, simulator: DeliverySimulator, ca: str) -> None:
        self._simulator = simulator
        self._trusted = Trusted(
            simulator.bootstrap(), MemoryStore(), clock=simulator.clock, on_change=self._changed
        )
        self._judge = ConfigJudge(self._trusted, clock=simulator.clock, unlisted="system")
        self.context = PinnedContext(self._judge, anchors=ca)

    def pin(self, *pins: Pin) -> None:
        self._simulator.pin(HOST, *pins)
        self._trusted.adopt(self._trusted().advance_config(self._simulator.config))

    def _changed(self) -> None:
        self._judge.generation += 1
        self.context.rejudge()


def session_of(context: ssl.SSLContext, port: int, host: str = HOST) -> ssl.SSLSession:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
        with context.wrap_socket(sock, server_hostname=host) as tls:
            tls.sendall(REQUEST)
            tls.recv(65536)  # in TLS 1.3 the ticket comes after the handshake
            assert tls.session is not None
            return tls.session


@TLS
@pytest.mark.parametrize("how", ["at once", "set later"])
@pytest.mark.parametrize("level", ["leaf", "intermediate"])
def test_a_session_from_before_the_pins_changed_is_judged_by_the_pins_of_now(
    tls12: bool, how: str, level: str
) -> None:
    simulator, chain = DeliverySimulator(), make_chain(HOST, intermediate=True)
    assert chain.intermediate is not None
    simulator.pin(HOST, chain.pin if level == "leaf" else chain.intermediate.pin)
    client = Client(simulator, chain.authority.pem)
    with RecordingServer(chain, tls12=tls12) as server:
        session = session_of(client.context, server.port)
        assert resume(client.context, server.port, session, how)
        server.wait_closed()
        before = bytes(server.received)
        client.pin(make_chain(HOST).pin)
        with pytest.raises((PinMismatchError, UnverifiedChainError)):
            resume(client.context, server.port, session, how)
        server.wait_closed()
        assert bytes(server.received) == before


def resume(context: ssl.SSLContext, port: int, session: ssl.SSLSession, how: str) -> bool:
    """Tell whether a request over a connection that offers the session resumed it."""
    at_once = {"session": session} if how == "at once" else {}
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
        with context.wrap_socket(
            sock, server_hostname=HOST, do_handshake_on_connect=False, **at_once
        ) as tls:
            if not at_once:
                tls.session = session
            tls.sendall(REQUEST)
            assert tls.recv(65536).startswith(b"HTTP/1.1 200")
            return bool(tls.session_reused)


@TLS
def test_a_session_whose_chain_was_never_looked_at_is_refused_when_only_a_ca_is_pinned(
    tls12: bool,
) -> None:
    simulator, chain = DeliverySimulator(), make_chain(HOST)
    simulator.pin(HOST, chain.pin)
    client = Client(simulator, chain.authority.pem)
    with RecordingServer(chain, tls12=tls12) as server:
        session = session_of(client.context, server.port)
        client.pin(chain.authority.pin)
        with pytest.raises(UnverifiedChainError, match="no verified chain"):
            resume(client.context, server.port, session, "at once")
        assert exchange(client.context, server.port).startswith(b"HTTP/1.1 200")


@TLS
def test_a_session_of_one_host_is_not_verified_for_another(tls12: bool) -> None:
    """OpenSSL does not compare the host name on resumption: the certificate is for another."""
    simulator, authority = DeliverySimulator(), make_authority()
    elsewhere = make_chain("evil.example", authority=authority)
    simulator.pin(HOST, authority.pin)
    client = Client(simulator, authority.pem)
    with Forgetful(elsewhere, tls12=tls12) as server:
        session = session_of(client.context, server.port, "evil.example")
        server.wait_closed()
        before = bytes(server.received)
        with pytest.raises(UnverifiedChainError, match="not verified for this host"):
            resume(client.context, server.port, session, "at once")
        server.wait_closed()
        assert bytes(server.received) == before


@TLS
def test_a_session_is_resumed_where_the_leafs_pin_has_limits_in_time(tls12: bool) -> None:
    """The leaf decides: nobody may ask for the chain, which a resumed session does not have."""
    simulator, chain = DeliverySimulator(), make_chain(HOST)
    limited = Pin(chain.pin.sha256, not_after=simulator.clock.now + dt.timedelta(days=30))
    simulator.pin(HOST, limited, make_chain(HOST).pin)
    client = Client(simulator, chain.authority.pem)
    with RecordingServer(chain, tls12=tls12) as server:
        session = session_of(client.context, server.port)
        assert resume(client.context, server.port, session, "at once")


class Forgetful(RecordingServer):
    """A server that resumes any session, whatever host it was for."""

    def __init__(self, chain: Chain, *, tls12: bool) -> None:
        super().__init__(chain, tls12=tls12)
        self.context.sni_callback = lambda *_: None


def test_a_session_of_an_unpinned_context_cannot_be_used() -> None:
    simulator, chain = DeliverySimulator(), make_chain(HOST)
    simulator.pin(HOST, make_chain(HOST).pin)
    client = Client(simulator, chain.authority.pem)
    ordinary = ssl.create_default_context(cadata=chain.authority.pem)
    with RecordingServer(chain) as server:
        session = session_of(ordinary, server.port)
        server.wait_closed()
        before = bytes(server.received)
        with pytest.raises(ValueError, match="different SSLContext"):
            exchange(client.context, server.port, session=session)
        server.wait_closed()
        assert bytes(server.received) == before
