"""livepin domain: which hosts are pinned."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter
from livepin.hostnames import candidates
from msgspec import structs

from livepin_server.probing.judge import judge
from livepin_server.probing.probe import Observation, Target, probe

from .api import Api, Common, connected
from .looking import (
    Level,
    address_of,
    choose,
    host_to_look_at,
    look_from_both,
    read_ca,
    show_chain,
    target,
    why,
)
from .output import (
    FOUND,
    REFUSED,
    UNREACHABLE,
    CommandError,
    confirm,
    counted,
    day,
    days_until,
    minute,
    say,
    show_json,
    table,
    working,
)
from .parameters import (
    Ca,
    Connect,
    Host,
    LookAt,
    PinText,
    Port,
    Reason,
    Stream,
    Yes,
    checked,
    path,
    pattern,
    quoted,
)

app = App(name="domain", help="Which hosts are pinned.")
_DEFAULTS = Common()
_AT_ONCE = 16  # endpoints that are looked at


@app.command(
    help_epilogue="""Examples:
  livepin domain add api.example.com
  livepin domain add api.internal --ca corp-ca.pem --connect 10.0.0.5:8443
  livepin domain add '*.example.com' --look-at www.example.com --pin-level intermediate"""
)
def add(
    host: Host,
    /,
    *,
    port: Port = None,
    connect: Connect = None,
    ca: Ca = None,
    look_at: LookAt = None,
    pin_level: Annotated[
        Level | None, Parameter(help="Whose key of the chain to pin; else the leaf's.")
    ] = None,
    pin: Annotated[
        tuple[PinText, ...],
        Parameter(metavar="PIN", help="Pin this key instead of looking; may be given again."),
    ] = (),
    mode: Annotated[
        Literal["enforce", "report"],
        Parameter(help="Whether apps refuse what does not match, or only report it."),
    ] = "enforce",
    token: Annotated[bool, Parameter(help="Apps need a token as well.")] = False,
    stream: Stream = "main",
    reason: Reason = "",
    common: Common = _DEFAULTS,
) -> None:
    """Pin a host by the key that it serves now.

    Looks at the live endpoint from here and from the server, refuses if they see different
    chains, shows the verified chain, and publishes the pin.
    """
    name, authorities = pattern(host), read_ca(ca)
    if pin and pin_level is not None:
        raise CommandError("expected --pin or --pin-level, found both")
    pins = [{"sha256": checked(each)} for each in pin]
    blind = pins and look_at is None and name.startswith("*.")
    wanted = None if blind else host_to_look_at(name, look_at, instead="--pin sha256/...")
    goal = None if wanted is None else target(wanted, port, connect, authorities)
    body: dict[str, Any] = {
        "pattern": name,
        "pins": pins,
        "mode": mode,
        "token": token,
        "stream": stream,
        "reason": reason,
        "ca": authorities,
        "connect": address_of(goal) if goal and (port or connect) else None,
    }
    with connected(common) as api:
        _refuse_known(api, name, stream)
        chain = []
        if not pins and goal is not None:
            here = look_from_both(api, goal, json=common.json)
            chain = here.chain
            if not common.json:
                show_chain(chain)
            chosen = choose(chain, pin_level or "leaf")
            level = pin_level or "leaf"
            body["pins"] = [{"sha256": chosen.sha256, "label": level, "level": level}]
        done = api.call("POST", f"{api.base}/domains", body)
    if common.json:
        show_json(done | {"chain": chain})
        return
    say(f"{name} is pinned ({mode}), in config version {done['publication']['version']}.", "green")
    for each in chain:
        if each.sha256 == done["domain"]["pins"][0]["sha256"]:
            left = counted(days_until(each.not_after), "day")
            say(f"This certificate expires on {each.not_after:%Y-%m-%d}, in {left}; its key will")
            say("probably change then.")
    say("Pin a backup key now, and use it for the next certificate:")
    file = re.sub(r"[^a-z0-9.-]", "_", name.replace("*.", "any.")) + "-backup.key"
    again = common.again + ("" if stream == "main" else f" --stream {quoted(stream)}")
    say(f"  livepin pin new-backup {quoted(name)} --out {file}{again}")


@app.command(name="list", help_epilogue="Example:\n  livepin domain list --json")
def list_(*, stream: Stream = "main", common: Common = _DEFAULTS) -> None:
    """Show the domains of a stream."""
    with connected(common) as api:
        found = api.call("GET", f"{api.base}/domains", stream=stream)
    if common.json:
        show_json(found)
        return
    if not found:
        say(f"no domains yet; add one with: livepin domain add HOST{common.again}")
        return
    table(
        ("domain", "mode", "token", "stale", "pins", "backup"),
        [
            (
                each["pattern"],
                each["mode"],
                _yes(each["token"]),
                each["stale"],
                str(len(each["pins"])),
                "yes" if any(pin["backup"] for pin in each["pins"]) else "none",
            )
            for each in found
        ],
    )


@app.command(help_epilogue="Example:\n  livepin domain show api.example.com")
def show(host: Host, /, *, stream: Stream = "main", common: Common = _DEFAULTS) -> None:
    """Show one domain with its pins."""
    with connected(common) as api:
        found = api.call("GET", f"{api.base}/domains/{path(host)}", stream=stream)
    if common.json:
        show_json(found)
        return
    say(found["pattern"], style="bold")
    say(f"  mode      {found['mode']}")
    say(f"  token     {_yes(found['token'])}")
    say(f"  stale     {found['stale']}")
    say(f"  stream    {found['stream']}")
    say(f"  look at   {found['connect'] or 'port 443'}")
    say(f"  CA        {'a private one' if found['ca'] else 'those of the system'}")
    say(f"  added     {minute(found['created'])}")
    show_pins(found["pins"])


@app.command(
    help_epilogue="Example:\n  livepin domain remove old.example.com --reason 'switched off'"
)
def remove(
    host: Host,
    /,
    *,
    stream: Stream = "main",
    reason: Reason = "",
    common: Common = _DEFAULTS,
) -> None:
    """Remove a domain: apps no longer pin it, from their next config on."""
    with connected(common) as api:
        done = api.call("DELETE", f"{api.base}/domains/{path(host)}", stream=stream, reason=reason)
    if common.json:
        show_json(done)
        return
    version = done["publication"]["version"]
    say(f"{pattern(host)} is no longer pinned, from config version {version} on.")


@app.command(
    help_epilogue="""Examples:
  livepin domain set-mode api.example.com enforce
  livepin domain set-mode api.example.com off --reason 'CHG-1234' --yes"""
)
def set_mode(
    host: Host,
    mode: Annotated[
        Literal["enforce", "report", "off"],
        Parameter(
            name="MODE", help="Refuse what does not match, only report it, or do not look at pins."
        ),
    ],
    /,
    *,
    yes: Yes = False,
    stream: Stream = "main",
    reason: Reason = "",
    common: Common = _DEFAULTS,
) -> None:
    """Say what apps do about a key that is not pinned.

    What weakens the protection asks first.
    """
    name = pattern(host)
    weaker = {
        "report": f"apps will connect to {name} whatever key it has, and only report it",
        "off": f"apps will connect to {name} whatever key it has",
    }
    _set(
        host,
        "mode",
        mode,
        ("off", "report", "enforce"),
        weaker.get(mode, ""),
        yes,
        stream,
        reason,
        common,
    )


@app.command(help_epilogue="Example:\n  livepin domain set-token api.example.com on")
def set_token(
    host: Host,
    token: Annotated[
        Literal["on", "off"], Parameter(name="TOKEN", help="Whether apps send a token there.")
    ],
    /,
    *,
    yes: Yes = False,
    stream: Stream = "main",
    reason: Reason = "",
    common: Common = _DEFAULTS,
) -> None:
    """Say whether apps need a token for a domain as well.

    What weakens the protection asks first.
    """
    weaker = f"apps will send no token to {pattern(host)}"
    _set(
        host,
        "token",
        {"on": True, "off": False}[token],
        (False, True),
        weaker,
        yes,
        stream,
        reason,
        common,
    )


@app.command(help_epilogue="Example:\n  livepin domain set-stale pay.example.com refuse")
def set_stale(
    host: Host,
    stale: Annotated[
        Literal["enforce", "refuse"],
        Parameter(name="STALE", help="Go on by the last pins, or refuse after the time of grace."),
    ],
    /,
    *,
    yes: Yes = False,
    stream: Stream = "main",
    reason: Reason = "",
    common: Common = _DEFAULTS,
) -> None:
    """Say what apps do where they could not get a config for too long.

    What weakens the protection asks first.
    """
    weaker = f"apps will connect to {pattern(host)} by old pins, however long they get no config"
    _set(host, "stale", stale, ("enforce", "refuse"), weaker, yes, stream, reason, common)


@app.command(
    help_epilogue="""Examples:
  livepin domain check
  livepin domain check api.example.com --connect 192.0.2.7:443"""
)
def check(
    host: Annotated[
        str | None, Parameter(help="A host; else all domains that name exactly one.")
    ] = None,
    /,
    *,
    port: Port = None,
    connect: Connect = None,
    ca: Ca = None,
    stream: Stream = "main",
    common: Common = _DEFAULTS,
) -> None:
    """Look at live endpoints from here, and say whether the pins match.

    The exit code is 1 if apps would be refused, else 4 if no chain could be verified.
    """
    if host is None and (port or connect):
        raise CommandError("--port and --connect go with a host", hint="livepin domain check HOST")
    authorities = read_ca(ca)
    named = None if host is None else target(host, port, connect, authorities)
    with connected(common) as api:
        domains = {d["pattern"]: d for d in api.call("GET", f"{api.base}/domains", stream=stream)}
    if named is None:
        wanted = [
            target(name, None, None, authorities) for name in domains if not name.startswith("*.")
        ]
    else:
        wanted = [named]
    if not wanted:
        raise CommandError("there is no exact domain to check", hint="livepin domain check HOST")
    keep = port is not None or connect is not None
    covering = [_covering(each.host, domains) for each in wanted]
    goals = [_goal(*pair, keep=keep) for pair in zip(wanted, covering, strict=True)]
    what = goals[0].host if len(goals) == 1 else f"{len(goals)} endpoints"
    with working(f"looking at {what}"), ThreadPoolExecutor(_AT_ONCE) as pool:
        seen = list(pool.map(probe, goals))
    results = [_result(*each) for each in zip(goals, seen, covering, strict=True)]
    if common.json:
        show_json(results)
    else:
        _show_results(results)
    if any(each["verified"] and not each["passes"] for each in results):
        raise SystemExit(FOUND)
    if not all(each["passes"] for each in results):
        raise SystemExit(UNREACHABLE)


def show_pins(pins: list[dict[str, Any]]) -> None:
    """Print pins as a table; the limits of their time only where there are any."""
    timed = any(pin["not_before"] or pin["not_after"] for pin in pins)
    table(
        ("pin", "label", "backup", "added", *(("from", "until") if timed else ())),
        [
            (
                pin["sha256"],
                pin["label"] or "-",
                _yes(pin["backup"]),
                day(pin["created"]),
                *((day(pin["not_before"]), day(pin["not_after"])) if timed else ()),
            )
            for pin in pins
        ],
    )


def _set(
    host: str,
    member: str,
    wanted: Any,
    from_weak_to_strong: Sequence[Any],
    weaker: str,
    yes: bool,
    stream: str,
    reason: str,
    common: Common,
) -> None:
    where, rank = path(host), from_weak_to_strong.index
    with connected(common) as api:
        before = api.call("GET", f"{api.base}/domains/{where}", stream=stream)
        if rank(wanted) < rank(before[member]):
            confirm(weaker, yes=yes)
        body = {member: wanted, "reason": reason}
        done = api.call("PATCH", f"{api.base}/domains/{where}/settings", body, stream=stream)
    if common.json:
        show_json(done)
        return
    (change,) = done["publication"]["changed"]
    version = done["publication"]["version"]
    say(f"{change.removeprefix('* domain ')}, from config version {version} on.")


def _refuse_known(api: Api, name: str, stream: str) -> None:
    known = api.call("GET", f"{api.base}/domains", stream=stream)
    if any(each["pattern"] == name for each in known):
        raise CommandError(
            f"{name} is pinned already",
            hint=f"see: livepin domain show {quoted(name)}; "
            f"to add a key: livepin pin add {quoted(name)} PIN",
            code=REFUSED,
        )


def _covering(host: str, domains: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    for each in candidates(host):
        if each in domains:
            return domains[each]
    raise CommandError(f"no domain covers {host}", hint=f"livepin domain add {host}", code=REFUSED)


def _goal(wanted: Target, domain: dict[str, Any], *, keep: bool) -> Target:
    """Return where to look: what the command line says, else what the domain was added with."""
    connect = wanted.connect if keep else domain["connect"]
    ca = wanted.ca or domain["ca"]
    return Target(host=wanted.host, port=wanted.port, connect=connect, ca=ca)


def _result(goal: Target, seen: Observation, domain: dict[str, Any]) -> dict[str, Any]:
    found = {"host": goal.host, "pattern": domain["pattern"], "verified": seen.verified}
    if not seen.verified:
        notes = [why(seen, goal)]
        return found | {"passes": False, "matched": None, "summary": seen.error, "notes": notes}
    now = datetime.now(timezone.utc)
    in_force = [pin for pin in domain["pins"] if _in_force(pin, now)]
    # Pins are added to the pattern, which is not always the host that was looked at.
    named = structs.replace(seen, host=quoted(domain["pattern"]))
    return found | dict(judge(named, in_force, mode=domain["mode"]))


def _in_force(pin: dict[str, Any], now: datetime) -> bool:
    start, end = pin["not_before"], pin["not_after"]
    if start is not None and now < datetime.fromisoformat(start):
        return False
    return end is None or now < datetime.fromisoformat(end)


def _show_results(results: list[dict[str, Any]]) -> None:
    for each in results:
        style = "green" if each["passes"] else "bold red"
        say(f"{each['host']}: {each['summary']}", style)
        for line in each["notes"]:
            say(f"  {line}")


def _yes(value: object) -> str:
    return "yes" if value else "no"
