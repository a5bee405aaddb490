"""websockets beyond what every adapter promises: messages, redirects, names, open connections."""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
import ssl
import sys
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from livepin.client import Client
from livepin.client.connections import PinnedSocket
from livepin.errors import CleartextError, ConfigurationError, PinMismatchError, find
from livepin.testing import (
    Authority,
    Chain,
    DeliverySimulator,
    RecordingServer,
    load_chain,
    make_chain,
    server_context,
)

websockets = pytest.importorskip(
    "websockets", reason="the livepin wheel alone brings no websockets"
)
adapter = pytest.importorskip("livepin.adapters.websockets")
library = pytest.importorskip("websockets.sync.client")
servers = pytest.importorskip("websockets.sync.server")

HOST = "localhost"
QUICK = pytest.mark.usefixtures("quick_healing")
KINDS = pytest.mark.parametrize("kind", ["sync", "async"])


class Echo:
    """A real WebSocket server that sends each message back and remembers it."""

    def __init__(self, chain: Chain) -> None:
        self.context = server_context(chain)
        self.heard: list[str | bytes] = []
        self.opened = 0
        self._server = servers.serve(self._serve, "127.0.0.1", 0, ssl=self.context)
        self.port: int = self._server.socket.getsockname()[1]
        self.url = f"wss://{HOST}:{self.port}/"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def _serve(self, websocket: Any) -> None:
        self.opened += 1
        for message in websocket:
            self.heard.append(message)
            websocket.send(message)

    def present(self, chain: Chain) -> None:
        load_chain(self.context, chain)

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join(timeout=10)


@pytest.fixture
def echo() -> Iterator[Callable[[Chain], Echo]]:
    with contextlib.ExitStack() as stack:

        def start(chain: Chain) -> Echo:
            found = Echo(chain)
            stack.callback(found.close)
            return found

        yield start


@pytest.fixture
def pins(simulator: DeliverySimulator, authority: Authority, chain: Chain) -> Iterator[Client]:
    for host in (HOST, "127.0.0.1", "api.example.com"):
        simulator.pin(host, chain.pin)
    with simulator.client(ca=authority.pem) as found:
        yield found


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "wss_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def talk(kind: str, pins: Client, url: str, *messages: Any, **options: Any) -> list[Any]:
    """Send messages over a new connection, and return the answers."""
    if kind == "async":
        return asyncio.run(_talk(pins, url, messages, options))
    with adapter.sync_connect(pins, url, **options) as websocket:
        answers = []
        for message in messages:
            websocket.send(message)
            answers.append(websocket.recv(timeout=10))
        return answers


async def _talk(pins: Client, url: str, messages: Any, options: dict[str, Any]) -> list[Any]:
    async with adapter.connect(pins, url, **options) as websocket:
        answers = []
        for message in messages:
            await websocket.send(message)
            answers.append(await asyncio.wait_for(websocket.recv(), 10))
        return answers


def silent(server: RecordingServer) -> bool:
    server.wait_closed()
    return bytes(server.received) == b""


@KINDS
def test_messages_go_both_ways(pins: Client, chain: Chain, echo: Any, kind: str) -> None:
    server = echo(chain)
    assert talk(kind, pins, server.url, "one", b"two") == ["one", b"two"]


@KINDS
def test_a_message_in_parts_is_healed_and_arrives_once_and_whole(
    pins: Client, simulator: DeliverySimulator, other: Chain, echo: Any, kind: str
) -> None:
    server = echo(other)
    threading.Timer(0.2, simulator.pin, (HOST, other.pin)).start()
    assert talk(kind, pins, server.url, iter(["one-", "two-", "three"])) == ["one-two-three"]
    assert server.heard == ["one-two-three"]


def test_a_thread_that_reads_holds_up_no_other_that_writes(
    pins: Client, chain: Chain, echo: Any
) -> None:
    """Session tickets come after the handshake, while the library's request is being written.

    With a socket that blocks, OpenSSL is called by two threads at once, and requests get lost.
    """
    server = echo(chain)

    def one(number: int) -> list[Any]:
        return talk("sync", pins, server.url, f"{number}", open_timeout=20)

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(one, range(300))) == [[f"{number}"] for number in range(300)]


def test_a_thread_that_waits_to_receive_ends_when_the_connection_is_closed(
    pins: Client, chain: Chain, serve: Any
) -> None:
    raw = socket.create_connection(("127.0.0.1", serve(chain).port), timeout=10)
    turns = adapter._InTurns(pins.context().wrap_socket(raw, server_hostname=HOST))
    waiting, ended = threading.Event(), threading.Event()
    read = turns._sock.read

    def reads(*args: Any) -> Any:
        waiting.set()
        return read(*args)

    turns._sock.read = reads

    def receive() -> None:
        with contextlib.suppress(OSError, ValueError):
            turns.recv(1)
        ended.set()

    threading.Thread(target=receive, daemon=True).start()
    assert waiting.wait(10)
    assert not ended.wait(0.2)
    turns.close()
    assert ended.wait(10)


def test_a_thread_that_waits_for_data_sees_that_another_closes_the_socket(
    pins: Client, chain: Chain, serve: Any
) -> None:
    server = serve(chain)
    for _ in range(100):
        plain = socket.create_connection(("127.0.0.1", server.port), timeout=10)
        sock = adapter._InTurns(pins.context().wrap_socket(plain, server_hostname=HOST))
        ended = threading.Event()

        def read(sock: Any = sock, ended: threading.Event = ended) -> None:
            with contextlib.suppress(OSError, ValueError):
                sock.recv(1)
            ended.set()

        threading.Thread(target=read, daemon=True).start()
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
        sock.close()
        assert ended.wait(10)


def test_much_data_is_sent_and_received_at_once(pins: Client, chain: Chain, echo: Any) -> None:
    server = echo(chain)
    sent = [bytes([number]) * 500_000 for number in range(8)]
    with adapter.sync_connect(pins, server.url, max_queue=None) as websocket:
        for each in sent:
            websocket.send(each)
        assert [websocket.recv(timeout=20) for _ in sent] == sent


@KINDS
@pytest.mark.parametrize("name", ["ssl", "ssl_context", "create_connection"])
def test_nothing_takes_the_place_of_the_pinned_context(
    pins: Client, other: Chain, serve: Any, kind: str, name: str
) -> None:
    server = serve(other)
    with pytest.raises(TypeError, match=f"{name} is set by Livepin"):
        talk(kind, pins, f"wss://{HOST}:{server.port}/", **{name: None})
    assert server.connections == 0


def test_openssl_is_never_called_by_two_threads_at_once(
    pins: Client, chain: Chain, echo: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = echo(chain)
    read, write = PinnedSocket.read, PinnedSocket.write
    inside, overlaps, written = threading.Lock(), [], threading.Event()

    def alone(call: Callable[..., Any], *args: Any) -> Any:
        if not inside.acquire(blocking=False):
            overlaps.append(call)
            return call(*args)
        try:
            return call(*args)
        finally:
            inside.release()

    def writes(connection: PinnedSocket, data: Any) -> int:
        if not written.is_set():
            select.select(
                [connection], [], [], 0.5
            )  # until session tickets are there, if not taken
            written.wait(0.2)  # which the reading thread would take in now
            written.set()
        return write(connection, data)

    monkeypatch.setattr(PinnedSocket, "read", lambda *args: alone(read, *args))
    monkeypatch.setattr(PinnedSocket, "write", lambda *args: alone(writes, *args))
    assert talk("sync", pins, server.url, "one") == ["one"]
    assert written.is_set()
    assert overlaps == []


# -- redirects and names ---------------------------------------------------------------------


def redirecting(serve: Any, chain: Chain, location: str) -> RecordingServer:
    return serve(chain, respond=lambda *_: (302, {"Location": location}, b""))  # type: ignore[no-any-return]


def follows_redirects(kind: str) -> None:
    if kind == "sync" and not hasattr(library, "reconnect"):
        pytest.skip("this version of websockets follows no redirects in threads")


@QUICK
@KINDS
def test_a_redirect_to_another_host_is_judged_by_that_hosts_pins(
    pins: Client, chain: Chain, other: Chain, serve: Any, kind: str
) -> None:
    follows_redirects(kind)
    evil = serve(other)
    good = redirecting(serve, chain, f"wss://127.0.0.1:{evil.port}/")
    with pytest.raises(OSError) as caught:
        talk(kind, pins, f"wss://{HOST}:{good.port}/")
    error = find(caught.value)
    assert isinstance(error, PinMismatchError)
    assert error.host == "127.0.0.1"
    assert silent(evil)


@KINDS
def test_a_redirect_to_the_right_host_is_followed(
    pins: Client, chain: Chain, serve: Any, echo: Any, kind: str
) -> None:
    follows_redirects(kind)
    server = echo(chain)
    first = redirecting(serve, chain, f"wss://127.0.0.1:{server.port}/")
    assert talk(kind, pins, f"wss://{HOST}:{first.port}/", "one") == ["one"]


@KINDS
def test_a_redirect_from_tls_to_cleartext_is_refused(
    pins: Client, chain: Chain, serve: Any, kind: str
) -> None:
    follows_redirects(kind)
    good = redirecting(serve, chain, "ws://127.0.0.1:9/")
    with pytest.raises(websockets.InvalidHandshake):
        talk(kind, pins, f"wss://{HOST}:{good.port}/")


@KINDS
@pytest.mark.parametrize("scheme", ["ws", "wss"])
def test_a_redirect_of_an_unlisted_cleartext_host_reaches_no_listed_one_unpinned(
    simulator: DeliverySimulator,
    authority: Authority,
    chain: Chain,
    serve: Any,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Any,
    kind: str,
    scheme: str,
) -> None:
    """The library would make a TLS context of its own for the second connection."""
    follows_redirects(kind)
    (tmp_path / "ca.pem").write_text(authority.pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    simulator.pin(HOST, chain.pin)
    listed = serve(chain)
    location = {"Location": f"{scheme}://{HOST}:{listed.port}/"}
    headers = websockets.Headers({**location, "Content-Length": "0"})
    first = servers.serve(
        lambda _: None,
        "127.0.0.1",
        0,
        process_request=lambda *_: websockets.Response(302, "Found", headers),
    )
    thread = threading.Thread(target=first.serve_forever)
    thread.start()
    with simulator.client(ca=authority.pem) as pins:
        url = f"ws://127.0.0.1:{first.socket.getsockname()[1]}/"
        with pytest.raises(websockets.InvalidURI) as caught:
            talk(kind, pins, url)
        first.shutdown()
        thread.join(timeout=10)
    assert isinstance(find(caught.value), CleartextError) == (scheme == "ws")
    assert silent(listed)


@KINDS
def test_a_listed_host_is_not_verified_as_another(
    simulator: DeliverySimulator,
    authority: Authority,
    chain: Chain,
    serve: Any,
    kind: str,
) -> None:
    """Its chain is right for the other name, which is not listed."""
    simulator.pin(HOST, chain.pin)
    server = serve(make_chain("unlisted.example.com", authority=authority))
    with simulator.client(ca=authority.pem) as pins, pytest.raises(ConfigurationError):
        talk(kind, pins, f"wss://{HOST}:{server.port}/", server_hostname="unlisted.example.com")
    assert silent(server)


@KINDS
def test_an_address_may_be_verified_as_the_name_that_is_pinned(
    simulator: DeliverySimulator, authority: Authority, chain: Chain, echo: Any, kind: str
) -> None:
    simulator.pin(HOST, chain.pin)
    server = echo(chain)
    with simulator.client(ca=authority.pem) as pins:
        url = f"wss://127.0.0.1:{server.port}/"
        assert talk(kind, pins, url, "one", server_hostname=HOST) == ["one"]


# -- sockets and proxies ---------------------------------------------------------------------


@KINDS
@pytest.mark.parametrize("presented", ["chain", "other"])
@QUICK
def test_a_socket_of_ones_own_is_pinned_too(
    pins: Client, echo: Any, kind: str, request: pytest.FixtureRequest, presented: str
) -> None:
    server = echo(request.getfixturevalue(presented))
    sock = socket.create_connection(("127.0.0.1", server.port), timeout=10)
    if kind == "async":
        sock.setblocking(False)
    with contextlib.closing(sock):
        if presented == "chain":
            assert talk(kind, pins, server.url, "one", sock=sock) == ["one"]
            return
        with pytest.raises(PinMismatchError):
            talk(kind, pins, server.url, sock=sock)
    assert server.opened == 0


TLS_IN_TLS = pytest.mark.parametrize(
    "kind",
    [
        "sync",
        pytest.param(
            "async",
            marks=pytest.mark.skipif(
                sys.version_info < (3, 11), reason="asyncio has TLS within TLS from Python 3.11 on"
            ),
        ),
    ],
)


@TLS_IN_TLS
@pytest.mark.parametrize("presented", ["other", "stranger"])
@QUICK
def test_a_refusal_through_an_encrypted_proxy_sends_nothing(
    pins: Client,
    chain: Chain,
    authority: Authority,
    serve: Any,
    encrypted_tunnel: Any,
    kind: str,
    request: pytest.FixtureRequest,
    presented: str,
) -> None:
    server = serve(request.getfixturevalue(presented))
    # Some versions of Python trip over a connection that fails inside another, and say so.
    with pytest.raises((OSError, TypeError)) as caught:
        talk(
            kind,
            pins,
            f"wss://api.example.com:{server.port}/",
            proxy=encrypted_tunnel.url,
            proxy_ssl=ssl.create_default_context(cadata=authority.pem),
        )
    assert isinstance(find(caught.value), PinMismatchError) == (presented == "other")
    assert silent(server)
    assert encrypted_tunnel.asked


@TLS_IN_TLS
def test_a_connection_through_an_encrypted_proxy_is_healed(
    pins: Client,
    simulator: DeliverySimulator,
    authority: Authority,
    other: Chain,
    echo: Any,
    encrypted_tunnel: Any,
    kind: str,
) -> None:
    server = echo(other)
    threading.Timer(0.2, simulator.pin, ("api.example.com", other.pin)).start()
    url = f"wss://api.example.com:{server.port}/"
    proxy_ssl = ssl.create_default_context(cadata=authority.pem)
    answers = talk(kind, pins, url, "one", proxy=encrypted_tunnel.url, proxy_ssl=proxy_ssl)
    assert answers == ["one"]


def test_a_thread_that_reads_holds_up_no_other_that_writes_through_an_encrypted_proxy(
    pins: Client,
    simulator: DeliverySimulator,
    chain: Chain,
    authority: Authority,
    echo: Any,
    encrypted_tunnel: Any,
) -> None:
    server = echo(chain)
    url = f"wss://api.example.com:{server.port}/"
    options = {
        "proxy": encrypted_tunnel.url,
        "proxy_ssl": ssl.create_default_context(cadata=authority.pem),
        "open_timeout": 20,
    }

    def one(number: int) -> list[Any]:
        return talk("sync", pins, url, f"{number}", **options)

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(one, range(300))) == [[f"{number}"] for number in range(300)]


def test_much_data_goes_through_an_encrypted_proxy(
    pins: Client, chain: Chain, authority: Authority, echo: Any, encrypted_tunnel: Any
) -> None:
    server = echo(chain)
    sent = [bytes([number]) * 500_000 for number in range(8)]
    with adapter.sync_connect(
        pins,
        f"wss://api.example.com:{server.port}/",
        proxy=encrypted_tunnel.url,
        proxy_ssl=ssl.create_default_context(cadata=authority.pem),
        max_queue=None,
    ) as websocket:
        for each in sent:
            websocket.send(each)
        assert [websocket.recv(timeout=20) for _ in sent] == sent


@pytest.fixture
def encrypted_tunnel(tunnel: Any, chain: Chain) -> Iterator[Any]:
    context = server_context(chain)

    class Encrypted(type(tunnel)):  # type: ignore[misc]
        def _serve(self, sock: socket.socket) -> None:
            with contextlib.suppress(OSError):
                super()._serve(context.wrap_socket(sock, server_side=True))

    running = Encrypted()
    running.url = running.url.replace("http://127.0.0.1", f"https://{HOST}")
    yield running
    running.close()


# -- open connections ------------------------------------------------------------------------


@KINDS
@pytest.mark.parametrize("event_loop", ["asyncio", "uvloop"])
def test_an_open_connection_is_closed_when_its_pin_goes(
    pins: Client,
    simulator: DeliverySimulator,
    chain: Chain,
    other: Chain,
    echo: Any,
    kind: str,
    event_loop: str,
) -> None:
    server = echo(chain)
    if kind == "sync":
        with adapter.sync_connect(pins, server.url, close_timeout=0.1) as websocket:
            simulator.pin(HOST, chain.pin, other.pin)
            pins.refresh()
            websocket.send("still right")
            assert websocket.recv(timeout=10) == "still right"
            simulator.pin(HOST, other.pin)
            pins.refresh()
            with pytest.raises(websockets.ConnectionClosed):
                websocket.recv(timeout=10)
            with pytest.raises(websockets.ConnectionClosed):
                websocket.send("wrong now")
    else:
        module = pytest.importorskip(event_loop, reason=f"the wheel brings no {event_loop}")

        async def main() -> None:
            async with adapter.connect(pins, server.url, close_timeout=0.1) as websocket:
                simulator.pin(HOST, chain.pin, other.pin)
                await pins.arefresh()
                await websocket.send("still right")
                assert await websocket.recv() == "still right"
                simulator.pin(HOST, other.pin)
                await pins.arefresh()
                with pytest.raises(websockets.ConnectionClosed):
                    await asyncio.wait_for(websocket.recv(), 10)
                with pytest.raises(websockets.ConnectionClosed):
                    await websocket.send("wrong now")

        run_on(module.new_event_loop(), main())
    assert server.heard == ["still right"]


def run_on(loop: asyncio.AbstractEventLoop, main: Coroutine[Any, Any, None]) -> None:
    try:
        loop.run_until_complete(main)
        loop.run_until_complete(loop.shutdown_default_executor())
    finally:
        loop.close()


def test_a_loop_that_reconnects_is_judged_by_the_pins_of_now(
    pins: Client, simulator: DeliverySimulator, chain: Chain, other: Chain, echo: Any
) -> None:
    server = echo(chain)

    async def main() -> None:
        opened = 0
        found: AsyncIterator[Any] = adapter.connect(pins, server.url, close_timeout=0.1)
        async for websocket in found:
            opened += 1
            if opened == 2:
                await websocket.send("again")
                assert await websocket.recv() == "again"
                break
            server.present(other)
            simulator.pin(HOST, other.pin)
            await pins.arefresh()
            with contextlib.suppress(websockets.ConnectionClosed):
                await websocket.recv()

    asyncio.run(main())
    assert server.heard == ["again"]


def test_the_event_loop_goes_on_while_a_connection_waits_for_newer_pins(
    pins: Client, simulator: DeliverySimulator, chain: Chain, other: Chain, echo: Any, serve: Any
) -> None:
    waiting, going_on = echo(other), echo(chain)

    async def main() -> None:
        url = waiting.url.replace(HOST, "127.0.0.1")
        held = [asyncio.ensure_future(_talk(pins, url, ["one"], {})) for _ in range(10)]
        for _ in range(5):
            assert await _talk(pins, going_on.url, ["two"], {}) == ["two"]
        assert not any(each.done() for each in held)
        simulator.pin("127.0.0.1", other.pin)
        assert await asyncio.gather(*held) == [["one"]] * 10

    asyncio.run(main())


@QUICK
@KINDS
def test_a_connection_that_cannot_be_made_stays_such_an_error(
    pins: Client, chain: Chain, serve: Any, kind: str
) -> None:
    server = serve(chain)
    server.close()
    with pytest.raises(OSError) as caught:
        talk(kind, pins, f"wss://{HOST}:{server.port}/")
    assert find(caught.value) is None


@KINDS
def test_a_token_is_bound_to_the_user_of_the_uri(
    simulator: DeliverySimulator, authority: Authority, chain: Chain, serve: Any, kind: str
) -> None:
    """The library makes a field of the user by itself, beside those of the app."""
    simulator.pin(HOST, chain.pin, token=True)
    server = serve(chain, respond=lambda *_: (403, {}, b""))
    with simulator.client(ca=authority.pem, bind="Authorization") as pins:
        uri = f"wss://user:pass@{HOST}:{server.port}/"
        with pytest.raises(websockets.InvalidStatus):
            _open(pins, uri, kind)
        token = pins.token(HOST, "Basic dXNlcjpwYXNz").value
    received = bytes(server.received).decode()
    assert f"Livepin-Token: {token}\r\n" in received
    assert received.count("Authorization: Basic dXNlcjpwYXNz\r\n") == 1


def _open(pins: Client, uri: str, kind: str) -> None:
    if kind == "sync":
        adapter.sync_connect(pins, uri, proxy=None)
    else:
        asyncio.run(_connect(pins, uri))


async def _connect(pins: Client, uri: str) -> None:
    await adapter.connect(pins, uri, proxy=None)
