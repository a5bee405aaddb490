"""A proposed root in plain words: what somebody is about to sign, and what to think of before."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from hashlib import sha256

from livepin_server.ceremony import changes
from livepin_server.ceremony.proposal import Proposal, SignedRoot

from .output import CommandError, counted, say, table, warn


def show(proposal: Proposal, *, signing: Collection[str], now: datetime) -> None:
    """Show what `proposal` says, and what it changes, to who signs with these keys."""
    root, before = proposal.root, proposal.previous
    say(f"root {root.version} of {root.account}", "bold")
    if before is None:
        say("  follows   none: it is the first of the account")
    else:
        has = "has" if _vouched(before, signing) else "has not"
        say(f"  follows   root {before.document.version}, which this key {has} signed")
        say(f"            sha256 of that one's payload: {sha256(before.payload).hexdigest()}")
    say(f"  issued    {root.issued:%Y-%m-%d}")
    say(f"  expires   {root.expires:%Y-%m-%d}, {_left(root.expires, now)}")
    say(f"  to sign   {_threshold(proposal)}")
    rows = [
        (each.role, each.kid, _becomes(each, proposal, signing))
        for each in changes.key_changes(None if before is None else before.document, root)
    ]
    table(("role", "key", "what becomes of it"), rows)
    for text in warnings(proposal, signing=signing, now=now):
        warn(text)


def warnings(proposal: Proposal, *, signing: Collection[str], now: datetime) -> list[str]:
    """Return what to think of before signing."""
    before = proposal.previous
    known = None if before is None else before.document
    found = [f"unknown: {each}" for each in changes.unknown(proposal.payload)]
    if before is not None and not _vouched(before, signing):
        # Who made the file may have made it up, so that what comes looks as if it stayed.
        found.append(
            f"this key has not signed root {before.document.version}: compare its sha256 with what "
            "you know of that root, not with what the file says"
        )
    kids: list[str | None] = [*signing] or [None]
    for kid in kids:
        found += changes.warnings(known, proposal.root, now=now, signing=kid)
    return list(dict.fromkeys(found))


def require_known(proposal: Proposal, *, yes: bool) -> None:
    """Refuse to sign what this version cannot show the meaning of, unless somebody insists."""
    unknown = changes.unknown(proposal.payload)
    if unknown and not yes:
        raise CommandError(
            f"the root holds what this version does not know: {', '.join(unknown)[:200]}",
            hint="sign with the version that made it; to sign it all the same: --yes",
        )


def still_missing(proposal: Proposal) -> str:
    """Return how many signatures are missing, in a sentence."""
    missing, version = proposal.missing, proposal.root.version
    if not missing:
        return "Enough have signed."
    parts = []
    if missing.old:
        parts.append(f"{counted(missing.old, 'signature')} by root keys of root {version - 1}")
    if missing.new:
        parts.append(f"{counted(missing.new, 'signature')} by root keys of root {version}")
    both = " One key may count in both." if len(parts) == 2 else ""
    return f"Missing: {' and '.join(parts)}.{both}"


def _vouched(before: SignedRoot, signing: Collection[str]) -> bool:
    return not set(signing).isdisjoint(before.signed_by)


def _left(expires: datetime, now: datetime) -> str:
    days = (expires - now).days
    return f"in {counted(days, 'day')}" if days >= 0 else "which is over"


def _threshold(proposal: Proposal) -> str:
    before, new = proposal.previous, changes.threshold(proposal.root)
    if before is None:
        return f"{new} root keys"
    old = changes.threshold(before.document)
    return f"{new} root keys" + ("" if old == new else f"; it was {old}")


def _becomes(each: changes.KeyChange, proposal: Proposal, signing: Collection[str]) -> str:
    says: list[str] = [each.how]
    if each.kid in proposal.signed_by:
        says.append("has signed")
    if each.kid in signing:
        says.append("signs now")
    return ", ".join(says)
