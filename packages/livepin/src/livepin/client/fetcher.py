"""Fetching documents over HTTP, with every byte and every second bounded.

It is the standard library's client: Livepin's own channel must not depend on what the app uses.
Redirects are not followed; a document comes from where the config says, or not at all.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Protocol, cast
from urllib.parse import urlsplit

from livepin.errors import FetchError, find

from .threads import cut_at_end, resting

_CHUNK = 64 * 1024
_LONGEST_REASON = 300  # characters


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An HTTP answer, its body expanded."""

    status: int
    body: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is to be fetched, and the bounds on it.

    `context` is None for cleartext URLs. `timeout` is in seconds and covers everything. `body`
    makes it a POST. `again` may have another body of the first answer, to be sent over the same
    connection: then the answer to that is returned.
    """

    url: str
    context: ssl.SSLContext | None
    max_bytes: int
    max_compressed: int
    timeout: float
    headers: Mapping[str, str]
    body: bytes | None = None
    again: Callable[[Answer], bytes | None] | None = None


class Fetcher(Protocol):
    """Fetches one document; the real one is `HTTPFetcher`."""

    def fetch(self, request: Request) -> Answer:
        """Return the answer to `request`.

        Raises:
            FetchError: no connection, no answer in time, too large, or not HTTP.
            PinningError: the connection was refused.
        """


class HTTPFetcher:
    """The fetcher that apps use: HTTP/1.1 on a connection of its own."""

    def fetch(self, request: Request) -> Answer:
        """Return the answer to `request`; see `Fetcher`."""
        deadline = time.monotonic() + request.timeout
        connection = connect(request.url, request.context, timeout=request.timeout)
        # A server that drips single bytes never runs into a socket timeout.
        watchdog = threading.Timer(request.timeout, connection.cut)
        watchdog.daemon = True
        try:
            try:
                watchdog.start()
            except RuntimeError as exc:  # no more threads
                raise FetchError(f"{_origin(request.url)}: {exc}") from exc
            return _converse(connection, request, deadline)
        except (OSError, http.client.HTTPException, ValueError, zlib.error) as exc:
            refused = find(exc)
            if refused is not None:
                raise refused from exc
            raise FetchError(
                f"{_origin(request.url)}: {_reason(exc, deadline)}", reached=connection.reached
            ) from exc
        finally:
            watchdog.cancel()
            connection.end()


class Connection(http.client.HTTPConnection):
    """HTTP/1.1 over TLS, or in cleartext, that is opened within one timeout."""

    def __init__(
        self, host: str, port: int | None, context: ssl.SSLContext | None, timeout: float
    ) -> None:
        self.default_port = 80 if context is None else 443
        super().__init__(host, port or self.default_port, timeout=timeout)
        self._seconds = timeout
        self._context = context
        self._handle: socket.socket | None = None
        self._is_cut = False
        self.reached = False

    def connect(self) -> None:
        """Connect and shake hands; the address that does not answer leaves time for the next."""
        deadline = time.monotonic() + self._seconds
        sock = _dial(self.host, self.port, deadline)
        self._handle = sock.dup()  # wrapping detaches the socket, and the last answer closes it
        cut_at_end(self)
        if self._context is not None:
            sock.settimeout(max(deadline - time.monotonic(), 0.001))
            try:
                sock = self._context.wrap_socket(sock, server_hostname=self.host)
            except BaseException:
                sock.close()
                raise
        self.sock = sock
        self.reached = True
        if self._is_cut:
            raise TimeoutError("the connection was given up")

    def cut(self) -> None:
        """Shut the connection down from another thread, also in the middle of its handshake."""
        self._is_cut = True
        if self._handle is not None:
            try:
                self._handle.shutdown(socket.SHUT_RDWR)
            except OSError:
                return  # closed already

    def end(self) -> None:
        """Close everything."""
        self.close()
        if self._handle is not None:
            self._handle.close()


def connect(url: str, context: ssl.SSLContext | None, *, timeout: float) -> Connection:
    """Return an unopened connection to the host of `url`; cleartext only without a context."""
    parts = urlsplit(url)
    if context is None and parts.scheme != "http":
        raise FetchError(f"{_origin(url)}: an https URL needs a TLS context")
    return Connection(parts.hostname or "", parts.port, context, timeout)


def path_of(url: str) -> str:
    """Return the path of a URL, as it stands in a request line."""
    return urlsplit(url).path or "/"


def _converse(connection: http.client.HTTPConnection, request: Request, deadline: float) -> Answer:
    if request.again is None:
        return _exchange(connection, request, deadline)
    answer = _exchange(connection, request, deadline, keep=True)
    body = request.again(answer)
    return answer if body is None else _exchange(connection, replace(request, body=body), deadline)


def _exchange(
    connection: http.client.HTTPConnection,
    request: Request,
    deadline: float,
    *,
    keep: bool = False,
) -> Answer:
    headers = {"Accept-Encoding": "gzip", **request.headers}
    if not keep:
        headers["Connection"] = "close"
    method = "GET" if request.body is None else "POST"
    connection.request(method, path_of(request.url), body=request.body, headers=headers)
    with connection.getresponse() as response:
        if response.status != 200:
            return Answer(status=response.status)
        found = (response.getheader("Content-Encoding") or "identity").lower()
        if found not in ("identity", "gzip"):
            raise FetchError(
                f"{_origin(request.url)}: expected gzip or no encoding, found {_shown(found[:40])}",
                reached=True,
            )
        return Answer(status=200, body=_read(response, request, deadline, gzip=found == "gzip"))


def _read(
    response: http.client.HTTPResponse, request: Request, deadline: float, *, gzip: bool
) -> bytes:
    expander = zlib.decompressobj(wbits=31) if gzip else None
    limit = request.max_compressed if gzip else request.max_bytes
    received, body = 0, bytearray()
    while chunk := response.read1(_CHUNK):
        received += len(chunk)
        # A decompression bomb stops at the bound, not after it.
        room = request.max_bytes - len(body) + 1
        body += chunk if expander is None else expander.decompress(chunk, room)
        if received > limit or len(body) > request.max_bytes:
            raise FetchError(
                f"{_origin(request.url)}: expected at most {request.max_bytes} bytes "
                f"({request.max_compressed} compressed)",
                reached=True,
            )
    if time.monotonic() >= deadline:
        raise TimeoutError("the time was up")
    if expander is not None and not expander.eof:
        raise FetchError(f"{_origin(request.url)}: the compressed answer ends early", reached=True)
    if response.length:
        raise FetchError(f"{_origin(request.url)}: the answer ends early", reached=True)
    return bytes(body)


def _dial(host: str, port: int, deadline: float) -> socket.socket:
    """Return a socket to the host, unless the process ends meanwhile."""
    with ExitStack() as undo:
        with resting():
            sock = undo.enter_context(_reach(host, port, deadline))
        undo.pop_all()
    return sock


def _reach(host: str, port: int, deadline: float) -> socket.socket:
    """Return a socket to the first address that answers; the time is shared among them."""
    addresses = [found[4] for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    failed = OSError(f"{host} has no address")
    for at, address in enumerate(addresses):
        share = max(deadline - time.monotonic(), 0.001) / (len(addresses) - at)
        try:
            sock = socket.create_connection(cast("tuple[str, int]", address[:2]), timeout=share)
        except OSError as exc:
            failed = exc
        else:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return sock
    raise failed


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _reason(exc: Exception, deadline: float) -> str:
    if isinstance(exc, TimeoutError) or time.monotonic() >= deadline:
        return "no complete answer in time"
    return _shown(str(exc).strip()[:_LONGEST_REASON]) or type(exc).__name__


def _shown(text: str) -> str:
    # It ends in logs and on terminals, and a man in the middle may have written it.
    return "".join(each if each.isprintable() else "?" for each in text)
