"""grpcio: a request is a call without an answer's content, and its parts are messages."""

from __future__ import annotations

import queue
import select
import socket
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import pytest
from livepin.client import Client
from livepin.errors import TokenUnavailableError
from livepin.testing import Chain, RecordingServer

grpc = pytest.importorskip("grpc", reason="the livepin wheel alone brings no grpcio")
adapter = pytest.importorskip("livepin.adapters.grpc")


class Backend(grpc.GenericRpcHandler):  # type: ignore[misc]
    """A gRPC server behind a recording server that does its TLS: bytes in, bytes out.

    `/test/join` takes many messages and answers with them as one; `/test/split` gives each byte
    of a message as a message.
    """

    def __init__(self, respond: Any = None) -> None:
        self.calls = 0
        self._respond = respond
        self.heard: list[bytes] = []
        self.told: dict[str, str] = {}
        self.fields: list[tuple[str, str]] = []
        self._lock = threading.Lock()
        self._server = grpc.server(ThreadPoolExecutor(64), handlers=[self])
        self.port: int = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    def service(self, details: Any) -> Any:
        with self._lock:
            self.calls += 1
            self.told = dict(details.invocation_metadata)
            self.fields = [(each.key, each.value) for each in details.invocation_metadata]
        if self._respond is not None and self._respond(details.method, self.told)[0] == 401:
            return grpc.stream_unary_rpc_method_handler(_refuse)
        if details.method == "/test/split":
            return grpc.unary_stream_rpc_method_handler(lambda sent, _: (bytes([b]) for b in sent))
        if details.method == "/test/repeat":
            return grpc.stream_stream_rpc_method_handler(lambda sent, _: sent)
        if details.method == "/grpc.health.v1.Health/Check":
            return grpc.unary_unary_rpc_method_handler(lambda *_: b"\x08\x01")
        if details.method == "/test/whole":
            return grpc.unary_unary_rpc_method_handler(lambda sent, _: sent)
        return grpc.stream_unary_rpc_method_handler(self._join)

    def _join(self, messages: Any, _: Any) -> bytes:
        found = b"".join(messages)
        self.heard.append(found)
        return found

    def close(self) -> None:
        self._server.stop(None).wait(10)


def _refuse(_: Any, context: Any) -> None:
    context.abort(grpc.StatusCode.UNAUTHENTICATED, "")


class Server(RecordingServer):
    """A recording server that speaks HTTP/2 and passes on what it records."""

    def __init__(self, chain: Chain, *, tls12: bool = False, respond: Any = None) -> None:
        self.backend = Backend(respond)
        super().__init__(chain, tls12=tls12)
        self.context.set_alpn_protocols(["h2"])

    @property
    def requests(self) -> int:
        return self.backend.calls

    def close(self) -> None:
        super().close()
        self.backend.close()

    def _serve_one(self, tls: ssl.SSLSocket) -> bool:
        with socket.create_connection(("127.0.0.1", self.backend.port)) as onward:
            while True:
                ready = [tls] if tls.pending() else select.select([tls, onward], [], [])[0]
                for each in ready:
                    data = self._receive(tls) if each is tls else onward.recv(65536)
                    if not data:
                        return False
                    (onward if each is tls else tls).sendall(data)


_CANNOT = {
    "body": "gRPC takes messages before there is a connection, and sends each of them once",
    "redirect": "gRPC knows no redirects",
    "downgrade": "gRPC knows no redirects",
    "cleartext": "a pinned channel always speaks TLS",
}


def _metadata(headers: Any) -> Any:
    return tuple((name.lower(), value) for name, value in (headers or {}).items())


class Channels:
    cannot = _CANNOT
    sends = "POST"
    refused = (grpc.RpcError, TokenUnavailableError)
    server = Server

    def __init__(self, pins: Client, *, proxy: str | None = None) -> None:
        self._pins, self._proxy = pins, proxy
        self._channels: dict[str, Any] = {}
        self._lock = threading.Lock()

    def request(
        self, method: str, url: str, *, parts: tuple[bytes, ...] = (), headers: Any = None
    ) -> tuple[int, bytes]:
        target = urlsplit(url).netloc
        with self._lock:
            if target not in self._channels:
                channel = adapter.PinnedChannel(self._pins, target, proxy=self._proxy)
                self._channels[target] = channel
        answer = self._channels[target].stream_unary("/test/join")(
            iter(parts), timeout=20, metadata=_metadata(headers)
        )
        return 200, answer

    def see_change(self) -> None:
        """Wait until the channels have seen that their connections were cut."""
        for each in self._channels.values():
            states: queue.Queue[Any] = queue.Queue()
            each.subscribe(states.put)
            while states.get(timeout=20) is grpc.ChannelConnectivity.READY:
                pass
            each.unsubscribe(states.put)

    def close(self) -> None:
        for each in self._channels.values():
            each.close()


class AsyncChannels:
    cannot, refused, server, sends = _CANNOT, Channels.refused, Server, "POST"

    def __init__(self, pins: Client, *, proxy: str | None = None) -> None:
        self._pins, self._proxy = pins, proxy
        self._channels: dict[str, Any] = {}

    async def request(
        self, method: str, url: str, *, parts: tuple[bytes, ...] = (), headers: Any = None
    ) -> tuple[int, bytes]:
        target = urlsplit(url).netloc
        if target not in self._channels:
            channel = adapter.AsyncPinnedChannel(self._pins, target, proxy=self._proxy)
            self._channels[target] = channel
        call = self._channels[target].stream_unary("/test/join")(
            iter(parts or (b"",)), timeout=20, metadata=_metadata(headers)
        )
        return 200, await call

    async def see_change(self) -> None:
        """Wait until the channels have seen that their connections were cut."""
        for each in self._channels.values():
            if each.get_state() is grpc.ChannelConnectivity.READY:
                await each.wait_for_state_change(grpc.ChannelConnectivity.READY)

    async def close(self) -> None:
        for each in self._channels.values():
            await each.close()


DRIVERS: dict[str, Any] = {"grpc": Channels, "grpc async": AsyncChannels}
