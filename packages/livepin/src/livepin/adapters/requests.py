"""requests: an adapter that pins every hop, and a session that uses it for all.

    http = session(pins)

`verify=False` is refused. A bundle of authorities (`verify="ca.pem"`, `Session.verify`,
`REQUESTS_CA_BUNDLE`) is not read: a private CA goes into `Client(ca=...)`. Proxies, those of the
environment too, are tunnelled through, and SOCKS proxies as well; behind an `https:` proxy, where
TLS runs within TLS, a mismatch does not wait for newer pins. Requests to hosts that ask for tokens
get one; where there is none, they fail by `ConnectionError`.

Not covered: `requests.get` and its like, which make a session of their own; an adapter that is
mounted for a longer prefix; cleartext, where `PinnedAdapter` is mounted for `https://` alone.
"""

from __future__ import annotations

from typing import Any

import requests
from requests.adapters import HTTPAdapter
from requests.exceptions import ConnectionError as NoConnection
from requests.exceptions import InvalidSchema, SSLError
from urllib3.util import parse_url

from livepin.client import Client, PinnedContext
from livepin.errors import CleartextError, ConfigurationError

from .cleartext import check_cleartext
from .urllib3 import NoTokenError, add_tokens


def session(pins: Client, **options: Any) -> requests.Session:
    """Return a session that is pinned and refuses cleartext; `options` are `HTTPAdapter`'s."""
    found = requests.Session()
    adapter = PinnedAdapter(pins, **options)
    for prefix in ("https://", "http://"):
        found.mount(prefix, adapter)
    return found


class PinnedAdapter(HTTPAdapter):
    """An `HTTPAdapter` whose connections are pinned by `pins`; mount it for both schemes."""

    def __init__(self, pins: Client, **options: Any) -> None:
        self._pins = pins
        super().__init__(**options)

    def __getstate__(self) -> Any:
        """Refuse: the pins stay in the process that they were made for."""
        raise TypeError("a PinnedAdapter cannot be pickled; make one in each process")

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """Make the pools of direct connections pinned."""
        super().init_poolmanager(*args, **options, ssl_context=_context(self._pins))
        add_tokens(self._pins, self.poolmanager)

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        """Make the pools behind a proxy pinned, and the way to an `https:` proxy."""
        context = _context(self._pins)
        if proxy.lower().startswith("https:"):
            options["proxy_ssl_context"] = context
        found = super().proxy_manager_for(proxy, **options, ssl_context=context)
        add_tokens(self._pins, found)  # each time: it may be another thread that is making it
        return found

    def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> Any:
        """Send a request; redirects come here too.

        Raises:
            InvalidSchema: without TLS, to a host that the config lists.
            SSLError: refused by pins or by `verify=False`.
            ConnectionError: the host asks for a token and there is none.
        """
        parts = parse_url(request.url or "")
        scheme, host = parts.scheme or "", (parts.host or "").strip("[]")
        try:
            check_cleartext(self._pins, scheme, host)
        except CleartextError as exc:
            raise InvalidSchema(str(exc), request=request) from exc
        try:
            return super().send(request, *args, **options)
        except NoTokenError as exc:
            raise NoConnection(str(exc), request=request) from exc.__cause__

    def build_connection_pool_key_attributes(
        self, request: requests.PreparedRequest, verify: Any, cert: Any = None
    ) -> Any:
        """Return where to connect to, and nothing that would change the TLS context."""
        _check(verify, cert)
        where, _ = super().build_connection_pool_key_attributes(request, True)
        return where, {}

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Leave verification to the pinned context."""
        _check(verify, cert)


def _context(pins: Client) -> PinnedContext:
    # urllib3 sets the protocols of the context that it is given, so it gets one of its own.
    return pins.context(alpn=("http/1.1",))


def _check(verify: Any, cert: Any) -> None:
    try:
        if verify is False:
            raise ConfigurationError(
                "verify=False: a pinned connection is always verified",
                hint="a private CA goes into Client(ca=...)",
            )
        if cert is not None:
            raise ConfigurationError(
                "cert: TLS is set by Livepin",
                hint="a client certificate goes into "
                'Client.context(alpn=("http/1.1",)).load_cert_chain(...)',
            )
    except ConfigurationError as exc:
        raise SSLError(f"{exc} ({exc.hint})") from exc


__all__ = ["PinnedAdapter", "session"]
