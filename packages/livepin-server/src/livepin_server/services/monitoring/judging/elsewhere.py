"""`interception_suspected`: one vantage sees a key that is not pinned, others see pinned ones.

A roll-out that has not come everywhere looks the same for a while, and the sentence says so. A look
that was made before the other key appeared here proves nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from livepin_server.services.monitoring.model import Finding, Sighted

from . import causes
from .case import Case, listed
from .seeing import Matching, Others, in_order, leaf_keys, recent


def suspicions(case: Case, others: Others) -> Iterator[Finding]:
    """Say that somebody may sit between this vantage and an endpoint with a key not pinned."""
    if case.matching.matched or not others:
        return
    foreign = in_order([*case.matching.unmatched, *case.seen.untrusted])
    keys = leaf_keys(foreign)
    since = min(each.since for each in foreign)
    seen = {name: recent(others[name], since) for name in sorted(others)}
    if any(not set(keys).isdisjoint(leaf_keys(sights)) for sights in seen.values()):
        return  # it is seen from elsewhere, too: a roll-out, and no matter of one way
    where = [name for name, sights in seen.items() if _all_get_in(case, sights)]
    if not where:
        return
    there = leaf_keys([each for name in where for each in in_order(seen[name])])
    yield case.finding(
        "interception_suspected",
        "vantages-disagree",
        "critical",
        f"from {case.place.vantage}, {case.place.name} serves {listed(keys) if keys else 'a key'} "
        f"that is not pinned, while from {listed(where)} it serves {listed(there)}, which is: "
        f"either a new certificate has not come everywhere, or somebody sits between",
        cause=causes.interception(case.place.vantage),
        command=case.run(),
        sights=foreign,
        fingerprints=keys,
    )


def _all_get_in(case: Case, sights: Sequence[Sighted]) -> bool:
    """Tell whether another vantage saw the endpoint, and pinned keys alone."""
    matching = Matching.of(sights, case.following.pins, now=case.now)
    return bool(matching.matched) and not matching.unmatched
