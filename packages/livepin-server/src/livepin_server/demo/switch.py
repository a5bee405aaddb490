"""A loopback address whose other end can be changed: the network, as an attacker has it."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress


class Switch:
    """Forwards TCP connections to the port it points at; None is a cut line."""

    def __init__(self, to: int | None) -> None:
        self._to = to
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def point(self, to: int | None) -> None:
        """Point somewhere else; what is open is cut."""
        with self._lock:
            self._to = to
            cut, self._open = self._open, set()
        for each in cut:
            _close(each)

    def close(self) -> None:
        """Stop."""
        _close(self._listener)
        self.point(None)

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                to = self._to
            try:
                if to is None:
                    raise ConnectionError
                far = socket.create_connection(("127.0.0.1", to), timeout=5)
                far.settimeout(None)
            except OSError:
                _close(near)
                continue
            with self._lock:
                moved = self._to != to
                if not moved:
                    self._open |= {near, far}
            if moved:
                _close(near)
                _close(far)
                continue
            for pair in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=pair, daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        for each in (source, target):
            _close(each)
        with self._lock:
            self._open -= {source, target}


def _close(sock: socket.socket) -> None:
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
    sock.close()
