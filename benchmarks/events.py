"""One publish told to thousands of event streams, over TLS, by one process; and their memory.

The clients are asyncio connections in this process. On a machine where they share the cores with
the server, the time until the last one was told is mostly theirs.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import uvloop
from livepin.pins import Pin

from .machine import cpu_seconds, may_open, resident_kib
from .server import Server

BUDGET = "10,000 clients told within 1 s, 40 KiB of memory each"

SIZES = 1, 100, 1_000, 10_000
_DOMAIN = "api.example.com"
_AT_ONCE = 100  # handshakes under way
_REQUEST = b"GET /v1/bench/events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n"


class Told:
    """When clients had what they were to have; `done` when all have."""

    def __init__(self, clients: int) -> None:
        self.at: list[float] = []
        self.done = asyncio.Event()
        self._clients = clients

    def one(self) -> None:
        """Note that one more has."""
        self.at.append(time.perf_counter())
        if len(self.at) == self._clients:
            self.done.set()

    def milliseconds(self, *, since: float) -> dict[str, int]:
        """Return when the first, half of them, and the last had."""
        moments = {"first": self.at[0], "median": statistics.median(self.at), "last": self.at[-1]}
        return {f"{name} ms": round((at - since) * 1000) for name, at in moments.items()}


class Stream(asyncio.Protocol):
    """An event stream; a stream reader for each would only cost memory."""

    def __init__(self, ready: asyncio.Future[None]) -> None:
        self._ready = ready
        self.on_event: Callable[[bytes], object] = lambda _: None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(_REQUEST)

    def data_received(self, data: bytes) -> None:
        if b"event: config" not in data:
            return
        if self._ready.done():
            self.on_event(data)
        else:
            self._ready.set_result(None)

    def close(self) -> None:
        """End it."""
        self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._ready.done():
            self._ready.set_exception(exc or ConnectionResetError("closed"))


def run() -> dict[str, Any]:
    """Return memory per stream in KiB, and milliseconds from the publish to the last client."""
    # Server and clients each need a file for every connection.
    most = may_open(SIZES[-1] + 2000) - 2000
    with tempfile.TemporaryDirectory() as folder, Server(Path(folder)) as server:
        server.add(_DOMAIN, Pin(bytes(32)))
        return uvloop.run(_measure(server, [min(size, most) for size in SIZES]))


async def _measure(server: Server, sizes: list[int]) -> dict[str, Any]:
    pid = server.pids[0]
    streams: list[Stream] = []
    figures: dict[str, Any] = {}
    for size in sizes:
        before, started, more = resident_kib(pid), time.perf_counter(), size - len(streams)
        streams += await opened(server, more)
        opening = time.perf_counter() - started
        memory = (resident_kib(pid) - before) / more
        figures[f"{size:,} streams"] = await _publish(server, streams)
    return {
        f"the last {more:,} opened, handshakes included, s": round(opening, 1),
        "server memory for each of them KiB": round(memory, 1),
    } | figures


async def _publish(server: Server, streams: list[Stream]) -> dict[str, Any]:
    told = Told(len(streams))
    for each in streams:
        each.on_event = lambda _: told.one()
    cpu, published = cpu_seconds(server.pids), time.perf_counter()
    pin = Pin(len(streams).to_bytes(32, "big"))
    answer = asyncio.to_thread(server.pin, _DOMAIN, pin)
    await asyncio.gather(answer, asyncio.wait_for(told.done.wait(), 60))
    return told.milliseconds(since=published) | {
        "server CPU for all of it ms": round((cpu_seconds(server.pids) - cpu) * 1000),
    }


async def opened(server: Server, count: int) -> list[Stream]:
    """Open event streams, and return them once each was told the version of now."""
    gate, loop = asyncio.Semaphore(_AT_ONCE), asyncio.get_running_loop()

    async def one() -> Stream:
        async with gate:
            ready = loop.create_future()
            _, stream = await loop.create_connection(
                lambda: Stream(ready), "127.0.0.1", server.port,
                ssl=server.context(), server_hostname="localhost",
            )  # fmt: skip
            await ready
            return stream

    return await asyncio.gather(*(one() for _ in range(count)))
