"""What pinning adds to a request on a fresh connection, through each adapter.

Each request is made twice, with the library alone and through the adapter, in turns, to one TLS
server in another process. The medians of the paired differences and ratios are taken, in CPU time
of this process, all its threads included. The library alone is given an `SSLContext` as well, so
that neither side reads certificates for each request. Under httpx, async, anyio wraps a connection
in a worker thread wherever the context is not exactly the standard library's: that is most of what
is added there.

gRPC brings a TLS stack of its own, and the adapter a bridge to Python's: that a fresh channel needs
another one is most of what it adds. Apps keep a channel, so a call on an open one is there too.
"""

from __future__ import annotations

import asyncio
import gc
import http.client
import inspect
import ssl
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import httpx
import requests
import urllib3
import websockets
import websockets.sync.client
from livepin.adapters import aiohttp as pinned_aiohttp
from livepin.adapters import grpc as pinned_grpc
from livepin.adapters import httpx as pinned_httpx
from livepin.adapters import requests as pinned_requests
from livepin.adapters import stdlib as pinned_stdlib
from livepin.adapters import urllib3 as pinned_urllib3
from livepin.adapters import websockets as pinned_websockets
from livepin.client import Client
from livepin.testing import DeliverySimulator, make_chain
from requests.adapters import HTTPAdapter

from .api import METHOD, Api

BUDGET = "none of its own; the check itself is measured above"

_HOST = "127.0.0.1"
_PAIRS = 300
_WARMING = 20  # pairs
_CLOSE = {"Connection": "close"}


@dataclass(frozen=True)
class _Ends:
    """What requests go to, and how they are judged."""

    ports: dict[str, int]
    ca: str
    pins: Client

    def plain(self) -> ssl.SSLContext:
        return ssl.create_default_context(cadata=self.ca)

    @property
    def url(self) -> str:
        return f"https://{_HOST}:{self.ports['https']}/"

    @property
    def websocket(self) -> str:
        return f"wss://{_HOST}:{self.ports['websocket']}/"

    @property
    def target(self) -> str:
        return f"{_HOST}:{self.ports['grpc']}"


_Call = Callable[[], object]  # what it returns is awaited, where it can be
_Calls = AsyncIterator[tuple[_Call, _Call]]
_Pair = Callable[[_Ends], AbstractAsyncContextManager[tuple[_Call, _Call]]]


def run() -> dict[str, Any]:
    """Return, per adapter, the time of a request without it and what it adds, in microseconds."""
    chain = make_chain(_HOST)
    delivery = DeliverySimulator()
    delivery.pin(_HOST, chain.pin)
    ca = chain.authority.pem
    with tempfile.TemporaryDirectory() as folder, Api(Path(folder), chain) as api:
        with delivery.client(ca=ca) as pins:
            ends = _Ends(ports=api.ports, ca=ca, pins=pins)
            return {name: asyncio.run(_measure(pair, ends)) for name, pair in _PAIR_OF.items()}


async def _measure(pair: _Pair, ends: _Ends) -> dict[str, float]:
    async with pair(ends) as (plain, pinned):
        for _ in range(_WARMING):
            await _timed(plain), await _timed(pinned)
        gc.collect()
        gc.disable()
        try:
            times = [await _one(plain, pinned, number % 2 == 0) for number in range(_PAIRS)]
        finally:
            gc.enable()
    return {
        "without µs": round(statistics.median(a for a, _ in times) * 1e6),
        "added µs": round(statistics.median(b - a for a, b in times) * 1e6),
        "ratio": round(statistics.median(b / a for a, b in times), 2),
    }


async def _one(plain: _Call, pinned: _Call, plain_first: bool) -> tuple[float, float]:
    if plain_first:
        return await _timed(plain), await _timed(pinned)
    second = await _timed(pinned)
    return await _timed(plain), second


async def _timed(call: _Call) -> float:
    started = time.process_time()
    found = call()
    if inspect.isawaitable(found):
        await found
    return time.process_time() - started


# -- blocking libraries ------------------------------------------------------------------------


@asynccontextmanager
async def _stdlib(ends: _Ends) -> _Calls:
    port, context = ends.ports["https"], ends.plain()

    def get(connection: http.client.HTTPSConnection) -> None:
        connection.request("GET", "/", headers=_CLOSE)
        connection.getresponse().read()
        connection.close()

    yield (
        lambda: get(http.client.HTTPSConnection(_HOST, port, timeout=30, context=context)),
        lambda: get(pinned_stdlib.https_connection(ends.pins, _HOST, port)),
    )


@asynccontextmanager
async def _urllib3(ends: _Ends) -> _Calls:
    plain = urllib3.PoolManager(ssl_context=ends.plain())
    pinned = pinned_urllib3.PinnedPoolManager(ends.pins)
    yield (
        lambda: plain.request("GET", ends.url, headers=_CLOSE),
        lambda: pinned.request("GET", ends.url, headers=_CLOSE),
    )


class _Given(HTTPAdapter):
    """requests with a context that it leaves as it is."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        super().__init__()

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options, ssl_context=self._context)

    def build_connection_pool_key_attributes(self, *args: Any, **options: Any) -> Any:
        return super().build_connection_pool_key_attributes(*args, **options)[0], {}

    def cert_verify(self, *args: Any, **options: Any) -> None:
        pass


@asynccontextmanager
async def _requests(ends: _Ends) -> _Calls:
    with requests.Session() as plain, pinned_requests.session(ends.pins) as pinned:
        plain.mount("https://", _Given(ends.plain()))
        yield (
            lambda: plain.get(ends.url, headers=_CLOSE, timeout=30),
            lambda: pinned.get(ends.url, headers=_CLOSE, timeout=30),
        )


@asynccontextmanager
async def _httpx(ends: _Ends) -> _Calls:
    transports = httpx.HTTPTransport(verify=ends.plain()), pinned_httpx.PinnedTransport(ends.pins)
    with httpx.Client(transport=transports[0]) as plain:
        with httpx.Client(transport=transports[1]) as pinned:
            yield (
                lambda: plain.get(ends.url, headers=_CLOSE),
                lambda: pinned.get(ends.url, headers=_CLOSE),
            )


@asynccontextmanager
async def _websockets(ends: _Ends) -> _Calls:
    context = ends.plain()

    def echo(websocket: Any) -> None:
        with websocket:
            websocket.send("ok")
            websocket.recv()

    yield (
        lambda: echo(websockets.sync.client.connect(ends.websocket, ssl=context)),
        lambda: echo(pinned_websockets.sync_connect(ends.pins, ends.websocket)),
    )


# -- gRPC --------------------------------------------------------------------------------------


def _plain_channel(ends: _Ends) -> Any:
    credentials = grpc.ssl_channel_credentials(root_certificates=ends.ca.encode())
    # Otherwise channels share a connection for as long as one of them is open.
    options = [("grpc.use_local_subchannel_pool", 1)]
    return grpc.secure_channel(ends.target, credentials, options)


def _echoed(channel: Any) -> None:
    channel.unary_unary(METHOD)(b"ok", timeout=30)


@asynccontextmanager
async def _grpc(ends: _Ends) -> _Calls:
    def call(channel: Any) -> None:
        with channel:
            _echoed(channel)

    yield (
        lambda: call(_plain_channel(ends)),
        lambda: call(pinned_grpc.PinnedChannel(ends.pins, ends.target)),
    )


@asynccontextmanager
async def _grpc_open(ends: _Ends) -> _Calls:
    with _plain_channel(ends) as plain, pinned_grpc.PinnedChannel(ends.pins, ends.target) as pinned:
        yield lambda: _echoed(plain), lambda: _echoed(pinned)


# -- asynchronous libraries --------------------------------------------------------------------


@asynccontextmanager
async def _aiohttp(ends: _Ends) -> _Calls:
    async def get(http: aiohttp.ClientSession) -> None:
        async with http.get(ends.url) as answer:
            await answer.read()

    connectors = (
        aiohttp.TCPConnector(ssl=ends.plain(), force_close=True),
        pinned_aiohttp.PinnedConnector(ends.pins, force_close=True),
    )
    async with aiohttp.ClientSession(connector=connectors[0]) as plain:
        async with aiohttp.ClientSession(connector=connectors[1]) as pinned:
            yield lambda: get(plain), lambda: get(pinned)


@asynccontextmanager
async def _async_httpx(ends: _Ends) -> _Calls:
    transports = (
        httpx.AsyncHTTPTransport(verify=ends.plain()),
        pinned_httpx.AsyncPinnedTransport(ends.pins),
    )
    async with httpx.AsyncClient(transport=transports[0]) as plain:
        async with httpx.AsyncClient(transport=transports[1]) as pinned:
            yield (
                lambda: plain.get(ends.url, headers=_CLOSE),
                lambda: pinned.get(ends.url, headers=_CLOSE),
            )


@asynccontextmanager
async def _async_websockets(ends: _Ends) -> _Calls:
    context = ends.plain()

    async def echo(connecting: Any) -> None:
        async with connecting as websocket:
            await websocket.send("ok")
            await websocket.recv()

    yield (
        lambda: echo(websockets.connect(ends.websocket, ssl=context)),
        lambda: echo(pinned_websockets.connect(ends.pins, ends.websocket)),
    )


_PAIR_OF: dict[str, _Pair] = {
    "`http.client`": _stdlib,
    "urllib3": _urllib3,
    "requests": _requests,
    "httpx": _httpx,
    "httpx, async": _async_httpx,
    "aiohttp": _aiohttp,
    "websockets": _websockets,
    "websockets, async": _async_websockets,
    "gRPC, fresh channel": _grpc,
    "gRPC, open channel": _grpc_open,
}
