"""JSON in the shape of getPins: from each host to the base64 of its pins."""

from __future__ import annotations

import json
from collections.abc import Sequence

from .entry import Entry, Rendered, exact, fixed

_WHAT = "the shape of getPins"
_NOTES = ("it says nothing of modes and levels, and hosts that it does not name are not pinned",)


def render(entries: Sequence[Entry]) -> Rendered:
    """Return the JSON object."""
    pinned = fixed(entries, _WHAT)
    exact(pinned, _WHAT)
    return Rendered(
        text=json.dumps({each.pattern: each.hashes for each in pinned}, indent=2), notes=_NOTES
    )
