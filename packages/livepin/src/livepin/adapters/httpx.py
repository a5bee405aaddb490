"""httpx: transports that pin every hop, sync and async.

    with httpx.Client(transport=PinnedTransport(pins)) as http: ...

Pass a proxy to the transport, not to `httpx.Client`: httpx gives proxies that it is told about
itself a TLS context of its own. Requests to hosts that ask for tokens get one, which
`response.request` does not show; where there is none, they fail by `ConnectError`.

Not covered: `trust_env` proxies, for the same reason httpx ignores them when a transport is given.
"""

from __future__ import annotations

from typing import Any

import httpx

from livepin.client import Client
from livepin.client.connections import PinnedObject
from livepin.errors import (
    CleartextError,
    ConfigurationError,
    PinMismatchError,
    TokenUnavailableError,
    find,
)

from .cleartext import check_cleartext
from .server_names import check_server_name
from .token_field import Fields, Hop, awith_token, with_token


class PinnedTransport(httpx.HTTPTransport):
    """A transport whose connections are pinned by `pins`; other arguments are httpx's own."""

    def __init__(self, pins: Client, **options: Any) -> None:
        super().__init__(verify=pins.context(), **_without_verify(options))
        self._pins = pins

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request, with its token; cleartext to a listed host is refused."""
        _check(self._pins, request)
        try:
            fields = with_token(self._pins, *_hop(request))
        except TokenUnavailableError as exc:
            raise httpx.ConnectError(str(exc), request=request) from exc
        return super().handle_request(_copy(request, fields))


class AsyncPinnedTransport(httpx.AsyncHTTPTransport):
    """The same for `httpx.AsyncClient`. A mismatch waits for newer pins off the event loop."""

    def __init__(self, pins: Client, **options: Any) -> None:
        super().__init__(verify=pins.context(), **_without_verify(options))
        self._pins = pins

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; after an emergency certificate change, once more with newer pins."""
        _check(self._pins, request)
        try:
            fields = await awith_token(self._pins, *_hop(request))
        except TokenUnavailableError as exc:
            raise httpx.ConnectError(str(exc), request=request) from exc
        request = _copy(request, fields)
        try:
            response = await super().handle_async_request(request)
        except httpx.ConnectError as exc:
            # The handshake failed, so nothing of the request was sent or read.
            error = find(exc)
            if not isinstance(error, PinMismatchError) or not await self._pins.aheal(error):
                raise
            response = await super().handle_async_request(request)
        _attach(response)
        return response


def _hop(request: httpx.Request) -> tuple[Hop, Fields]:
    fields = [(name.decode("latin-1"), value) for name, value in request.headers.raw]
    url = request.url
    target = request.extensions.get("target", url.raw_path)  # what httpcore sends
    text = target if isinstance(target, str) else target.decode("latin-1")
    return Hop(request.method, url.scheme, url.host, url.port, text), fields


def _copy(request: httpx.Request, fields: Fields | None) -> httpx.Request:
    # The client makes redirects from the request that it gave, and shows that.
    if fields is None:
        return request
    return httpx.Request(
        request.method,
        request.url,
        headers=fields,
        stream=request.stream,
        extensions=request.extensions,
    )


def _attach(response: httpx.Response) -> None:
    stream = response.extensions.get("network_stream")
    if stream is None:
        return
    connection = stream.get_extra_info("ssl_object")
    if isinstance(connection, PinnedObject):
        connection.attach(stream.get_extra_info("socket"))


def _check(pins: Client, request: httpx.Request) -> None:
    try:
        check_cleartext(pins, request.url.scheme, request.url.host)
    except CleartextError as exc:
        raise httpx.UnsupportedProtocol(str(exc), request=request) from exc
    try:
        check_server_name(pins, request.url.host, _server_name(request))
    except ConfigurationError as exc:
        raise httpx.ConnectError(str(exc), request=request) from exc


def _server_name(request: httpx.Request) -> str | None:
    found = request.extensions.get("sni_hostname")
    return found.decode("ascii", "replace") if isinstance(found, bytes) else found


def _without_verify(options: dict[str, Any]) -> dict[str, Any]:
    if "verify" in options:
        raise TypeError("verify is set by Livepin; a private CA goes into livepin.Client(ca=...)")
    return options


__all__ = ["AsyncPinnedTransport", "PinnedTransport"]
