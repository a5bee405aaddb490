"""Pauses between attempts that fail: each about twice the last, and spread over a fleet."""

from __future__ import annotations

import random


class Backoff:
    """Counts failures in a row. The first pause is half of `first` to `first` seconds."""

    def __init__(self, first: float) -> None:
        self._first = first
        self._next = first

    def pause(self, longest: float) -> float:
        """Note a failure; return the seconds to wait, at most `longest`."""
        base = min(self._next, longest)
        self._next = 2 * base
        return base * random.uniform(0.5, 1.0)  # noqa: S311 - spreads a fleet

    def reset(self) -> None:
        """Note a success."""
        self._next = self._first
