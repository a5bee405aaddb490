"""urllib3: pool managers that pin every hop, redirects and tunnels included.

    http = PinnedPoolManager(pins)
    http = PinnedProxyManager(pins, "http://proxy.example.com:3128")

urllib3 changes the TLS context that it is given, by settings of single pools too: authorities are
added, the name to be verified is replaced. So all settings of TLS are refused, wherever they are
given; Livepin has them. A refused connection is tried again as often as `retries` says (three
times, unless told otherwise), and each time stopped before the first byte of the request. Behind
an `https:` proxy, where TLS runs within TLS, a mismatch does not wait for newer pins.

Requests to hosts that ask for tokens get one; where there is none, they fail by `HTTPError`.

Not covered: the functions and pools of urllib3 that are made without these managers
(`urllib3.request`, `HTTPSConnectionPool`), `urllib3.contrib.pyopenssl`, and SOCKS: there
`SOCKSProxyManager(url, ssl_context=pins.context(alpn=("http/1.1",)))` pins, and cleartext is up to
you.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import urllib3
from urllib3.exceptions import HTTPError, LocationValueError
from urllib3.util import parse_url

from livepin.client import Client, PinnedContext
from livepin.errors import CleartextError, ConfigurationError, TokenUnavailableError

from .cleartext import check_cleartext
from .token_field import Hop, with_token

if TYPE_CHECKING:
    _Manager = urllib3.PoolManager
    _Pool = urllib3.HTTPConnectionPool
else:
    _Manager = _Pool = object

# Each could name other authorities, another host, or no verification at all.
_TLS = (
    "assert_fingerprint",
    "assert_hostname",
    "ca_cert_data",
    "ca_cert_dir",
    "ca_certs",
    "cert_file",
    "cert_reqs",
    "key_file",
    "key_password",
    "server_hostname",
    "ssl_context",
    "ssl_maximum_version",
    "ssl_minimum_version",
    "ssl_version",
)


class NoTokenError(HTTPError):
    """A request needs a token and there is none (from a `TokenUnavailableError`)."""


class _WithTokens(_Pool):
    """A pool whose requests have the token of its host; the manager's own have none.

    So what the manager makes a redirect from has none either.
    """

    def __init__(self, pins: Client, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._pins = pins

    def urlopen(
        self, method: str, url: str, body: Any = None, headers: Any = None, *args: Any, **kw: Any
    ) -> Any:
        """Send a request, with its token."""
        held = self.headers if headers is None else headers
        hop = Hop(method, self.scheme or "", self.host or "", self.port, _path(url))
        try:
            fields = with_token(self._pins, hop, held.items())
        except TokenUnavailableError as exc:
            raise NoTokenError(str(exc)) from exc
        if fields is not None:
            headers = urllib3.HTTPHeaderDict(fields)
        return super().urlopen(method, url, body, headers, *args, **kw)


def add_tokens(pins: Client, manager: urllib3.PoolManager) -> None:
    """Let the pools of a manager add tokens to what they send, and to what they send again."""
    kinds: dict[str, Any] = dict(manager.pool_classes_by_scheme)
    found: dict[str, Any] = {
        scheme: kind if isinstance(kind, functools.partial) else _adding(pins, kind)
        for scheme, kind in kinds.items()
    }
    manager.pool_classes_by_scheme = found


def _adding(pins: Client, kind: type) -> Any:
    return functools.partial(type(kind.__name__, (_WithTokens, kind), {}), pins)


class _Pinned(_Manager):
    """What both managers add to urllib3's own."""

    _pins: Client

    def connection_from_host(
        self,
        host: str | None,
        port: int | None = None,
        scheme: str | None = "http",
        pool_kwargs: dict[str, Any] | None = None,
    ) -> urllib3.HTTPConnectionPool:
        """Return a pool; redirects come here too.

        Raises:
            LocationValueError: without TLS, to a host that the config lists.
            ConfigurationError: a setting of TLS was given.
        """
        _refuse_tls_settings(pool_kwargs or {})
        try:
            check_cleartext(self._pins, (scheme or "http").lower(), host or "")
        except CleartextError as exc:
            raise LocationValueError(str(exc)) from exc
        return super().connection_from_host(host, port, scheme, pool_kwargs)

    def connection_from_context(self, request_context: dict[str, Any]) -> Any:
        """Return a pool of this context, whoever wrote it; its TLS is Livepin's."""
        _refuse_tls_settings(request_context)
        request_context = {**request_context, "ssl_context": _context(self._pins)}
        return super().connection_from_context(request_context)


class PinnedPoolManager(_Pinned, urllib3.PoolManager):
    """A `PoolManager` whose connections are pinned by `pins`; other arguments are urllib3's own.

    Raises:
        ConfigurationError: a setting of TLS was given.
    """

    def __init__(self, pins: Client, num_pools: int = 10, **options: Any) -> None:
        _refuse_tls_settings(options)
        self._pins = pins
        super().__init__(num_pools, **options)
        add_tokens(pins, self)


class PinnedProxyManager(_Pinned, urllib3.ProxyManager):
    """A `ProxyManager` that tunnels to pinned hosts.

    The proxy of an `https:` URL is judged too, as any host is, unless `proxy_ssl_context` says
    otherwise.

    Raises:
        ConfigurationError: a setting of TLS was given, or requests were to be readable by the
            proxy (`use_forwarding_for_https`).
    """

    def __init__(self, pins: Client, proxy_url: str, **options: Any) -> None:
        _refuse_tls_settings(options)
        if options.get("use_forwarding_for_https"):
            raise ConfigurationError(
                "with use_forwarding_for_https the proxy, not the host, would end TLS",
                hint="leave it out: HTTPS is tunnelled",
            )
        self._pins = pins
        options.setdefault("proxy_ssl_context", _context(pins))
        super().__init__(proxy_url, **options)
        add_tokens(pins, self)


def _path(url: str) -> str:
    """Return the path of a target, percent-encoded as a pool does it before it sends it."""
    found = parse_url(f"https://host{url}" if url.startswith("/") else url)
    return found.path or "/"


def _context(pins: Client) -> PinnedContext:
    # urllib3 sets the protocols of the context that it is given, so it gets one of its own.
    return pins.context(alpn=("http/1.1",))


def _refuse_tls_settings(settings: Mapping[str, Any]) -> None:
    found = [name for name in _TLS if settings.get(name) is not None]
    if found:
        raise ConfigurationError(
            f"{', '.join(found)}: TLS is set by Livepin",
            hint="a private CA goes into Client(ca=...), a client certificate into "
            'Client.context(alpn=("http/1.1",)).load_cert_chain(...)',
        )


__all__ = ["PinnedPoolManager", "PinnedProxyManager"]
