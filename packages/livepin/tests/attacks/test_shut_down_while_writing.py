"""A TLS socket that is shut down carries cleartext in the standard library: never here."""

from __future__ import annotations

import contextlib
import io
import socket
import ssl
import threading
from collections.abc import Callable
from typing import Any

import pytest
from livepin.client import MemoryStore, PinnedContext
from livepin.client.judge import ConfigJudge
from livepin.client.trusted import Trusted
from livepin.documents import Mode
from livepin.errors import UnverifiedChainError
from livepin.testing import DeliverySimulator, make_chain, server_context

HOST = "localhost"
SECRET = b"Authorization: Bearer s3cret\r\n"

STEPS: dict[str, Callable[[Any], Any]] = {
    "send": lambda tls: tls.send(SECRET),
    "sendall": lambda tls: tls.sendall(SECRET),
    "sendall of a view": lambda tls: tls.sendall(memoryview(SECRET)),
    "write": lambda tls: tls.write(SECRET),
    "sendfile": lambda tls: tls.sendfile(io.BytesIO(SECRET)),
}
READS: dict[str, Callable[[Any], Any]] = {
    "recv": lambda tls: tls.recv(100),
    "recv_into": lambda tls: tls.recv_into(bytearray(100)),
    "read": lambda tls: tls.read(100),
}
CASES = [
    *(pytest.param(step, socket.SHUT_RD, id=name) for name, step in STEPS.items()),
    *(pytest.param(step, socket.SHUT_WR, id=name) for name, step in READS.items()),
]


@pytest.mark.parametrize(("step", "how"), CASES)
def test_who_shuts_a_socket_down_after_the_check_gets_no_cleartext(
    step: Callable[[Any], Any], how: int
) -> None:
    """Another thread may, at any moment; here, whoever hears of the mismatch does it."""
    chain, simulator = make_chain(HOST), DeliverySimulator()
    simulator.pin(HOST, make_chain(HOST).pin, mode=Mode.REPORT)
    trusted = Trusted(
        simulator.bootstrap(), MemoryStore(), clock=simulator.clock, on_change=lambda: None
    )
    judge = ConfigJudge(trusted, clock=simulator.clock, unlisted="system")
    ours, theirs = socket.socketpair()
    context = PinnedContext(
        judge,
        anchors=chain.authority.pem,
        reporter=lambda _: tls.shutdown(how),
    )
    peer = Peer(theirs, server_context(chain), answers=how == socket.SHUT_WR)
    with ours:
        tls = context.wrap_socket(ours, server_hostname=HOST, do_handshake_on_connect=False)
        with tls, pytest.raises((OSError, ValueError)):
            step(tls)
    assert SECRET not in peer.all_that_came()


def test_who_shuts_a_socket_down_as_the_handshake_ends_gets_an_error_of_a_connection() -> None:
    """Another thread may; here, whoever watches the messages does it before the last one."""
    chain, simulator = make_chain(HOST), DeliverySimulator()
    simulator.pin(HOST, chain.pin)
    trusted = Trusted(
        simulator.bootstrap(), MemoryStore(), clock=simulator.clock, on_change=lambda: None
    )
    judge = ConfigJudge(trusted, clock=simulator.clock, unlisted="system")
    context: Any = PinnedContext(judge, anchors=chain.authority.pem)

    def watch(_: Any, direction: str, *rest: Any) -> None:
        if direction == "write" and rest[-2].name == "FINISHED":
            tls.shutdown(socket.SHUT_RD)

    context._msg_callback = watch
    ours, theirs = socket.socketpair()
    peer = Peer(theirs, server_context(chain), answers=False)
    with ours:
        tls = context.wrap_socket(ours, server_hostname=HOST, do_handshake_on_connect=False)
        with tls, pytest.raises(UnverifiedChainError, match="the connection is gone"):
            tls.sendall(SECRET)
    assert SECRET not in peer.all_that_came()


class Peer:
    """Shakes hands, answers in cleartext, and keeps what comes as it stands on the wire."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, *, answers: bool) -> None:
        sock.settimeout(10)
        self._sock, self._answers = sock, answers
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._received = b""
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def all_that_came(self) -> bytes:
        self._thread.join(timeout=10)
        assert not self._thread.is_alive()
        return self._received

    def _run(self) -> None:
        with self._sock:
            while self._shaking():
                self._sock.sendall(self._outgoing.read())
                self._take()
            with contextlib.suppress(ConnectionError):  # closed meanwhile, an answer unread
                if self._answers:
                    self._sock.sendall(self._outgoing.read() + b"HTTP/1.1 200 OK")
                while self._take():
                    pass

    def _shaking(self) -> bool:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return True
        return False

    def _take(self) -> bytes:
        data = self._sock.recv(65536)
        self._incoming.write(data)
        self._received += data
        return data
