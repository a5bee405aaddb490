"""Android: res/xml/network_security_config.xml."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape

from .entry import Entry, Rendered, fixed, folded, named

_WHAT = "network_security_config.xml"
_NOTES = (
    "Android below 7.0, and TLS that is not the platform's own, ignore the file: unpinned there",
    "hosts that the file does not name are not pinned",
)


def render(entries: Sequence[Entry]) -> Rendered:
    """Return the file. It has no expiration: after one, Android would no longer pin at all."""
    pinned = fixed(entries, _WHAT)
    named(pinned, _WHAT)
    lines = ['<?xml version="1.0" encoding="utf-8"?>', "<network-security-config>"]
    for each, wide in folded(pinned, _WHAT):
        lines += [
            '    <domain-config cleartextTrafficPermitted="false">',
            f'        <domain includeSubdomains="{str(wide).lower()}">'
            f"{escape(each.pattern)}</domain>",
            "        <pin-set>",
            *(f'            <pin digest="SHA-256">{escape(h)}</pin>' for h in each.hashes),
            "        </pin-set>",
            "    </domain-config>",
        ]
    return Rendered(text="\n".join([*lines, "</network-security-config>"]), notes=_NOTES)
