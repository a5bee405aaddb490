"""What a change means for apps: what it weakens, and whether it may shut them out.

Hosts are looked at from where the command runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from typing import Any

from msgspec import structs

from livepin_server.probing.judge import judge
from livepin_server.probing.probe import Observation, Target, probe

from .looking import why
from .output import confirm, working
from .parameters import elsewhere, quoted

Domain = dict[str, Any]  # as the management API gives it
Change = tuple[Domain | None, Domain]  # before and after; None before where it is new

_AT_ONCE = 16  # endpoints that are looked at
_MOST_SAID = 3  # consequences in one question
_STRONGER = {"mode": ("off", "report", "enforce"), "token": (False, True),
             "stale": ("enforce", "refuse")}  # fmt: skip
_WEAKER = {
    ("mode", "report"): "apps will connect to {} whatever key it has, and only report it",
    ("mode", "off"): "apps will connect to {} whatever key it has",
    ("token", False): "apps will send no token to {}",
    ("stale", "enforce"): "apps will connect to {} by old pins, however long they get no config",
}
_LIMITED = ("sha256", "not_before", "not_after")  # what a pin matches, and when
_WIDTH = {"intermediate": 1, "root": 2}  # of the level of a pin: how many keys it stands for


def agree(
    changes: Sequence[Change],
    *,
    yes: bool,
    look_at: str | None = None,
    also: Sequence[str] = (),
) -> bool:
    """Go on if these changes weaken nothing and shut no app out, or a person agrees to it.

    `look_at` is the host to look at for `*.host`; `also` are further consequences. With `yes`
    nothing is looked at. Tells whether somebody agreed.
    """
    if yes:
        return True
    found = [*also, *(text for each in changes for text in _weaker(*each))]
    found += _doubts([after for before, after in changes if _judges_anew(before, after)], look_at)
    if found:
        more = len(found) - _MOST_SAID
        said = [*found[:_MOST_SAID], *([f"and {more} more like these"] if more > 0 else [])]
        confirm("; ".join(said), yes=False)
    return bool(found)


def look_at_all(goals: Sequence[Target]) -> list[Observation]:
    """Return what is seen of each."""
    what = goals[0].host if len(goals) == 1 else f"{len(goals)} endpoints"
    with working(f"looking at {what}"), ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(probe, goals))


def judged(goal: Target, seen: Observation, domain: Domain) -> dict[str, Any]:
    """Return what apps say to what was seen, by the pins of a domain that are in force now."""
    found = {"host": goal.host, "pattern": domain["pattern"], "verified": seen.verified}
    if not seen.verified:
        return found | {
            "passes": False,
            "mismatch": False,
            "matched": None,
            "summary": seen.error,
            "notes": [why(seen, goal)],
        }
    # Pins are added to the pattern and its stream, which is not always the host that was seen.
    named = structs.replace(seen, host=quoted(domain["pattern"]) + elsewhere(domain["stream"]))
    return found | dict(judge(named, in_force(domain), mode=domain["mode"]))


def in_force(domain: Domain) -> list[dict[str, Any]]:
    """Return the pins of a domain that count now."""
    now = datetime.now(timezone.utc)
    return [pin for pin in domain["pins"] if _counts(pin, now)]


def _weaker(before: Domain | None, after: Domain) -> Iterator[str]:
    if before is None:
        return
    for member, ranks in _STRONGER.items():
        if ranks.index(after[member]) < ranks.index(before[member]):
            yield _WEAKER[member, after[member]].format(after["pattern"])
    if _width(after) > _width(before):
        authorities = sum(pin["level"] in _WIDTH for pin in after["pins"])
        yield (
            f"apps will accept any certificate for {after['pattern']} "
            f"that {'a CA' if authorities == 1 else f'one of {authorities} CAs'} issued"
        )


def _width(domain: Domain) -> int:
    return max(_WIDTH.get(pin["level"], 0) for pin in domain["pins"])


def _judges_anew(before: Domain | None, after: Domain) -> bool:
    """Tell whether apps may refuse by a change what they let in before."""
    if after["mode"] != "enforce":
        return False
    if before is None or before["mode"] != "enforce":
        return True
    held, kept = (
        {tuple(map(pin.get, _LIMITED)) for pin in each["pins"]} for each in (before, after)
    )
    return not held <= kept


def _doubts(domains: Sequence[Domain], look_at: str | None) -> Iterator[str]:
    seen_as = [(look_at or each["pattern"], each) for each in domains]
    hosts = [each for each in seen_as if not each[0].startswith("*.")]
    for name, _ in seen_as:
        if name.startswith("*."):
            yield f"apps may be refused: {name} is no host that one can look at (see --look-at)"
    goals = [Target(host=host, connect=each["connect"], ca=each["ca"]) for host, each in hosts]
    for goal, seen, (host, domain) in zip(
        goals, look_at_all(goals) if goals else [], hosts, strict=True
    ):
        if not seen.verified:
            yield f"apps may be refused: {seen.error}"
        elif judged(goal, seen, domain)["mismatch"]:
            yield f"apps would be refused: no pin matches what {host} serves now"


def _counts(pin: dict[str, Any], now: datetime) -> bool:
    start, end = pin["not_before"], pin["not_after"]
    if start is not None and now < datetime.fromisoformat(start):
        return False
    return end is None or now < datetime.fromisoformat(end)
