"""What a case is: steps, each with the outcome that the specification asks for.

Outcomes are written down by hand. Nothing here asks the library what it would answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import documents
from .documents import INSTALLATION, T0
from .keys import pin

Raw = str | list[Any]
Step = dict[str, Any]
NOW = T0 + 60
SAME: Any = object()  # the installation of the case goes on


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a lookup finds; the pins are the names of those in force."""

    pattern: str
    pin_set: str = "api"
    mode: str = "enforce"
    pins: Sequence[str] = ("api current", "api next")
    token: bool = False
    stale: str = "enforce"

    def to_json(self) -> dict[str, Any]:
        """Return what the file holds."""
        return {
            "pattern": self.pattern,
            "pin_set": self.pin_set,
            "pins": [pin(name) for name in self.pins],
            "mode": self.mode,
            "token": self.token,
            "stale": self.stale,
        }


API = Found(pattern="api.example.com")
WILD = Found(pattern="*.wild.example.com")
PENTEST = Found(
    pattern="api.example.com", pin_set="pentest", mode="report", pins=["pentest"]
)  # what the override finds
LOOKUPS: Mapping[str, Found | None] = {"api.example.com": API, "www.example.com": None}


@dataclass(frozen=True, kw_only=True)
class Case:
    """One file of `vectors/rule-NN/`, or of `vectors/bootstrap/` if no rule has a number there."""

    rule: int | None
    name: str
    title: str
    steps: Sequence[Step]

    @property
    def path(self) -> str:
        """Where the file is."""
        folder = "bootstrap" if self.rule is None else f"rule-{self.rule:02}"
        return f"{folder}/{self.name}.json"

    def to_json(self) -> dict[str, Any]:
        """Return what the file holds."""
        return {
            "rule": self.rule,
            "title": self.title,
            "installation": INSTALLATION,
            "steps": list(self.steps),
        }


def state(
    root: int = 1,
    version: int = 1,
    *,
    config_root: int | None = None,
    stale: bool = False,
    past_grace: bool = False,
    clock_wrong: bool = False,
    override: int | None = None,
    refresh_interval: int = 300,
    lookups: Mapping[str, Found | None] = LOOKUPS,
) -> dict[str, Any]:
    """Return a state as a case expects it, at the step's `now`."""
    return {
        "root": root,
        "root_version": root if config_root is None else config_root,
        "version": version,
        "stale": stale,
        "past_grace": past_grace,
        "clock_wrong": clock_wrong,
        "override": override,
        "refresh_interval": refresh_interval,
        "lookups": {
            host: None if found is None else found.to_json() for host, found in lookups.items()
        },
    }


def accepted(*args: Any, **changes: Any) -> dict[str, Any]:
    """Return the outcome of a step that is taken; arguments as for `state`."""
    return {"outcome": "accepted", "state": state(*args, **changes)}


def refused(rule: int, *args: Any, **changes: Any) -> dict[str, Any]:
    """Return the outcome of a step that a rule refuses; the state is as it was before."""
    return {"outcome": "refused", "rule": rule, "state": state(*args, **changes)}


def start(
    bootstrap: str | None = None,
    expect: Mapping[str, Any] | None = None,
    *,
    now: int = NOW,
    note: str = "",
) -> Step:
    """A first start with this bootstrap."""
    text = documents.bootstrap() if bootstrap is None else bootstrap
    step = {"do": "start", "bootstrap": text, "now": now, "expect": expect or accepted()}
    return _noted(step, note)


def start_refused(rule: int | None, bootstrap: str, *, note: str = "") -> Step:
    """A first start with a bootstrap that is of no use; there is no state then."""
    return start(bootstrap, {"outcome": "refused", "rule": rule}, note=note)


def take(kind: str, raw: Raw, expect: Mapping[str, Any], *, now: int = NOW, note: str = "") -> Step:
    """A root, config or override arrives."""
    return _noted({"do": kind, "raw": raw, "now": now, "expect": expect}, note)


def needs(raw: Raw, roots: Sequence[int]) -> Step:
    """A config arrives, and these roots have to be fetched before it."""
    return {"do": "roots_needed", "raw": raw, "expect": {"outcome": "accepted", "roots": roots}}


def run(seconds: int, expect: Mapping[str, Any], *, now: int, note: str = "") -> Step:
    """The app runs for so long, and the clock then says `now`."""
    return _noted({"do": "run", "seconds": seconds, "now": now, "expect": expect}, note)


def connect(
    host: str,
    chain: Sequence[str],
    *,
    now: int = NOW,
    because: str | None = None,
    reported: bool = False,
    note: str = "",
) -> Step:
    """A verified chain of these keys, leaf first, is judged; `because` says why it is refused."""
    expect: dict[str, Any] = {"outcome": "accepted", "reported": reported}
    if because is not None:
        expect = {"outcome": "refused", "because": because}
    chain = [pin(name) for name in chain]
    return _noted(
        {"do": "connect", "host": host, "chain": chain, "now": now, "expect": expect}, note
    )


def restart(
    expect: Mapping[str, Any],
    *,
    now: int = NOW,
    bootstrap: str | None = None,
    stored: Mapping[str, Any] | None = None,
    installation: str | None = SAME,
    note: str = "",
) -> Step:
    """The app ends and starts again, maybe after an update, maybe with another stored state."""
    step: Step = {"do": "restart", "now": now, "expect": expect}
    if bootstrap is not None:
        step["bootstrap"] = bootstrap
    if stored is not None:
        step["stored"] = stored
    if installation is not SAME:
        step["installation"] = installation
    return _noted(step, note)


def stored(
    roots: Sequence[str] | None = None, config: str | None = None, **changes: Any
) -> dict[str, Any]:
    """Return the content of a store, in no particular format."""
    members = {
        "roots": [documents.root()] if roots is None else list(roots),
        "config": config or documents.config(),
        "latest_issued": T0,
        "override": None,
        "override_used": 0,
        "override_floor": 0,
    }
    return {**members, **changes}


def config_case(
    rule: int,
    name: str,
    title: str,
    raw: Raw,
    expect: Mapping[str, Any] | None = None,
    *,
    now: int = NOW,
    begin: Sequence[Step] | None = None,
) -> Case:
    """A case of one config that arrives after a first start; refused by `rule` unless said."""
    first = list(begin) if begin is not None else [start()]
    expect = expect or refused(rule)
    return Case(
        rule=rule, name=name, title=title, steps=[*first, take("config", raw, expect, now=now)]
    )


def refusals(
    rule: int, name: str, title: str, kind: str, raws: Mapping[str, Raw], **changes: Any
) -> Case:
    """A case of several documents after a first start, each refused by `rule`.

    The keys of `raws` are the notes. What is refused changes nothing, so one start serves all.
    """
    expect = refused(rule, **changes)
    steps = [take(kind, raw, expect, note=note) for note, raw in raws.items()]
    return Case(rule=rule, name=name, title=title, steps=[start(), *steps])


def repeat(text: str, times: int) -> dict[str, Any]:
    """Return a piece of a raw document that would be too large to write down."""
    return {"repeat": text, "times": times}


def _noted(step: Step, note: str) -> Step:
    return {**step, "note": note} if note else step
