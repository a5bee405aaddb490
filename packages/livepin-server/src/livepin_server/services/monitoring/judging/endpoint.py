"""`judge`: everything that is wrong with one endpoint, as one vantage holds it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from itertools import chain
from types import MappingProxyType

from msgspec import structs

from livepin_server.services.monitoring.model import (
    SEVERITIES,
    Finding,
    Following,
    Held,
    Judging,
    Kind,
)

from .breaking import broken
from .case import Case
from .elsewhere import Beside, doubt, suspicion
from .mismatches import mismatches
from .place import Place
from .reaching import unreachable, untrusted
from .risks import risks
from .seeing import Matching, Others, Seen

_NOBODY: Others = MappingProxyType({})
_OF_KEYS: tuple[Kind, ...] = ("pin_mismatch", "partial")


def judge(
    place: Place, held: Held, by: Judging, *, now: datetime, others: Others = _NOBODY
) -> list[Finding]:
    """Return what is wrong, for each domain that apps follow there; nothing if there is none.

    `others` is what other vantages hold of the same endpoint, by name. An endpoint that was never
    looked at has nothing wrong with it.
    """
    if not by.following or not (held.sights or held.failure):
        return []
    seen = Seen.of(held)
    found: list[Finding] = []
    for following in by.following:
        found.extend(_of_domain(place, held, seen, following, by, now, others))
    if len(found) > 1:
        found.sort(key=lambda each: each.key)
        found = _with_one_cause(found)
    return found


def _of_domain(
    place: Place,
    held: Held,
    seen: Seen,
    following: Following,
    by: Judging,
    now: datetime,
    others: Others,
) -> Iterator[Finding]:
    matching = Matching.of(seen.verified, following.pins, now=now)
    case = Case(
        place=place, seen=seen, following=following, matching=matching, by=by, now=now
    )  # fmt: skip
    if seen.silent or not held.sights:
        yield from unreachable(case, held)
    if matching.unmatched or seen.untrusted:
        yield from _refused(case, others)
    yield from risks(case)
    if by.holding:
        yield from broken(case)


def _refused(case: Case, others: Others) -> Iterator[Finding]:
    """Say that apps are refused, or by whom they may be: that is told before anybody pins a key."""
    beside = Beside.of(case, others)
    if beside.where and not case.matching.matched:
        yield suspicion(case, beside)
        return
    for each in chain(mismatches(case, doubt=doubt(case, beside)), untrusted(case)):
        yield structs.replace(each, awaits=beside.awaits) if beside.awaits else each


def _with_one_cause(found: list[Finding]) -> list[Finding]:
    """Return findings of which those that say the same of one endpoint share the gravest's cause.

    Streams pin one host by other keys, so their causes would differ; people mend one endpoint.
    """
    chosen: dict[tuple[str, str], Finding] = {}
    for each in found:
        known = chosen.get(_what(each))
        if known is None or _gravity(each) < _gravity(known):
            chosen[_what(each)] = each
    return [structs.replace(each, cause=chosen[_what(each)].cause) for each in found]


def _what(finding: Finding) -> tuple[str, str]:
    if finding.kind in _OF_KEYS:
        return "pins", ""
    return finding.kind, finding.cause if finding.code == "staged" else finding.code


def _gravity(finding: Finding) -> tuple[int, str]:
    return -SEVERITIES.index(finding.severity), finding.cause
