"""grpcio: channels whose TLS is done by a pinned connection.

    with PinnedChannel(pins, "api.example.com:443") as channel: ...
    async with AsyncPinnedChannel(pins, "api.example.com:443") as channel: ...

grpcio brings a TLS stack that cannot be hooked into. So a channel speaks, over a Unix socket that
only this user can reach, to a `Bridge` in this process, and that to the server over TLS that is
judged like any other. A refused connection fails calls with UNAVAILABLE; `livepin.find` gets the
reason out. Call credentials work; each call takes about 0.1 ms longer.

Calls to hosts that ask for tokens have one in their metadata, under the field's name in lower case;
where there is none, they fail by `TokenUnavailableError`. What it is bound to is looked for in the
metadata of the call, and not in what call credentials add. In threads, a call waits for its token
before it begins, one in the future too. With proofs, a retry policy is refused: it would send the
same one again.

Who makes channels otherwise takes the bridge itself, and asks `bridge.refusal` for the reason:

    with Bridge(pins, "api.example.com:443") as bridge:
        grpc.secure_channel(bridge.target, bridge.credentials, bridge.options)

Not covered: channels made by `grpc.secure_channel` or `grpc.insecure_channel` themselves, xDS,
balancing over several addresses by the client (there is one connection, to the first address that
answers), client certificates, systems without Unix sockets (Windows), and use after `os.fork()`.
A proxy is used where it is given; the environment's is not. When a pin goes, calls under way fail
with UNAVAILABLE, as they do whenever a connection ends.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Generator, Iterator, Sequence
from types import TracebackType
from typing import Any, NamedTuple

import grpc  # type: ignore[import-untyped]

from livepin.client import Client
from livepin.errors import ConfigurationError

from .grpc_bridge import Bridge
from .token_field import Fields, Hop, awith_token, with_token

# On asyncio, grpcio cancels a call without messages where there is no connection for it.
_FAILURES = grpc.RpcError, asyncio.CancelledError
_OTHER_NAME = "grpc.ssl_target_name_override"
_SERVICE = "grpc.service_config"


class PinnedChannel(grpc.Channel):  # type: ignore[misc]
    """A channel to `target`, a `host:port`, that is pinned by `pins`.

    `options` and `compression` are those of `grpc.secure_channel`; `proxy` is that of `Bridge`.

    Raises:
        TypeError: an option would verify another name.
        ConfigurationError: an option would send proofs again; or as `Bridge`.
        MalformedError: as `Bridge`.
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
        self._bridge = _bridge(pins, target, options, proxy)
        with _closed_on_error(self._bridge):
            bridged = grpc.secure_channel(
                self._bridge.target,
                self._bridge.credentials,
                [*self._bridge.options, *options],
                compression,
            )
            self._channel = grpc.intercept_channel(
                bridged, _WithTokens(pins, self._bridge), _Explaining(self._bridge)
            )

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


class AsyncPinnedChannel(grpc.aio.Channel):  # type: ignore[misc]
    """The same for `grpc.aio`; `interceptors` are those of `grpc.aio.secure_channel`."""

    def __init__(
        self,
        pins: Client,
        target: str,
        *,
        options: Sequence[tuple[str, Any]] = (),
        compression: grpc.Compression | None = None,
        interceptors: Sequence[Any] | None = None,
        proxy: str | None = None,
    ) -> None:
        self._bridge = _bridge(pins, target, options, proxy)
        with _closed_on_error(self._bridge):
            self._channel = grpc.aio.secure_channel(
                self._bridge.target,
                self._bridge.credentials,
                [*self._bridge.options, *options],
                compression,
                [*(interceptors or ()), *_with_tokens(pins, self._bridge)],
            )

    def get_state(self, *args: Any, **kwargs: Any) -> grpc.ChannelConnectivity:
        """Return the connectivity of now."""
        return self._channel.get_state(*args, **kwargs)

    async def wait_for_state_change(self, *args: Any, **kwargs: Any) -> None:
        """Wait until the connectivity is another."""
        await self._channel.wait_for_state_change(*args, **kwargs)

    async def channel_ready(self) -> None:
        """Wait until there is a connection."""
        await self._channel.channel_ready()

    def unary_unary(self, *args: Any, **kwargs: Any) -> Any:
        """Make a callable of a method: one request, one answer."""
        return self._explained(self._channel.unary_unary(*args, **kwargs))

    def unary_stream(self, *args: Any, **kwargs: Any) -> Any:
        """Make a callable of a method: one request, many answers."""
        return self._explained(self._channel.unary_stream(*args, **kwargs))

    def stream_unary(self, *args: Any, **kwargs: Any) -> Any:
        """Make a callable of a method: many requests, one answer."""
        return self._explained(self._channel.stream_unary(*args, **kwargs))

    def stream_stream(self, *args: Any, **kwargs: Any) -> Any:
        """Make a callable of a method: many requests, many answers."""
        return self._explained(self._channel.stream_stream(*args, **kwargs))

    async def close(self, grace: float | None = None) -> None:
        """End the calls under way, after `grace` seconds, the connection and the bridge."""
        try:
            await self._channel.close(grace)
        finally:
            await asyncio.to_thread(self._bridge.close)

    async def __aenter__(self) -> AsyncPinnedChannel:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    def _explained(self, method: Callable[..., Any]) -> Callable[..., _AsyncCall]:
        # Not by interceptors: they may answer with a call of grpcio's own classes only.
        return lambda *args, **kwargs: _AsyncCall(method(*args, **kwargs), self._bridge)


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


class _Details(NamedTuple):
    """What a call is made with; that of grpcio, which it does not let others make."""

    method: str
    timeout: float | None
    metadata: Fields
    credentials: Any
    wait_for_ready: bool | None
    compression: Any


class _WithTokens(
    grpc.UnaryUnaryClientInterceptor,  # type: ignore[misc]
    grpc.UnaryStreamClientInterceptor,  # type: ignore[misc]
    grpc.StreamUnaryClientInterceptor,  # type: ignore[misc]
    grpc.StreamStreamClientInterceptor,  # type: ignore[misc]
):
    """Gives each call the token that its host asks for."""

    def __init__(self, pins: Client, bridge: Bridge) -> None:
        self._pins = pins
        self._bridge = bridge

    def _with_token(self, call: Callable[..., Any], details: Any, request: Any) -> Any:
        hop = _hop(self._bridge, details.method)
        fields = with_token(self._pins, hop, details.metadata or ())
        if fields is not None:
            named = {name: getattr(details, name) for name in _Details._fields}
            details = _Details(**named | {"metadata": _in_lower_case(fields)})
        return call(details, request)

    intercept_unary_unary = intercept_unary_stream = _with_token
    intercept_stream_unary = intercept_stream_stream = _with_token


def _with_tokens(pins: Client, bridge: Bridge) -> list[Any]:
    """Return the same for asyncio, where one interceptor is for one kind of calls."""

    async def with_token_of_now(
        _: Any, call: Callable[..., Any], details: Any, request: Any
    ) -> Any:
        hop = _hop(bridge, details.method)
        fields = await awith_token(pins, hop, details.metadata or ())
        if fields is not None:
            metadata = grpc.aio.Metadata(*_in_lower_case(fields))
            details = grpc.aio.ClientCallDetails(
                details.method,
                details.timeout,
                metadata,
                details.credentials,
                details.wait_for_ready,
            )
        return await call(details, request)

    kinds = {
        "unary_unary": grpc.aio.UnaryUnaryClientInterceptor,
        "unary_stream": grpc.aio.UnaryStreamClientInterceptor,
        "stream_unary": grpc.aio.StreamUnaryClientInterceptor,
        "stream_stream": grpc.aio.StreamStreamClientInterceptor,
    }
    return [
        type("WithTokens", (kind,), {f"intercept_{name}": with_token_of_now})()
        for name, kind in kinds.items()
    ]


def _hop(bridge: Bridge, method: str | bytes) -> Hop:
    path = method.decode() if isinstance(method, bytes) else method
    return Hop("POST", "https", bridge.host, bridge.port, path)


def _in_lower_case(fields: Fields) -> Fields:
    return [(name.lower(), value) for name, value in fields]


class _AnyCall:
    """A call whose errors name their cause."""

    def __init__(self, call: Any, bridge: Bridge) -> None:
        self._call = call
        self._bridge = bridge

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)

    def _with_cause(self, error: Any) -> Any:
        refusal = self._bridge.refusal
        if refusal is not None and isinstance(error, _FAILURES):
            error.__cause__ = refusal
        return error

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except _FAILURES as exc:
            self._with_cause(exc)
            raise


class _Call(_AnyCall):
    def __iter__(self) -> _Call:
        return self

    def __next__(self) -> Any:
        with self._explained():
            return self._call.__next__()

    def result(self, timeout: float | None = None) -> Any:
        """Return the answer, or raise."""
        with self._explained():
            return self._call.result(timeout)

    def exception(self, timeout: float | None = None) -> Any:
        """Return the error, if any."""
        return self._with_cause(self._call.exception(timeout))


class _AsyncCall(_AnyCall):
    def __await__(self) -> Generator[Any, None, Any]:
        with self._explained():
            return (yield from self._call.__await__())

    def __aiter__(self) -> _AsyncCall:
        self._call.__aiter__()  # it refuses if the messages are read otherwise
        return self

    async def __anext__(self) -> Any:
        with self._explained():
            return await anext(self._call.__aiter__())

    async def read(self) -> Any:
        """Return the next message, or `grpc.aio.EOF`."""
        with self._explained():
            return await self._call.read()

    async def write(self, request: Any) -> None:
        """Send a message."""
        with self._explained():
            await self._call.write(request)

    async def done_writing(self) -> None:
        """Say that there are no more messages."""
        with self._explained():
            await self._call.done_writing()

    async def wait_for_connection(self) -> None:
        """Wait until there is a connection, or raise."""
        with self._explained():
            await self._call.wait_for_connection()


def _bridge(
    pins: Client, target: str, options: Sequence[tuple[str, Any]], proxy: str | None
) -> Bridge:
    if any(name == _OTHER_NAME for name, _ in options):
        raise TypeError(f"{_OTHER_NAME} is not possible: the target's own name is verified")
    if pins.proof and any(name == _SERVICE and "retryPolicy" in value for name, value in options):
        raise ConfigurationError(
            "a retryPolicy would send the proof of a call again, and backends take it once",
            hint="make the call again instead, or leave proof=True of livepin.Client out",
        )
    return Bridge(pins, target, proxy=proxy)


@contextlib.contextmanager
def _closed_on_error(bridge: Bridge) -> Iterator[None]:
    try:
        yield
    except BaseException:
        bridge.close()
        raise


__all__ = ["AsyncPinnedChannel", "Bridge", "PinnedChannel"]
