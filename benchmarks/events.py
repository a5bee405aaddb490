"""One publish told to thousands of event streams, over TLS, by one process; and their memory.

The clients are asyncio connections in this process. On a machine where they share the cores with
the server, the time until the last one was told is mostly theirs.
"""

from __future__ import annotations

import asyncio
import ssl
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .machine import cpu_seconds, may_open, resident_kib
from .server import Server

BUDGET = "10,000 clients told within 1 s, 40 KiB of memory each"

MOST_CLIENTS = 10_000
_AT_ONCE = 100  # handshakes under way
_REQUEST = b"GET /v1/bench/events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n"


@dataclass
class _Told:
    """When clients heard of a version."""

    clients: int
    first: float = 0.0
    last: float = 0.0
    count: int = 0
    done: asyncio.Event = field(default_factory=asyncio.Event)

    def one(self) -> None:
        now = time.perf_counter()
        self.first = self.first or now
        self.last = now
        self.count += 1
        if self.count == self.clients:
            self.done.set()


class _Client(asyncio.Protocol):
    """An event stream that counts events; a stream reader for each would only cost memory."""

    def __init__(self, opened: asyncio.Future[None]) -> None:
        self._opened = opened
        self.told: _Told | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(_REQUEST)

    def data_received(self, data: bytes) -> None:
        if b"event: config" not in data:
            return
        if self.told is not None:
            self.told.one()
        elif not self._opened.done():
            self._opened.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._opened.done():
            self._opened.set_exception(exc or ConnectionResetError("closed"))


def run() -> dict[str, Any]:
    """Return memory per stream in KiB, and milliseconds from the publish to the last client."""
    # Server and clients each need a file for every connection.
    clients = min(MOST_CLIENTS, may_open(MOST_CLIENTS + 2000) - 2000)
    with tempfile.TemporaryDirectory() as folder, Server(Path(folder)) as server:
        return asyncio.run(_measure(server, clients))


async def _measure(server: Server, clients: int) -> dict[str, Any]:
    pid = server.pids[0]
    await _open(server, 100)  # what the first streams make grow is not theirs
    before, started = resident_kib(pid), time.perf_counter()
    streams = await _open(server, clients)
    opening = time.perf_counter() - started
    memory = (resident_kib(pid) - before) / clients
    told = _Told(clients)
    for each in streams:
        each.told = told
    cpu, published = cpu_seconds([pid]), time.perf_counter()
    body = {"pattern": "new.example.com", "pins": [{"sha256": f"sha256/{'A' * 43}="}]}
    answer = asyncio.to_thread(server.call, "POST", "/v1/accounts/bench/domains", body)
    await asyncio.gather(answer, asyncio.wait_for(told.done.wait(), 60))
    return {
        "event streams": clients,
        "opened, handshakes included, s": round(opening, 1),
        "server memory for each KiB": round(memory, 1),
        "publish to the first told ms": round((told.first - published) * 1000),
        "publish to the last told ms": round((told.last - published) * 1000),
        "server CPU for all of it ms": round((cpu_seconds([pid]) - cpu) * 1000),
    }


async def _open(server: Server, count: int) -> list[_Client]:
    context, gate = server.context(), asyncio.Semaphore(_AT_ONCE)

    async def one() -> _Client:
        async with gate:
            opened = asyncio.get_running_loop().create_future()
            client = _Client(opened)
            await _connect(client, server.port, context)
            await opened
            return client

    return await asyncio.gather(*(one() for _ in range(count)))


async def _connect(client: _Client, port: int, context: ssl.SSLContext) -> None:
    await asyncio.get_running_loop().create_connection(
        lambda: client, "127.0.0.1", port, ssl=context, server_hostname="localhost"
    )
