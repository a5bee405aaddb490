"""A session of requests."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
from livepin.client import Client

requests = pytest.importorskip("requests", reason="the livepin wheel alone brings no requests")
adapter = pytest.importorskip("livepin.adapters.requests")


class Session:
    cannot: ClassVar[dict[str, str]] = {}
    refused = (requests.exceptions.ConnectionError, requests.exceptions.InvalidSchema)

    def __init__(self, pins: Client, *, proxy: str | None = None) -> None:
        self._http = adapter.session(pins, pool_maxsize=50)
        if proxy is not None:
            self._http.proxies = {"https": proxy, "http": proxy}

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
            method, url, data=body, allow_redirects=redirects, timeout=30, headers=headers
        )
        return found.status_code, found.content

    def close(self) -> None:
        self._http.close()


DRIVERS: dict[str, Any] = {"requests": Session}
