"""Server-sent events: one wake-up for all streams of an account, coalesced to the newest."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import Protocol

from livepin_server.telemetry.metrics import Metrics

from .snapshot import Snapshot

HEARTBEAT = 25.0  # seconds; carriers cut silent connections after about a minute

_BEAT = b": \n\n"
_FETCHES = 3000  # a second, each on a TLS connection of its own: about half of a core


class Transport(Protocol):
    """Where a stream is written."""

    async def send_bytes(self, data: bytes) -> None:
        """Send a piece; raises when the client has gone."""


class Events:
    """The open event streams. A slow client misses versions in between, never the newest."""

    def __init__(
        self,
        snapshot: Snapshot,
        metrics: Metrics,
        *,
        most: int,
        most_per_address: int,
        heartbeat: float = HEARTBEAT,
    ) -> None:
        self._snapshot = snapshot
        self._metrics = metrics
        self._most = most
        self._most_per_address = most_per_address
        self._heartbeat = heartbeat
        self._open: Counter[str] = Counter()
        self._total = 0
        self._turn: dict[str, asyncio.Future[None]] = {}
        self._messages: dict[str, bytes] = {}
        self._closing = False

    def has_room(self, address: str) -> bool:
        """Tell whether one more stream may be opened from an address."""
        if self._closing or self._total >= self._most:
            return False
        return self._open[address] < self._most_per_address

    async def run(self, account: str, address: str, transport: Transport) -> None:
        """Send the versions of now, then each newer one, until the client or the server goes."""
        self._count(address, 1)
        sent = None
        try:
            while not self._closing:
                turn = self._next_turn(account)
                message = self._message(account)
                await transport.send_bytes(_BEAT if message is sent else message)
                sent = message
                await turn
        except (OSError, RuntimeError):
            return  # the client has gone
        finally:
            self._count(address, -1)

    def wake(self, account: str) -> None:
        """Tell the streams of an account that the snapshot has changed."""
        self._messages.pop(account, None)
        turn = self._turn.pop(account, None)
        if turn is not None and not turn.done():
            turn.set_result(None)

    async def beat(self) -> None:
        """Send heartbeats until cancelled."""
        while True:
            await asyncio.sleep(self._heartbeat)
            self._wake_all()

    def close(self) -> None:
        """End all streams."""
        self._closing = True
        self._wake_all()

    def _wake_all(self) -> None:
        turns, self._turn = self._turn, {}
        for turn in turns.values():
            if not turn.done():
                turn.set_result(None)

    def _next_turn(self, account: str) -> asyncio.Future[None]:
        turn = self._turn.get(account)
        if turn is None:
            turn = self._turn[account] = asyncio.get_running_loop().create_future()
        return turn

    def _message(self, account: str) -> bytes:
        message = self._messages.get(account)
        if message is None:
            versions = self._snapshot.versions(account) or {}
            message = self._messages[account] = b"".join(
                _event(stream, *found, spread=self._total // _FETCHES)
                for stream, found in sorted(versions.items())
            )
        return message

    def _count(self, address: str, change: int) -> None:
        self._total += change
        self._open[address] += change
        if self._open[address] <= 0:
            del self._open[address]
        self._metrics.streams.set(self._total)


def _event(stream: str, root_version: int, version: int, *, spread: int = 0) -> bytes:
    data: dict[str, str | int] = {"stream": stream}
    data |= {"root_version": root_version, "version": version}
    if spread:
        data["spread"] = spread
    return b"event: config\ndata: " + json.dumps(data, separators=(",", ":")).encode() + b"\n\n"
