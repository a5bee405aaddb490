"""curl and libcurl: --pinnedpubkey, in a file for curl --config."""

from __future__ import annotations

from collections.abc import Sequence

from .entry import DeclinedError, Entry, Rendered, fixed, leaves

_WHAT = "curl"
_NOTES = (
    "curl matches the leaf only",
    "the pins hold for each host that a transfer goes to, redirects too, but not for a proxy",
    "for libcurl the value is CURLOPT_PINNEDPUBLICKEY: check that setting it returns CURLE_OK",
)


def render(entries: Sequence[Entry]) -> Rendered:
    """Return the file. It allows https alone: pins mean nothing to plain HTTP."""
    pinned = fixed(entries, _WHAT)
    if len(pinned) > 1:
        names = ", ".join(each.pattern for each in pinned[:3])
        raise DeclinedError(
            f"curl has one list of pins for a transfer, and these are several domains: {names}",
            hint="export them one by one",
        )
    entry, left_out = leaves(pinned[0], _WHAT)
    value = ";".join(f"sha256//{found}" for found in entry.hashes)
    text = f'proto = "=https"\n# pins of {entry.pattern}\npinnedpubkey = "{value}"'
    return Rendered(text=text, notes=(*_NOTES, *left_out))
