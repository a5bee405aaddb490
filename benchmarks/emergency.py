"""Failed requests when a certificate changes first, and its pin is published three seconds later.

Apps call an API over and over, each request on a connection of its own; API and delivery are 200 ms
away, there and back. Push is off: self-healing alone finds the new pin.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

import httpx
from livepin.adapters.httpx import AsyncPinnedTransport, PinnedTransport
from livepin.client import Client
from livepin.client.fetcher import HTTPFetcher
from livepin.testing import DeliverySimulator, RecordingServer, make_authority, make_chain

BUDGET = "no failed request"

_HOST = "localhost"
_ROUND_TRIP = 0.2  # seconds
_LATE = 3.0  # seconds by which the pin comes late
_AT_ONCE = 8  # requests
_AFTERWARDS = 2.0  # seconds


class _FarAway:
    """A TCP address whose other end is half a round trip away, in each direction."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._loop = asyncio.new_event_loop()
        self._server = self._loop.run_until_complete(
            asyncio.start_server(self._serve, "127.0.0.1", 0)
        )
        self.port: int = self._server.sockets[0].getsockname()[1]
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> _FarAway:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(timeout=10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=5)

    async def _end(self) -> None:
        self._server.close()
        lines = asyncio.all_tasks() - {asyncio.current_task()}
        for each in lines:
            each.cancel()
        await asyncio.gather(*lines, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(_ROUND_TRIP)  # what connecting takes
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._to)
        await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))

    async def _pump(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65536):
                self._loop.call_later(_ROUND_TRIP / 2, target.write, data)
        except OSError:
            pass
        self._loop.call_later(_ROUND_TRIP / 2, target.close)


def run() -> dict[str, Any]:
    """Return, per kind of HTTP client, how many requests were made, failed, and took at most."""
    return {"httpx.Client": _measure(_threads), "httpx.AsyncClient": _measure(_tasks)}


def _measure(call: Callable[[Client, str, threading.Event], list[tuple[bool, float]]]) -> Any:
    authority = make_authority()
    delivery_chain = make_chain(_HOST)
    old, new = (make_chain(_HOST, authority=authority) for _ in range(2))
    simulator = DeliverySimulator()
    with (
        RecordingServer(old) as api,
        RecordingServer(delivery_chain, respond=simulator.respond) as delivery,
        _FarAway(api.port) as api_line,
        _FarAway(delivery.port) as delivery_line,
    ):
        simulator.urls = (f"https://{_HOST}:{delivery_line.port}",)
        simulator.delivery_pins = (delivery_chain.pin,)
        simulator.ca = delivery_chain.authority.pem
        simulator.pin(_HOST, old.pin)
        end = threading.Event()
        with simulator.client(fetcher=HTTPFetcher(), ca=authority.pem, push=False) as pins:
            director = threading.Thread(target=_change, args=(api, new, simulator, end))
            director.start()
            found = call(pins, f"https://{_HOST}:{api_line.port}/", end)
            director.join()
    return {
        "requests": len(found),
        "failed": sum(not ok for ok, _ in found),
        "longest s": round(max(seconds for _, seconds in found), 1),
    }


def _change(api: RecordingServer, new: Any, simulator: DeliverySimulator, end: Any) -> None:
    time.sleep(1)
    api.present(new)
    time.sleep(_LATE)
    simulator.pin(_HOST, new.pin)
    time.sleep(_AFTERWARDS)
    end.set()


def _threads(pins: Client, url: str, end: threading.Event) -> list[tuple[bool, float]]:
    found: list[tuple[bool, float]] = []

    def work(http: httpx.Client) -> None:
        while not end.is_set():
            started = time.monotonic()
            try:
                ok = http.get(url, headers={"Connection": "close"}).status_code == 200
            except httpx.HTTPError:
                ok = False
            found.append((ok, time.monotonic() - started))

    with httpx.Client(transport=PinnedTransport(pins), timeout=20) as http:
        workers = [threading.Thread(target=work, args=(http,)) for _ in range(_AT_ONCE)]
        for each in workers:
            each.start()
        for each in workers:
            each.join()
    return found


def _tasks(pins: Client, url: str, end: threading.Event) -> list[tuple[bool, float]]:
    found: list[tuple[bool, float]] = []

    async def work(http: httpx.AsyncClient) -> None:
        while not end.is_set():
            started = time.monotonic()
            try:
                ok = (await http.get(url, headers={"Connection": "close"})).status_code == 200
            except httpx.HTTPError:
                ok = False
            found.append((ok, time.monotonic() - started))

    async def everything() -> None:
        async with httpx.AsyncClient(transport=AsyncPinnedTransport(pins), timeout=20) as http:
            await asyncio.gather(*(work(http) for _ in range(_AT_ONCE)))

    asyncio.run(everything())
    return found
