"""`Calling`: one request to a receiver of notices, guarded.

The host is resolved here, its addresses are judged, and one of those very addresses is connected
to: a name that points elsewhere a moment later (DNS rebinding) gains nothing. No redirect is
followed, no proxy of the environment is asked, of the answer nothing but its status is used.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import httpcore

from livepin_server.errors import InvalidError
from livepin_server.services.monitoring.targets import require_address

from .telling import TellError, anchored, unverified

PATIENCE = 15.0  # seconds for all of it
_PIECE = 5.0  # seconds for each step
_MOST_ADDRESSES = 8  # of a host
_SECONDS = re.compile(r"[0-9]{1,9}")
_GONE = 410
_ABOUT_IT = (400, 413, 422)  # about this very body; the others pass, while a receiver is deployed

Resolve = Callable[[str, int], Awaitable[list[str]]]


async def resolved(host: str, port: int) -> list[str]:
    """Return the addresses of a host."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [*dict.fromkeys(str(each[4][0]) for each in found)][:_MOST_ADDRESSES]


@dataclass(frozen=True, kw_only=True)
class Call:
    """A request: `ca` is PEM, the only anchors; `headers` may hold secrets."""

    url: str
    body: bytes
    headers: Mapping[str, str]
    ca: str | None = None
    allow_private: bool = False

    def __repr__(self) -> str:
        return "Call(...)"


class Calling:
    """Makes requests, each on a connection of its own.

    `resolve` gives the addresses of a host: a parameter, since tests lie in it as attackers do.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], datetime],
        resolve: Resolve = resolved,
        patience: float = PATIENCE,
    ) -> None:
        self._clock = clock
        self._resolve = resolve
        self._patience = patience

    async def post(self, call: Call) -> None:
        """Send a request that is taken.

        Raises:
            TellError: it is not. The message names a status or an error, and nothing of a URL.
        """
        try:
            async with asyncio.timeout(self._patience):
                status, retry_after = await self._post(call)
        except TimeoutError:
            raise TellError(f"no answer within {self._patience:g} seconds") from None
        except InvalidError as exc:
            # Not permanent: a name may point wrong for a while, and people see this meanwhile.
            raise TellError(str(exc)) from None
        except (httpcore.NetworkError, httpcore.TimeoutException) as exc:
            raise TellError(_reason(exc)) from None
        except (httpcore.ProtocolError, OSError, ValueError) as exc:
            raise TellError(f"expected an answer in HTTP, found {type(exc).__name__}") from None
        self._judge(status, retry_after)

    async def _post(self, call: Call) -> tuple[int, str | None]:
        secure = urlsplit(call.url).scheme == "https"  # in small letters, as `require_url` has it
        guarded = _Guarded(self._resolve, allow_private=call.allow_private, cleartext=not secure)
        context = await anchored(call.ca) if secure else None
        headers = {"content-type": "application/json", "user-agent": "livepin", **call.headers}
        timeout = dict.fromkeys(("connect", "read", "write", "pool"), _PIECE)
        pool = httpcore.AsyncConnectionPool(ssl_context=context, network_backend=guarded)
        async with (
            pool,
            pool.stream(
                "POST",
                call.url,
                headers=[(name.encode(), value.encode()) for name, value in headers.items()],
                content=call.body,
                extensions={"timeout": timeout},
            ) as answer,
        ):
            # Its body is not read: whatever it is, and however long, it says nothing to us.
            return answer.status, _header(answer.headers, b"retry-after")

    def _judge(self, status: int, retry_after: str | None) -> None:
        if 200 <= status < 300:
            return
        if status == _GONE:
            raise TellError("answered 410: it wants no more", permanent=True, disable=True)
        if 300 <= status < 400:
            raise TellError(f"answered {status}, a redirect, which is not followed")
        permanent = status in _ABOUT_IT
        seconds = None if permanent else self._seconds(retry_after)
        raise TellError(f"answered {status}", permanent=permanent, retry_after=seconds)

    def _seconds(self, text: str | None) -> float | None:
        """Return what a Retry-After asks for (RFC 9110, 10.2.3), None if it says nothing."""
        if text is None:
            return None
        if _SECONDS.fullmatch(text):
            return float(text)
        try:
            return max((parsedate_to_datetime(text) - self._clock()).total_seconds(), 0.0)
        except (TypeError, ValueError, OverflowError):
            return None


class _Guarded(httpcore.AsyncNetworkBackend):
    """Connects to addresses that may be connected to, and to no other."""

    def __init__(self, resolve: Resolve, *, allow_private: bool, cleartext: bool) -> None:
        self._resolve = resolve
        self._allow_private = allow_private
        self._cleartext = cleartext
        self._backend = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to one of the addresses of a host, all of which may be connected to."""
        try:
            addresses = await self._resolve(host, port)
        except (OSError, UnicodeError):
            addresses = []
        if not addresses:
            raise httpcore.ConnectError("its host does not resolve to an address")
        for each in addresses:
            require_address(each, allow_private=self._allow_private, cleartext=self._cleartext)
        for each in addresses[:-1]:
            try:
                return await self._backend.connect_tcp(each, port, timeout)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return await self._backend.connect_tcp(addresses[-1], port, timeout)


def _reason(exc: Exception) -> str:
    if isinstance(exc, httpcore.TimeoutException):
        return "no answer in time"
    found = unverified(exc)
    if found is not None:
        return found
    text = str(exc)
    if "resolve" in text:
        return text
    return "it refuses the connection" if isinstance(exc, httpcore.ConnectError) else "it hung up"


def _header(headers: list[tuple[bytes, bytes]], name: bytes) -> str | None:
    for key, value in headers:
        if key.lower() == name:
            return value.decode("ascii", "replace")
    return None
