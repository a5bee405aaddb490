"""From what a look found to what is certain: suspect, firing, over. Pure: tables and functions.

What is first seen is suspect and looked at again; only a later look confirms it. What is firing is
over after some good looks in a row. Two looks that do not agree are kept as a doubt, and told of
when that comes again within a day. Nothing here knows of incidents.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Literal

from livepin_server.services.monitoring.model import SEVERITIES, Finding, Judged, Severity

State = Literal["suspect", "firing", "doubted"]
Sign = Literal["seen", "confirmed", "good", "mended", "unknown"]
Doubt = Literal["disagreed", "quiet", "past"]

GOOD = 2  # looks in a row, until a finding is over
AT_ONCE = timedelta()
# A server that restarts wakes nobody: three looks that far apart span more than a minute. Looks may
# come sooner, so the minute counts as well.
PATIENCE, RESTART = timedelta(seconds=40), timedelta(minutes=1)
RECOVERY = timedelta(minutes=1)  # after a good look, until the one that ends a finding
# Other vantages look meanwhile, each a moment after it was woken. Who does not look in the time
# that three leases take is not waited for.
ELSEWHERE, AWAITED = timedelta(seconds=5), timedelta(minutes=6)
DOUBTED = timedelta(days=1)  # how long a look that disagreed counts
SECOND_LOOK = ":second-look"  # the key of doubts; those of the judge begin with a kind
MOST_FINDINGS = 64  # of one endpoint; the worst are kept
_LONGEST = 400  # characters of a key, and of a cause, in the database
_MANY = 1_000_000  # times; nobody counts further

_BY_TIME = frozenset({"at_risk", "would_break"})  # they hang on time and pins, not on one look
_OF_KEYS = frozenset({"pin_mismatch", "partial", "untrusted", "interception_suspected"})
_SHUT_OUT = frozenset({"pin_mismatch", "untrusted", "interception_suspected"})  # of all apps

# What becomes of a finding. Without a state it is not held.
TABLE: Mapping[tuple[State | None, Sign], State | None] = {
    (None, "seen"): "suspect",
    (None, "confirmed"): "firing",
    ("suspect", "seen"): "suspect",
    ("suspect", "confirmed"): "firing",
    ("suspect", "good"): None,
    ("suspect", "mended"): None,
    ("suspect", "unknown"): "suspect",
    ("firing", "confirmed"): "firing",
    ("firing", "good"): "firing",
    ("firing", "mended"): None,
    ("firing", "unknown"): "firing",
}

# What becomes of the doubt whether all looks see the same: one alone is kept silently.
DOUBTS: Mapping[tuple[State | None, Doubt], State | None] = {
    (None, "disagreed"): "doubted",
    ("doubted", "disagreed"): "firing",
    ("firing", "disagreed"): "firing",
    ("doubted", "quiet"): "doubted",
    ("firing", "quiet"): "firing",
    ("doubted", "past"): None,
    ("firing", "past"): None,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracked:
    """A finding of one endpoint from one vantage, and how often it was seen, or not, in a row."""

    key: str
    state: State
    since: datetime
    seen: datetime
    times: int
    good: int = 0
    incident: int | None = None
    finding: Finding


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What a look changes: what is kept of it anew, what is over, and when to look again."""

    kept: list[Tracked]
    over: list[Tracked]
    again: timedelta | None


def rank(severity: Severity) -> int:
    """Return how severe that is; more is worse."""
    return SEVERITIES.index(severity)


def bounded(text: str) -> str:
    """Return a key or a cause that the database can keep; what cannot be is told by its digest."""
    if len(text) <= _LONGEST and text.isprintable():
        return text
    plain = "".join(each if each.isprintable() else "?" for each in text[:300])
    return f"{plain}#{sha256(text.encode('utf-8', 'backslashreplace')).hexdigest()}"


def needs(finding: Finding) -> int:
    """Return how often in a row it has to be seen until it is certain."""
    if finding.kind in _BY_TIME:
        return 1
    return 3 if finding.kind == "unreachable" else 2


def lasts(finding: Finding) -> timedelta:
    """Return how long it has to be seen until it is certain."""
    return RESTART if finding.kind == "unreachable" else timedelta()


def step(tracked: Sequence[Tracked], judged: Judged, now: datetime) -> Step:
    """Return what becomes of the findings of an endpoint by one more look at it."""
    found = _by_key(judged.findings)
    held = {each.key: each for each in tracked}
    doubt = held.pop(SECOND_LOOK, None)
    carried = _carried(held.values(), found)
    kept, over, doubtful = [], [], []
    for key in [*held, *(each for each in found if each not in held)]:
        old, new = held.get(key), found.get(key)
        hidden = old is not None and _is_hidden(old.finding, [*found.values()], judged.blind)
        sign, moved = _moved(key, old, new, hidden=hidden, carried=carried, now=now)
        if old is not None and _disagrees(old, sign, judged, found):
            doubtful.append(old.finding)
        if moved is None and old is not None:
            over.append(old)
        elif moved is not None and sign != "unknown":
            kept.append(moved)
    again = min((wait for each in kept if (wait := _wait(each)) is not None), default=None)
    doubted = _doubted(doubt, doubtful, judged, now)
    if doubted is not None and doubted != doubt:
        kept.append(doubted)
    elif doubted is None and doubt is not None:
        over.append(doubt)
    return Step(kept=kept, over=over, again=again)


def _by_key(findings: Iterable[Finding]) -> dict[str, Finding]:
    """Return the worst finding of each key, in the order in which they were found."""
    worst = sorted(findings, key=lambda each: -rank(each.severity))
    found: dict[str, Finding] = {}
    for each in worst:
        found.setdefault(bounded(each.key), each)
    found.pop(SECOND_LOOK, None)
    return dict(list(found.items())[:MOST_FINDINGS])


def _moved(
    key: str,
    old: Tracked | None,
    new: Finding | None,
    *,
    hidden: bool,
    carried: Mapping[str, int],
    now: datetime,
) -> tuple[Sign, Tracked | None]:
    state = None if old is None else old.state
    if new is None:
        assert old is not None
        good = old.good + 1
        sign: Sign = "good" if good < GOOD else "mended"
        if hidden:
            return "unknown", old
        return sign, replace(old, good=good) if TABLE[state, sign] is not None else None
    times = carried.get(bounded(new.cause), 0) if old is None else old.times
    times = min(times + 1, _MANY)
    age = timedelta() if old is None else now - old.since
    certain = times >= needs(new) and age >= lasts(new) and not _waits(new, times, age)
    sign = "confirmed" if state == "firing" or certain else "seen"
    became = TABLE[state, sign]
    assert became is not None
    if old is None:
        old = Tracked(key=key, state=became, since=now, seen=now, times=times, finding=new)
    return sign, replace(old, state=became, seen=now, times=times, good=0, finding=new)


def _waits(finding: Finding, times: int, age: timedelta) -> bool:
    """Tell whether other vantages are to look first: what is firing goes on under another name."""
    return bool(finding.awaits) and times < _MANY and age < AWAITED


def _carried(held: Iterable[Tracked], found: Mapping[str, Finding]) -> dict[str, int]:
    """Return how often a wrong key was seen, by cause, under what it is no more called.

    Addresses come and go: what was at all of them may be at some of them at the next look.
    """
    return {
        bounded(each.finding.cause): _MANY if each.state == "firing" else each.times
        for each in held
        if each.finding.kind in _OF_KEYS and each.key not in found
    }


def _is_hidden(finding: Finding, found: Sequence[Finding], blind: bool) -> bool:
    """Tell whether a look could not see it: where nothing answers, nothing has become good."""
    if finding.kind == "unreachable":
        return False
    dark = [each for each in found if each.kind == "unreachable"]
    if dark and blind:
        return True  # also at other addresses than it was at: the name may have moved
    if finding.kind in _BY_TIME and any(_hides(each, finding) for each in found):
        return True
    if finding.addresses:
        silent = [set(each.addresses) for each in dark]
        return any(not each or each.issuperset(finding.addresses) for each in silent)
    return any(not each.addresses or each.severity == "critical" for each in dark)


def _hides(broken: Finding, risk: Finding) -> bool:
    """Tell whether a risk was not judged: most are risks of apps that get in, and none does."""
    place = risk.stream, risk.pattern
    if broken.kind not in _SHUT_OUT or (broken.stream, broken.pattern) != place:
        return False
    if risk.code == "expires":  # which is judged of every chain that verifies
        return broken.kind != "pin_mismatch"
    # What would break is judged where apps refuse nothing, and there no mismatch is critical.
    return risk.kind != "would_break" or broken.severity == "critical"


def _disagrees(old: Tracked, sign: Sign, judged: Judged, found: Mapping[str, Finding]) -> bool:
    """Tell whether two looks in a row at the same address saw a wrong key and a right one."""
    if old.finding.kind not in _OF_KEYS:
        return False
    if old.state == "firing":
        return old.good > 0 and sign == "confirmed"
    if sign not in ("good", "mended") or any(each.kind in _OF_KEYS for each in found.values()):
        return False
    there, before = judged.addresses, old.finding.addresses
    return there is None or not before or not set(before).isdisjoint(there)


def _doubted(
    old: Tracked | None, doubtful: Sequence[Finding], judged: Judged, now: datetime
) -> Tracked | None:
    past = old is not None and now - old.seen >= DOUBTED
    sign: Doubt = "disagreed" if doubtful else "past" if past else "quiet"
    if doubtful and past and old is not None and old.state == "doubted":
        old = None  # it was one alone
    if old is None and not doubtful:
        return None
    state = DOUBTS[None if old is None else old.state, sign]
    if state is None or not doubtful:
        return None if state is None else old
    since, times = (now, 1) if old is None else (old.since, min(old.times + 1, _MANY))
    return Tracked(
        key=SECOND_LOOK, state=state, since=since, seen=now, times=times,
        incident=None if old is None else old.incident,
        finding=_suspicion(doubtful[0], judged),
    )  # fmt: skip


def _suspicion(finding: Finding, judged: Judged) -> Finding:
    """Return what is told of an endpoint at which looks do not agree."""
    place = f"{judged.host}:{judged.port}"
    return Finding(
        kind="interception_suspected", code="second-look", severity="warning",
        key=SECOND_LOOK, cause=bounded(f"second-look:{finding.cause}"),
        host=judged.host, port=judged.port,
        sentence=(
            f"looks at {place}, one right after the other, did not see the same, more than once "
            "within a day: one saw a certificate that apps refuse, the next did not; either not "
            "all servers behind it have the same certificate, or now and then somebody stands in "
            "between"
        ),
        pattern=finding.pattern, stream=finding.stream, apps=finding.apps,
        command=f"livepin domain check {shlex.quote(judged.host)}",
        addresses=finding.addresses, fingerprints=finding.fingerprints, pinned=finding.pinned,
        tags=finding.tags,
    )  # fmt: skip


def _wait(tracked: Tracked) -> timedelta | None:
    if tracked.state == "suspect":
        if tracked.finding.awaits:
            return ELSEWHERE
        return PATIENCE if tracked.finding.kind == "unreachable" else AT_ONCE
    return RECOVERY if tracked.good else None
