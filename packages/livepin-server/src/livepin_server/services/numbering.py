"""How far version numbers may go, and which of them a lost server may have given out. Pure."""

from __future__ import annotations

import math
from datetime import datetime

from livepin.documents.members import MAX_VERSION

# Above this there are too few left: a century of a thousand a second stays below.
HIGHEST = MAX_VERSION - 2**42
# A commit is on disk before it is acknowledged, and there is one writer: no server gets near this.
MOST_A_SECOND = 1000
_MARGIN = 1_000_000  # for clocks that differ


def above_everything(last: int, *, since: datetime, now: datetime) -> int:
    """Return a number that a server cannot have reached by `now` which was at `last` then."""
    seconds = max(0, math.ceil((now - since).total_seconds()))
    return last + MOST_A_SECOND * seconds + _MARGIN
