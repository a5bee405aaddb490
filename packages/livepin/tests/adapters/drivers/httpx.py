"""httpx, sync and async."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, ClassVar

import pytest
from livepin.client import Client

httpx = pytest.importorskip("httpx", reason="the livepin wheel alone brings no httpx")
adapter = pytest.importorskip("livepin.adapters.httpx")


class Sync:
    cannot: ClassVar[dict[str, str]] = {}
    refused = (httpx.ConnectError, httpx.UnsupportedProtocol)

    def __init__(self, pins: Client, *, proxy: str | None = None) -> None:
        self._http = httpx.Client(transport=adapter.PinnedTransport(pins, proxy=proxy), timeout=30)

    def request(
        self,
        method: str,
        url: str,
        *,
        parts: tuple[bytes, ...] = (),
        redirects: bool = False,
        headers: Any = None,
    ) -> tuple[int, bytes]:
        body = iter(parts) if parts else None
        found = self._http.request(
            method, url, content=body, follow_redirects=redirects, headers=headers
        )
        return found.status_code, found.content

    def close(self) -> None:
        self._http.close()


class Async:
    cannot, refused = Sync.cannot, Sync.refused

    def __init__(self, pins: Client, *, proxy: str | None = None) -> None:
        transport = adapter.AsyncPinnedTransport(pins, proxy=proxy)
        self._http = httpx.AsyncClient(transport=transport, timeout=30)

    async def request(
        self,
        method: str,
        url: str,
        *,
        parts: tuple[bytes, ...] = (),
        redirects: bool = False,
        headers: Any = None,
    ) -> tuple[int, bytes]:
        body = _one_by_one(parts) if parts else None
        found = await self._http.request(
            method, url, content=body, follow_redirects=redirects, headers=headers
        )
        return found.status_code, found.content

    async def close(self) -> None:
        await self._http.aclose()


async def _one_by_one(parts: tuple[bytes, ...]) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


DRIVERS: dict[str, Any] = {"httpx": Sync, "httpx async": Async}
