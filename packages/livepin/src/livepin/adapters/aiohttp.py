"""aiohttp: a connector that pins every hop.

    async with aiohttp.ClientSession(connector=PinnedConnector(pins)) as http: ...

Everything that a session does goes through its connector: redirects, WebSockets, proxies, also
those of the environment (`trust_env=True`). `ssl=` of a request or of the connector is refused,
as it would take the place of the pinned context. Requests to hosts that ask for tokens get one;
where there is none, they fail by `ClientConnectionError`.

Not covered: other connectors (`UnixConnector`), and sessions made without this one. The TLS
connection to a proxy whose URL is https is judged like any other, so with `unlisted="refuse"` the
proxy needs a domain too.
"""

from __future__ import annotations

from typing import Any

import aiohttp

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
from .token_field import Hop, awith_token

_OWN = "ssl", "ssl_context", "verify_ssl", "fingerprint"


class PinnedConnector(aiohttp.TCPConnector):
    """A connector whose connections are pinned by `pins`; other arguments are aiohttp's own.

    Raises:
        TypeError: an argument would replace the pinned context.
    """

    def __init__(self, pins: Client, **options: Any) -> None:
        for name in _OWN:
            if name in options:
                raise TypeError(
                    f"{name} is set by Livepin; a private CA goes into livepin.Client(ca=...)"
                )
        context = pins.context(alpn=("http/1.1",))
        super().__init__(ssl=context, **options)
        self._pins = pins
        self._pinned = context

    async def connect(self, req: Any, *args: Any, **kwargs: Any) -> Any:
        """Give a connection that is right by the pins of now.

        After an emergency certificate change it waits, off the event loop, for newer pins.
        """
        self._check(req)
        await self._add_token(req)
        try:
            return await self._current(req, *args, **kwargs)
        except aiohttp.ClientConnectorError as exc:
            # The handshake failed, so nothing of the request was sent or read.
            error = find(exc)
            if not isinstance(error, PinMismatchError) or not await self._pins.aheal(error):
                raise
            return await self._current(req, *args, **kwargs)

    async def _add_token(self, req: Any) -> None:
        """Add the token of this hop: each has a request of its own."""
        url = req.url
        hop = Hop(req.method, url.scheme, url.raw_host or "", url.port, url.raw_path_qs)
        try:
            fields = await awith_token(self._pins, hop, req.headers.items())
        except TokenUnavailableError as exc:
            raise aiohttp.ClientConnectionError(str(exc)) from exc
        if fields is not None:
            req.headers.clear()
            req.headers.extend(fields)

    async def _current(self, req: Any, *args: Any, **kwargs: Any) -> Any:
        """Take connections until one is right: a pool may not know yet that one was cut."""
        while True:
            found = await super().connect(req, *args, **kwargs)
            if found.transport is None or not req.is_ssl():  # None: broken off already
                return found
            connection = found.transport.get_extra_info("ssl_object")
            if not isinstance(connection, PinnedObject):
                found.transport.abort()
                found.close()
                raise aiohttp.ClientConnectionError(
                    f"the connection to {req.url.raw_host} is not a pinned one"
                )
            connection.attach(found.transport.get_extra_info("socket"))
            if connection.is_current():
                return found
            found.transport.abort()
            found.close()

    def _check(self, req: Any) -> None:
        if req.ssl is not True and req.ssl is not self._pinned:
            raise ConfigurationError(
                "a request to a pinned session cannot choose its own ssl",
                hint="leave ssl= out; a private CA goes into livepin.Client(ca=...)",
            )
        host = req.url.raw_host or ""
        try:
            check_cleartext(self._pins, req.url.scheme, host)
        except CleartextError as exc:
            raise aiohttp.InvalidUrlClientError(req.url, str(exc)) from exc
        check_server_name(self._pins, host, req.server_hostname)


__all__ = ["PinnedConnector"]
