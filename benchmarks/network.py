"""A line to a server that is far away."""

from __future__ import annotations

import asyncio
import threading
from types import TracebackType
from typing import Any

import uvloop

ROUND_TRIP = 0.2  # seconds


class FarAway:
    """A TCP address whose other end, the port `to`, is half a round trip away each way."""

    def __init__(self, to: int = 0) -> None:
        self.to = to
        self._loop = uvloop.new_event_loop()
        self._server = self._loop.run_until_complete(
            self._loop.create_server(lambda: _Near(self), "127.0.0.1", 0, backlog=4096)
        )
        self.port: int = self._server.sockets[0].getsockname()[1]
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> FarAway:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._server.close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=5)


class _End(asyncio.Protocol):
    """One end of a line; what arrives is sent on at the other."""

    def __init__(self, other: _End | None = None) -> None:
        self.other = other
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if self.other is not None:
            asyncio.get_running_loop().call_later(ROUND_TRIP / 2, self.other.send, data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        if self.other is not None:
            asyncio.get_running_loop().call_later(ROUND_TRIP / 2, self.other.close)

    def send(self, data: bytes) -> None:
        if self.transport is not None:
            self.transport.write(data)

    def close(self) -> None:
        if self.transport is not None:
            self.transport.close()


class _Near(_End):
    def __init__(self, line: FarAway) -> None:
        super().__init__()
        self._line = line
        self._early = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        loop = asyncio.get_running_loop()
        loop.call_later(ROUND_TRIP, self._dial)  # what connecting takes

    def data_received(self, data: bytes) -> None:
        if self.other is None:
            self._early += data
        super().data_received(data)

    def _dial(self) -> None:
        if self.transport is not None:
            self._dialling = asyncio.ensure_future(self._connect())

    async def _connect(self) -> None:
        loop, far = asyncio.get_running_loop(), _End(self)
        await loop.create_connection(lambda: far, "127.0.0.1", self._line.to)
        if self.transport is None:
            far.close()
            return
        self.other = far
        super().data_received(self._early)
