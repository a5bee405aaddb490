"""The push listener: server-sent events that say that a newer config exists.

An event is a hint. It carries nothing that is trusted, and travels on the pinned channel only.
"""

from __future__ import annotations

import http.client
import logging
import threading
import time
from collections.abc import Callable, Iterator

from livepin import jsontext
from livepin.errors import LivepinError

from .backoff import Backoff, chance
from .fetcher import Connection, connect, path_of
from .threads import Background, resting
from .updater import Updater

logger = logging.getLogger("livepin")

_CONNECT = 10.0  # seconds
_SILENCE = 75.0  # seconds; the service sends a heartbeat every 25
_SPREAD, _MOST_SPREAD = 0.5, 10.0  # seconds over which a fleet spreads its fetches
_FIRST_PAUSE, _LONGEST_PAUSE = 2.0, 300.0  # seconds between attempts to connect
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
        self._connection: Connection | None = None
        self._thread: threading.Thread | None = None
        self.connected = threading.Event()

    def start(self) -> None:
        """Start listening, once."""
        if self._thread is None and not self._stopped.is_set():
            thread = Background(self._run, name="livepin-push")
            try:
                thread.start()
            except RuntimeError as exc:  # no more threads: the app still refreshes by time
                logger.warning("nobody listens for newer configs: %s", exc)
                return
            self._thread = thread

    def stop(self) -> None:
        """Stop listening and wait for the thread."""
        self._stopped.set()
        if self._connection is not None:
            self._connection.cut()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout=5)

    def _run(self) -> None:
        backoff = Backoff(_FIRST_PAUSE)
        while not self._stopped.is_set():
            started = time.monotonic()
            try:
                self._listen()
            except Exception as exc:  # noqa: BLE001 - nobody starts the thread again
                logger.debug("the events cannot be listened to: %r", exc)
            self.connected.clear()
            if self._connection is not None:
                self._connection.end()
            # A service that accepts and hangs up is to be spared as one that is not there.
            if time.monotonic() - started > _SILENCE:
                backoff.reset()
            self._pause(backoff.pause(_LONGEST_PAUSE))

    def _listen(self) -> None:
        url = self._url()
        connection = connect(url, self._updater.delivery_context(), timeout=_CONNECT)
        self._connection = connection
        if self._stopped.is_set():
            return  # `stop` found the connection before this one
        connection.connect()
        sock = connection.sock
        connection.request("GET", path_of(url), headers={"Accept": "text/event-stream"})
        with connection.getresponse() as response:
            if response.status != 200:
                raise http.client.HTTPException(f"status {response.status}")
            sock.settimeout(_SILENCE)
            self.connected.set()
            for line in _lines(response):
                if line.startswith(b"data:"):
                    self._follow(line[5:])

    def _follow(self, data: bytes) -> None:
        """Fetch what an event tells of; again if an update that began before it was joined."""
        for _ in range(2):
            spread = self._news(data)
            if spread is None or self._pause(chance.uniform(0, spread)):
                return
            if self._news(data) is None:
                return  # fetched meanwhile, by a connection that needed it
            self._newer()

    def _pause(self, seconds: float) -> bool:
        with resting():
            return self._stopped.wait(seconds)

    def _news(self, data: bytes) -> float | None:
        """Return the seconds to spread the fetch over, if an event tells of a newer version."""
        try:
            jsontext.check_depth(data)
            event = jsontext.parse_object(data)
        except LivepinError:
            return None
        found = event.get("root_version"), event.get("version")
        if event.get("stream") != self._stream or not all(type(each) is int for each in found):
            return None
        if found <= self._known():
            return None
        spread = event.get("spread")
        return min(max(spread, 0), _MOST_SPREAD) if type(spread) is int else _SPREAD


def _lines(response: http.client.HTTPResponse) -> Iterator[bytes]:
    """Give the lines of a stream as they come; of one that is too long, the pieces.

    By `read1`: `readline` takes a chunk of the size -1 for all that will ever come.
    """
    rest = b""
    while piece := response.read1(_LONGEST_LINE):
        *lines, rest = (rest + piece).split(b"\n")
        yield from lines
        if len(rest) >= _LONGEST_LINE:
            yield rest
            rest = b""
