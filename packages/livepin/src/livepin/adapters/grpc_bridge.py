"""What a gRPC channel of `adapters.grpc` connects to: a socket here, carried on over pinned TLS.

It knows no call and no channel: it passes bytes on, once the server was judged.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import tempfile
import threading
import weakref
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import grpc  # type: ignore[import-untyped]

from livepin.client import Client
from livepin.client.connections import PinnedObject
from livepin.client.threads import Background, cut_at_end
from livepin.errors import ConfigurationError, LivepinError, PinMismatchError, find
from livepin.hostnames import normalise

_TIMEOUT = 20.0  # seconds for a connection, healing included; gRPC waits for as long
_CHUNK = 64 * 1024
_LONGEST_ANSWER = 16 * 1024  # of a proxy
_PAUSE = 0.5  # seconds until a system that had no room for a connection is asked again
_BACKLOG = 16  # a channel makes one connection, and now and then another

_Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Bridge:
    """Carries the connections of one channel to `target`, a `host:port`, over pinned TLS.

    `proxy` is the URL of an HTTP proxy, `http://host:port`. Nothing is passed on before a
    connection was judged; what goes wrong ends it.

    Raises:
        ConfigurationError: `target` or `proxy` is something else, or there are no Unix sockets.
        MalformedError: the host of `target` is no host name.
    """

    def __init__(self, pins: Client, target: str, *, proxy: str | None = None) -> None:
        if not hasattr(socket, "AF_UNIX"):
            raise ConfigurationError("gRPC is pinned over Unix sockets, and this system has none")
        host, self.port = _host_and_port(target, 443)
        self.host = normalise(host)
        self._proxy = None if proxy is None else _proxy(proxy)
        self._pins = pins
        self._context = pins.context(alpn=("h2",))
        self._refusal: LivepinError | None = None
        folder = _folder.new()
        self._remove = weakref.finalize(self, _remove, folder, os.getpid())
        path = Path(folder, "grpc")
        self.target = f"unix:{path}"
        self.credentials = grpc.local_channel_credentials(grpc.LocalConnectionType.UDS)
        self.options = [("grpc.default_authority", target), ("grpc.http2_scheme", "https")]
        self._stop: Callable[[], object] = lambda: None
        started: Future[None] = Future()
        self._thread = Background(lambda: self._run(path, started), name="livepin-grpc")
        self._thread.start()
        started.result()

    @property
    def refusal(self) -> LivepinError | None:
        """Why the last connection was refused; None if it was not."""
        return self._refusal

    def close(self) -> None:
        """End the connections and the thread."""
        self.cut()
        self._thread.join(timeout=5)
        self._remove()

    def cut(self) -> None:
        """End the connections, and do not wait for it."""
        with contextlib.suppress(RuntimeError):  # closed before
            self._stop()

    def __enter__(self) -> Bridge:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _run(self, path: Path, started: Future[None]) -> None:
        try:
            with socket.socket(socket.AF_UNIX) as listener:
                listener.setblocking(False)
                listener.bind(str(path))
                listener.listen(_BACKLOG)
                asyncio.run(self._listen(listener, started))
        except Exception as exc:  # noqa: BLE001 - raised where it can be seen
            self._remove()
            started.set_exception(exc)

    async def _listen(self, listener: socket.socket, started: Future[None]) -> None:
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        serving: dict[asyncio.Task[None], socket.socket] = {}

        def accept() -> None:
            # Not asyncio's own server: what that has accepted it tells of some turns later, and
            # whatever is in between when the loop ends stays open.
            try:
                sock, _ = listener.accept()
            except OSError:  # too many open files; or nobody is there any more
                loop.remove_reader(listener)
                loop.call_later(_PAUSE, listen)
                return
            task = loop.create_task(self._serve(sock))
            serving[task] = sock
            task.add_done_callback(serving.pop)

        def listen() -> None:
            if not stop.is_set():
                loop.add_reader(listener, accept)

        listen()
        self._stop = lambda: loop.call_soon_threadsafe(stop.set)
        cut_at_end(self)
        started.set_result(None)
        await stop.wait()
        loop.remove_reader(listener)
        under_way = serving.copy()
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        for sock in under_way.values():  # of a task that was cancelled before it began
            sock.close()
        await asyncio.sleep(0)  # transports close theirs in the loop's next turn

    async def _serve(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        reader, writer = await asyncio.open_unix_connection(sock=sock, limit=_CHUNK)
        try:
            await self._carry(reader, writer)
        finally:
            writer.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            from_server, to_server = await self._in_time()
        except (Exception, asyncio.CancelledError) as exc:  # noqa: BLE001 - nothing is passed on
            self._refusal = find(exc)
            return
        self._refusal = None
        try:
            await _first(_pass_on(reader, to_server), _pass_on(from_server, writer))
        finally:
            to_server.transport.abort()
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    async def _in_time(self) -> _Streams:
        # Not `wait_for`: before Python 3.12 it forgets that it was cancelled, if what it waits
        # for is ready in the same moment. Then a connection would outlive its bridge.
        task = asyncio.current_task()
        assert task is not None
        late = asyncio.get_running_loop().call_later(_TIMEOUT, task.cancel)
        try:
            return await self._connect()
        finally:
            late.cancel()

    async def _connect(self) -> _Streams:
        try:
            return await self._open()
        except Exception as exc:
            # The handshake failed, so nothing was sent or read.
            error = find(exc)
            if not isinstance(error, PinMismatchError) or not await self._pins.aheal(error):
                raise
            return await self._open()

    async def _open(self) -> _Streams:
        loop = asyncio.get_running_loop()
        if self._proxy is None:
            sock = await _connected(self.host, self.port)
        else:
            sock = await self._tunnel(*self._proxy)
        # Not both steps in one: what is cancelled as its handshake ends would wait for the server's
        # farewell, and be left open where the loop ends before.
        below, _ = await loop.create_connection(asyncio.Protocol, sock=sock)
        reader = asyncio.StreamReader(_CHUNK)
        protocol = asyncio.StreamReaderProtocol(reader)
        transport = await _shaken(
            below, loop.start_tls(below, protocol, self._context, server_hostname=self.host)
        )
        if transport is None:
            raise ConnectionError(f"{self.host} ended the connection")
        protocol.connection_made(transport)
        connection = transport.get_extra_info("ssl_object")
        if not isinstance(connection, PinnedObject) or connection.selected_alpn_protocol() != "h2":
            transport.abort()
            raise ConnectionError(f"{self.host} does not speak HTTP/2")
        connection.attach(transport.get_extra_info("socket"))
        return reader, asyncio.StreamWriter(transport, protocol, reader, loop)

    async def _tunnel(self, host: str, port: int) -> socket.socket:
        loop = asyncio.get_running_loop()
        wanted = f"[{self.host}]" if ":" in self.host else self.host
        wanted = f"{wanted}:{self.port}"
        sock = await _connected(host, port)
        try:
            head = f"CONNECT {wanted} HTTP/1.1\r\nHost: {wanted}\r\n\r\n"
            await loop.sock_sendall(sock, head.encode())
            answer = bytearray()
            while not answer.endswith(b"\r\n\r\n"):
                data = await loop.sock_recv(sock, 1)  # no byte of what follows
                if not data or len(answer) >= _LONGEST_ANSWER:
                    raise ConnectionError("the proxy gave no answer")
                answer += data
            if not answer.startswith(b"HTTP/1.") or answer.split(b" ")[1][:3] != b"200":
                raise ConnectionError(f"the proxy refused: {bytes(answer[:80])!r}")
        except BaseException:
            sock.close()
            raise
        return sock


class _Folder:
    """Where the sockets of this process are, for this user alone, until the process ends.

    It outlives them: in the place of what is removed from a folder for all, another user can put
    a socket of theirs, and a channel that outlives its bridge would send its calls there.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: tuple[str, os.stat_result] | None = None

    def new(self) -> str:
        """Make a folder for the socket of one bridge."""
        with self._lock:
            if self._held is None or not _is_still(*self._held):
                path = tempfile.mkdtemp(prefix="livepin-")
                self._held = path, os.lstat(path)
                weakref.finalize(self, _remove, path, os.getpid())
            return tempfile.mkdtemp(dir=self._held[0])

    def after_fork(self) -> None:
        """Forget what belongs to the parent."""
        self._lock, self._held = threading.Lock(), None


def _is_still(path: str, made: os.stat_result) -> bool:
    try:
        return os.path.samestat(os.lstat(path), made)
    except OSError:
        return False  # whoever tidies up took it for forgotten


def _remove(folder: str, owner: int) -> None:
    if os.getpid() == owner:  # not when a forked child ends: its parent goes on
        shutil.rmtree(folder, ignore_errors=True)


_folder = _Folder()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_folder.after_fork)


async def _connected(host: str, port: int) -> socket.socket:
    loop = asyncio.get_running_loop()
    failed: OSError = ConnectionError(f"{host} has no address")
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    for family, kind, protocol, _, address in found:
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setblocking(False)
            await loop.sock_connect(sock, address)
        except BaseException as exc:
            sock.close()
            if not isinstance(exc, OSError):
                raise
            failed = exc
        else:
            return sock
    raise failed


async def _shaken(
    below: asyncio.Transport, handshake: Coroutine[Any, Any, asyncio.Transport | None]
) -> asyncio.Transport | None:
    """Return what a handshake over `below` ends with, and leave nothing open if it is given up."""
    task = asyncio.ensure_future(handshake)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        # Before Python 3.11, one that is cancelled as it ends forgets what it has made.
        below.abort()
        with contextlib.suppress(Exception):
            transport = await task
            if transport is not None:
                transport.abort()
        raise


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_CHUNK):
        writer.write(data)
        await writer.drain()


async def _first(*runs: Coroutine[Any, Any, None]) -> None:
    """Run all until the first ends, however it does."""
    tasks = [asyncio.ensure_future(each) for each in runs]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _host_and_port(target: str, default: int) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{target}")
        if parts.hostname and parts.netloc == target and parts.username is None:
            return parts.hostname, default if parts.port is None else parts.port
    except ValueError:
        pass
    raise ConfigurationError(
        f"expected host:port, found {target[:80]!r}",
        hint="gRPC's other kinds of targets cannot be pinned",
    )


def _proxy(url: str) -> tuple[str, int]:
    scheme, _, target = url.rstrip("/").partition("://")
    if scheme != "http":
        raise ConfigurationError(f"expected a proxy as http://host:port, found {url[:80]!r}")
    return _host_and_port(target, 80)


__all__ = ["Bridge"]
