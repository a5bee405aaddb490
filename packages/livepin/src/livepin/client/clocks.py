"""The two clocks of a client: the device's, which anybody sets, and run time, which nobody does."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timezone

Clock = Callable[[], datetime]
Ticks = Callable[[], float]


def utc_now() -> datetime:
    """Return the time of the device."""
    return datetime.now(timezone.utc)


def run_time() -> float:
    """Return seconds that nobody sets, those of a device that sleeps included where possible."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()
