"""websockets: a request is an opening handshake, and its parts are messages."""

from __future__ import annotations

import base64
import hashlib
from typing import Any, ClassVar

import pytest
from livepin.client import Client

websockets = pytest.importorskip(
    "websockets", reason="the livepin wheel alone brings no websockets"
)
adapter = pytest.importorskip("livepin.adapters.websockets")
sync_client = pytest.importorskip("websockets.sync.client")

_POOL = "each WebSocket has a connection of its own, which is closed when its pin goes"
_DOWNGRADE = "the library itself follows no redirect from wss to ws"

_MAGIC = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def switch(_path: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
    """Answer an opening handshake."""
    key = headers["sec-websocket-key"] + _MAGIC
    accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
    fields = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Accept": accept}
    return 101, fields, b""


def unmasked(received: bytes) -> bytes:
    """Return the messages of one connection, which clients send masked."""
    _, _, rest = received.partition(b"\r\n\r\n")
    found = b""
    while rest:
        length, mask = rest[1] & 0x7F, rest[2:6]
        found += bytes(each ^ mask[at % 4] for at, each in enumerate(rest[6 : 6 + length]))
        rest = rest[6 + length :]
    return found


class Sync:
    cannot: ClassVar = {"pool": _POOL, "downgrade": _DOWNGRADE}
    if not hasattr(sync_client, "reconnect"):  # websockets 15
        cannot = {**cannot, "redirect": "in threads, it follows redirects from version 16 on"}
    refused = (OSError, websockets.InvalidURI)
    scheme, sends = "wss", "GET"
    respond, messages = staticmethod(switch), staticmethod(unmasked)

    def __init__(self, pins: Client, *, proxy: str | None = None) -> None:
        self._pins, self._proxy = pins, proxy

    def request(
        self,
        method: str,
        url: str,
        *,
        parts: tuple[bytes, ...] = (),
        redirects: bool = True,
        headers: Any = None,
    ) -> tuple[int, bytes]:
        options = {
            "proxy": self._proxy,
            "open_timeout": 30,
            "close_timeout": 0.1,
            "additional_headers": headers,
        }
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
    cannot: ClassVar = {"pool": _POOL, "downgrade": _DOWNGRADE}

    async def request(  # type: ignore[override]
        self,
        method: str,
        url: str,
        *,
        parts: tuple[bytes, ...] = (),
        redirects: bool = True,
        headers: Any = None,
    ) -> tuple[int, bytes]:
        options = {
            "proxy": self._proxy,
            "open_timeout": 30,
            "close_timeout": 0.1,
            "additional_headers": headers,
        }
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
