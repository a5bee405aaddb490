"""grpcio: channels whose TLS is done by a pinned connection.

    with PinnedChannel(pins, "api.example.com:443") as channel: ...

grpcio brings a TLS stack that cannot be hooked into. So a channel speaks, over a Unix socket that
only this user can reach, to a `Bridge` in this process, and that to the server over TLS that is
judged like any other. A refused connection fails calls with UNAVAILABLE; `livepin.find` gets the
reason out. For `grpc.aio` use the bridge itself:

    with Bridge(pins, "api.example.com:443") as bridge:
        async with grpc.aio.secure_channel(
            bridge.target, bridge.credentials, bridge.options
        ) as channel: ...

There, `bridge.refusal` is the reason. Call credentials work; each call takes about 0.1 ms longer.

Not covered: channels made by `grpc.secure_channel` or `grpc.insecure_channel` themselves, xDS,
balancing over several addresses by the client (there is one connection, to the first address that
answers), client certificates, systems without Unix sockets (Windows), and use after `os.fork()`.
A proxy is used where it is given; the environment's is not. When a pin goes, calls under way fail
with UNAVAILABLE, as they do whenever a connection ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import grpc  # type: ignore[import-untyped]

from livepin.client import Client
from livepin.client.connections import PinnedObject
from livepin.errors import ConfigurationError, LivepinError, PinMismatchError, find
from livepin.hostnames import normalise

_TIMEOUT = 20.0  # seconds for a connection; gRPC waits for as long
_CHUNK = 64 * 1024
_LONGEST_ANSWER = 16 * 1024  # of a proxy
_OTHER_NAME = "grpc.ssl_target_name_override"


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
        host, self._port = _host_and_port(target, 443)
        self._host = normalise(host)
        self._proxy = None if proxy is None else _proxy(proxy)
        self._pins = pins
        self._context = pins.context(alpn=("h2",))
        self._refusal: LivepinError | None = None
        folder = tempfile.mkdtemp(prefix="livepin-")  # for this user alone
        self._remove = weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        self._path = Path(folder, "grpc")
        self.target = f"unix:{self._path}"
        self.credentials = grpc.local_channel_credentials(grpc.LocalConnectionType.UDS)
        self.options = [("grpc.default_authority", target), ("grpc.http2_scheme", "https")]
        self._stop: Callable[[], object] = lambda: None
        started: Future[None] = Future()
        self._thread = threading.Thread(
            target=self._run, args=(started,), name="livepin-grpc", daemon=True
        )
        self._thread.start()
        started.result()

    @property
    def refusal(self) -> LivepinError | None:
        """Why the last connection was refused; None if it was not."""
        return self._refusal

    def close(self) -> None:
        """End the connections and the thread."""
        with contextlib.suppress(RuntimeError):  # closed before
            self._stop()
        self._thread.join(timeout=5)
        self._remove()

    def __enter__(self) -> Bridge:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _run(self, started: Future[None]) -> None:
        try:
            asyncio.run(self._listen(started))
        except Exception as exc:  # noqa: BLE001 - raised where it can be seen
            self._remove()
            started.set_exception(exc)

    async def _listen(self, started: Future[None]) -> None:
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        serving: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = loop.create_task(self._serve(reader, writer))
            serving[task] = writer
            task.add_done_callback(lambda done: serving.pop(done, None) and None)

        server = await asyncio.start_unix_server(accept, self._path, limit=_CHUNK)
        self._stop = lambda: loop.call_soon_threadsafe(stop.set)
        started.set_result(None)
        await stop.wait()
        server.close()
        under_way = serving.copy()
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        for writer in under_way.values():  # one that was cancelled before it began, too
            writer.transport.abort()
        await asyncio.sleep(0)  # sockets are closed in the loop's next turn

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            from_server, to_server = await self._connect()
        except Exception as exc:  # noqa: BLE001 - whatever went wrong, nothing is passed on
            self._refusal = find(exc)
            writer.transport.abort()
            return
        self._refusal = None
        try:
            await _first(_pass_on(reader, to_server), _pass_on(from_server, writer))
        finally:
            to_server.transport.abort()
            writer.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        try:
            return await self._open()
        except Exception as exc:
            # The handshake failed, so nothing was sent or read.
            error = find(exc)
            if not isinstance(error, PinMismatchError) or not await self._pins.aheal(error):
                raise
            return await self._open()

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        where: dict[str, Any] = {"host": self._host, "port": self._port}
        if self._proxy is not None:
            loop = asyncio.get_running_loop()
            where = {"sock": await loop.run_in_executor(None, self._tunnel, *self._proxy)}
        reader, writer = await asyncio.wait_for(
            asyncio.open_connection(
                **where, ssl=self._context, server_hostname=self._host, limit=_CHUNK
            ),
            _TIMEOUT,
        )
        connection = writer.get_extra_info("ssl_object")
        if not isinstance(connection, PinnedObject) or connection.selected_alpn_protocol() != "h2":
            writer.transport.abort()
            raise ConnectionError(f"{self._host} does not speak HTTP/2")
        connection.attach(writer.get_extra_info("socket"))
        return reader, writer

    def _tunnel(self, host: str, port: int) -> socket.socket:
        deadline = time.monotonic() + _TIMEOUT
        wanted = f"[{self._host}]" if ":" in self._host else self._host
        wanted = f"{wanted}:{self._port}"
        sock = socket.create_connection((host, port), timeout=_TIMEOUT)
        try:
            sock.sendall(f"CONNECT {wanted} HTTP/1.1\r\nHost: {wanted}\r\n\r\n".encode())
            answer = bytearray()
            while not answer.endswith(b"\r\n\r\n"):
                sock.settimeout(max(deadline - time.monotonic(), 0.001))
                data = sock.recv(1)  # no byte of what follows
                if not data or len(answer) >= _LONGEST_ANSWER:
                    raise ConnectionError("the proxy gave no answer")
                answer += data
            if not answer.startswith(b"HTTP/1.") or answer.split(b" ")[1][:3] != b"200":
                raise ConnectionError(f"the proxy refused: {bytes(answer[:80])!r}")
            sock.setblocking(False)
        except BaseException:
            sock.close()
            raise
        return sock


class PinnedChannel(grpc.Channel):  # type: ignore[misc]
    """A channel to `target`, a `host:port`, that is pinned by `pins`.

    `options` and `compression` are those of `grpc.secure_channel`; `proxy` is that of `Bridge`.

    Raises:
        TypeError: an option would verify another name.
        ConfigurationError, MalformedError: as `Bridge`.
    """

    def __init__(
        self,
        pins: Client,
        target: str,
        *,
        options: Sequence[tuple[str, Any]] = (),
        compression: grpc.Compression | None = None,
        proxy: str | None = None,
    ) -> None:
        if any(name == _OTHER_NAME for name, _ in options):
            raise TypeError(f"{_OTHER_NAME} is not possible: the target's own name is verified")
        self._bridge = Bridge(pins, target, proxy=proxy)
        bridged = grpc.secure_channel(
            self._bridge.target,
            self._bridge.credentials,
            [*self._bridge.options, *options],
            compression,
        )
        self._channel = grpc.intercept_channel(bridged, _Explaining(self._bridge))

    def subscribe(self, *args: Any, **kwargs: Any) -> None:
        """Tell a callback of each change of connectivity."""
        self._channel.subscribe(*args, **kwargs)

    def unsubscribe(self, *args: Any, **kwargs: Any) -> None:
        """Tell a callback no more."""
        self._channel.unsubscribe(*args, **kwargs)

    def unary_unary(self, *args: Any, **kwargs: Any) -> Any:
        """Make a callable of a method: one request, one answer."""
        return self._channel.unary_unary(*args, **kwargs)

    def unary_stream(self, *args: Any, **kwargs: Any) -> Any:
        """Make a callable of a method: one request, many answers."""
        return self._channel.unary_stream(*args, **kwargs)

    def stream_unary(self, *args: Any, **kwargs: Any) -> Any:
        """Make a callable of a method: many requests, one answer."""
        return self._channel.stream_unary(*args, **kwargs)

    def stream_stream(self, *args: Any, **kwargs: Any) -> Any:
        """Make a callable of a method: many requests, many answers."""
        return self._channel.stream_stream(*args, **kwargs)

    def close(self) -> None:
        """End the calls under way, the connection and the bridge."""
        self._channel.close()
        self._bridge.close()

    def __enter__(self) -> PinnedChannel:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class _Explaining(
    grpc.UnaryUnaryClientInterceptor,  # type: ignore[misc]
    grpc.UnaryStreamClientInterceptor,  # type: ignore[misc]
    grpc.StreamUnaryClientInterceptor,  # type: ignore[misc]
    grpc.StreamStreamClientInterceptor,  # type: ignore[misc]
):
    """Gives each failed call the reason why there was no connection."""

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge

    def _explained(self, call: Callable[..., Any], details: Any, request: Any) -> Any:
        return _Call(call(details, request), self._bridge)

    intercept_unary_unary = intercept_unary_stream = _explained
    intercept_stream_unary = intercept_stream_stream = _explained


class _Call:
    """A call whose errors name their cause."""

    def __init__(self, call: Any, bridge: Bridge) -> None:
        self._call = call
        self._bridge = bridge

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)

    def __iter__(self) -> _Call:
        return self

    def __next__(self) -> Any:
        return self._explained(self._call.__next__)

    def result(self, timeout: float | None = None) -> Any:
        """Return the answer, or raise."""
        return self._explained(self._call.result, timeout)

    def exception(self, timeout: float | None = None) -> Any:
        """Return the error, if any."""
        return self._with_cause(self._call.exception(timeout))

    def _explained(self, function: Callable[..., Any], *args: Any) -> Any:
        try:
            return function(*args)
        except grpc.RpcError as exc:
            self._with_cause(exc)
            raise

    def _with_cause(self, error: Any) -> Any:
        refusal = self._bridge.refusal
        if refusal is not None and isinstance(error, grpc.RpcError):
            error.__cause__ = refusal
        return error


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


__all__ = ["Bridge", "PinnedChannel"]
