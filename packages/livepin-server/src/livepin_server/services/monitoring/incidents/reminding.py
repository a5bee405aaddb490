"""What is told of an incident next, and when: by what is wrong now and what was told. Pure.

Whatever the sequence of looks, what is told is bounded by time: an incident that comes back is told
of soon once a day, at once if it is another domain that breaks, else by back-off alone, and growth
at intervals. That a new domain breaks is told all the same.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from msgspec import Struct, structs

from livepin_server.services.monitoring.model import Event, Notice, Severity

from .states import rank

# After the first notice, the second, and each later one.
BACK_OFF: dict[Severity, tuple[timedelta, ...]] = {
    "critical": (timedelta(hours=1), timedelta(hours=4), timedelta(days=1)),
    "warning": (timedelta(days=1),),
    "info": (),  # it is told once
}
CAME_BACK = timedelta(hours=4)  # at most, until it is told of what was told to be over
FLAPS = timedelta(days=1)  # in which what comes back a second time is told of by back-off
GROWTH = timedelta(minutes=10)  # after a notice, until it is told that more joined, or came back
LATER_GROWTH = timedelta(hours=1)  # from the second time on, and of new domains alone
QUIET = timedelta(minutes=30)  # after which a domain that breaks again is a new one
MOST_PATTERNS = 2000  # that are kept apart; with more an incident is one of everything


class Said(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was told of an incident. `shown` is what would be told, told or not.

    `told` is the last notice, None until there is one. `tags` and `worst` are of all notices, and
    so are `patterns`, but for those that were quiet for long: `quiet` says since when one is.
    `hosts` is who was in it. `returned` is when it was last told to be back. `gone` tells that it
    ended because nobody looks there now.
    """

    shown: Notice
    told: Notice | None = None
    patterns: list[str] = []
    quiet: dict[str, datetime] = {}
    tags: list[str] = []
    hosts: list[str] = []
    worst: Severity = "info"
    again: int = 0
    grew: int = 0
    returned: datetime | None = None
    gone: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How an incident stands. Severity, count and patterns leave out what is in maintenance.

    `covered` is when the first of what is in maintenance comes out of it. `last` tells that it is
    told of once more and then no more.
    """

    open: bool
    severity: Severity
    count: int
    patterns: frozenset[str]
    said: Said
    acknowledged: bool = False
    snoozed: datetime | None = None
    covered: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What is told now, if anything, and when to decide again."""

    event: Event | None = None
    next: datetime | None = None


def decide(standing: Standing, now: datetime) -> Decision:
    """Return what is told of an incident now, and when that is to be asked again."""
    if not standing.open:
        return _of_its_end(standing, now)
    if not standing.count:
        return Decision(next=standing.covered)
    told = standing.said.told
    snoozed = standing.snoozed is not None and standing.snoozed > now
    if told is None:
        return Decision(next=standing.snoozed) if snoozed else Decision(event="opened")
    worse = rank(standing.severity) > rank(told.severity)
    if snoozed and not (worse and standing.severity == "critical"):
        return Decision(next=standing.snoozed)
    if worse:
        return Decision(event="worse")
    return _first_of(_dues(standing, told), standing.covered, now)


def _of_its_end(standing: Standing, now: datetime) -> Decision:
    """Who was told of it is told that it is over, once, and not while nothing is to be told."""
    told = standing.said.told
    if told is None or told.event == "resolved":
        return Decision()
    waits = [each for each in (standing.snoozed, standing.covered) if each and each > now]
    return Decision(next=max(waits)) if waits else Decision(event="resolved")


def _dues(standing: Standing, told: Notice) -> list[tuple[datetime, Event]]:
    """Return what is to be told of an open incident without being asked, and when."""
    said, moment = standing.said, told.moment
    came_back = told.event == "resolved"
    dues: list[tuple[datetime, Event]] = []
    if not standing.acknowledged:
        if standing.snoozed is not None and moment < standing.snoozed:
            dues.append((standing.snoozed, "again"))
        steps = BACK_OFF[standing.severity]
        if steps:
            step = steps[min(said.again, len(steps) - 1)]
            if came_back:
                step = min(step, CAME_BACK) if _flaps(said, moment) else GROWTH
            dues.append((moment + step, "again"))
        if not said.grew and not came_back and standing.count > told.endpoints:
            dues.append((moment + GROWTH, "grew"))
    if standing.patterns.difference(said.patterns) and len(said.patterns) < MOST_PATTERNS:
        wait = LATER_GROWTH if said.grew else GROWTH
        if came_back and not _flaps(said, moment):
            wait = timedelta()  # who was told that all is well again knows nothing of it
        dues.append((moment + wait, "grew"))
    return dues


def _flaps(said: Said, moment: datetime) -> bool:
    """Tell whether it was back already a short time before it was told to be over."""
    return said.returned is not None and moment - said.returned < FLAPS


def _first_of(
    dues: list[tuple[datetime, Event]], covered: datetime | None, now: datetime
) -> Decision:
    over = [each for each in dues if each[0] <= now]
    if over:
        # A reminder tells of growth as well.
        return Decision(event="again" if any(e == "again" for _, e in over) else "grew")
    later = [moment for moment, _ in dues]
    if covered is not None:
        later.append(covered)
    return Decision(next=min(later, default=None))


def heard(said: Said, firing: Collection[str], now: datetime) -> Said:
    """Return what was told without domains that have been well for long, and note who is well.

    Causes are wide, and an incident can be open for weeks: who breaks again in it is news. What
    comes back after all of it was over is not: what flaps would flood.
    """
    if said.told is not None and said.told.event == "resolved":
        return said
    quiet = {each: said.quiet.get(each, now) for each in said.patterns if each not in firing}
    past = {each for each, since in said.quiet.items() if firing and now - since >= QUIET}
    return structs.replace(
        said,
        patterns=[each for each in said.patterns if each not in past],
        quiet={each: since for each, since in quiet.items() if each not in past},
    )


def after(said: Said, notice: Notice, standing: Standing) -> Said:
    """Return what was told once this notice is."""
    ends = notice.event == "resolved"
    is_back = said.told is not None and said.told.event == "resolved"
    patterns = sorted({*said.patterns, *(() if ends else standing.patterns)})
    return Said(
        shown=notice,
        told=notice,
        patterns=patterns[:MOST_PATTERNS],
        quiet=said.quiet,
        tags=sorted({*said.tags, *notice.tags}),
        hosts=said.hosts,
        worst=max(said.worst, notice.severity, key=rank),
        again=said.again + (notice.event == "again"),
        grew=said.grew + (notice.event == "grew"),
        returned=notice.moment if is_back else said.returned,
        gone=said.gone,
    )
