"""Mismatch reports: bounded, rate-limited hints to the operator, over the pinned channel only."""

from __future__ import annotations

import threading
import time
from collections import deque
from datetime import datetime
from typing import Any

from livepin.errors import PinMismatchError

_EVERY = 60.0  # seconds per host and leaf
_MOST_WAITING = 32
_MOST_REMEMBERED = 256


class Reports:
    """Collects mismatches until they can be sent. It holds no personal data."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[dict[str, Any]] = deque(maxlen=_MOST_WAITING)
        self._last: dict[tuple[str, str], float] = {}

    def add(self, error: PinMismatchError, *, now: datetime) -> bool:
        """Note a mismatch; tell whether it is news."""
        key, moment = (error.host, error.chain[0]), time.monotonic()
        with self._lock:
            if moment - self._last.get(key, -_EVERY) < _EVERY:
                return False
            while len(self._last) >= _MOST_REMEMBERED:
                self._last.pop(next(iter(self._last)))
            self._last[key] = moment
            report: dict[str, Any] = {
                "host": error.host,
                "chain": list(error.chain[:16]),
                "config_version": error.config_version,
                "at": int(now.timestamp()),
            }
            if error.root_version is not None:
                report["root_version"] = error.root_version
            self._waiting.append(report)
        return True

    def __len__(self) -> int:
        return len(self._waiting)

    def take(self) -> list[dict[str, Any]]:
        """Return what waits to be sent, and forget it."""
        with self._lock:
            found = list(self._waiting)
            self._waiting.clear()
        return found
