"""Rate limits per address, in bounded memory."""

from __future__ import annotations

import math
import socket
import threading
import time
from collections.abc import Callable

_MOST_ADDRESSES = 50_000
_MAPPED = bytes(10) + b"\xff\xff"  # before an IPv4 address, on a socket for both


def origin(address: str) -> str:
    """Return what to count a client by: its IPv4 address, or the /64 that an IPv6 one is in.

    One IPv6 host commonly has a whole /64 to choose its addresses from.
    """
    if ":" not in address:
        return address
    try:
        packed = socket.inet_pton(socket.AF_INET6, address.strip("[]").partition("%")[0])
    except OSError:
        return address
    if packed.startswith(_MAPPED):
        return socket.inet_ntop(socket.AF_INET, packed[12:])
    return packed[:8].hex()


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
