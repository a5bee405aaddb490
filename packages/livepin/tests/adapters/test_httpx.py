"""httpx, sync and async, pinned: redirects, streams, proxies, pools and newer pins."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from livepin.client import Client
from livepin.documents import Mode
from livepin.errors import CleartextError, PinMismatchError, find
from livepin.testing import Authority, Chain, DeliverySimulator, RecordingServer

httpx = pytest.importorskip("httpx", reason="the livepin wheel alone brings no httpx")
adapter = pytest.importorskip("livepin.adapters.httpx")
PinnedTransport, AsyncPinnedTransport = adapter.PinnedTransport, adapter.AsyncPinnedTransport

HOST = "localhost"
HEADERS = {"Authorization": "Bearer s3cret"}


def silent(server: RecordingServer) -> bool:
    server.wait_closed()
    return bytes(server.received) == b""


class Http:
    """One face for both kinds of httpx client; each request runs to its end."""

    def __init__(self, pins: Client, kind: str, **options: Any) -> None:
        self._kind = kind
        self._loop: asyncio.AbstractEventLoop | None = None
        self._client: Any
        settings = {"trust_env": True, "timeout": 10, "headers": HEADERS}
        if kind == "sync":
            self._client = httpx.Client(transport=PinnedTransport(pins, **options), **settings)
        else:
            self._loop = asyncio.new_event_loop()
            transport = AsyncPinnedTransport(pins, **options)
            self._client = httpx.AsyncClient(transport=transport, **settings)

    def request(self, method: str, url: str, **options: Any) -> Any:
        return self._run(self._client.request(method, url, **options))

    def get(self, url: str, **options: Any) -> Any:
        return self.request("GET", url, **options)

    def body(self, *parts: bytes) -> Any:
        """Return a streamed body, which can be sent once."""
        return iter(parts) if self._kind == "sync" else _one_by_one(parts)

    def _run(self, result: Any) -> Any:
        return result if self._loop is None else self._loop.run_until_complete(result)

    def __enter__(self) -> Http:
        return self

    def __exit__(self, *_: object) -> None:
        if self._loop is None:
            self._client.close()
            return
        self._loop.run_until_complete(self._client.aclose())
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()


async def _one_by_one(parts: tuple[bytes, ...]) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


@pytest.fixture(params=["sync", "async"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def pins(simulator: DeliverySimulator, authority: Authority, chain: Chain) -> Iterator[Client]:
    """A client that pins the owner's chain for each host."""
    for host in (HOST, "127.0.0.1", "api.example.com"):
        simulator.pin(host, chain.pin)
    with simulator.client(ca=authority.pem) as found:
        yield found


def test_the_right_pin_passes(pins: Client, chain: Chain, serve: Any, kind: str) -> None:
    server = serve(chain)
    with Http(pins, kind) as http:
        answer = http.get(f"https://{HOST}:{server.port}/")
        assert (answer.status_code, answer.http_version) == (200, "HTTP/1.1")
        assert answer.text == "ok"


@pytest.mark.usefixtures("quick_healing")
def test_a_wrong_pin_sends_nothing_and_is_found_in_the_causes(
    pins: Client, chain: Chain, other: Chain, serve: Any, kind: str
) -> None:
    server = serve(other)
    with Http(pins, kind) as http, pytest.raises(httpx.ConnectError) as caught:
        http.request("POST", f"https://{HOST}:{server.port}/", content=b"card=4111")
    error = find(caught.value)
    assert isinstance(error, PinMismatchError)
    assert (error.host, error.chain[0]) == (HOST, str(other.pin))
    assert error.expected == (str(chain.pin),)
    assert "livepin domain check localhost" in str(error)
    assert silent(server)


@pytest.mark.parametrize("tls12", [False, True])
def test_a_streamed_post_is_healed_and_arrives_once_and_whole(
    pins: Client,
    simulator: DeliverySimulator,
    other: Chain,
    serve: Any,
    kind: str,
    tls12: bool,
) -> None:
    server = serve(other, tls12=tls12)
    threading.Timer(0.3, simulator.pin, (HOST, other.pin)).start()
    with Http(pins, kind) as http:
        body = http.body(b"one-", b"two-", b"three")
        answer = http.request("POST", f"https://{HOST}:{server.port}/", content=body)
        assert answer.status_code == 200
    server.wait_closed()
    received = bytes(server.received)
    assert [received.count(part) for part in (b"POST /", b"one-", b"two-", b"three")] == [1] * 4


@pytest.mark.usefixtures("quick_healing")
def test_a_redirect_to_another_host_is_judged_by_that_hosts_pins(
    pins: Client, chain: Chain, other: Chain, serve: Any, kind: str
) -> None:
    evil = serve(other)
    location = {"Location": f"https://127.0.0.1:{evil.port}/"}
    good = serve(chain, respond=lambda *_: (302, location, b""))
    with Http(pins, kind) as http, pytest.raises(httpx.ConnectError) as caught:
        http.get(f"https://{HOST}:{good.port}/", follow_redirects=True)
    error = find(caught.value)
    assert isinstance(error, PinMismatchError)
    assert error.host == "127.0.0.1"
    assert silent(evil)


def test_a_redirect_to_cleartext_is_refused(
    pins: Client, chain: Chain, serve: Any, kind: str
) -> None:
    location = {"Location": "http://127.0.0.1:9/"}
    good = serve(chain, respond=lambda *_: (302, location, b""))
    with Http(pins, kind) as http, pytest.raises(httpx.UnsupportedProtocol) as caught:
        http.get(f"https://{HOST}:{good.port}/", follow_redirects=True)
    assert isinstance(find(caught.value), CleartextError)


@pytest.mark.parametrize("mode", list(Mode))
def test_cleartext_to_a_listed_host_is_refused_in_every_mode(
    simulator: DeliverySimulator, kind: str, mode: Mode
) -> None:
    simulator.pin(HOST, simulator.delivery_pins[0], mode=mode)
    with simulator.client() as pins, Http(pins, kind) as http:
        with pytest.raises(httpx.UnsupportedProtocol, match="without TLS") as caught:
            http.get("http://LOCALHOST:9/")
    assert isinstance(find(caught.value), CleartextError)


@pytest.mark.usefixtures("quick_healing")
@pytest.mark.parametrize("presented", ["chain", "other"])
def test_a_proxy_is_tunnelled_through(
    pins: Client,
    serve: Any,
    tunnel: Any,
    kind: str,
    request: pytest.FixtureRequest,
    presented: str,
) -> None:
    server = serve(request.getfixturevalue(presented))
    url = f"https://api.example.com:{server.port}/"
    with Http(pins, kind, proxy=tunnel.url) as http:
        if presented == "chain":
            assert http.get(url).status_code == 200
        else:
            with pytest.raises(httpx.ConnectError, match="no pinned key"):
                http.get(url)
        with pytest.raises(httpx.UnsupportedProtocol):
            http.get("http://api.example.com/")
    if presented == "other":
        assert silent(server)
    assert {line.partition(":")[0] for line in tunnel.asked} == {"CONNECT api.example.com"}


def test_a_request_through_a_proxy_is_healed(
    pins: Client,
    simulator: DeliverySimulator,
    other: Chain,
    serve: Any,
    tunnel: Any,
    kind: str,
) -> None:
    server = serve(other)
    threading.Timer(0.3, simulator.pin, ("api.example.com", other.pin)).start()
    with Http(pins, kind, proxy=tunnel.url) as http:
        assert http.get(f"https://api.example.com:{server.port}/").status_code == 200


def test_a_proxy_of_the_environment_is_not_used(
    pins: Client,
    chain: Chain,
    serve: Any,
    tunnel: Any,
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """httpx would give it a TLS context of its own."""
    for name in ("HTTPS_PROXY", "ALL_PROXY", "https_proxy"):
        monkeypatch.setenv(name, tunnel.url)
    server = serve(chain)
    with Http(pins, kind) as http:
        assert http.get(f"https://{HOST}:{server.port}/").status_code == 200
    assert tunnel.asked == []


def test_a_pooled_connection_is_used_again_while_its_pin_holds(
    pins: Client, simulator: DeliverySimulator, chain: Chain, other: Chain, serve: Any, kind: str
) -> None:
    server = serve(chain)
    with Http(pins, kind) as http:
        for host_pins in ((chain.pin,), (chain.pin, other.pin), (chain.authority.pin,)):
            simulator.pin(HOST, *host_pins)
            pins.refresh()
            assert http.get(f"https://{HOST}:{server.port}/").status_code == 200
    assert server.connections == 1


def test_a_pooled_connection_is_dropped_when_its_pin_goes(
    pins: Client, simulator: DeliverySimulator, chain: Chain, other: Chain, serve: Any, kind: str
) -> None:
    """The server has rotated already: the next request takes a new connection by itself."""
    server = serve(chain)
    url = f"https://{HOST}:{server.port}/"
    with Http(pins, kind) as http:
        http.get(url)
        server.present(other)
        simulator.pin(HOST, other.pin)
        pins.refresh()
        body = http.body(b"only-once")
        assert http.request("POST", url, content=body).status_code == 200
    server.wait_closed()
    assert server.connections == 2
    assert bytes(server.received).count(b"only-once") == 1


@pytest.mark.usefixtures("quick_healing")
def test_a_pooled_connection_to_an_attacker_gets_no_second_request(
    pins: Client, simulator: DeliverySimulator, chain: Chain, other: Chain, serve: Any, kind: str
) -> None:
    """A key was stolen, and its pin is withdrawn."""
    server = serve(chain)
    url = f"https://{HOST}:{server.port}/"
    with Http(pins, kind) as http:
        http.get(url)
        simulator.pin(HOST, other.pin)
        pins.refresh()
        before = bytes(server.received)
        with pytest.raises(httpx.TransportError) as caught:
            http.get(url)
        assert isinstance(find(caught.value), PinMismatchError)
    server.wait_closed()
    assert bytes(server.received) == before


def test_fifty_tasks_during_a_certificate_change_all_succeed_on_a_free_event_loop(
    pins: Client, simulator: DeliverySimulator, other: Chain, serve: Any
) -> None:
    server = serve(other)
    url = f"https://{HOST}:{server.port}/"

    async def run() -> list[int]:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0.01)
                ticks += 1

        async with httpx.AsyncClient(
            transport=AsyncPinnedTransport(pins),
            timeout=30,
            limits=httpx.Limits(max_connections=None),
        ) as http:
            ticking = asyncio.ensure_future(tick())
            threading.Timer(0.5, simulator.pin, (HOST, other.pin)).start()
            answers = await asyncio.gather(*(http.get(url) for _ in range(50)))
            assert ticks > 10
            ticking.cancel()
        return [answer.status_code for answer in answers]

    assert asyncio.run(run()) == [200] * 50
    assert server.requests == 50
    assert sum("/config/" in each for each in simulator.fetched) < 10


def test_the_requests_of_another_host_go_on_while_one_waits(
    pins: Client, simulator: DeliverySimulator, chain: Chain, other: Chain, serve: Any
) -> None:
    waiting, going_on = serve(other), serve(chain)

    async def run() -> None:
        async with httpx.AsyncClient(transport=AsyncPinnedTransport(pins), timeout=10) as http:
            held = [
                asyncio.ensure_future(http.get(f"https://127.0.0.1:{waiting.port}/"))
                for _ in range(20)
            ]
            while waiting.connections < 20:
                await http.get(f"https://{HOST}:{going_on.port}/")
            for _ in range(3):
                await http.get(f"https://{HOST}:{going_on.port}/")
            assert not any(each.done() for each in held)
            simulator.pin("127.0.0.1", other.pin)
            assert [each.status_code for each in await asyncio.gather(*held)] == [200] * 20

    asyncio.run(run())


@pytest.mark.usefixtures("quick_healing")
def test_other_connection_errors_stay_what_they_are(
    pins: Client, serve: Any, chain: Chain, kind: str
) -> None:
    server = serve(chain)
    server.close()
    with Http(pins, kind) as http, pytest.raises(httpx.ConnectError) as caught:
        http.get(f"https://{HOST}:{server.port}/")
    assert find(caught.value) is None


def test_an_unlisted_host_may_speak_cleartext(
    simulator: DeliverySimulator, kind: str, tunnel: Any
) -> None:
    with simulator.client() as pins, Http(pins, kind) as http:
        assert http.get(tunnel.url).status_code == 501


@pytest.mark.parametrize("transport", [PinnedTransport, AsyncPinnedTransport])
@pytest.mark.parametrize("verify", [False, True])
def test_verify_cannot_be_given(pins: Client, transport: Any, verify: bool) -> None:
    with pytest.raises(TypeError, match="verify is set by Livepin"):
        transport(pins, verify=verify)
