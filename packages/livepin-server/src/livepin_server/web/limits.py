"""Rate limits per address, in bounded memory."""

from __future__ import annotations

import math
import threading
import time
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
        self._buckets: dict[str, list[float]] = {}  # level, and when it was that

    @property
    def pause(self) -> int:
        """Seconds after which one who was refused may try again."""
        return math.ceil(1 / self._per_second)

    def allow(self, key: str, cost: float = 1.0) -> bool:
        """Take `cost` tokens of a key, if it has them."""
        now = self._monotonic()
        with self._lock:
            bucket = self._buckets.get(key)
            if bucket is None:
                bucket = self._new_bucket(key, now)
            level = bucket[0] + (now - bucket[1]) * self._per_second
            if level > self._burst:
                level = self._burst
            allowed = level >= cost
            bucket[0], bucket[1] = (level - cost if allowed else level), now
        return allowed

    def _new_bucket(self, key: str, now: float) -> list[float]:
        if len(self._buckets) >= _MOST_ADDRESSES:
            self._forget(now)
        bucket = self._buckets[key] = [self._burst, now]
        return bucket

    def _forget(self, now: float) -> None:
        """Forget the buckets that are full again, else the half that is oldest."""
        filling = self._burst / self._per_second
        kept = {k: b for k, b in self._buckets.items() if now - b[1] < filling}
        if len(kept) > _MOST_ADDRESSES // 2:
            kept = dict(list(kept.items())[_MOST_ADDRESSES // 2 :])
        self._buckets = kept
