"""websockets: pinned connections, on asyncio and in threads.

    async with connect(pins, "wss://api.example.com/feed") as websocket: ...
    with sync_connect(pins, "wss://api.example.com/feed") as websocket: ...

Both take the library's own arguments but `ssl` and `create_connection`. Each connection is checked
before its opening handshake is sent, also after a redirect. When its pin goes, an open connection
is closed; reconnecting with `async for websocket in connect(...)` is judged anew. The library goes
on trying after a mismatch, as after any error of a network: nothing is sent, the log tells.

The opening handshake with a host that asks for tokens has one; where there is none, it fails by
`ConnectionError`. `additional_headers` may hold what it is bound to, and so may the user of a URI.

Not covered: `websockets.connect` and the other functions of the library itself, its trio and its
legacy client, and the TLS connection to a proxy whose URL is https (what goes through it is). A
redirect from ws to wss is refused: begin with wss. The wait for newer pins, five seconds at most,
comes on top of `open_timeout`.
"""

from __future__ import annotations

import contextlib
import functools
import selectors
import socket
import ssl
import threading
from collections.abc import Callable, Generator
from typing import Any, TypeVar

import websockets.asyncio.client
import websockets.sync.client
from websockets.datastructures import Headers, HeadersLike
from websockets.exceptions import InvalidURI
from websockets.headers import build_authorization_basic
from websockets.uri import WebSocketURI, parse_uri

from livepin.client import Client
from livepin.client.connections import PinnedObject, PinnedSocket
from livepin.errors import CleartextError, PinMismatchError, TokenUnavailableError, find

from .cleartext import check_cleartext
from .server_names import check_server_name
from .token_field import Fields, Hop, awith_token, with_token

_T = TypeVar("_T")
# Not epoll, which says nothing of a socket that another thread closes, and waits for ever.
_Selector = getattr(selectors, "PollSelector", selectors.SelectSelector)
_RECORD = 16384  # octets that one record holds at most (RFC 8446, section 5.1)
_OWN = "ssl", "ssl_context", "create_connection"


class connect(websockets.asyncio.client.connect):  # noqa: N801 - as the library calls its own
    """Connect to `uri` on asyncio: to be awaited, entered, or iterated over to reconnect.

    Raises:
        TypeError: an argument would replace the pinned context.
        InvalidURI: a ws URI of a listed host (from a `CleartextError`).
    """

    def __init__(self, pins: Client, uri: str, **options: Any) -> None:
        own = _own_options(pins, uri, options, _AsyncConnection)
        super().__init__(uri, **own, **options)
        self._pins = pins
        self._once = options.get("sock") is not None

    def __await__(self) -> Generator[Any, None, Any]:
        try:
            return (yield from super().__await__())
        except Exception as exc:
            # The handshake failed, so nothing was sent or read.
            error = find(exc)
            if self._once or not isinstance(error, PinMismatchError):
                raise
            if not (yield from self._pins.aheal(error).__await__()):
                raise
        return (yield from super().__await__())


def sync_connect(pins: Client, uri: str, **options: Any) -> Any:
    """Connect to `uri` and return what `websockets.sync.client.connect` does.

    Raises:
        TypeError: an argument would replace the pinned context.
        InvalidURI: a ws URI of a listed host (from a `CleartextError`).
    """
    own = _own_options(pins, uri, options, _SyncConnection)
    try:
        return websockets.sync.client.connect(uri, **own, **options)
    except Exception as exc:
        # A handshake waits for newer pins itself, but not through an encrypted proxy.
        error = find(exc)
        if options.get("sock") is not None or not isinstance(error, PinMismatchError):
            raise
        if not pins.heal(error):
            raise
    return websockets.sync.client.connect(uri, **own, **options)


class _AsyncConnection(websockets.asyncio.client.ClientConnection):
    def __init__(self, pins: Client, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._pins = pins

    async def handshake(
        self, additional_headers: HeadersLike | None = None, *args: Any, **kwargs: Any
    ) -> None:
        """Send the opening handshake, where it may be sent."""
        found = self.transport.get_extra_info("ssl_object")
        uri = self.protocol.uri
        _check(self._pins, uri, found)
        if found is not None:
            found.attach(self.transport.get_extra_info("socket"))
        own = None if additional_headers is None else Headers(additional_headers)
        try:
            fields = await awith_token(self._pins, _hop(uri), _fields(uri, own))
        except TokenUnavailableError as exc:
            raise ConnectionError(str(exc)) from exc
        await super().handshake(_headers(uri, own, fields), *args, **kwargs)


class _SyncConnection(websockets.sync.client.ClientConnection):
    def __init__(self, pins: Client, sock: Any, protocol: Any, **kwargs: Any) -> None:
        # Through an encrypted proxy, the socket is one of the library that has an SSLObject.
        found = getattr(sock, "ssl_object", sock)
        _check(pins, protocol.uri, found)
        if isinstance(sock, PinnedSocket):
            sock = _InTurns(sock)
        elif isinstance(found, PinnedObject):
            sock = _TunnelInTurns(sock)
        super().__init__(sock, protocol, **kwargs)
        self._pins = pins

    def handshake(
        self, additional_headers: HeadersLike | None = None, *args: Any, **kwargs: Any
    ) -> None:
        """Send the opening handshake, with its token."""
        uri = self.protocol.uri
        own = None if additional_headers is None else Headers(additional_headers)
        try:
            fields = with_token(self._pins, _hop(uri), _fields(uri, own))
        except TokenUnavailableError as exc:
            raise ConnectionError(str(exc)) from exc
        super().handshake(_headers(uri, own, fields), *args, **kwargs)


class _InTurns:
    """A TLS socket of which one thread may read while another writes.

    OpenSSL allows no two calls at once. The library makes them: what its reading thread finds after
    a handshake of TLS 1.3 may be a session ticket alone, and then the request that is being written
    meanwhile may never leave.
    """

    def __init__(self, sock: ssl.SSLSocket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._turn = threading.Lock()
        self._timeout: float | None = None

    def settimeout(self, seconds: float | None) -> None:
        """Set for how long to wait; the socket itself stays one that does not."""
        self._timeout = seconds

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def recv(self, size: int) -> bytes:
        """Receive, waiting for it while others may write."""
        return self._done(functools.partial(self._receive, size))

    def sendall(self, data: Any) -> None:
        """Send all, waiting for room while others may read."""
        with memoryview(data) as view, view.cast("B") as octets:
            sent = 0
            while sent < len(octets):
                sent += self._done(functools.partial(self._send, octets[sent:]))

    def close(self) -> None:
        """Close, and wake a thread that waits to receive: a closed socket alone does not."""
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._sock, socket.SHUT_RDWR)
        self._sock.close()

    def _receive(self, size: int) -> bytes:
        return self._sock.recv(size)

    def _send(self, octets: memoryview) -> int:
        return self._sock.send(octets)

    def _done(self, call: Callable[[], _T]) -> _T:
        while True:
            with self._turn:
                try:
                    return call()
                except ssl.SSLWantReadError:
                    wanted = selectors.EVENT_READ
                except ssl.SSLWantWriteError:
                    wanted = selectors.EVENT_WRITE
            with _Selector() as waiting:
                waiting.register(self._sock, wanted)
                if not waiting.select(self._timeout):
                    raise TimeoutError("the peer neither sends nor takes anything")


class _TunnelInTurns(_InTurns):
    """The same for a TLS connection inside that to a proxy, `outer`: two that take turns.

    What was encrypted waits in `unsent` until the proxy takes it, whichever thread sends it then.
    """

    def __init__(self, outer: Any) -> None:
        super().__init__(outer.ssl_socket)
        self._inner: PinnedObject = outer.ssl_object
        self._incoming: ssl.MemoryBIO = outer.incoming
        self._outgoing: ssl.MemoryBIO = outer.outgoing
        self._unsent = b""
        self._inner.attach(self._sock)

    def sendall(self, data: Any) -> None:
        """Send all, waiting for room while others may read."""
        super().sendall(data)
        self._done(self._flush)

    def _send(self, octets: memoryview) -> int:
        self._flush()
        return self._inner.write(octets[:_RECORD])

    def _receive(self, size: int) -> bytes:
        # All that is there, for the library waits for the socket, which tells of no more of it.
        received = bytearray()
        while len(received) < size:
            try:
                octets = self._inner.read(size - len(received))
            except ssl.SSLEOFError:
                break
            except ssl.SSLWantReadError:
                if received:
                    break
                self._flush()
                self._take()
            else:
                if not octets:
                    break
                received += octets
        return bytes(received)

    def _take(self) -> None:
        octets = self._sock.recv(_RECORD)
        if octets:
            self._incoming.write(octets)
        else:
            self._incoming.write_eof()

    def _flush(self) -> None:
        while self._outgoing.pending or self._unsent:
            # The same octets again after a refusal: OpenSSL wants them so.
            self._unsent = self._unsent or self._outgoing.read(_RECORD)
            self._unsent = self._unsent[self._sock.send(self._unsent) :]


def _hop(uri: WebSocketURI) -> Hop:
    return Hop("GET", "wss" if uri.secure else "ws", uri.host, uri.port, uri.resource_name)


def _fields(uri: WebSocketURI, own: Headers | None) -> Fields:
    """Return the fields that will be sent: the app's, and that of the user of a URI."""
    return [*_of_user(uri), *(() if own is None else own.raw_items())]


def _headers(uri: WebSocketURI, own: Headers | None, fields: Fields | None) -> HeadersLike | None:
    """Return the fields to be sent besides the library's own."""
    if fields is None:
        return own
    return [each for each in fields if each not in _of_user(uri)]


def _of_user(uri: WebSocketURI) -> Fields:
    """Return the field that the library makes by itself of the user of a URI."""
    if uri.user_info is None:
        return []
    return [("Authorization", build_authorization_basic(*uri.user_info))]


def _own_options(
    pins: Client, uri: str, options: dict[str, Any], connection: Callable[..., Any]
) -> dict[str, Any]:
    for name in _OWN:
        if name in options:
            raise TypeError(
                f"{name} is set by Livepin; a private CA goes into livepin.Client(ca=...)"
            )
    parsed = parse_uri(uri)
    _check_scheme(pins, parsed)
    own: dict[str, Any] = {"create_connection": functools.partial(connection, pins)}
    if parsed.secure:
        own["ssl"] = pins.context(alpn=("http/1.1",))
    return own


def _check(pins: Client, uri: WebSocketURI, connection: Any) -> None:
    """Refuse a connection that is not what its URI promises; redirects lead here too."""
    _check_scheme(pins, uri)
    if not uri.secure:
        return
    if not isinstance(connection, (PinnedObject, PinnedSocket)):
        raise InvalidURI(_text(uri), "it was reached by no pinned connection; begin with wss")
    check_server_name(pins, uri.host, connection.server_hostname)


def _check_scheme(pins: Client, uri: WebSocketURI) -> None:
    try:
        check_cleartext(pins, "wss" if uri.secure else "ws", uri.host)
    except CleartextError as exc:
        raise InvalidURI(_text(uri), str(exc)) from exc


def _text(uri: WebSocketURI) -> str:
    return f"{'wss' if uri.secure else 'ws'}://{uri.host}:{uri.port}/"


__all__ = ["connect", "sync_connect"]
