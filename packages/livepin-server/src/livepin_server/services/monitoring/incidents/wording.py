"""The words of a notice: of one endpoint, or of many that share a cause. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from msgspec import structs

from livepin_server.services.monitoring.model import Event, Finding, Kind, Notice

from .reminding import Said
from .states import rank

FEW = 5  # endpoints that are told of one by one
MOST_COMMANDS = 20
MOST_LISTED = 20  # addresses, fingerprints, pins, apps
MOST_TAGS = 64
_LONGEST = 1000  # characters of a sentence
_LONGEST_COMMAND = 2000

_WRONG: dict[Kind, str] = {  # the worst first
    "pin_mismatch": "its certificate is not pinned",
    "untrusted": "its certificate does not verify",
    "interception_suspected": "somebody may stand in between",
    "partial": "a part of it is not pinned",
    "unreachable": "it does not answer",
    "monitor_silent": "nobody looks from there",
    "would_break": "another config would shut apps out",
    "at_risk": "apps may soon be shut out",
    "installation_refused": "an installation was refused",
}
_WORST = tuple(_WRONG)
_BEFORE: dict[Event, str] = {
    "opened": "", "grew": "more of it: ", "again": "still: ", "worse": "worse: ",
    "resolved": "over: ", "test": "test: ", "happened": "",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Firing:
    """A finding that is certain, of an endpoint from a vantage."""

    endpoint: int
    vantage: str
    since: datetime
    finding: Finding

    @property
    def place(self) -> str:
        """The endpoint in words."""
        found = self.finding
        return f"{found.host}:{found.port}" if found.port else found.host


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """Of which incident a notice is: its account and number, what happens, how many are in it."""

    account: str
    number: int
    event: Event
    count: int
    now: datetime
    since: datetime


def worst_first(troubles: Iterable[Firing]) -> list[Firing]:
    """Return what is wrong in the order in which it is told."""
    return sorted(
        troubles,
        key=lambda each: (
            -rank(each.finding.severity), _WORST.index(each.finding.kind), each.since,
            each.finding.host, each.finding.port, each.vantage, each.finding.key,
        ),
    )  # fmt: skip


def compose(troubles: Sequence[Firing], told: Told, more: Sequence[str] = ()) -> Notice:
    """Return what is told of endpoints, of which there is one at least."""
    ordered = worst_first(troubles)
    lead = ordered[0].finding
    domains = _distinct(_domain(each.finding) for each in ordered)
    others = told.count - 1
    where = _plain(lead.host) + (f" and {others} more" if others else "")
    lines = [_plain(each) for each in more]
    if others:
        lines.append(_of_how_many(told.count, domains))
        lines += _each(ordered, lead, told.count)
    return Notice(
        account=told.account, event=told.event, incident=told.number,
        kind=lead.kind, severity=lead.severity,
        title=f"{_BEFORE[told.event]}{where}: {_what(lead)}",
        sentence=_plain(lead.sentence), moment=told.now, since=told.since,
        domain=_plain(_domain(lead)), stream=lead.stream,
        apps="; ".join(_distinct(_plain(each.finding.apps) for each in ordered)[:MOST_LISTED]),
        command="\n".join(_commands(ordered)),
        addresses=_few(each.finding.addresses for each in ordered),
        fingerprints=_few(each.finding.fingerprints for each in ordered),
        pinned=_few(each.finding.pinned for each in ordered),
        lines=lines, endpoints=told.count,
        tags=sorted({tag for each in ordered for tag in each.finding.tags})[:MOST_TAGS],
    )  # fmt: skip


def over(said: Said, told: Told, resolved: datetime) -> Notice:
    """Return what is told of an incident that is over, to all who were told of it."""
    last = said.told or said.shown
    lasted = max(resolved - told.since, timedelta())
    what = last.title
    for each in _BEFORE.values():
        what = what.removeprefix(each)
    why = "it is no longer monitored" if said.gone else "it is not so any more"
    return structs.replace(
        last, event="resolved", severity=max(said.worst, last.severity, key=rank),
        title=f"{_BEFORE['resolved']}{what}", moment=told.now, since=told.since,
        sentence=f"over after {duration(lasted)}, {why}: {last.sentence}",
        command="", duration=int(lasted.total_seconds()),
        tags=sorted({*said.tags, *last.tags})[:MOST_TAGS],
    )  # fmt: skip


def duration(lasted: timedelta) -> str:
    """Return how long that is, in words: the two largest units."""
    seconds = int(lasted.total_seconds())
    units = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
    said = []
    for name, length in units:
        count, seconds = divmod(seconds, length)
        if count:
            said.append(f"{count} {name}")
    return " ".join(said[:2]) or "0 s"


def _what(finding: Finding) -> str:
    if finding.kind == "monitor_silent" and finding.port:
        return "what was seen of it could not be judged"
    return _WRONG[finding.kind]


def _of_how_many(count: int, domains: Sequence[str]) -> str:
    some = ", ".join(_plain(each) for each in domains[:FEW])
    rest = len(domains) - FEW
    more = f" and {rest} more" if rest > 0 else ""
    return f"{count} endpoints share this cause, of {some}{more}"


def _each(ordered: Sequence[Firing], lead: Finding, count: int) -> list[str]:
    """Return a line for each of the first few endpoints but the one that is told of already."""
    first: dict[str, Finding] = {}
    for each in ordered:
        first.setdefault(each.place, each.finding)
    rest = list(first.items())[1 : FEW + 1]
    lines = [f"{place}: {_plain(finding.sentence)}" for place, finding in rest]
    left = count - 1 - len(rest)
    return [*lines, f"and {left} more"] if left > 0 else lines


def _commands(ordered: Sequence[Firing]) -> list[str]:
    """Return what mends it, a line for each; what does not fit on one line is no command."""
    found = _distinct(each.finding.command for each in ordered if each.finding.command)
    whole = [each for each in found if each.isprintable() and len(each) <= _LONGEST_COMMAND]
    return whole[:MOST_COMMANDS]


def _domain(finding: Finding) -> str:
    return finding.pattern or finding.host


def _few(listed: Iterable[Sequence[str]]) -> list[str]:
    return _distinct(_plain(each) for some in listed for each in some)[:MOST_LISTED]


def _distinct(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(each for each in texts if each))


def _plain(text: str) -> str:
    """Return text of one line: names in certificates are what a stranger chose."""
    cut = text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ..."
    return "".join(each if each.isprintable() else " " for each in cut)
