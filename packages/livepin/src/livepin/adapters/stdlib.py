"""The standard library: `urllib.request` and `http.client`.

Both add tokens to requests to hosts that ask for them.

Not covered: `urllib.request.urlopen` without the opener made here, and `http.client` connections
made without `pins.context()`. Those made with it and without `https_connection` have no tokens.
"""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import urlsplit

from livepin.client import Client
from livepin.errors import TokenUnavailableError

from .cleartext import check_cleartext
from .token_field import Hop, with_token


def opener(pins: Client, *handlers: urllib.request.BaseHandler) -> urllib.request.OpenerDirector:
    """Return a `urllib` opener whose HTTPS connections are pinned, redirects included."""
    tls = urllib.request.HTTPSHandler(context=pins.context())
    return urllib.request.build_opener(tls, _NoCleartext(pins), _Tokens(pins), *handlers)


def https_connection(
    pins: Client, host: str, port: int | None = None, *, timeout: float = 30.0
) -> http.client.HTTPSConnection:
    """Return an unopened, pinned `HTTPSConnection`.

    A request raises `TokenUnavailableError` where the host asks for a token and there is none.
    """
    return _Connection(pins, host, port, timeout=timeout)


class _Connection(http.client.HTTPSConnection):
    """A connection that holds the fields of a request back until they are complete."""

    def __init__(self, pins: Client, host: str, port: int | None, *, timeout: float) -> None:
        super().__init__(host, port, timeout=timeout, context=pins.context())
        self._pins = pins
        self._asked = "", ""  # method and target
        self._fields: list[tuple[str, Any]] = []

    def putrequest(self, method: str, url: str, *args: Any, **kwargs: Any) -> None:
        """Begin a request."""
        self._asked, self._fields = (method, url or "/"), []
        super().putrequest(method, url, *args, **kwargs)

    def putheader(self, header: str | bytes, *values: Any) -> None:
        """Keep a field of the request."""
        name = header.decode("ascii") if isinstance(header, bytes) else header
        octets = [
            each if isinstance(each, bytes) else str(each).encode("latin-1") for each in values
        ]
        self._fields.append((name, b"\r\n\t".join(octets)))

    def endheaders(self, *args: Any, **kwargs: Any) -> None:
        """Send the fields, with the token that the host asks for."""
        method, target = self._asked
        host = getattr(self, "_tunnel_host", None) or self.host
        port = getattr(self, "_tunnel_port", None) or self.port
        hop = Hop(method, "https", host, port, target)
        try:
            fields = with_token(self._pins, hop, self._fields) or self._fields
        except TokenUnavailableError:
            self.close()  # else no other request could be begun
            raise
        for field in fields:
            super().putheader(*field)
        super().endheaders(*args, **kwargs)


class _NoCleartext(urllib.request.BaseHandler):
    handler_order = 100  # before proxies rewrite the host

    def __init__(self, pins: Client) -> None:
        self._pins = pins

    def http_request(self, request: urllib.request.Request) -> urllib.request.Request:
        """Refuse a listed host; redirects come here too."""
        check_cleartext(self._pins, request.type, urlsplit(request.full_url).hostname or "")
        return request

    ftp_request = http_request


class _Tokens(urllib.request.BaseHandler):
    handler_order = 990  # after those that add what a token may be bound to

    def __init__(self, pins: Client) -> None:
        self._pins = pins

    def http_request(self, request: urllib.request.Request) -> urllib.request.Request:
        """Add the token of this hop, where a redirect does not take it along.

        Raises:
            URLError: there is none (from a `TokenUnavailableError`).
        """
        parts = urlsplit(request.full_url)  # not `type`, which is that of a proxy
        method, target = request.get_method(), request.selector or "/"
        hop = Hop(method, parts.scheme, parts.hostname or "", parts.port, target)
        held = request.header_items()
        try:
            fields = with_token(self._pins, hop, held)
        except TokenUnavailableError as exc:
            raise urllib.error.URLError(exc) from exc
        if fields is None:
            return request
        for name, _ in held:
            if name not in dict(fields):
                request.remove_header(name)
        for name, value in fields:
            if (name, value) not in held:
                request.add_unredirected_header(name, value)
        return request

    https_request = http_request
