"""`interception_suspected`: one vantage sees a key that is not pinned, others see pinned ones.

A roll-out that has not come everywhere looks the same for a while, and the sentence says so. A look
that was made before the other key appeared here proves nothing; and until each vantage that is
alive has looked since, nothing is said by which somebody would pin that key.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from livepin_server.services.monitoring.model import Finding, Sighted

from . import causes
from .case import Case, listed
from .seeing import Matching, Others, has_looked, in_order, leaf_keys, recent


class Beside(Struct, frozen=True, kw_only=True):
    """What other vantages say of the keys that are not pinned here.

    `where` are those that see pinned keys alone, and `there` those keys, unless anybody else sees
    what is seen here. `awaits` are those that are alive, and have not looked since.
    """

    foreign: list[Sighted]
    where: list[str] = []
    there: list[str] = []
    awaits: list[str] = []

    @classmethod
    def of(cls, case: Case, others: Others) -> Beside:
        """Return what is held elsewhere, compared with what is held here."""
        foreign = in_order([*case.matching.unmatched, *case.seen.untrusted])
        if not others:
            return cls(foreign=foreign)
        since = min(each.since for each in foreign)
        awaits = [n for n in sorted(others) if others[n].alive and not has_looked(others[n], since)]
        seen = {name: recent(others[name], since) for name in sorted(others)}
        keys = set(leaf_keys(foreign))
        if any(not keys.isdisjoint(leaf_keys(sights)) for sights in seen.values()):
            # It is seen from elsewhere, too: a roll-out, and no matter of one way.
            return cls(foreign=foreign, awaits=awaits)
        where = [name for name, sights in seen.items() if _all_get_in(case, sights)]
        there = leaf_keys([each for name in where for each in in_order(seen[name])])
        return cls(foreign=foreign, where=where, there=there, awaits=awaits)


def suspicion(case: Case, beside: Beside) -> Finding:
    """Say that somebody may sit between this vantage and an endpoint with a key not pinned."""
    keys, where = leaf_keys(beside.foreign), listed(beside.where)
    return case.finding(
        "interception_suspected",
        "vantages-disagree",
        "critical",
        f"from {case.place.vantage}, {case.place.name} serves {listed(keys) if keys else 'a key'} "
        f"that is not pinned, while from {where} it serves {listed(beside.there)}, which is: "
        f"either a new certificate has not come everywhere, or somebody sits between",
        cause=causes.interception(case.place.vantage),
        command=case.run(),
        sights=beside.foreign,
        fingerprints=keys,
    )


def doubt(case: Case, beside: Beside) -> str:
    """Return why a key is not to be pinned yet, in words; empty if there is no reason."""
    if beside.where:
        return (
            f"; from {listed(beside.where)} only pinned keys are seen, so somebody may sit between "
            f"{case.place.vantage} and there: pin nothing before you know whose key it is"
        )
    if beside.awaits:
        return (
            f"; from {listed(beside.awaits)} nobody has looked since, so somebody may sit between "
            f"{case.place.vantage} and there: pin nothing before you know whose key it is"
        )
    return ""


def _all_get_in(case: Case, sights: Sequence[Sighted]) -> bool:
    """Tell whether another vantage saw the endpoint, and pinned keys alone."""
    matching = Matching.of(sights, case.following.pins, now=case.now)
    return bool(matching.matched) and not matching.unmatched
