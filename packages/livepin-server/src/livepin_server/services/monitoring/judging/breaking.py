"""`would_break`: pins that are not the newest config's, against what the newest one lets in.

What the newest config refuses is said already. Apps that hold an older one fetch the newest before
they refuse (rule 4 of the client), so this hits those that cannot reach the service.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta

from livepin_server.services.monitoring.model import Finding, Holding, Severity, Sighted
from livepin_server.services.publishing.lasting import minute

from . import causes
from .case import Case, listed, plain
from .mismatches import pins_issuers
from .seeing import Matching, addresses, in_order, leaf_keys

_A_DAY = timedelta(days=1)
_LARGE = 10  # percent of a fleet
_MOST_KEYS = 20  # in a command


def broken(case: Case) -> Iterator[Finding]:
    """Say which apps would be refused by what they hold, or will be by what is staged."""
    let_in = case.matching.matched if case.enforced else case.seen.verified
    if not let_in:
        return
    held = []
    for each in case.by.holding:
        if each.stream != case.following.stream or each.mode != "enforce" or each.pins is None:
            continue
        # Pins begin and end: those of a stage with a time count as they do then.
        at = max(case.now, each.at or case.now)
        refused = Matching.of(let_in, each.pins, now=at).unmatched
        if refused and each.version is None:
            yield _staged(case, each, in_order(refused))
        elif refused:
            held.append((each, refused))
    if held:
        yield _by_older(case, held)


def _staged(case: Case, staged: Holding, refused: Sequence[Sighted]) -> Finding:
    soon = staged.at is not None and staged.at - case.now <= _A_DAY
    when = "" if staged.at is None else f" at {minute(staged.at)}"
    what = "what is staged" if staged.stage is None else f"stage {staged.stage}"
    keys = leaf_keys(refused)[:_MOST_KEYS]
    # What has a time is closed: it can be discarded, and not be added to.
    number = [] if staged.stage is None else [str(staged.stage)]
    mend = case.command("pin add", *keys, "--stage") if staged.at is None else None
    return case.finding(
        "would_break",
        "staged",
        "critical" if soon else "warning",
        f"{what} has no pin that matches what {_where(case, refused)} serves, {listed(keys)}: "
        f"{case.following.apps} will be refused once it is published{when}",
        cause=f"staged:{'-'.join(number)}",
        command=mend or plain("discard", *number),
        sights=refused,
        fingerprints=keys,
        mark=f"staged-{'-'.join(number)}",
    )


def _by_older(case: Case, held: Sequence[tuple[Holding, Sequence[Sighted]]]) -> Finding:
    versions = [str(each) for each in sorted({h.version for h, _ in held if h.version is not None})]
    holders, of = sum(h.installations for h, _ in held), max(h.of for h, _ in held)
    places = {(each.address, each.algorithm): each for _, some in held for each in some}
    refused = in_order(places.values())
    keys = leaf_keys(refused)
    severity: Severity = "critical" if of > 0 and holders * 100 > of * _LARGE else "warning"
    return case.finding(
        "would_break",
        "held",
        severity,
        f"config {'version' if len(versions) == 1 else 'versions'} {listed(versions)} of "
        f"{case.following.stream}, which {holders} of {of} installations hold, would refuse what "
        f"{_where(case, refused)} serves, {listed(keys)}: apps with it are refused where they "
        f"cannot fetch the newest",
        cause=f"held:{_cause(case, refused)}",
        command=plain("installation list"),
        sights=refused,
        fingerprints=keys,
        mark="held",
    )


def _where(case: Case, refused: Sequence[Sighted]) -> str:
    if len(refused) == len(case.seen.verified):
        return case.place.name
    return f"{case.place.name} at {listed(addresses(refused))}"


def _cause(case: Case, refused: Sequence[Sighted]) -> str:
    tell = causes.new_issuer if pins_issuers(case.following) else causes.new_keys
    return min(tell(each.observation.chain, enforced=True) for each in refused)
