"""The thread that goes on looking for signs of tampering while a client has tokens in play."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from .backoff import chance
from .threads import Background, resting

logger = logging.getLogger("livepin")

# Seconds between looks, by chance: who knows when could be away just then. A backend is to hear
# of an agent within a minute.
_SHORTEST, _LONGEST = 15.0, 40.0


class Watching:
    """Calls `look` in a thread, at once and then at random times."""

    def __init__(self, look: Callable[[], object]) -> None:
        self._look = look
        self._stopped = threading.Event()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start, once."""
        if self._thread is not None or self._stopped.is_set():
            return
        with self._starting:
            if self._thread is None:
                thread = Background(self._run, name="livepin-signals")
                try:
                    thread.start()
                except RuntimeError as exc:  # no more threads: each token still has a look
                    logger.debug("nobody looks for signals between tokens: %s", exc)
                    return
                self._thread = thread

    def stop(self) -> None:
        """Stop and wait for the thread."""
        self._stopped.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout=5)

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self._look()
            except Exception as exc:  # noqa: BLE001 - nobody starts the thread again
                logger.debug("signals could not be looked for: %r", exc)
            with resting():
                self._stopped.wait(chance.uniform(_SHORTEST, _LONGEST))
