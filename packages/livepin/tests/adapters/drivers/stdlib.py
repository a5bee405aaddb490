"""`urllib.request` through the opener of `livepin.adapters.stdlib`."""

from __future__ import annotations

import urllib.error
import urllib.request
from typing import Any, ClassVar

from livepin.adapters import stdlib
from livepin.client import Client
from livepin.errors import CleartextError


class Opener:
    cannot: ClassVar = {"pool": "urllib keeps no connection open"}
    refused = (urllib.error.URLError, CleartextError)

    def __init__(self, pins: Client, *, proxy: str | None = None) -> None:
        proxies = {} if proxy is None else {"https": proxy, "http": proxy}
        self._following = stdlib.opener(pins, urllib.request.ProxyHandler(proxies))
        self._staying = stdlib.opener(pins, urllib.request.ProxyHandler(proxies), _Stay())

    def request(
        self,
        method: str,
        url: str,
        *,
        parts: tuple[bytes, ...] = (),
        redirects: bool = False,
        headers: Any = None,
    ) -> tuple[int, bytes]:
        opener = self._following if redirects else self._staying
        request = urllib.request.Request(
            url, iter(parts) if parts else None, headers or {}, method=method
        )
        try:
            with opener.open(request, timeout=30) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    def close(self) -> None:
        """Nothing is kept open."""


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


DRIVERS: dict[str, Any] = {"urllib": Opener}
