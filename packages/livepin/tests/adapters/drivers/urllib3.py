"""urllib3's pool manager and proxy manager."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
from livepin.client import Client

urllib3 = pytest.importorskip("urllib3", reason="the livepin wheel alone brings no urllib3")
adapter = pytest.importorskip("livepin.adapters.urllib3")


class Pools:
    cannot: ClassVar[dict[str, str]] = {}
    refused = (urllib3.exceptions.HTTPError,)

    def __init__(self, pins: Client, *, proxy: str | None = None) -> None:
        self._http = (
            adapter.PinnedPoolManager(pins)
            if proxy is None
            else adapter.PinnedProxyManager(pins, proxy)
        )

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
            method, url, body=body, redirect=redirects, timeout=30, headers=headers
        )
        return found.status, found.data

    def close(self) -> None:
        self._http.clear()


DRIVERS: dict[str, Any] = {"urllib3": Pools}
