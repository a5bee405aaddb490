"""The line that an attacker can take."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from livepin_server.demo.switch import Switch


class Echo:
    """A server that says its name and then repeats what it hears."""

    def __init__(self, name: bytes) -> None:
        self._name = name
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            with sock:
                sock.sendall(self._name)
                while data := sock.recv(100):
                    sock.sendall(data)


@pytest.fixture
def servers() -> Iterator[tuple[Echo, Echo]]:
    both = Echo(b"one"), Echo(b"two")
    yield both
    for each in both:
        each.close()


@contextmanager
def connected(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
        yield sock


def test_it_forwards_both_ways(servers: tuple[Echo, Echo]) -> None:
    switch = Switch(servers[0].port)
    with connected(switch.port) as sock:
        assert sock.recv(3) == b"one"
        sock.sendall(b"hello")
        assert sock.recv(5) == b"hello"
    switch.close()


def test_pointing_elsewhere_cuts_what_is_open(servers: tuple[Echo, Echo]) -> None:
    switch = Switch(servers[0].port)
    with connected(switch.port) as sock:
        assert sock.recv(3) == b"one"
        switch.point(servers[1].port)
        assert sock.recv(1) == b""
    with connected(switch.port) as sock:
        assert sock.recv(3) == b"two"
    switch.close()


def test_a_cut_line_answers_nothing(servers: tuple[Echo, Echo]) -> None:
    switch = Switch(None)
    with connected(switch.port) as sock:
        assert sock.recv(1) == b""
    switch.close()


def test_a_closed_one_accepts_nothing() -> None:
    switch = Switch(None)
    switch.close()
    with pytest.raises(OSError):
        talk(switch.port)


def talk(port: int) -> None:
    with connected(port) as sock:
        # A connection that the system had queued already ends at once.
        if sock.recv(1) == b"":
            raise ConnectionResetError
