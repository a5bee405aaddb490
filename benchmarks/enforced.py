"""From the operator's call that publishes to the moment when apps enforce the new config.

1 and 100 apps are real clients, `livepin.Client`, in threads of this process: told by push, each
waits for up to half a second, so that a fleet spreads its fetches, then fetches, verifies, and
takes the config. That wait is most of the time. Medians of several publications.

1,000 and 10,000 apps are connections of one asyncio process that do the same on the network and no
more: an event stream each, the same wait, then a fetch of the config over a fresh TLS connection.
They need more CPU than the server, and share the cores with it: what the server alone would need
for such a wave is its CPU time.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import ssl
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import uvloop
from livepin.client import Client
from livepin.client.push import _SPREAD
from livepin.pins import Pin

from .events import Told, opened
from .machine import cpu_seconds, may_open
from .server import Server

BUDGET = "none of its own; the wait is half a second at most"

_CLIENTS = {1: 20, 100: 5}  # real ones, and how often something is published
_CONNECTIONS = 1_000, 10_000
_DOMAIN = "api.example.com"
_AT_ONCE = 2_000  # fetches under way; each needs a file at either end, beside that of its stream
_PATIENCE = 120.0  # seconds
_REQUEST = (
    b"GET /v1/bench/config/main HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\n"
    b"Connection: close\r\n\r\n"
)


def run() -> dict[str, Any]:
    """Return milliseconds from the call to the first, the median and the last app."""
    most = may_open(_CONNECTIONS[-1] + 4000) - 4000
    with tempfile.TemporaryDirectory() as folder, Server(Path(folder)) as server:
        server.add(_DOMAIN, Pin(bytes(32)))
        figures = {f"{n:,} `livepin.Client`": _clients(server, n) for n in _CLIENTS}
        for size in _CONNECTIONS:
            count = min(size, most)
            figures[f"{count:,} connections"] = uvloop.run(_connections(server, count))
        return figures


def _clients(server: Server, count: int) -> dict[str, float]:
    bootstrap = server.bootstrap()
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Client(bootstrap, reports=False)) for _ in range(count)]
        for each in clients:
            # A connection that is wanted starts its threads.
            each.context().wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname=_DOMAIN)
        _until(lambda: all(each.status().push for each in clients))
        found = [_published(server, clients) for _ in range(_CLIENTS[count])]
    return {name: round(statistics.median(each[name] for each in found)) for name in found[0]}


def _published(server: Server, clients: list[Client]) -> dict[str, float]:
    version = max(each.status().version for each in clients) + 1
    at: list[float] = []

    def wait(client: Client) -> None:
        if client.wait_for(version, timeout=_PATIENCE):
            at.append(time.perf_counter())

    waiting = [threading.Thread(target=wait, args=(each,)) for each in clients]
    for each in waiting:
        each.start()
    before, started = cpu_seconds(server.pids), time.perf_counter()
    server.pin(_DOMAIN, Pin(version.to_bytes(32, "little")))
    answered = time.perf_counter()
    for each in waiting:
        each.join()
    return _figures(at, started, answered) | {
        "server CPU ms": (cpu_seconds(server.pids) - before) * 1000,
        "failed fetches": len(clients) - len(at),
    }


def _figures(at: list[float], started: float, answered: float) -> dict[str, float]:
    moments = {
        "the call": answered,
        "first": min(at),
        "median": statistics.median(at),
        "last": max(at),
    }
    return {f"{name} ms": round((moment - started) * 1000) for name, moment in moments.items()}


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("the clients did not connect")
        time.sleep(0.05)


class _Fetch(asyncio.Protocol):
    """One fetch; `ended` is set to whether it succeeded."""

    def __init__(self, ended: asyncio.Future[bool]) -> None:
        self._ended = ended
        self._received = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.Transport", transport).write(_REQUEST)

    def data_received(self, data: bytes) -> None:
        self._received += data

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended.set_result(self._received.startswith(b"HTTP/1.1 200"))


async def _connections(server: Server, count: int) -> dict[str, float]:
    loop, told, failed = asyncio.get_running_loop(), Told(count), 0
    gate = asyncio.Semaphore(_AT_ONCE)
    fetches: set[asyncio.Task[None]] = set()
    context = server.context()

    async def fetch(event: bytes) -> None:
        nonlocal failed
        spread = re.search(rb'"spread":([0-9]+)', event)
        await asyncio.sleep(random.uniform(0, int(spread[1]) if spread else _SPREAD))
        async with gate:
            ended = loop.create_future()
            try:
                await loop.create_connection(
                    lambda: _Fetch(ended), "127.0.0.1", server.port,
                    ssl=context, server_hostname="localhost",
                )  # fmt: skip
                failed += not await ended
            except OSError as exc:
                print(repr(exc))
                failed += 1
        told.one()

    def on_event(event: bytes) -> None:
        task = loop.create_task(fetch(event))
        fetches.add(task)
        task.add_done_callback(fetches.discard)

    streams = await opened(server, count)
    for each in streams:
        each.on_event = on_event
    before, started = cpu_seconds(server.pids), time.perf_counter()
    pin = Pin(count.to_bytes(32, "big"))
    await asyncio.to_thread(server.pin, _DOMAIN, pin)
    answered = time.perf_counter()
    await asyncio.wait_for(told.done.wait(), _PATIENCE)
    for each in streams:
        each.close()
    return _figures(told.at, started, answered) | {
        "server CPU ms": round((cpu_seconds(server.pids) - before) * 1000),
        "failed fetches": failed,
    }
