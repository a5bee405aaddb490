"""`urllib.request` and asyncio streams as they are, in a process that Livepin is injected into."""

from __future__ import annotations

import asyncio
import ssl
import urllib.error
import urllib.request
from typing import Any, ClassVar
from urllib.parse import urlsplit

import livepin
from livepin.client import Client

_CLEARTEXT = "cleartext passes no TLS, so it is not seen"
_TOKENS = "what passes TLS are bytes, to which no token can be added"


class Plain:
    cannot: ClassVar = {
        "pool": "urllib keeps no connection open",
        "cleartext": _CLEARTEXT,
        "downgrade": _CLEARTEXT,
        "tokens": _TOKENS,
    }
    refused = (urllib.error.URLError,)

    def __init__(self, pins: Client, *, proxy: str | None = None) -> None:
        self._injection = livepin.inject(pins)
        proxies = {} if proxy is None else {"https": proxy, "http": proxy}
        tls = urllib.request.HTTPSHandler(context=ssl.create_default_context())
        self._http = urllib.request.build_opener(tls, urllib.request.ProxyHandler(proxies))

    def request(
        self, method: str, url: str, *, parts: tuple[bytes, ...] = (), redirects: bool = False
    ) -> tuple[int, bytes]:
        request = urllib.request.Request(url, iter(parts) if parts else None, method=method)
        with self._http.open(request, timeout=30) as answer:
            return answer.status, answer.read()

    def close(self) -> None:
        self._injection.undo()


class Streams:
    cannot: ClassVar = {
        "wait": "a handshake on an event loop cannot wait: it fails, and newer pins are fetched",
        "pool": "streams are not pooled",
        "redirect": "streams know no redirects",
        "downgrade": "streams know no redirects",
        "proxy": "streams know no proxies",
        "cleartext": _CLEARTEXT,
        "tokens": _TOKENS,
    }
    refused = (ssl.SSLCertVerificationError,)

    def __init__(self, pins: Client) -> None:
        self._injection = livepin.inject(pins)
        self._context = ssl.create_default_context()

    async def request(
        self, method: str, url: str, *, parts: tuple[bytes, ...] = ()
    ) -> tuple[int, bytes]:
        parsed = urlsplit(url)
        reader, writer = await asyncio.open_connection(
            parsed.hostname, parsed.port, ssl=self._context
        )
        body = b"".join(parts)
        head = f"{method} / HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        writer.close()
        await writer.wait_closed()
        return int(answer.split()[1]), b""

    async def close(self) -> None:
        self._injection.undo()


DRIVERS: dict[str, Any] = {"inject": Plain, "inject, asyncio": Streams}
