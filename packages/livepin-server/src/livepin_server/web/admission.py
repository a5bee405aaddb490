"""What each request to the management listener passes first: its host, its rate, its time."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import time
from collections.abc import Collection
from typing import Any

from litestar.enums import ScopeType
from litestar.exceptions import HTTPException
from litestar.types import (
    ASGIApp,
    HTTPReceiveMessage,
    HTTPScope,
    Message,
    Receive,
    Scope,
    Send,
)

from livepin_server.telemetry.metrics import Metrics

from .limits import RateLimit, origin
from .problems import BODY_UNREAD, CONTENT_TYPE, encoded, problem

BODY_TIME = 10.0  # seconds for a whole body
REQUEST_TIME = 45.0  # seconds for everything; the slowest, a probe, ends by itself before

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_ANY_ADDRESS = frozenset({"0.0.0.0", "::"})  # noqa: S104 - recognised, not listened on

logger = logging.getLogger("livepin.management")


class Admission:
    """An ASGI application around another: it refuses, hurries, counts and logs.

    `hosts` are the names by which the listener is called, besides loopback's own.
    """

    def __init__(
        self,
        app: ASGIApp,
        metrics: Metrics,
        *,
        hosts: Collection[str],
        limit: RateLimit,
        body_time: float = BODY_TIME,
        request_time: float = REQUEST_TIME,
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._hosts = _LOOPBACK.union(each.lower() for each in hosts)
        self._limit = limit
        self._body_time = body_time
        self._request_time = request_time

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == ScopeType.HTTP:
            await self._http(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _http(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        started, answer = time.monotonic(), _Answer(send)
        try:
            await self._answer(scope, receive, answer)
        finally:
            self._metrics.requests.labels("management", str(answer.status)).inc()
            _log(scope, answer.status, time.monotonic() - started)

    async def _answer(self, scope: HTTPScope, receive: Receive, answer: _Answer) -> None:
        client = scope["client"]
        if not self._limit.allow(origin(client[0]) if client else ""):
            pause = str(self._limit.pause)
            await answer.refuse(429, "too many requests from this address", retry_after=pause)
        elif not self._is_ours(_host(scope)):
            # A web page whose name was made to point here (DNS rebinding) still sends its own name.
            await answer.refuse(421, "this server is not known by the name in the Host header")
        else:
            await self._in_time(scope, receive, answer)

    async def _in_time(self, scope: HTTPScope, receive: Receive, answer: _Answer) -> None:
        try:
            async with asyncio.timeout(self._request_time):
                await self._app(scope, self._hurried(receive), answer.send)
        except TimeoutError:
            if answer.status is not None:
                raise  # the answer has begun: all that is left is to break off
            await answer.refuse(
                503, "the request took too long; it may take effect yet", retry_after="5"
            )

    def _hurried(self, receive: Receive) -> Receive:
        """Return a `receive` that waits for a body only so long."""
        until = asyncio.get_running_loop().time() + self._body_time

        async def one() -> Any:
            nonlocal until
            try:
                async with asyncio.timeout_at(until):
                    message: HTTPReceiveMessage | Any = await receive()
            except TimeoutError as exc:
                detail = f"expected the body within {self._body_time:.0f} s"
                raise HTTPException(detail=detail, status_code=408) from exc
            if not message.get("more_body"):
                until = float("inf")  # what comes next is the client's good-bye
            return message

        return one

    def _is_ours(self, host: str) -> bool:
        if host in self._hosts:
            return True
        # Who listens on all addresses may be called by any: no name can be made to be a number.
        return _is_address(host) and not _ANY_ADDRESS.isdisjoint(self._hosts)


class _Answer:
    """What is sent, and the status of it."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status: int | None = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            if self.status in BODY_UNREAD:
                message["headers"] = [*message["headers"], (b"connection", b"close")]
        await self._send(message)

    async def refuse(self, status: int, detail: str, *, retry_after: str | None = None) -> None:
        body = encoded(problem(status, detail))
        headers = [
            (b"content-type", CONTENT_TYPE.encode()),
            (b"content-length", str(len(body)).encode()),
            (b"cache-control", b"no-store"),
            (b"x-content-type-options", b"nosniff"),
        ]
        if retry_after is not None:
            headers.append((b"retry-after", retry_after.encode()))
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body, "more_body": False})


def _host(scope: HTTPScope) -> str:
    """Return the name in the only Host header, without port, or an empty text."""
    found = [value for name, value in scope["headers"] if name == b"host"]
    text = found[0].decode("latin-1").lower() if len(found) == 1 else ""
    host = text[1:].partition("]")[0] if text.startswith("[") else text.partition(":")[0]
    return host.removesuffix(".")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _log(scope: HTTPScope, status: int | None, seconds: float) -> None:
    """Log an answer; never a header or a query, so never a key."""
    user, client = scope.get("user"), scope["client"]
    extra = {
        "method": scope["method"],
        "path": scope["path"],
        "status": status,
        "caller": getattr(user, "name", None),
        "key_id": getattr(user, "key_id", None),
        "address": client[0] if client else None,
        "ms": round(seconds * 1000, 1),
    }
    logger.info("request", extra=extra)
