"""Endpoints to probe: real TLS servers, and some that are none."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest
from livepin.testing import Authority, Chain, make_authority, make_chain, server_context
from livepin_server.probing.probe import Target
from tls_servers import Servers


class Endpoint:
    """A listener that does one thing with each connection, in threads."""

    def __init__(
        self, behave: Callable[[socket.socket], None], address: str = "127.0.0.1", port: int = 0
    ) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._behave = behave
        self._open: list[socket.socket] = []
        self._listener = socket.create_server((address, port), family=family)
        self.address = f"[{address}]" if ":" in address else address
        self.port: int = self._listener.getsockname()[1]
        self.connections = 0
        self.received = bytearray()
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def target(self, host: str = "api.example.test", ca: str | None = None) -> Target:
        """A target that is connected to here."""
        return Target(host=host, connect=f"{self.address}:{self.port}", ca=ca).checked()

    def close(self) -> None:
        """Stop."""
        for each in (self._listener, *self._open):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        self._thread.join(10)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                self._open.append(sock)
                self.connections += 1
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with suppress(OSError, ValueError):
            self._behave(sock)


@pytest.fixture(scope="session")
def authority() -> Authority:
    """A private CA."""
    return make_authority("Corp CA")


@pytest.fixture(scope="session")
def chain(authority: Authority) -> Chain:
    """A chain of three."""
    names = ("api.example.test", "127.0.0.1", "::1")
    return make_chain(*names, authority=authority, intermediate=True)


@pytest.fixture
def endpoint() -> Iterator[Callable[..., Endpoint]]:
    """Start an endpoint that behaves in some way: `endpoint(lambda sock: ...)`."""
    with ExitStack() as stack:

        def one(
            behave: Callable[[socket.socket], None], address: str = "127.0.0.1", port: int = 0
        ) -> Endpoint:
            found = Endpoint(behave, address, port)
            stack.callback(found.close)
            return found

        yield one


@pytest.fixture
def tls_endpoint(endpoint: Callable[..., Endpoint]) -> Callable[..., Endpoint]:
    """Start a TLS endpoint with a chain, or a context of the test's own."""

    def one(served: Chain | ssl.SSLContext, address: str = "127.0.0.1", port: int = 0) -> Endpoint:
        context = served if isinstance(served, ssl.SSLContext) else server_context(served)

        def behave(sock: socket.socket) -> None:
            with context.wrap_socket(sock, server_side=True) as tls:
                while more := tls.recv(4096):
                    found.received += more

        found: Any = endpoint(behave, address, port)
        return found

    return one


@pytest.fixture
def servers() -> Iterator[Servers]:
    """Real TLS servers, and some that misbehave: see `tls_servers`."""
    with Servers() as found:
        yield found
