"""httpx, sync and async, pinned: redirects, streams, proxies, pools and newer pins."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from livepin.client import Client
from livepin.errors import ConfigurationError, find
from livepin.testing import Authority, Chain, DeliverySimulator, RecordingServer, make_chain

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


def test_fifty_tasks_during_a_certificate_change_all_succeed_on_a_free_event_loop(
    pins: Client, simulator: DeliverySimulator, other: Chain, serve: Any
) -> None:
    server = serve(other)
    url = f"https://{HOST}:{server.port}/"

    async def run() -> list[int]:
        async def publish_after_ten_turns() -> None:
            """On a loop that is not free, it is never published, and no request succeeds."""
            for _ in range(10):
                await asyncio.sleep(0.01)
            await asyncio.to_thread(simulator.pin, HOST, other.pin)

        async with httpx.AsyncClient(
            transport=AsyncPinnedTransport(pins),
            timeout=30,
            limits=httpx.Limits(max_connections=None),
        ) as http:
            requests = (http.get(url) for _ in range(50))
            _, *answers = await asyncio.gather(publish_after_ten_turns(), *requests)
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


@pytest.mark.parametrize("transport", [PinnedTransport, AsyncPinnedTransport])
@pytest.mark.parametrize("verify", [False, True])
def test_verify_cannot_be_given(pins: Client, transport: Any, verify: bool) -> None:
    with pytest.raises(TypeError, match="verify is set by Livepin"):
        transport(pins, verify=verify)


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("name", ["unlisted.test", b"unlisted.test"])
def test_a_listed_host_is_not_verified_under_another_name(
    simulator: DeliverySimulator, authority: Any, other: Chain, serve: Any, kind: str, name: Any
) -> None:
    simulator.pin(HOST, other.pin)
    server = serve(make_chain(HOST, "unlisted.test", authority=authority))
    url = f"https://{HOST}:{server.port}/"
    with simulator.client(ca=authority.pem) as pins, Http(pins, kind) as http:
        with pytest.raises(httpx.ConnectError) as caught:
            http.get(url, extensions={"sni_hostname": name})
        assert isinstance(find(caught.value), ConfigurationError)
    assert silent(server)


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_the_request_that_an_app_is_shown_has_no_token(
    simulator: DeliverySimulator, authority: Authority, chain: Chain, serve: Any, kind: str
) -> None:
    """It ends in logs. A streamed body is sent from it all the same."""
    simulator.pin(HOST, chain.pin, token=True)
    good = serve(chain)
    with simulator.client(ca=authority.pem) as pins, Http(pins, kind) as http:
        answer = http.request(
            "POST", f"https://{HOST}:{good.port}/", content=http.body(b"one-", b"two")
        )
        token = pins.token(HOST).value
    assert token.encode() in bytes(good.received)
    assert b"one-" in bytes(good.received)
    assert token not in answer.request.headers.values()
