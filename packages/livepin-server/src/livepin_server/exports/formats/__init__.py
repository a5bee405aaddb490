"""Pins in the formats of other software: pure functions from domains to text.

What a format cannot say is declined, never bent: an export that says less than the config would
leave hosts open, or shut them. What a format does otherwise than Livepin is said beside the text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from . import android, apple, curl, envoy, okhttp, plain
from .entry import DeclinedError, Entry, ExportPin, Rendered

FORMATS: dict[str, Callable[[Sequence[Entry]], Rendered]] = {
    "android": android.render,
    "ios": apple.render_ios,
    "trustkit": apple.render_trustkit,
    "okhttp": okhttp.render,
    "curl": curl.render,
    "envoy": envoy.render,
    "json": plain.render,
}

__all__ = ["FORMATS", "DeclinedError", "Entry", "ExportPin", "Rendered", "export"]


def export(name: str, entries: Sequence[Entry]) -> Rendered:
    """Return domains in a format.

    Raises:
        DeclinedError: the format cannot say what one of them says.
    """
    return FORMATS[name](entries)
