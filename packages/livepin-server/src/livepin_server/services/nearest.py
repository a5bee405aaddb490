"""A wrong name suggests the nearest right one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from livepin_server.errors import NotFoundError


def not_found(what: str, name: str, known: Iterable[str]) -> NotFoundError:
    """Return the error for a name that is not among `known`."""
    return NotFoundError(f"there is no {what} {name[:255]!r}", hint=nearest(what, name, known))


def nearest(what: str, name: str, known: Iterable[str]) -> str:
    """Return a hint: the name that was probably meant, or some of those that there are."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f"did you mean {close[0]}?"
    if names:
        return f"there is {', '.join(names[:5])}{' ...' if len(names) > 5 else ''}"
    return f"there is no {what} yet"
