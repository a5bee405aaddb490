"""Pauses: between attempts that fail each about twice the last, and all spread over a fleet."""

from __future__ import annotations

import random

# Not the generator of the process: the app may have seeded it, and after a fork all children would
# go on with the same numbers, in step.
chance = random.SystemRandom()


class Backoff:
    """Counts failures in a row. The first pause is half of `first` to `first` seconds."""

    def __init__(self, first: float) -> None:
        self._first = first
        self._next = first

    def pause(self, longest: float) -> float:
        """Note a failure; return the seconds to wait, at most `longest`."""
        base = min(self._next, longest)
        self._next = 2 * base
        return spread(base)

    def reset(self) -> None:
        """Note a success."""
        self._next = self._first


def spread(pause: float) -> float:
    """Return half of a pause to all of it: what meets the same change must not act in step."""
    return pause * chance.uniform(0.5, 1.0)
