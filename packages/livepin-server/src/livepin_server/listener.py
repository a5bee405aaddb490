"""Listeners: HTTP servers in this process's event loop, TLS terminated in native code."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any, Literal

from granian.constants import HTTPModes, Interfaces, SSLProtocols
from granian.http import HTTP1Settings
from granian.server.embed import Server
from livepin.errors import ConfigurationError

_HEADER_TIME = 10_000  # milliseconds to send a request head
_MOST_HEAD = 64 * 1024  # bytes
_STOP_TIME = 5.0  # seconds for requests under way when stopping


class Listener:
    """One address that is listened on. `port` is the real one, also where 0 was asked for."""

    def __init__(
        self,
        app: Any,
        host: str,
        port: int,
        *,
        interface: Literal["rsgi", "asginl"],
        certificate: Path,
        key: Path,
        most_connections: int,
        stop_time: float = _STOP_TIME,
    ) -> None:
        self.host = host
        self._held, address, self.port = _hold(host, port)
        # The number of connections is what granian calls backpressure: with its default,
        # a thousand open event streams would starve everybody else.
        self._server = Server(
            app,
            address=address,
            port=self.port,
            interface=Interfaces(interface),
            http=HTTPModes.http1,
            websockets=False,
            backlog=1024,
            backpressure=most_connections,
            http1_settings=HTTP1Settings(
                header_read_timeout=_HEADER_TIME, max_buffer_size=_MOST_HEAD
            ),
            log_enabled=False,
            ssl_cert=certificate,
            ssl_key=key,
            ssl_protocol_min=SSLProtocols.tls12,
        )
        self._stop_time = stop_time
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start to listen; returns once connections are accepted.

        Raises:
            ConfigurationError: it cannot listen there.
        """
        self._task = asyncio.create_task(self._server.serve())
        answers = False
        while not answers:
            answers = await asyncio.to_thread(_answers, self.host, self.port)
            if self._task.done():  # and if something answers, it is another's
                raise ConfigurationError(
                    f"cannot listen on {self.host}:{self.port}: {self._task.exception()}"
                )
            await asyncio.sleep(0.01)

    async def stop(self) -> None:
        """Stop accepting, finish requests under way, end, and let go of the port."""
        if self._task is not None:
            self._server.stop()  # type: ignore[no-untyped-call]
            done, _ = await asyncio.wait({self._task}, timeout=self._stop_time)
            if not done:
                self._task.cancel()
        self._held.close()

    async def ended(self) -> None:
        """Wait until the listener ends by itself, which it should not."""
        if self._task is not None:
            await asyncio.wait({self._task})


def available_port(host: str, port: int) -> int:
    """Return the port to listen on; for 0, one that is free.

    Raises:
        ConfigurationError: it cannot be listened on.
    """
    held, _, found = _hold(host, port)
    held.close()
    return found


def _hold(host: str, port: int) -> tuple[socket.socket, str, int]:
    """Return a socket that keeps a port from others, its address, as numbers, and the port.

    The server sets SO_REUSEPORT, by which a second server would silently share the port, and get
    some of its requests. So it is bound first without, which nobody can who shares it; and stays
    bound, unheard, for a second server may look at the same moment.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    held = socket.socket(family, socket.SOCK_STREAM)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # not for connections that ended
    try:
        held.bind((host, port))
    except OSError as exc:
        held.close()
        raise ConfigurationError(
            f"cannot listen on {host}:{port}: {exc.strerror}",
            hint="is another server running? choose another port in livepin.toml",
        ) from exc
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    address, found, *_ = held.getsockname()
    return held, address, found


def _answers(host: str, port: int) -> bool:
    target = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    try:
        socket.create_connection((target, port), timeout=1).close()
    except OSError:
        return False
    return True
