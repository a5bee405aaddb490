"""livepin policy: what installations must prove, what their signals weigh, and who would fail."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter
from cyclopts.validators import Number

from .api import Agreeing, Common, connected
from .files import read_text
from .installation import Id, which
from .output import CommandError, counted, minute, say, show_json, table
from .parameters import Reason, lifetime

app = App(name="policy")
_DEFAULTS = Common()
_AGREEING = Agreeing()
_LEVELS = "none", "self", "platform", "hardware_key", "hardware_app"

Level = Literal["none", "self", "platform", "hardware_key", "hardware_app"]


@app.command(
    help_epilogue="""Examples:
  livepin policy show
  livepin policy show --version 3 --json
  livepin policy show --all"""
)
def show(
    *,
    version: Annotated[
        int | None,
        Parameter(metavar="N", validator=Number(gte=0), help="One of before; 0 is as shipped."),
    ] = None,
    every: Annotated[bool, Parameter(name="--all", help="All versions that were set.")] = False,
    common: Common = _DEFAULTS,
) -> None:
    """Show the appraisal policy: what installations must prove, and what their signals weigh."""
    with connected(common) as api:
        where = f"{api.base}/policy/versions" if every else f"{api.base}/policy"
        query: dict[str, Any] = {} if version is None else {"version": version}
        found = api.call("GET", where, **query)
    if common.json:
        show_json(found)
    elif every:
        columns = ("version", "set", "by", "reason")
        table(columns, [_line(each) for each in found])
    else:
        _show(found)


@app.command(
    name="set",
    help_epilogue="""Examples:
  livepin policy set --level self --dry-run
  livepin policy set --app shop=hardware_app --mode report --reason 'a trial first'
  livepin policy set --signal debugger=fatal --signal proxy=20
  livepin policy set --file policy.json
  livepin policy set --restore 3 --reason 'as before'""",
)
def set_(
    *,
    mode: Annotated[
        Literal["enforce", "report"] | None, Parameter(help="Whether anybody is refused.")
    ] = None,
    level: Annotated[Level | None, Parameter(help="What every app must prove.")] = None,
    apps: Annotated[
        tuple[str, ...],
        Parameter(
            name="--app",
            metavar="NAME=LEVEL",
            help="What one app must prove; NAME=any, as every app; NAME= takes it out.",
        ),
    ] = (),
    releases: Annotated[
        tuple[str, ...],
        Parameter(
            name="--release",
            metavar="NAME=on|off",
            help="Whether the app's files must be those of a registered release.",
        ),
    ] = (),
    other_apps: Annotated[
        Literal["refuse", "take"] | None,
        Parameter(help="Apps that the policy does not name, where it names any."),
    ] = None,
    signals: Annotated[
        tuple[str, ...],
        Parameter(
            name="--signal",
            metavar="NAME=WEIGHT",
            help="What a signal weighs: a number, fatal, or shipped.",
        ),
    ] = (),
    threshold: Annotated[
        int | None,
        Parameter(
            metavar="N",
            validator=Number(gte=1, lte=10_000),
            help="The sum of weights that refuses.",
        ),
    ] = None,
    fresh: Annotated[
        str | None, Parameter(metavar="TIME", help="How long a proof counts: 24h, 7d.")
    ] = None,
    relayable: Annotated[
        Literal["on", "off"] | None,
        Parameter(help="Whether evidence counts that may be another device's."),
    ] = None,
    file: Annotated[
        Path | None,
        Parameter(metavar="FILE", help="A policy in JSON, in place of that in force."),
    ] = None,
    restore: Annotated[
        int | None,
        Parameter(metavar="N", validator=Number(gte=0), help="Version N, in place of that."),
    ] = None,
    dry_run: Annotated[
        bool, Parameter(help="Only show what it would do to the installations of the last day.")
    ] = False,
    reason: Reason = "",
    common: Agreeing = _AGREEING,
) -> None:
    """Change the appraisal policy. What is not said stays.

    It shows what becomes of the installations that were seen in the last day, by
    their last evidence; and asks, if some that pass would be refused.
    """
    with connected(common) as api:
        held = api.call("GET", f"{api.base}/policy")
        policy = _base(api, held, file, restore)
        counts = None if fresh is None else lifetime(fresh, option="--fresh")
        said: dict[str, Any] = {
            "mode": mode,
            "other_apps": other_apps,
            "threshold": threshold,
            "fresh": None if counts is None else int(counts.total_seconds()),
            "relayable": None if relayable is None else relayable == "on",
        }
        policy |= {name: value for name, value in said.items() if value is not None}
        if level is not None:
            policy["level"] = None if level == "none" else level
        policy["apps"] = _apps(policy.get("apps", {}), apps, releases)
        policy["signals"] = _signals(policy.get("signals", {}), signals)
        if dry_run:
            effect = api.call("POST", f"{api.base}/policy/effect", {"policy": policy})
            if common.json:
                show_json(effect)
            else:
                _effect(effect, "would be")
            return
        body = {"policy": policy, "reason": reason}
        done = api.change("PUT", f"{api.base}/policy", body, expected=f'"{held["version"]}"')
    if common.json:
        show_json(done)
        return
    say(f"Policy {done['policy']['version']} is in force.", "green")
    _effect(done["effect"], "is")


@app.command(help_epilogue="Example:\n  livepin policy explain latest")
def explain(identity: Id, /, *, common: Common = _DEFAULTS) -> None:
    """Show how an installation is appraised by its last evidence, and which rule decides."""
    with connected(common) as api:
        found = api.call("GET", f"{api.base}/installations/{which(identity)}/appraisal")
    if common.json:
        show_json(found)
        return
    say(f"{found['installation']}  {found['app'] or ''}", style="bold")
    _verdict(found)
    needed = f", {found['needed']} is needed" if found["needed"] else ""
    say(f"  level       {found['level'] or 'none'}{needed}")
    say(f"  signals     {found['score']} of {found['threshold']}")
    for each in found["signals"]:
        detail = f": {each['detail']}" if each["detail"] else ""
        say(f"    {each['weight']!s:>5}  {each['signal']}{detail}")
    if found["unchecked"]:
        say(f"  not looked for: {', '.join(found['unchecked'])}")
    for each in found["refused"]:
        say(f"  refused     {each['format']}: {each['reason']}", "red")
    for each in found["proofs"]:
        _proof(each)


def _verdict(found: dict[str, Any]) -> None:
    words = {"pass": "passes", "report": "would be refused; it is only reported", "fail": "fails"}
    colours = {"pass": "green", "report": "yellow", "fail": "red"}
    why = f": {found['why']}" if found["why"] else ""
    say(
        f"  verdict     {words[found['verdict']]}{why}  (policy {found['policy']}, rule "
        f"{found['rule']})",
        colours[found["verdict"]],
    )
    decided = found["decided"]
    if decided is not None:
        until = f" until {minute(decided['expires'])}" if decided["expires"] else ""
        say(f"  but it is decided: {decided['verdict']}{until}, by {decided['author']}: "
            f"{decided['reason']}", "yellow")  # fmt: skip


def _proof(each: dict[str, Any]) -> None:
    relayed = "" if each["bound"] else ", relayable"
    old = "" if each["counts"] else ", does not count now"
    say(f"  proved      {each['level']}{relayed}{old}, at {minute(each['moment'])}, "
        f"by {each['format']}")  # fmt: skip
    for name, value in each["said"].items():
        say(f"    {name}: {value}")


def _base(api: Any, held: dict[str, Any], file: Path | None, restore: int | None) -> dict[str, Any]:
    """Return the policy that the change starts from."""
    if file is not None and restore is not None:
        raise CommandError("expected --file or --restore, not both")
    if restore is not None:
        found = api.call("GET", f"{api.base}/policy", version=restore)["policy"]
    elif file is not None:
        found = _parsed(file)
    else:
        found = held["policy"]
    return dict(found)


def _parsed(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(read_text(file))
    except ValueError as exc:
        raise CommandError(f"{file}: expected JSON: {exc}") from exc
    if not isinstance(found, dict):
        raise CommandError(
            f"{file}: expected an object", hint="livepin policy show --json has one: policy"
        )
    return found


def _apps(
    held: dict[str, Any], levels: tuple[str, ...], releases: tuple[str, ...]
) -> dict[str, Any]:
    found = {name: dict(each) for name, each in held.items()}
    for text in levels:
        name, level = _pair(text, "--app", "shop=hardware_app")
        if not level:
            found.pop(name, None)
        elif level == "any":
            found.setdefault(name, {}).pop("level", None)
        elif level not in _LEVELS[1:]:
            raise CommandError(
                f"--app: expected a level, found {level[:80]!r}", hint=", ".join(_LEVELS[1:])
            )
        else:
            found.setdefault(name, {})["level"] = level
    for text in releases:
        name, value = _pair(text, "--release", "shop=on")
        if value not in ("on", "off"):
            raise CommandError(f"--release: expected on or off, found {value[:80]!r}")
        found.setdefault(name, {})["release"] = value == "on"
    return found


def _signals(held: dict[str, Any], said: tuple[str, ...]) -> dict[str, Any]:
    found = dict(held)
    for text in said:
        name, weight = _pair(text, "--signal", "debugger=fatal")
        if weight == "shipped":
            found.pop(name, None)
        elif weight == "fatal" or weight.isdecimal():
            found[name] = weight if weight == "fatal" else int(weight[:9])
        else:
            raise CommandError(
                f"--signal: expected a weight, found {weight[:80]!r}",
                hint="a number up to 1000, fatal, or shipped",
            )
    return found


def _pair(text: str, option: str, example: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign or not name:
        raise CommandError(f"{option}: expected such as {example}, found {text[:80]!r}")
    return name, value


def _line(found: dict[str, Any]) -> tuple[str, ...]:
    return str(found["version"]), minute(found["created"]), found["author"], found["reason"]


def _show(found: dict[str, Any]) -> None:
    policy = found["policy"]
    if found["version"] == 0:
        say("The policy as shipped.", style="bold")
    else:
        why = f": {found['reason']}" if found["reason"] else ""
        say(f"Policy {found['version']}, set {minute(found['created'])} by {found['author']}{why}",
            style="bold")  # fmt: skip
    reported = policy.get("mode") == "report"
    say("  mode        " + ("report: nobody is refused" if reported else "enforce"))
    say(f"  level       {policy.get('level') or 'none'}")
    for name, each in policy.get("apps", {}).items():
        own = each.get("level") or "as every app"
        extra = ", of a registered release" if each.get("release") else ""
        extra += f", {each['mode']}" if each.get("mode") else ""
        say(f"    {name}: {own}{extra}")
    if policy.get("apps"):
        say(f"    other apps: {policy.get('other_apps', 'refuse')}")
    say(f"  threshold   {policy.get('threshold', 100)}")
    changed = policy.get("signals", {})
    rows = [
        (name, str(weight), "" if name in changed else "as shipped")
        for name, weight in found["weights"].items()
    ]
    table(("signal", "weight", ""), rows)


def _effect(found: dict[str, Any], verb: str) -> None:
    number = counted(found["installations"], "installation")
    if not found["installations"]:
        say("No installation was seen in the last day: nobody can tell what it does.")
        return
    say(f"Of {number} of the last day, {found['refused']} {verb} refused, or reported; "
        f"{found['refused_before']} before.")  # fmt: skip
    for each in found["newly"]:
        say(f"  {counted(each['installations'], 'installation')} of {each['app']}, "
            f"{each['example']} for one: {each['why']}", "yellow")  # fmt: skip
