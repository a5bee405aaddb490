"""aiohttp, with the pinned connector."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, ClassVar

import pytest
from livepin.client import Client

aiohttp = pytest.importorskip("aiohttp", reason="the livepin wheel alone brings no aiohttp")
adapter = pytest.importorskip("livepin.adapters.aiohttp")


class Session:
    cannot: ClassVar[dict[str, str]] = {}
    refused = (aiohttp.ClientConnectionError, aiohttp.InvalidUrlClientError)

    def __init__(self, pins: Client, *, proxy: str | None = None) -> None:
        self._http = aiohttp.ClientSession(connector=adapter.PinnedConnector(pins, limit=0))
        self._proxy = proxy

    async def request(
        self,
        method: str,
        url: str,
        *,
        parts: tuple[bytes, ...] = (),
        redirects: bool = False,
        headers: Any = None,
    ) -> tuple[int, bytes]:
        async with self._http.request(
            method,
            url,
            data=_one_by_one(parts) if parts else None,
            allow_redirects=redirects,
            proxy=self._proxy,
            headers=headers,
        ) as found:
            return found.status, await found.read()

    async def close(self) -> None:
        await self._http.close()


async def _one_by_one(parts: tuple[bytes, ...]) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


DRIVERS: dict[str, Any] = {"aiohttp": Session}
