"""aiohttp beyond what every adapter promises: ssl= of requests, names, event loops, WebSockets."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
from livepin.client import Client
from livepin.documents import Mode
from livepin.errors import (
    CleartextError,
    ConfigurationError,
    PinMismatchError,
    UnlistedHostError,
    find,
)
from livepin.testing import Authority, Chain, DeliverySimulator, RecordingServer

aiohttp = pytest.importorskip("aiohttp", reason="the livepin wheel alone brings no aiohttp")
adapter = pytest.importorskip("livepin.adapters.aiohttp")

# Python 3.10 does not close the upper half of a connection whose handshake failed within another.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed transport <asyncio.sslproto")
HOST = "localhost"
QUICK = pytest.mark.usefixtures("quick_healing")


@pytest.fixture
def pins(simulator: DeliverySimulator, authority: Authority, chain: Chain) -> Iterator[Client]:
    for host in (HOST, "127.0.0.1", "api.example.com"):
        simulator.pin(host, chain.pin)
    with simulator.client(ca=authority.pem) as found:
        yield found


def session(pins: Client, *, trust_env: bool = False, **options: Any) -> Any:
    connector = adapter.PinnedConnector(pins, limit=0, **options)
    return aiohttp.ClientSession(connector=connector, trust_env=trust_env)


async def get(http: Any, url: str, **options: Any) -> int:
    async with http.get(url, **options) as found:
        await found.read()
        return int(found.status)


def run(main: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(main)


def silent(server: RecordingServer) -> bool:
    server.wait_closed()
    return bytes(server.received) == b""


# -- what could take the place of the pinned context -----------------------------------------


@pytest.mark.parametrize("name", ["ssl", "ssl_context", "verify_ssl", "fingerprint"])
def test_the_connector_takes_no_tls_settings(pins: Client, name: str) -> None:
    async def main() -> None:
        with pytest.raises(TypeError, match=f"{name} is set by Livepin"):
            adapter.PinnedConnector(pins, **{name: None})

    run(main())


def _no_checks() -> ssl.SSLContext:
    found = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    found.check_hostname, found.verify_mode = False, ssl.CERT_NONE
    return found


@pytest.mark.parametrize(
    "choose",
    [
        lambda _: False,
        lambda _: _no_checks(),
        lambda pins: pins.context(),
        lambda _: aiohttp.Fingerprint(bytes(32)),
    ],
    ids=["False", "another context", "a pinned one of another kind", "a fingerprint"],
)
@pytest.mark.parametrize("listed", [True, False])
def test_a_request_cannot_choose_its_own_ssl(
    simulator: DeliverySimulator,
    authority: Authority,
    pins: Client,
    other: Chain,
    serve: Any,
    choose: Callable[[Client], Any],
    listed: bool,
) -> None:
    if not listed:
        del simulator.domains[HOST]
        simulator.publish()
        pins.refresh()
    server = serve(other)

    async def main() -> None:
        async with session(pins) as http:
            with pytest.raises(ConfigurationError, match="cannot choose its own ssl"):
                await get(http, f"https://{HOST}:{server.port}/", ssl=choose(pins))

    run(main())
    assert silent(server)


def test_a_request_may_name_what_it_gets_anyhow(pins: Client, chain: Chain, serve: Any) -> None:
    server = serve(chain)

    async def main() -> None:
        async with session(pins) as http:
            for found in (True, pins.context(alpn=["http/1.1"])):
                assert await get(http, f"https://{HOST}:{server.port}/", ssl=found) == 200

    run(main())


def test_a_connection_that_was_not_made_by_the_pinned_context_is_refused(
    pins: Client, chain: Chain, serve: Any, authority: Authority
) -> None:
    """As a later aiohttp could choose its context another way."""
    server = serve(chain)

    async def main() -> None:
        async with session(pins) as http:
            http.connector._ssl = ssl.create_default_context(cadata=authority.pem)
            with pytest.raises(aiohttp.ClientConnectionError, match="not a pinned one"):
                await get(http, f"https://{HOST}:{server.port}/")

    run(main())
    assert silent(server)


def test_a_listed_host_is_not_verified_as_another(
    pins: Client, chain: Chain, other: Chain, serve: Any
) -> None:
    server = serve(other)

    async def main() -> None:
        async with session(pins) as http:
            for name in ("unlisted.example.com", "127.1"):
                with pytest.raises(ConfigurationError, match=name):
                    await get(http, f"https://{HOST}:{server.port}/", server_hostname=name)

    run(main())
    assert server.connections == 0


@pytest.mark.parametrize(
    ("host", "name"), [(HOST, "LOCALHOST."), ("unlisted.example.com", HOST), (HOST, None)]
)
def test_the_same_name_may_be_verified_and_any_for_an_unlisted_host(
    pins: Client, chain: Chain, serve: Any, host: str, name: str | None
) -> None:
    server = serve(chain)

    async def main() -> None:
        async with session(pins, resolver=Names("127.0.0.1")) as http:
            assert await get(http, f"https://{host}:{server.port}/", server_hostname=name) == 200

    run(main())


# -- addresses and proxies -------------------------------------------------------------------


class Names(aiohttp.abc.AbstractResolver):  # type: ignore[misc, name-defined]
    """Every name has these addresses."""

    def __init__(self, *addresses: str) -> None:
        self._addresses = addresses

    async def resolve(self, host: str, port: int = 0, family: Any = 0) -> list[dict[str, Any]]:
        return [
            {
                "hostname": host,
                "host": address,
                "port": port,
                "family": socket.AF_INET6 if ":" in address else socket.AF_INET,
                "proto": 0,
                "flags": socket.AI_NUMERICHOST,
            }
            for address in self._addresses
        ]

    async def close(self) -> None:
        """Nothing is kept."""


@QUICK
@pytest.mark.parametrize("presented", ["chain", "other"])
@pytest.mark.parametrize("delay", [None, 0.01])
def test_each_address_is_judged_by_the_name(
    pins: Client,
    serve: Any,
    request: pytest.FixtureRequest,
    presented: str,
    delay: float | None,
) -> None:
    server = serve(request.getfixturevalue(presented))

    async def main() -> None:
        names = Names("::1", "127.0.0.2", "127.0.0.1")
        async with session(pins, resolver=names, happy_eyeballs_delay=delay) as http:
            url = f"https://api.example.com:{server.port}/"
            if presented == "chain":
                assert await get(http, url) == 200
                return
            with pytest.raises(aiohttp.ClientConnectorError) as caught:
                await get(http, url)
            assert isinstance(find(caught.value), PinMismatchError)

    run(main())
    if presented == "other":
        assert silent(server)


@QUICK
def test_a_proxy_of_the_environment_is_tunnelled_through(
    pins: Client, other: Chain, serve: Any, tunnel: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", tunnel.url)
    monkeypatch.delenv("no_proxy", raising=False)
    server = serve(other)

    async def main() -> None:
        async with session(pins, trust_env=True) as http:
            with pytest.raises(aiohttp.ClientConnectorError, match="no pinned key"):
                await get(http, f"https://api.example.com:{server.port}/")

    run(main())
    assert silent(server)
    assert tunnel.asked


def test_an_encrypted_proxy_is_judged_like_any_host(
    simulator: DeliverySimulator, authority: Authority, chain: Chain, serve: Any
) -> None:
    simulator.pin("api.example.com", chain.pin)
    proxy = serve(chain)

    async def main() -> None:
        with simulator.client(ca=authority.pem, unlisted="refuse") as pins:
            async with session(pins) as http:
                with pytest.raises(aiohttp.ClientConnectorError) as caught:
                    await get(
                        http, "https://api.example.com/", proxy=f"https://{HOST}:{proxy.port}"
                    )
                error = find(caught.value)
                assert isinstance(error, UnlistedHostError)
                assert error.host == HOST

    run(main())
    assert silent(proxy)


def test_a_connection_that_cannot_be_made_stays_such_an_error(
    pins: Client, chain: Chain, serve: Any
) -> None:
    server = serve(chain)
    server.close()

    async def main() -> None:
        async with session(pins) as http:
            with pytest.raises(aiohttp.ClientConnectorError) as caught:
                await get(http, f"https://{HOST}:{server.port}/")
            assert find(caught.value) is None

    run(main())


def test_a_connection_that_breaks_off_at_once_is_an_error(
    pins: Client, chain: Chain, serve: Any
) -> None:
    def respond(*_: Any) -> Any:
        raise OSError

    server = serve(chain, respond=respond)

    async def main() -> None:
        async with session(pins) as http:
            with pytest.raises(aiohttp.ClientError):
                await get(http, f"https://{HOST}:{server.port}/")

    run(main())


# -- WebSockets ------------------------------------------------------------------------------


@QUICK
def test_a_websocket_of_a_session_is_pinned(pins: Client, other: Chain, serve: Any) -> None:
    server = serve(other)

    async def main() -> None:
        async with session(pins) as http:
            with pytest.raises(aiohttp.ClientConnectorError) as caught:
                await http.ws_connect(f"wss://{HOST}:{server.port}/")
            assert isinstance(find(caught.value), PinMismatchError)

    run(main())
    assert silent(server)


@pytest.mark.parametrize("mode", list(Mode))
def test_a_websocket_without_tls_to_a_listed_host_is_refused(
    simulator: DeliverySimulator, tunnel: Any, mode: Mode
) -> None:
    simulator.pin("127.0.0.1", simulator.delivery_pins[0], mode=mode)

    async def main() -> None:
        with simulator.client() as pins:
            async with session(pins) as http:
                with pytest.raises(aiohttp.InvalidUrlClientError) as caught:
                    await http.ws_connect(tunnel.url.replace("http:", "ws:"))
                assert isinstance(find(caught.value), CleartextError)

    run(main())
    assert tunnel.asked == []


# -- event loops -----------------------------------------------------------------------------


def test_the_event_loop_goes_on_while_a_request_waits_for_newer_pins(
    pins: Client, simulator: DeliverySimulator, chain: Chain, other: Chain, serve: Any
) -> None:
    waiting, going_on = serve(other), serve(chain)

    async def main() -> None:
        async with session(pins) as http:
            held = [
                asyncio.ensure_future(get(http, f"https://127.0.0.1:{waiting.port}/"))
                for _ in range(20)
            ]
            while waiting.connections < 20:
                await get(http, f"https://{HOST}:{going_on.port}/")
            for _ in range(3):
                assert await get(http, f"https://{HOST}:{going_on.port}/") == 200
            assert not any(each.done() for each in held)
            simulator.pin("127.0.0.1", other.pin)
            assert await asyncio.gather(*held) == [200] * 20

    run(main())


@pytest.mark.parametrize("seen_by_the_loop", [True, False])
def test_a_session_on_uvloop_drops_what_is_not_pinned_any_more(
    pins: Client,
    simulator: DeliverySimulator,
    chain: Chain,
    other: Chain,
    serve: Any,
    seen_by_the_loop: bool,
) -> None:
    uvloop = pytest.importorskip("uvloop", reason="the livepin wheel alone brings no uvloop")
    server = serve(chain)
    url = f"https://{HOST}:{server.port}/"

    async def main() -> None:
        async with session(pins) as http:
            await get(http, url)
            server.present(other)
            simulator.pin(HOST, other.pin)
            if seen_by_the_loop:
                await pins.arefresh()
            else:
                pins.refresh()
            assert await get(http, url) == 200

    loop = uvloop.new_event_loop()
    try:
        loop.run_until_complete(main())
        loop.run_until_complete(loop.shutdown_default_executor())
    finally:
        loop.close()
    assert server.connections == 2


def test_a_pin_that_comes_late_heals_on_uvloop(
    pins: Client, simulator: DeliverySimulator, other: Chain, serve: Any
) -> None:
    uvloop = pytest.importorskip("uvloop", reason="the livepin wheel alone brings no uvloop")
    server = serve(other)
    threading.Timer(0.2, simulator.pin, (HOST, other.pin)).start()

    async def main() -> None:
        async with session(pins) as http:
            assert await get(http, f"https://{HOST}:{server.port}/") == 200

    loop = uvloop.new_event_loop()
    try:
        loop.run_until_complete(main())
        loop.run_until_complete(loop.shutdown_default_executor())
    finally:
        loop.close()
