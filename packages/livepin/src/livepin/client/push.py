"""The push listener: server-sent events that say that a newer config exists.

An event is a hint. It carries nothing that is trusted, and travels on the pinned channel only.
"""

from __future__ import annotations

import http.client
import json
import random
import socket
import threading
from collections.abc import Callable
from contextlib import suppress

from livepin.errors import LivepinError

from .fetcher import connect, path_of
from .updater import Updater

_SILENCE = 75.0  # seconds; the service sends a heartbeat every 25
_JITTER = 0.5  # seconds over which a fleet spreads its fetches
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 300.0  # seconds between attempts to connect
_LONGEST_LINE = 4096  # bytes


class PushListener:
    """A thread that listens to the events of one account, and calls `newer` for each new version.

    `url` is the events URL of the moment; `known` tells the (root_version, version) held.
    """

    def __init__(
        self,
        updater: Updater,
        *,
        url: Callable[[], str],
        stream: str,
        known: Callable[[], tuple[int, int]],
        newer: Callable[[], object],
    ) -> None:
        self._updater = updater
        self._url = url
        self._stream = stream
        self._known = known
        self._newer = newer
        self._stopped = threading.Event()
        self._connection: http.client.HTTPConnection | None = None
        self._thread: threading.Thread | None = None
        self.connected = threading.Event()

    def start(self) -> None:
        """Start listening, once."""
        if self._thread is None and not self._stopped.is_set():
            self._thread = threading.Thread(target=self._run, name="livepin-push", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Stop listening and wait for the thread."""
        self._stopped.set()
        connection = self._connection
        if connection is not None and connection.sock is not None:
            with suppress(OSError):  # closed already
                socket.socket.shutdown(connection.sock, socket.SHUT_RDWR)
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout=5)

    def _run(self) -> None:
        pause = _FIRST_PAUSE
        while not self._stopped.is_set():
            try:
                self._listen()
                pause = _FIRST_PAUSE
            except (OSError, http.client.HTTPException, LivepinError, ValueError):
                pause = min(2 * pause, _LONGEST_PAUSE)
            finally:
                self.connected.clear()
                if self._connection is not None:
                    self._connection.close()
            self._stopped.wait(pause * random.uniform(0.5, 1.5))  # noqa: S311 - spreads a fleet

    def _listen(self) -> None:
        url = self._url()
        connection = connect(url, self._updater.delivery_context(), timeout=_SILENCE)
        self._connection = connection
        connection.request("GET", path_of(url), headers={"Accept": "text/event-stream"})
        response = connection.getresponse()
        if response.status != 200:
            raise http.client.HTTPException(f"status {response.status}")
        self.connected.set()
        while not self._stopped.is_set():
            line = response.readline(_LONGEST_LINE)
            if not line:
                return
            if line.startswith(b"data:") and self._is_newer(line[5:]):
                self._stopped.wait(random.uniform(0, _JITTER))  # noqa: S311 - spreads a fleet
                self._newer()

    def _is_newer(self, data: bytes) -> bool:
        try:
            event = json.loads(data)
            found = int(event["root_version"]), int(event["version"])
        except (ValueError, TypeError, LookupError):
            return False
        return event.get("stream") == self._stream and found > self._known()
