"""Code, old recipes and libraries that turn verification off: a pinned context says no."""

from __future__ import annotations

import http.client
import socket
import ssl
import sys
import threading
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest
from livepin.adapters import stdlib
from livepin.client import MemoryStore, PinnedContext
from livepin.client import healing as healing_module
from livepin.client.judge import ConfigJudge
from livepin.client.trusted import Trusted
from livepin.errors import (
    ConfigurationError,
    PinMismatchError,
    PinningError,
    UnverifiedChainError,
)
from livepin.testing import (
    Authority,
    DeliverySimulator,
    RecordingServer,
    make_authority,
    make_chain,
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


NO_CHECK_TIME, PARTIAL_CHAIN, IGNORE_CRITICAL, PROXY_CERTS = 0x200000, 0x80000, 0x10, 0x40

REFUSED: dict[str, Callable[[Any], Any]] = {
    "verify_mode none": lambda c: setattr(c, "verify_mode", ssl.CERT_NONE),
    "verify_mode optional": lambda c: setattr(c, "verify_mode", ssl.CERT_OPTIONAL),
    "check_hostname": lambda c: setattr(c, "check_hostname", False),
    "TLS 1.0": lambda c: setattr(c, "minimum_version", ssl.TLSVersion.TLSv1),
    "TLS 1.1": lambda c: setattr(c, "minimum_version", ssl.TLSVersion.TLSv1_1),
    "any TLS": lambda c: setattr(c, "minimum_version", ssl.TLSVersion.MINIMUM_SUPPORTED),
    "expired is fine": lambda c: setattr(c, "verify_flags", c.verify_flags | NO_CHECK_TIME),
    "any anchor": lambda c: setattr(c, "verify_flags", c.verify_flags | PARTIAL_CHAIN),
    "ignore critical": lambda c: setattr(c, "verify_flags", IGNORE_CRITICAL),
    "proxy certificates": lambda c: setattr(c, "verify_flags", PROXY_CERTS),
    "server side": lambda c: c.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_side=True),
}
UNSETTABLE: dict[str, Callable[[Any], Any]] = {
    "sslsocket_class": lambda c: setattr(c, "sslsocket_class", ssl.SSLSocket),
    "sslobject_class": lambda c: setattr(c, "sslobject_class", ssl.SSLObject),
    "protocol": lambda c: setattr(c, "protocol", ssl.PROTOCOL_TLS),
}
HARMLESS: dict[str, Callable[[Any], Any]] = {
    "the same again": lambda c: (
        setattr(c, "verify_mode", ssl.CERT_REQUIRED),
        setattr(c, "check_hostname", True),
        setattr(c, "minimum_version", ssl.TLSVersion.TLSv1_3),
        setattr(c, "minimum_version", ssl.TLSVersion.TLSv1_2),
    ),
    "strict": lambda c: setattr(c, "verify_flags", ssl.VerifyFlags.VERIFY_X509_STRICT),
    "default flags": lambda c: setattr(c, "verify_flags", ssl.VerifyFlags.VERIFY_DEFAULT),
    "ciphers": lambda c: c.set_ciphers("ECDHE+AESGCM"),
    "weak ciphers": lambda c: c.set_ciphers("ALL:COMPLEMENTOFALL:@SECLEVEL=0"),
    "ALPN": lambda c: c.set_alpn_protocols(["h2", "http/1.1"]),
    "system anchors": lambda c: c.load_default_certs(),
    "options": lambda c: setattr(c, "options", ssl.OP_ALL),
    "no options": lambda c: setattr(c, "options", 0),
    "common names": lambda c: setattr(c, "hostname_checks_common_name", True),
}


@pytest.fixture(scope="module")
def authority() -> Authority:
    return make_authority()


@pytest.fixture
def context(authority: Authority) -> PinnedContext:
    """A context in which no chain of the attacker is pinned."""
    simulator = DeliverySimulator()
    simulator.pin(HOST, make_chain(HOST).pin)
    return pinned_context(simulator, authority.pem)


@pytest.mark.parametrize("attempt", list(REFUSED.values()), ids=list(REFUSED))
def test_an_attempt_to_weaken_raises_and_changes_nothing(
    authority: Authority, context: PinnedContext, attempt: Callable[[Any], Any]
) -> None:
    with pytest.raises(ConfigurationError, match="cannot be weakened") as caught:
        attempt(context)
    assert caught.value.hint
    assert_still_refuses(context, authority)


@pytest.mark.parametrize("attempt", list(UNSETTABLE.values()), ids=list(UNSETTABLE))
def test_what_makes_the_connections_cannot_be_replaced(
    authority: Authority, context: PinnedContext, attempt: Callable[[Any], Any]
) -> None:
    with pytest.raises(AttributeError):
        attempt(context)
    assert_still_refuses(context, authority)


@pytest.mark.parametrize("setting", list(HARMLESS.values()), ids=list(HARMLESS))
def test_what_libraries_set_does_not_weaken(
    authority: Authority, context: PinnedContext, setting: Callable[[Any], Any]
) -> None:
    setting(context)
    assert_still_refuses(context, authority)


def test_another_ca_can_be_trusted_but_its_chains_are_not_pinned(context: PinnedContext) -> None:
    """As the requests library does: it loads its own list of CAs into any context."""
    rogue = make_authority("Rogue CA")
    context.load_verify_locations(cadata=rogue.pem)
    assert_still_refuses(context, rogue)


def assert_still_refuses(context: PinnedContext, authority: Authority) -> None:
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname is True
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    with RecordingServer(make_chain(HOST, authority=authority)) as server:
        with pytest.raises(PinMismatchError):
            exchange(context, server.port)
        assert nothing_arrived(server)
    with RecordingServer(make_chain(HOST)) as server:
        with pytest.raises(ssl.SSLCertVerificationError):
            exchange(context, server.port)
        assert nothing_arrived(server)
    with RecordingServer(make_chain("other.example", authority=authority)) as server:
        with pytest.raises(ssl.SSLCertVerificationError):
            exchange(context, server.port)
        assert nothing_arrived(server)


def test_a_connection_does_not_change_to_an_unverified_context_and_back(
    authority: Authority, context: PinnedContext
) -> None:
    """What it verified in between would be judged as if the pinned context had."""
    lax = ssl._create_unverified_context()
    with RecordingServer(make_chain(HOST)) as server:
        with context.wrap_socket(socket.socket(), server_hostname=HOST) as tls:
            with pytest.raises(AttributeError):
                tls.context = lax
            with pytest.raises(ssl.SSLCertVerificationError, match="local issuer"):
                tls.connect(("127.0.0.1", server.port))
        assert nothing_arrived(server)
    tls_object = context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname=HOST)
    with pytest.raises(AttributeError):
        tls_object.context = lax
    assert tls_object.context is context
    assert_still_refuses(context, authority)


def test_anonymous_ciphers_show_no_certificate_and_are_refused(context: PinnedContext) -> None:
    """TLS 1.2 knows ciphers in which the server proves nothing: PKIX has nothing to verify."""
    context.set_ciphers("aNULL:@SECLEVEL=0")
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.set_ciphers("aNULL:@SECLEVEL=0")
    server.maximum_version = ssl.TLSVersion.TLSv1_2
    assert refused_by(context, server) == b""


@pytest.mark.skipif(sys.version_info < (3, 13), reason="Python 3.13 brings pre-shared keys")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_pre_shared_key_is_no_certificate(
    context: PinnedContext, version: ssl.TLSVersion
) -> None:
    key = b"k" * 32
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_psk_client_callback(lambda _hint: ("me", key))  # type: ignore[attr-defined]
    server.set_psk_server_callback(lambda _identity: key)  # type: ignore[attr-defined]
    for each in (context, server):
        each.maximum_version = version
        each.set_ciphers("PSK:@SECLEVEL=0")
    assert refused_by(context, server) == b""


def refused_by(context: PinnedContext, server: ssl.SSLContext) -> bytes:
    """Return what a server got from a client that must refuse it."""
    ours, theirs = socket.socketpair()
    ours.settimeout(10)
    theirs.settimeout(10)
    received = bytearray()

    def serve() -> None:
        try:
            with server.wrap_socket(theirs, server_side=True) as tls:
                shaken.set()
                received.extend(tls.recv(65536))
        except OSError:
            theirs.close()

    shaken = threading.Event()
    thread = threading.Thread(target=serve)
    thread.start()
    with ours, pytest.raises(UnverifiedChainError, match="showed no certificate"):
        with context.wrap_socket(ours, server_hostname=HOST) as tls:
            tls.sendall(REQUEST)
    thread.join(timeout=10)
    assert shaken.is_set()  # the two do agree on a cipher
    return bytes(received)


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="Python 3.12 took check_hostname away")
def test_http_client_cannot_turn_the_host_name_off(context: PinnedContext) -> None:
    with (
        pytest.warns(DeprecationWarning, match="check_hostname"),
        pytest.raises(ConfigurationError, match="weakened"),
    ):
        http.client.HTTPSConnection(HOST, context=context, check_hostname=False)


def test_the_recipe_that_turns_verification_off_for_a_process_does_not_reach_pins(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(healing_module, "DEADLINE", 0.1)
    monkeypatch.setattr(ssl, "_create_default_https_context", ssl._create_unverified_context)
    simulator = DeliverySimulator()
    simulator.pin(HOST, make_chain(HOST).pin)
    attack = make_chain(HOST, authority=authority)
    with simulator.client(ca=authority.pem) as pins, RecordingServer(attack) as server:
        url = f"https://{HOST}:{server.port}/"
        with pytest.raises(OSError, match="no pinned key"):
            stdlib.opener(pins).open(url, timeout=10)
        with pytest.raises(PinningError):
            stdlib.https_connection(pins, HOST, server.port).request("GET", "/")
        assert nothing_arrived(server)
        with urllib.request.urlopen(url, timeout=10) as answer:  # the recipe does work
            assert answer.status == 200
