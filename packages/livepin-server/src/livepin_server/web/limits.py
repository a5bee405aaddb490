"""Rate limits per address, in bounded memory."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

_MOST_ADDRESSES = 50_000


class RateLimit:
    """A token bucket per key: `per_second` on average, `burst` at once. Keys are bounded."""

    def __init__(
        self,
        per_second: float,
        burst: float,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._per_second = per_second
        self._burst = burst
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def allow(self, key: str, cost: float = 1.0) -> bool:
        """Take `cost` tokens of a key, if it has them."""
        now = self._monotonic()
        with self._lock:
            level, at = self._buckets.pop(key, (self._burst, now))
            level = min(self._burst, level + (now - at) * self._per_second)
            allowed = level >= cost
            self._buckets[key] = (level - cost if allowed else level, now)
            # The bucket used longest ago is full again by now, or nearly.
            while len(self._buckets) > _MOST_ADDRESSES:
                self._buckets.popitem(last=False)
        return allowed
