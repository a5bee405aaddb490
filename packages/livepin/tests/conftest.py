"""A delivery service over real sockets: pinned TLS, plain HTTP for recovery, and odd servers."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from livepin.client import Client, HTTPFetcher
from livepin.client.trusted import Trusted
from livepin.client.updater import Updater
from livepin.testing import (
    Chain,
    DeliverySimulator,
    MemoryStore,
    RecordingServer,
    make_authority,
    make_chain,
    server_context,
)

HOST = "localhost"
Respond = Callable[[str, dict[str, str]], tuple[int, dict[str, str], bytes]]


@dataclass
class Delivery:
    """A simulator behind `RecordingServer`: its URL, pin and CA are in the configs it signs."""

    simulator: DeliverySimulator
    server: RecordingServer
    chain: Chain
    paths: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def publish(self, **settings: Any) -> bytes:
        """Change the simulator's settings, and publish."""
        for name, value in settings.items():
            setattr(self.simulator, name, value)
        return self.simulator.publish()

    def client(self, **options: Any) -> Client:
        """Return a client that fetches over the network."""
        return self.simulator.client(**({"fetcher": HTTPFetcher()} | options))

    def updater(self, **options: Any) -> Updater:
        """Return an updater of its own, from the bootstrap of now."""
        trusted = Trusted(
            self.simulator.bootstrap(),
            options.pop("store", None) or MemoryStore(),
            clock=self.simulator.clock,
            on_change=lambda: None,
        )
        return Updater(trusted, HTTPFetcher(), clock=self.simulator.clock)


@pytest.fixture(scope="session")
def delivery_chain() -> Chain:
    """The chain of the delivery service, from a CA that no system trusts."""
    return make_chain(HOST, "127.0.0.1", "::1", authority=make_authority("Delivery CA"))


@pytest.fixture
def delivery(delivery_chain: Chain) -> Iterator[Delivery]:
    """A delivery service over pinned TLS."""
    simulator = DeliverySimulator()
    paths: list[tuple[str, dict[str, str]]] = []

    def respond(path: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        paths.append((path, headers))
        return simulator.respond(path, headers)

    with RecordingServer(delivery_chain, respond=respond) as server:
        found = Delivery(simulator, server, delivery_chain, paths)
        found.publish(
            urls=(f"https://{HOST}:{server.port}",),
            delivery_pins=(delivery_chain.pin,),
            ca=delivery_chain.authority.pem,
        )
        yield found


@pytest.fixture
def plain_server() -> Iterator[Callable[[Respond], PlainServer]]:
    """Start plain HTTP servers, as recovery URLs may name them."""
    with contextlib.ExitStack() as stack:
        yield lambda respond: stack.enter_context(PlainServer(respond))


@pytest.fixture
def odd_server(delivery_chain: Chain) -> Iterator[Callable[..., OddServer]]:
    """Start servers that do with a connection what they are told: `odd_server(handle, tls=...)`."""
    with contextlib.ExitStack() as stack:

        def start(handle: Callable[[socket.socket], None], *, tls: bool = False) -> OddServer:
            context = server_context(delivery_chain) if tls else None
            return stack.enter_context(OddServer(handle, context))

        yield start


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port that is taken, and where nobody listens: a connection to it is refused."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


class PlainServer:
    """An HTTP server without TLS that answers with `respond` and remembers the requests."""

    def __init__(self, respond: Respond) -> None:
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer()

            def do_POST(self) -> None:
                self._answer()

            def _answer(self) -> None:
                headers = {name.lower(): value for name, value in self.headers.items()}
                outer.requests.append((self.command, self.path, headers))
                status, extra, body = respond(self.path, headers)
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **extra}.items():
                    self.send_header(name, value)
                self.end_headers()
                with contextlib.suppress(OSError):  # who asked has gone
                    self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    @property
    def paths(self) -> list[str]:
        """The paths that were asked for."""
        return [path for _, path, _ in self.requests]

    def __enter__(self) -> PlainServer:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class OddServer:
    """A server that hands each connection to `handle`, and closes it afterwards."""

    def __init__(
        self, handle: Callable[[socket.socket], None], context: ssl.SSLContext | None
    ) -> None:
        self.connections = 0
        self.ended = threading.Event()
        self._handle = handle
        self._context = context
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        scheme = "http" if context is None else "https"
        self.url = f"{scheme}://{HOST}:{self.port}"

    def __enter__(self) -> OddServer:
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        for sock in self._open:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(timeout=10)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            thread = threading.Thread(target=self._serve, args=(sock,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError), contextlib.closing(sock):
            if self._context is not None:
                sock = self._context.wrap_socket(sock, server_side=True)
            self._open.append(sock)
            with contextlib.closing(sock):
                self._handle(sock)
