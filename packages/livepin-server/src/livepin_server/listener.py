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
        interface: Literal["rsgi", "asgi"],
        certificate: Path,
        key: Path,
        most_connections: int,
    ) -> None:
        self.host = host
        self.port = available_port(host, port)
        # The number of connections is what granian calls backpressure: with its default,
        # a thousand open event streams would starve everybody else.
        self._server = Server(
            app,
            address=host,
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
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start to listen; returns once connections are accepted.

        Raises:
            ConfigurationError: it cannot listen there.
        """
        self._task = asyncio.create_task(self._server.serve())
        while not await asyncio.to_thread(_answers, self.host, self.port):
            if self._task.done():
                raise ConfigurationError(
                    f"cannot listen on {self.host}:{self.port}: {self._task.exception()}"
                )
            await asyncio.sleep(0.01)

    async def stop(self) -> None:
        """Stop accepting, finish requests under way, and end."""
        if self._task is None:
            return
        self._server.stop()  # type: ignore[no-untyped-call]
        done, _ = await asyncio.wait({self._task}, timeout=_STOP_TIME)
        if not done:
            self._task.cancel()

    async def ended(self) -> None:
        """Wait until the listener ends by itself, which it should not."""
        if self._task is not None:
            await asyncio.wait({self._task})


def available_port(host: str, port: int) -> int:
    """Return the port to listen on.

    The server sets SO_REUSEPORT, by which a second server would silently share the port; so it is
    bound once without.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as exc:
            raise ConfigurationError(
                f"cannot listen on {host}:{port}: {exc.strerror}",
                hint="is another server running? choose another port in livepin.toml",
            ) from exc
        found: int = probe.getsockname()[1]
        return found


def _answers(host: str, port: int) -> bool:
    target = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    try:
        socket.create_connection((target, port), timeout=1).close()
    except OSError:
        return False
    return True
