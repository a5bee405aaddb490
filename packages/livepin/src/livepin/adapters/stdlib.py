"""The standard library: `urllib.request` and `http.client`.

Not covered: `urllib.request.urlopen` without the opener made here, and `http.client` connections
made without `pins.context()`.
"""

from __future__ import annotations

import http.client
import urllib.request
from urllib.parse import urlsplit

from livepin.client import Client

from .cleartext import check_cleartext


def opener(pins: Client, *handlers: urllib.request.BaseHandler) -> urllib.request.OpenerDirector:
    """Return a `urllib` opener whose HTTPS connections are pinned, redirects included."""
    tls = urllib.request.HTTPSHandler(context=pins.context())
    return urllib.request.build_opener(tls, _NoCleartext(pins), *handlers)


def https_connection(
    pins: Client, host: str, port: int | None = None, *, timeout: float = 30.0
) -> http.client.HTTPSConnection:
    """Return an unopened, pinned `HTTPSConnection`."""
    return http.client.HTTPSConnection(host, port, timeout=timeout, context=pins.context())


class _NoCleartext(urllib.request.BaseHandler):
    handler_order = 100  # before proxies rewrite the host

    def __init__(self, pins: Client) -> None:
        self._pins = pins

    def http_request(self, request: urllib.request.Request) -> urllib.request.Request:
        """Refuse a listed host; redirects come here too."""
        check_cleartext(self._pins, request.type, urlsplit(request.full_url).hostname or "")
        return request

    ftp_request = http_request
