"""What a case is: steps, each with the outcome that the specification asks for.

Outcomes are written down by hand. Nothing here asks the library what it would answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import documents
from .documents import T0
from .keys import pin

Raw = str | list[Any]
Step = dict[str, Any]
NOW = T0 + 60

API = ("api.example.com", "api", "enforce", ["api current", "api next"])
WILD = ("*.wild.example.com", "api", "enforce", ["api current", "api next"])
LOOKUPS: dict[str, Any] = {"api.example.com": API, "www.example.com": None}


@dataclass(frozen=True, kw_only=True)
class Case:
    """One file of `vectors/rule-NN/`."""

    rule: int
    name: str
    title: str
    steps: Sequence[Step]

    def to_json(self) -> dict[str, Any]:
        """Return what the file holds."""
        return {"rule": self.rule, "title": self.title, "steps": list(self.steps)}


def state(
    root: int = 1,
    version: int = 1,
    *,
    config_root: int | None = None,
    stale: bool = False,
    past_grace: bool = False,
    clock_wrong: bool = False,
    override: int | None = None,
    lookups: Mapping[str, Any] = LOOKUPS,
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
        "lookups": {host: _lookup(found) for host, found in lookups.items()},
    }


def _lookup(found: tuple[str, str, str, Sequence[str]] | None) -> dict[str, Any] | None:
    if found is None:
        return None
    pattern, pin_set, mode, names = found
    return {
        "pattern": pattern,
        "pin_set": pin_set,
        "mode": mode,
        "pins": [pin(name) for name in names],
    }


def accepted(*args: Any, **changes: Any) -> dict[str, Any]:
    """Return the outcome of a step that is taken; arguments as for `state`."""
    return {"outcome": "accepted", "state": state(*args, **changes)}


def refused(rule: int, *args: Any, **changes: Any) -> dict[str, Any]:
    """Return the outcome of a step that a rule refuses; the state is as it was before."""
    return {"outcome": "refused", "rule": rule, "state": state(*args, **changes)}


def start(
    bootstrap: str | None = None, expect: Mapping[str, Any] | None = None, *, now: int = NOW
) -> Step:
    """A first start with this bootstrap."""
    text = bootstrap or documents.bootstrap()
    return {"do": "start", "bootstrap": text, "now": now, "expect": expect or accepted()}


def start_refused(rule: int, bootstrap: str) -> Step:
    """A first start with a bootstrap that is of no use; there is no state then."""
    return start(bootstrap, {"outcome": "refused", "rule": rule})


def take(kind: str, raw: Raw, expect: Mapping[str, Any], *, now: int = NOW) -> Step:
    """A root, config or override arrives."""
    return {"do": kind, "raw": raw, "now": now, "expect": expect}


def needs(raw: Raw, roots: Sequence[int]) -> Step:
    """A config arrives, and these roots have to be fetched before it."""
    return {"do": "roots_needed", "raw": raw, "expect": {"outcome": "accepted", "roots": roots}}


def run(seconds: int, expect: Mapping[str, Any], *, now: int) -> Step:
    """The app runs for so long, and the clock then says `now`."""
    return {"do": "run", "seconds": seconds, "now": now, "expect": expect}


def restart(
    expect: Mapping[str, Any], *, now: int = NOW, bootstrap: str | None = None, stored: Any = None
) -> Step:
    """The app ends and starts again, maybe after an update, maybe with another stored state."""
    step: Step = {"do": "restart", "now": now, "expect": expect}
    if bootstrap is not None:
        step["bootstrap"] = bootstrap
    if stored is not None:
        step["stored"] = stored
    return step


def stored(roots: Sequence[str], config: str, **changes: Any) -> dict[str, Any]:
    """Return the content of a store, in no particular format."""
    members = {
        "roots": list(roots),
        "config": config,
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


def repeat(text: str, times: int) -> dict[str, Any]:
    """Return a piece of a raw document that would be too large to write down."""
    return {"repeat": text, "times": times}
