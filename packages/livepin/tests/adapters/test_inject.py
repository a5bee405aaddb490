"""A whole process pinned: what is reached, what is refused, and what stays as it was."""

from __future__ import annotations

import asyncio
import http.client
import socket
import ssl
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from ssl import SSLContext as NameImportedEarly
from typing import Any

import livepin
import pytest
from livepin.client import Client, HTTPFetcher
from livepin.documents import Mode
from livepin.errors import (
    ConfigurationError,
    PinMismatchError,
    PinningError,
    UnlistedHostError,
    UnverifiedChainError,
    find,
)
from livepin.testing import (
    Authority,
    Chain,
    DeliverySimulator,
    RecordingServer,
    load_chain,
    make_authority,
)

HOST, ELSEWHERE = "localhost", "127.0.0.1"
QUICK = pytest.mark.usefixtures("quick_healing")


@pytest.fixture
def pins(simulator: DeliverySimulator, chain: Chain) -> Iterator[Client]:
    """A client that pins one host, and knows no private CA: that is the app's."""
    simulator.pin(HOST, chain.pin)
    with simulator.client() as found:
        yield found


@pytest.fixture
def bundle(authority: Authority, tmp_path: Path) -> str:
    path = tmp_path / "bundle.pem"
    path.write_text(authority.pem)
    return str(path)


@pytest.fixture
def context(authority: Authority) -> ssl.SSLContext:
    """A context that the app makes, before anything is injected."""
    return ssl.create_default_context(cadata=authority.pem)


def exchange(context: ssl.SSLContext, port: int, host: str | None = HOST, **options: Any) -> bytes:
    """Send a secret and return the answer."""
    with socket.create_connection((ELSEWHERE, port), timeout=10) as plain:
        with context.wrap_socket(plain, server_hostname=host, **options) as tls:
            tls.sendall(b"GET /card=4111 HTTP/1.1\r\n\r\n")
            return tls.recv(1000)


def silent(server: RecordingServer) -> bool:
    server.wait_closed()
    return bytes(server.received) == b""


# -- what is reached ---------------------------------------------------------------------------


@QUICK
def test_a_context_made_earlier_is_reached(
    pins: Client, context: ssl.SSLContext, chain: Chain, other: Chain, serve: Any
) -> None:
    good, evil = serve(chain), serve(other)
    with livepin.inject(pins):
        assert b"200" in exchange(context, good.port)
        with pytest.raises(ssl.SSLCertVerificationError, match="no pinned key") as caught:
            exchange(context, evil.port)
    assert isinstance(caught.value, PinMismatchError)
    assert silent(evil)


@QUICK
def test_a_subclass_and_a_name_imported_earlier_are_reached(
    pins: Client, bundle: str, other: Chain, serve: Any
) -> None:
    class Subclass(NameImportedEarly):
        pass

    evil = serve(other)
    with livepin.inject(pins):
        for kind in (NameImportedEarly, Subclass):
            found = kind(ssl.PROTOCOL_TLS_CLIENT)
            found.load_verify_locations(bundle)
            with pytest.raises(PinMismatchError):
                exchange(found, evil.port)
    assert silent(evil)


def _urllib3(url: str, bundle: str) -> int:
    import urllib3

    with urllib3.PoolManager(ca_certs=bundle, retries=False) as pools:
        return pools.request("GET", url).status


def _requests(url: str, bundle: str) -> int:
    import requests

    return requests.get(url, verify=bundle, timeout=10).status_code


def _httpx(url: str, bundle: str) -> int:
    import httpx

    return httpx.get(url, verify=ssl.create_default_context(cafile=bundle)).status_code


def _aiohttp(url: str, bundle: str) -> int:
    import aiohttp

    async def run() -> int:
        connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=bundle))
        async with aiohttp.ClientSession(connector=connector) as session:
            async with session.get(url) as answer:
                return answer.status

    return asyncio.run(run())


@QUICK
@pytest.mark.parametrize(
    "get", [_urllib3, _requests, _httpx, _aiohttp], ids=lambda get: get.__name__[1:]
)
def test_a_library_that_knows_nothing_of_it_is_pinned(
    pins: Client,
    bundle: str,
    chain: Chain,
    other: Chain,
    serve: Any,
    get: Callable[[str, str], int],
) -> None:
    name = get.__name__[1:]
    pytest.importorskip(name, reason=f"the livepin wheel alone brings no {name}")
    good, evil = serve(chain), serve(other)
    with livepin.inject(pins):
        assert get(f"https://{HOST}:{good.port}/", bundle) == 200
        with pytest.raises(Exception) as caught:
            get(f"https://{HOST}:{evil.port}/", bundle)
    assert isinstance(find(caught.value), PinMismatchError)
    assert silent(evil)


@QUICK
def test_an_implicit_handshake_is_judged(
    pins: Client, context: ssl.SSLContext, other: Chain, serve: Any
) -> None:
    evil = serve(other)
    with livepin.inject(pins), pytest.raises(PinMismatchError):
        exchange(context, evil.port, do_handshake_on_connect=False)
    assert silent(evil)


@QUICK
def test_a_socket_that_is_wrapped_before_it_connects_is_judged(
    pins: Client, context: ssl.SSLContext, other: Chain, serve: Any
) -> None:
    evil = serve(other)
    with livepin.inject(pins):
        for connect in ("connect", "connect_ex"):
            with context.wrap_socket(socket.socket(), server_hostname=HOST) as tls:
                with pytest.raises(PinMismatchError):
                    getattr(tls, connect)((ELSEWHERE, evil.port))
    assert silent(evil)


def test_a_kept_connection_is_cut_when_its_pin_goes(
    pins: Client,
    simulator: DeliverySimulator,
    context: ssl.SSLContext,
    chain: Chain,
    other: Chain,
    serve: Any,
) -> None:
    good = serve(chain)
    with livepin.inject(pins):
        connection = http.client.HTTPSConnection(HOST, good.port, context=context, timeout=10)
        connection.request("GET", "/")
        connection.getresponse().read()
        assert pins.status().open_connections == 1
        before = bytes(good.received)
        simulator.pin(HOST, other.pin)
        pins.refresh()
        with pytest.raises(OSError):
            connection.request("GET", "/card=4111")
        connection.close()
    good.wait_closed()
    assert bytes(good.received) == before


def test_an_asynchronous_connection_that_fails_fetches_newer_pins_for_the_next(
    pins: Client,
    simulator: DeliverySimulator,
    context: ssl.SSLContext,
    chain: Chain,
    other: Chain,
    serve: Any,
) -> None:
    server = serve(chain)

    async def connect() -> None:
        _, writer = await asyncio.open_connection(HOST, server.port, ssl=context)
        writer.close()
        await writer.wait_closed()

    with livepin.inject(pins):
        simulator.publish()
        asyncio.run(connect())
        assert pins.wait_for(simulator.version, timeout=10)  # nothing is due any more
        server.present(other)
        simulator.pin(HOST, other.pin)
        with pytest.raises(PinMismatchError):
            asyncio.run(connect())
        assert pins.wait_for(simulator.version, timeout=10)
        asyncio.run(connect())


# -- contexts that do not verify ---------------------------------------------------------------


def unverified(context: ssl.SSLContext) -> None:
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE


def optional(context: ssl.SSLContext) -> None:
    context.check_hostname = False
    context.verify_mode = ssl.CERT_OPTIONAL


def nameless(context: ssl.SSLContext) -> None:
    context.check_hostname = False


def timeless(context: ssl.SSLContext) -> None:
    context.verify_flags |= 0x200000  # X509_V_FLAG_NO_CHECK_TIME


LAX = pytest.mark.parametrize("relax", [unverified, optional, nameless, timeless])


@LAX
@pytest.mark.parametrize("mode", list(Mode))
def test_a_context_that_does_not_verify_is_refused_to_listed_hosts(
    pins: Client,
    simulator: DeliverySimulator,
    context: ssl.SSLContext,
    chain: Chain,
    serve: Any,
    relax: Callable[[ssl.SSLContext], None],
    mode: Mode,
) -> None:
    simulator.pin(HOST, chain.pin, mode=mode)
    pins.refresh()
    server = serve(chain)
    relax(context)
    with livepin.inject(pins), pytest.raises(UnverifiedChainError, match="does not verify"):
        exchange(context, server.port, "LOCALHOST.")
    server.wait_closed()
    assert server.handshakes == 0


@LAX
def test_and_keeps_what_the_app_asked_for_to_hosts_that_no_domain_lists(
    pins: Client,
    context: ssl.SSLContext,
    chain: Chain,
    serve: Any,
    relax: Callable[[ssl.SSLContext], None],
) -> None:
    server = serve(chain)
    relax(context)
    with livepin.inject(pins):
        assert b"200" in exchange(context, server.port, ELSEWHERE)
        assert pins.status().unlisted_hosts == (ELSEWHERE,)


def test_a_self_signed_host_that_no_domain_lists_stays_reachable(
    pins: Client, stranger: Chain, serve: Any
) -> None:
    server = serve(stranger)
    found = ssl._create_unverified_context()
    with livepin.inject(pins):
        assert b"200" in exchange(found, server.port, ELSEWHERE)


def test_unlisted_hosts_are_refused_where_the_client_says_so(
    simulator: DeliverySimulator, context: ssl.SSLContext, chain: Chain, serve: Any
) -> None:
    server = serve(chain)
    with simulator.client(unlisted="refuse") as pins, livepin.inject(pins):
        for relax in (lambda _: None, unverified):
            relax(context)
            with pytest.raises(UnlistedHostError):
                exchange(context, server.port)
    assert silent(server)


def test_a_connection_that_names_no_host_is_refused(
    pins: Client, stranger: Chain, serve: Any
) -> None:
    """It may be one to a listed host."""
    server = serve(stranger)
    with livepin.inject(pins), pytest.raises(UnverifiedChainError, match="no server_hostname"):
        exchange(ssl._create_unverified_context(), server.port, None)
    assert silent(server)


@pytest.mark.parametrize("lax_when", ["wrapped", "connected"])
def test_a_context_made_strict_after_its_connection_does_not_help(
    simulator: DeliverySimulator,
    context: ssl.SSLContext,
    chain: Chain,
    stranger: Chain,
    serve: Any,
    lax_when: str,
) -> None:
    """Libraries switch `verify_mode` for each connection; OpenSSL looks when it is made."""
    evil = serve(stranger.also_presenting(chain.leaf))
    with simulator.client() as pins, livepin.inject(pins):
        sock = socket.socket()
        if lax_when == "wrapped":
            sock.connect((ELSEWHERE, evil.port))
            unverified(context)
        tls = context.wrap_socket(sock, server_hostname=HOST, do_handshake_on_connect=False)
        if lax_when == "connected":
            unverified(context)
            tls.connect((ELSEWHERE, evil.port))
        context.verify_mode, context.check_hostname = ssl.CERT_REQUIRED, True
        simulator.pin(HOST, chain.pin, stranger.pin)
        pins.refresh()
        with tls, pytest.raises(UnverifiedChainError, match="does not verify"):
            tls.sendall(b"card=4111")
    assert silent(evil)


# -- hosts that become listed, and sessions ----------------------------------------------------


@pytest.mark.parametrize("relax", [unverified, lambda _: None], ids=["lax", "strict"])
def test_a_connection_to_a_host_that_becomes_listed_is_cut(
    simulator: DeliverySimulator,
    context: ssl.SSLContext,
    chain: Chain,
    serve: Any,
    relax: Callable[[ssl.SSLContext], None],
) -> None:
    server = serve(chain)
    relax(context)
    with simulator.client() as pins, livepin.inject(pins):
        with socket.create_connection((ELSEWHERE, server.port), timeout=10) as plain:
            with context.wrap_socket(plain, server_hostname=HOST) as tls:
                simulator.pin(ELSEWHERE, chain.pin)
                pins.refresh()
                tls.sendall(b"GET / HTTP/1.1\r\n\r\n")  # another host: it goes on
                tls.recv(1000)
                before = bytes(server.received)
                simulator.pin(HOST, chain.pin)
                pins.refresh()
                with pytest.raises(OSError):
                    tls.sendall(b"card=4111")
        server.wait_closed()
    assert bytes(server.received) == before


def test_a_session_of_before_is_not_resumed_to_a_listed_host(
    pins: Client, context: ssl.SSLContext, chain: Chain, serve: Any
) -> None:
    """Its chain was verified when nobody looked."""
    server = serve(chain, tls12=True)
    with socket.create_connection((ELSEWHERE, server.port), timeout=10) as plain:
        with context.wrap_socket(plain, server_hostname=HOST) as tls:
            session = tls.session
    with livepin.inject(pins), pytest.raises(UnverifiedChainError, match="resumed"):
        exchange(context, server.port, session=session)
    assert silent(server)


def test_a_session_that_was_not_verified_is_not_resumed_for_what_another_context_saw(
    pins: Client,
    simulator: DeliverySimulator,
    context: ssl.SSLContext,
    chain: Chain,
    serve: Any,
) -> None:
    server = serve(chain, tls12=True)
    lax = ssl._create_unverified_context()
    with socket.create_connection((ELSEWHERE, server.port), timeout=10) as plain:
        with lax.wrap_socket(plain, server_hostname=HOST) as tls:
            session = tls.session
    lax.verify_mode, lax.check_hostname = ssl.CERT_REQUIRED, True
    with livepin.inject(pins):
        assert b"200" in exchange(context, server.port)
        before = bytes(server.received)
        with pytest.raises(UnverifiedChainError, match="resumed"):
            exchange(lax, server.port, session=session)
    server.wait_closed()
    assert bytes(server.received) == before


@QUICK
def test_a_resumed_session_is_judged_by_the_pins_of_now(
    pins: Client,
    simulator: DeliverySimulator,
    context: ssl.SSLContext,
    chain: Chain,
    other: Chain,
    serve: Any,
) -> None:
    server = serve(chain, tls12=True)
    with livepin.inject(pins):
        with socket.create_connection((ELSEWHERE, server.port), timeout=10) as plain:
            with context.wrap_socket(plain, server_hostname=HOST) as tls:
                session = tls.session
        assert b"200" in exchange(context, server.port, session=session)
        before = bytes(server.received)
        simulator.pin(HOST, other.pin)
        pins.refresh()
        with pytest.raises(PinningError):  # its chain was never needed, so nobody knows it
            exchange(context, server.port, session=session)
    server.wait_closed()
    assert bytes(server.received) == before


# -- what stays as it was ----------------------------------------------------------------------


def test_servers_stay_ordinary_and_client_certificates_are_shown(
    pins: Client, authority: Authority, context: ssl.SSLContext, chain: Chain, serve: Any
) -> None:
    server = serve(chain)
    server.context.load_verify_locations(cadata=authority.pem)
    server.context.verify_mode = ssl.CERT_REQUIRED
    mine = make_authority("An app", issuer=authority)
    load_chain(context, Chain(mine.key, (mine.certificate,), authority))
    kinds = []
    server.context.sni_callback = lambda tls, *_: kinds.append(type(tls))
    with livepin.inject(pins):
        assert b"200" in exchange(context, server.port)
    assert kinds == [ssl.SSLSocket]


def test_an_asynchronous_server_stays_ordinary(
    pins: Client, context: ssl.SSLContext, chain: Chain, serve: Any
) -> None:
    server = serve(chain).context

    async def run() -> bytes:
        async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            assert type(writer.get_extra_info("ssl_object")) is ssl.SSLObject
            writer.write(b"hello")
            writer.close()

        serving = await asyncio.start_server(answer, ELSEWHERE, 0, ssl=server)
        async with serving:
            port = serving.sockets[0].getsockname()[1]
            reader, writer = await asyncio.open_connection(HOST, port, ssl=context)
            found = await reader.read()
            writer.close()
            return found

    with livepin.inject(pins):
        assert asyncio.run(run()) == b"hello"


def test_livepins_own_channel_is_judged_by_its_own_pins(delivery: Any, chain: Chain) -> None:
    """Its host is not listed, and unlisted hosts are refused."""
    with delivery.client(unlisted="refuse") as pins, livepin.inject(pins):
        delivery.simulator.pin(HOST, chain.pin)
        pins.refresh()
        assert pins.status().version == delivery.simulator.version


def test_the_recovery_channel_needs_no_pins(
    simulator: DeliverySimulator,
    chain: Chain,
    serve: Any,
    bundle: str,
    closed_port: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", bundle)
    recovery = serve(chain, respond=simulator.respond)
    simulator.urls = (f"https://{HOST}:{closed_port}",)
    simulator.recovery_urls = (f"https://{ELSEWHERE}:{recovery.port}",)
    simulator.publish()
    with simulator.client(unlisted="refuse", fetcher=HTTPFetcher()) as pins, livepin.inject(pins):
        simulator.pin(HOST, chain.pin)
        pins.refresh()
        assert pins.status().version == simulator.version


def test_a_pinned_context_keeps_its_own_classes(pins: Client) -> None:
    with livepin.inject(pins):
        own = pins.context()
        assert own.sslsocket_class.__name__ == "PinnedSocket"
        assert isinstance(own, ssl.SSLContext)


def test_undone_it_leaves_nothing_behind_and_open_connections_pinned(
    pins: Client,
    simulator: DeliverySimulator,
    context: ssl.SSLContext,
    chain: Chain,
    other: Chain,
    serve: Any,
) -> None:
    before = ssl.SSLContext.sslsocket_class, ssl.SSLContext.sslobject_class
    server = serve(chain)
    injection = livepin.inject(pins)
    try:
        assert before != (ssl.SSLContext.sslsocket_class, ssl.SSLContext.sslobject_class)
        plain = socket.create_connection((ELSEWHERE, server.port), timeout=10)
        tls = context.wrap_socket(plain, server_hostname=HOST)
    finally:
        injection.undo()
    injection.undo()
    assert before == (ssl.SSLContext.sslsocket_class, ssl.SSLContext.sslobject_class)
    simulator.pin(HOST, other.pin)
    pins.refresh()
    assert b"200" in exchange(context, server.port)
    with tls, pytest.raises((PinningError, OSError)):
        tls.sendall(b"second")
    server.wait_closed()
    assert b"second" not in server.received


def test_one_client_pins_a_process(pins: Client, simulator: DeliverySimulator) -> None:
    with livepin.inject(pins) as injection, simulator.client() as another:
        assert livepin.inject(pins) is injection
        with pytest.raises(ConfigurationError, match="another client"):
            livepin.inject(another)


# -- what is not reached -----------------------------------------------------------------------


def test_a_connection_opened_before_is_named_while_it_is_open(
    pins: Client, context: ssl.SSLContext, chain: Chain, serve: Any
) -> None:
    server = serve(chain)
    with socket.create_connection((ELSEWHERE, server.port), timeout=10) as plain:
        with context.wrap_socket(plain, server_hostname=HOST) as tls, livepin.inject(pins):
            assert f"a connection to {HOST}, opened before" in pins.status().unreached
            tls.close()
            assert f"a connection to {HOST}, opened before" not in pins.status().unreached


def test_contexts_with_connection_classes_of_their_own_are_named(
    pins: Client, context: ssl.SSLContext
) -> None:
    class Own(ssl.SSLContext):
        sslsocket_class = ssl.SSLSocket

    context.sslsocket_class = ssl.SSLSocket
    with livepin.inject(pins):
        found = pins.status().unreached
    assert "a context with connection classes of its own" in found
    assert any(text.startswith("contexts of ") and text.endswith(".Own") for text in found)


@pytest.mark.parametrize(
    ("module", "text"),
    [("grpc", "gRPC (grpc)"), ("pycurl", "libcurl (pycurl)"), ("qh3", "HTTP/3 (qh3)")],
)
def test_other_tls_stacks_are_named(
    pins: Client, monkeypatch: pytest.MonkeyPatch, module: str, text: str
) -> None:
    monkeypatch.setitem(sys.modules, module, types.ModuleType(module))
    with livepin.inject(pins):
        assert text in pins.status().unreached


def test_the_status_of_a_client_that_is_not_injected_names_nothing(pins: Client) -> None:
    assert pins.status().unreached == ()
