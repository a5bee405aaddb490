"""ASGI: Starlette, FastAPI, Litestar, and any other that takes ASGI middleware.

    app.add_middleware(TokenMiddleware, check=TokenCheck(audience=..., jwks=...))

What the token says is `request.state.livepin`, and `scope["livepin"]`. A WebSocket without a token
is closed before it is accepted. It needs asyncio, and no framework.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

from livepin.errors import ConfigurationError
from livepin.tokens import Claims

from .check import RefusedError, Request, TokenCheck, encoded

_POLICY = 1008  # the code of a WebSocket that violates one (RFC 6455, section 7.4.1)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class TokenMiddleware:
    """Lets requests through to `app` that `check` takes."""

    def __init__(self, app: App, check: TokenCheck) -> None:
        self._app = app
        self._check = check

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on with its claims, or refuse it.

        Raises:
            ConfigurationError: the server speaks of something else than HTTP and WebSockets.
        """
        kind = scope["type"]
        if kind == "lifespan":
            return await self._app(scope, receive, send)
        if kind not in ("http", "websocket"):
            raise ConfigurationError(f"expected a request or a WebSocket, found {kind!r}")
        if self._check.is_exempt(scope["path"]):
            return await self._app(scope, receive, send)
        try:
            claims = await self._check.acheck(_request(scope))
        except RefusedError as exc:
            refuse = _answer if kind == "http" else _close
            return await refuse(exc, receive, send)
        return await self._app(_with(scope, claims), receive, send)


def _request(scope: Scope) -> Request:
    raw = scope.get("raw_path")
    path = encoded(scope["path"]) if raw is None else raw.decode("latin-1")

    def values(name: str) -> Sequence[str]:
        wanted = name.lower().encode()
        # Servers send names in lower case; whoever does not, must not hide a second field.
        return [v.decode("latin-1") for k, v in scope["headers"] if k.lower() == wanted]

    return Request(method=scope.get("method", "GET"), path=path, values=values)


def _with(scope: Scope, claims: Claims) -> Scope:
    # Copies: a server may share what it gave with other requests.
    return {**scope, "livepin": claims, "state": {**scope.get("state", {}), "livepin": claims}}


async def _answer(exc: RefusedError, _: Receive, send: Send) -> None:
    headers = [(name.lower().encode(), value.encode()) for name, value in exc.headers()]
    await send({"type": "http.response.start", "status": exc.status, "headers": headers})
    await send({"type": "http.response.body", "body": exc.body()})


async def _close(_: RefusedError, receive: Receive, send: Send) -> None:
    await receive()  # it asks to connect
    await send({"type": "websocket.close", "code": _POLICY})


__all__ = ["TokenMiddleware"]
