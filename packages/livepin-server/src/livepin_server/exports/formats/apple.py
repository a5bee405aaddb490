"""Apple: NSPinnedDomains of iOS itself, and the configuration of TrustKit, both for Info.plist."""

from __future__ import annotations

import plistlib
from collections.abc import Sequence
from typing import Any

from .entry import DeclinedError, Entry, Rendered, exact, fixed, folded, levels_known, named

_IOS = "NSPinnedDomains"
_TRUSTKIT = "TrustKit"
_IOS_NOTES = (
    "iOS below 14, and what does not use URLSession, ignores NSPinnedDomains: unpinned there",
    "hosts that it does not name are not pinned",
)
_TRUSTKIT_NOTES = (
    "TrustKit pins only after it was started, and only sessions whose delegate it reaches: "
    "unpinned elsewhere",
    "hosts that it does not name are not pinned",
    "TrustKit ends the app at its start for a host under no public suffix, such as api.internal",
)


def render_ios(entries: Sequence[Entry]) -> Rendered:
    """Return NSPinnedDomains. Of two lists, iOS wants both to match: so a host has one."""
    pinned = fixed(entries, _IOS)
    exact(pinned, _IOS)
    named(pinned, _IOS)
    domains = {}
    for each in pinned:
        levels_known(each, _IOS)
        of_leaf = {pin.level == "leaf" for pin in each.pins}
        if len(of_leaf) > 1:
            raise DeclinedError(
                f"{_IOS} wants a leaf and a CA to match at once, where {each.pattern} wants one",
                hint="pin only leaves, or only CAs",
            )
        name = "NSPinnedLeafIdentities" if of_leaf == {True} else "NSPinnedCAIdentities"
        domains[each.pattern] = {
            "NSIncludesSubdomains": False,
            name: [{"SPKI-SHA256-BASE64": each_hash} for each_hash in each.hashes],
        }
    return _plist({"NSAppTransportSecurity": {"NSPinnedDomains": domains}}, _IOS_NOTES)


def render_trustkit(entries: Sequence[Entry]) -> Rendered:
    """Return the configuration of TrustKit. It wants two pins, and can only report as well.

    On macOS it would let in whatever a user's own CA has issued, unless it is told not to.
    """
    pinned = fixed(entries, _TRUSTKIT, reports=True)
    named(pinned, _TRUSTKIT)
    domains = {}
    for each, wide in folded(pinned, _TRUSTKIT):
        if len(each.pins) < 2:
            raise DeclinedError(
                f"{_TRUSTKIT} wants two pins, and {each.pattern} has one",
                hint=f"livepin pin new-backup {each.pattern} --out FILE",
            )
        domains[each.pattern] = {
            "TSKIncludeSubdomains": wide,
            "TSKEnforcePinning": each.mode == "enforce",
            "TSKPublicKeyHashes": each.hashes,
            "TSKDisableDefaultReportUri": True,
        }
    members = {
        "TSKSwizzleNetworkDelegates": True,
        "TSKIgnorePinningForUserDefinedTrustAnchors": False,
        "TSKPinnedDomains": domains,
    }
    silent = tuple(
        f"nobody hears of the mismatches of {each.pattern} until you add TSKReportUris"
        for each in pinned
        if each.mode == "report"
    )
    return _plist({"TSKConfiguration": members}, (*_TRUSTKIT_NOTES, *silent))


def _plist(members: dict[str, Any], notes: tuple[str, ...]) -> Rendered:
    return Rendered(text=plistlib.dumps(members).decode().rstrip(), notes=notes)
