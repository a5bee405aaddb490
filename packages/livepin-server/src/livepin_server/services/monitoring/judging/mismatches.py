"""`pin_mismatch` and `partial`: verified paths that hold no pin in force.

Both have one cause for one certificate, so that a roll-out which reaches the last address goes on
as what it was. Chains that do not verify are no mismatch, whatever is in them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from livepin.pins import Pin

from livepin_server.services.monitoring.model import Finding, Following, Sighted
from livepin_server.services.publishing.lasting import minute

from . import causes
from .case import Case, listed
from .seeing import addresses, fingerprint, in_order, leaf_keys

_MOST_KEYS = 20  # in a command
NAMES = {"ecdsa": "ECDSA", "rsa": "RSA"}
_CONSEQUENCE = {
    "enforce": "{apps}{there} are refused",
    "report": "{apps}{there} connect all the same, and report it",
    "off": "{apps}{there} connect, for pinning is off; enforced, they would be refused",
}


def mismatches(case: Case, *, doubt: str = "") -> Iterator[Finding]:
    """Say where no pin in force is on a verified path.

    While there is a `doubt` whose key it is, nothing is said by which somebody would pin it.
    """
    unmatched = in_order(case.matching.unmatched)
    if not unmatched or (case.following.mode == "off" and not case.following.pins.pins):
        return
    ended = _out_of_time(case, unmatched)
    keys = [str(ended)] if ended is not None else _to_pin(case.following, unmatched)
    code, what, there = _where(case, unmatched)
    why = "" if ended is None else f", whose pin {_limit(ended, case.now)}"
    consequence = _CONSEQUENCE[case.following.mode].format(apps=case.following.apps, there=there)
    yield case.finding(
        "partial" if case.matching.matched else "pin_mismatch",
        code,
        case.by_mode("critical"),
        f"no pin of {case.pattern} matches {what}, {listed(keys)}{why}: {consequence}{doubt}",
        cause=_cause(case, unmatched, ended),
        command=case.check() if doubt else _cure(case, unmatched, ended, keys),
        sights=unmatched,
        fingerprints=list(dict.fromkeys([*keys, *leaf_keys(unmatched)])),
    )


def pins_issuers(following: Following) -> bool:
    """Tell whether a domain pins the keys of issuers, but for its backups."""
    chosen = [each for each in following.views if not each.backup]
    return bool(chosen) and all(each.level in ("intermediate", "root") for each in chosen)


def _where(case: Case, unmatched: Sequence[Sighted]) -> tuple[str, str, str]:
    """Return a code, what does not match, and which apps see it, in words."""
    name, matched = case.place.name, case.matching.matched
    if not matched:
        return "no-match", f"what {name} serves", ""
    kinds = {each.algorithm for each in unmatched}
    if len(kinds) == 1 and kinds.isdisjoint(each.algorithm for each in matched):
        kind = NAMES[kinds.pop()]
        return "algorithm", f"the {kind} certificate of {name}", f" and prefer {kind}"
    where = listed(addresses(unmatched))
    return "addresses", f"what {name} serves at {where}", " and get there"


def _out_of_time(case: Case, unmatched: Sequence[Sighted]) -> Pin | None:
    """Return the first pin on these paths that has ended, or has not begun."""
    served = {fingerprint(c.sha256) for each in unmatched for c in each.observation.chain}
    found = (pin for pin in case.following.pins.pins if pin.sha256 in served)
    return next(found, None)


def _limit(pin: Pin, now: datetime) -> str:
    if pin.not_after is not None and pin.not_after <= now:
        return f"ended at {minute(pin.not_after)}"
    return f"counts from {minute(pin.not_before or now)} on"


def _to_pin(following: Following, unmatched: Sequence[Sighted]) -> list[str]:
    """Return the keys by which apps would get in: of issuers where those are pinned."""
    chains = [each.observation.chain for each in unmatched]
    if pins_issuers(following) and all(len(each) > 1 for each in chains):
        return list(dict.fromkeys(each[1].sha256 for each in chains))
    return leaf_keys(unmatched)


def _cause(case: Case, unmatched: Sequence[Sighted], ended: Pin | None) -> str:
    if ended is not None:
        return causes.pin_out_of_time(str(ended), enforced=case.enforced)
    tell = causes.new_issuer if pins_issuers(case.following) else causes.new_keys
    return min(tell(each.observation.chain, enforced=case.enforced) for each in unmatched)


def _cure(case: Case, unmatched: Sequence[Sighted], ended: Pin | None, keys: list[str]) -> str:
    if ended is not None:
        return _anew(case, str(ended))
    chains = [each.observation.chain for each in unmatched]
    level = []
    if not set(keys) & {chain[0].sha256 for chain in chains}:
        highest = all(len(chain) == 2 for chain in chains)
        level = ["--pin-level", "root" if highest else "intermediate"]
    return case.command("pin add", *keys[:_MOST_KEYS], *level)


def _anew(case: Case, pin: str) -> str:
    """Return how to pin a key without limits that is pinned with some: a set has each key once."""
    views = {each.sha256: each for each in case.following.views}
    found = views.get(pin)
    level = ["--pin-level", found.level] if found is not None and found.level else []
    steps = [case.command("pin remove", pin), case.command("pin add", pin, *level)]
    if len(views) == 1:  # the last pin of a domain stays
        steps.insert(0, case.new_backup())
    return " && ".join(steps)
