"""What the audit log is told of addresses that guess API keys: that they do, and no flood of it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from livepin_server.errors import ServiceError

from .limits import RateLimit, origin

# Anybody can guess, from any number of addresses; nobody is to fill a disk with it.
_EACH_PER_SECOND, _EACH_AT_ONCE = 1 / 60, 1.0
_ALL_PER_SECOND, _ALL_AT_ONCE = 1 / 60, 100.0

logger = logging.getLogger("livepin.management")


class BlockedAddresses:
    """Tells of each address once a minute at most, and in all of a hundred and one a minute."""

    def __init__(
        self, tell: Callable[[str], None], *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._tell = tell
        self._each = RateLimit(_EACH_PER_SECOND, _EACH_AT_ONCE, monotonic=monotonic)
        self._all = RateLimit(_ALL_PER_SECOND, _ALL_AT_ONCE, monotonic=monotonic)

    def blocked(self, address: str) -> None:
        """Tell that an address is blocked, unless it was just told."""
        if not (self._each.allow(origin(address)) and self._all.allow("")):
            return
        try:
            self._tell(address)
        except ServiceError as exc:  # it is blocked all the same
            logger.warning("the audit log cannot be told of %s: %s", address, exc)
