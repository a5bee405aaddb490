"""How pin sets are named: a shared one by a name, a domain's own after its pattern."""

from __future__ import annotations

_OF_PATTERNS = frozenset(".:*")


def own_set(pattern: str) -> str:
    """Return the name of a domain's own pin set.

    No shared set can have it: names hold a-z, 0-9 and hyphens. A host of one label would pass for
    a name, so it gets the final dot that makes it absolute.
    """
    return f"{pattern}." if is_shared(pattern) else pattern


def is_shared(pin_set: str) -> bool:
    """Tell whether a pin set is one that any domain may follow, by its name."""
    return _OF_PATTERNS.isdisjoint(pin_set)


def said(pin_set: str) -> str:
    """Return what people call a pin set that a domain follows."""
    return pin_set if is_shared(pin_set) else "its own"
