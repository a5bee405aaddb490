"""websockets: a request is an opening handshake, and its parts are messages."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import pytest
from livepin.client import Client

websockets = pytest.importorskip(
    "websockets", reason="the livepin wheel alone brings no websockets"
)
adapter = pytest.importorskip("livepin.adapters.websockets")

_MAGIC = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def switch(_path: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
    """Answer an opening handshake, and close at once."""
    key = headers["sec-websocket-key"] + _MAGIC
    accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
    fields = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Accept": accept}
    return 101, fields, b"\x88\x02\x03\xe8"


class Sync:
    can = frozenset({"cleartext", "proxy"})
    refused = (OSError, websockets.InvalidURI)
    respond = staticmethod(switch)

    def __init__(self, pins: Client, *, proxy: str | None = None) -> None:
        self._pins, self._proxy = pins, proxy

    def request(self, method: str, url: str, *, parts: tuple[bytes, ...] = ()) -> tuple[int, bytes]:
        options = {"proxy": self._proxy, "open_timeout": 30, "close_timeout": 0.1}
        try:
            url = url.replace("http", "ws", 1)
            with adapter.sync_connect(self._pins, url, **options) as websocket:
                for part in parts:
                    websocket.send(part)
        except websockets.InvalidStatus as exc:
            return exc.response.status_code, b""
        return 200, b""

    def close(self) -> None:
        """Each request has closed its connection."""


class Async(Sync):
    async def request(  # type: ignore[override]
        self, method: str, url: str, *, parts: tuple[bytes, ...] = ()
    ) -> tuple[int, bytes]:
        options = {"proxy": self._proxy, "open_timeout": 30, "close_timeout": 0.1}
        try:
            url = url.replace("http", "ws", 1)
            async with adapter.connect(self._pins, url, **options) as websocket:
                for part in parts:
                    await websocket.send(part)
        except websockets.InvalidStatus as exc:
            return exc.response.status_code, b""
        return 200, b""

    async def close(self) -> None:  # type: ignore[override]
        """Each request has closed its connection."""


DRIVERS: dict[str, Any] = {"websockets": Sync, "websockets async": Async}
