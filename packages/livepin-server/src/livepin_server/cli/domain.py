"""livepin domain: which hosts are pinned."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter

from livepin_server.probing.probe import CertificateSeen, Target

from .api import Api, Changing, Common, connected
from .consequences import agree
from .domain_check import EXAMPLES as CHECK_EXAMPLES
from .domain_check import check
from .domain_settings import MODE_EXAMPLES, set_mode, set_stale, set_token
from .looking import (
    Level,
    address_of,
    choose,
    host_to_look_at,
    look_from_both,
    read_ca,
    show_chain,
    target,
)
from .output import (
    REFUSED,
    CommandError,
    counted,
    day,
    days_until,
    minute,
    say,
    show_json,
    some,
    table,
    warn,
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
    checked,
    elsewhere,
    name_of,
    path,
    pattern,
    quoted,
)

app = App(name="domain")
_DEFAULTS = Common()
_CHANGING = Changing()


@app.command(
    help_epilogue="""Examples:
  livepin domain add api.example.com
  livepin domain add api.internal --ca corp-ca.pem --connect 10.0.0.5:8443
  livepin domain add '*.example.com' --look-at www.example.com --pin-level intermediate
  livepin domain add shop.example.com --pin-set payments"""
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
    pin_set: Annotated[
        str | None, Parameter(metavar="NAME", help="Follow this pin set, as other domains do.")
    ] = None,
    mode: Annotated[
        Literal["enforce", "report"],
        Parameter(help="Whether apps refuse what does not match, or only report it."),
    ] = "enforce",
    token: Annotated[bool, Parameter(help="Apps need a token as well.")] = False,
    stream: Stream = "main",
    reason: Reason = "",
    common: Changing = _CHANGING,
) -> None:
    """Pin a host by the key that it serves now.

    Looks at the live endpoint from here and from the server, refuses if they see different
    chains, shows the verified chain, and publishes the pin.
    """
    name, authorities = pattern(host), read_ca(ca)
    _require_one_way(pin, pin_level, pin_set)
    needed = not (pin or pin_set)
    goal = _endpoint(name, port, connect, authorities, look_at, needed=needed)
    body: dict[str, Any] = {
        "pattern": name,
        "pins": [{"sha256": checked(each)} for each in pin],
        "pin_set": pin_set,
        "mode": mode,
        "token": token,
        "stream": stream,
        "reason": reason,
        "ca": authorities,
        "connect": address_of(goal) if goal and (port or connect) else None,
    }
    chain: list[CertificateSeen] = []
    agreed = False
    with connected(common) as api:
        _refuse_known(api, name, stream)
        if pin_set is not None:
            agreed = _agree_to_set(api, body, yes=common.yes, look_at=look_at)
        elif needed and goal is not None:
            chain, body["pins"] = _live_pins(api, goal, pin_level or "leaf", common)
        done = api.change("POST", f"{api.base}/domains", body, confirmed=agreed)
    if common.json:
        show_json(done | {"chain": chain})
    else:
        _say_added(done, chain, common.again + elsewhere(stream))
    for text in done["warnings"]:
        warn(text)


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
        ("domain", "mode", "token", "stale", "pin set", "pins", "backup"),
        [
            (
                each["pattern"],
                each["mode"],
                _yes(each["token"]),
                each["stale"],
                each["pin_set"] if each["shared"] else "own",
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
        others = fellows(api, found)
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
    say(f"  pin set   {set_of(found, others)}")
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
    common: Changing = _CHANGING,
) -> None:
    """Remove a domain: apps no longer pin it, from their next config on."""
    with connected(common) as api:
        where = f"{api.base}/domains/{path(host)}"
        done = api.change("DELETE", where, stream=stream, reason=reason)
    if common.json:
        show_json(done)
        return
    version = done["publication"]["version"]
    say(f"{pattern(host)} is no longer pinned, from config version {version} on.")


app.command(set_mode, help_epilogue=MODE_EXAMPLES)
app.command(set_token, help_epilogue="Example:\n  livepin domain set-token api.example.com on")
app.command(set_stale, help_epilogue="Example:\n  livepin domain set-stale pay.example.com refuse")
app.command(check, help_epilogue=CHECK_EXAMPLES)


def fellows(api: Api, domain: dict[str, Any]) -> list[str]:
    """Return the other domains that follow the pin set that a domain follows."""
    if not domain["shared"]:
        return []
    found = api.call("GET", f"{api.base}/pin-sets/{domain['pin_set']}", stream=domain["stream"])
    return [each for each in found["domains"] if each != domain["pattern"]]


def set_of(domain: dict[str, Any], others: list[str]) -> str:
    """Return which pin set a domain follows, and who does so as well."""
    if not domain["shared"]:
        return "its own"
    too = f", as {some(others)} {'does' if len(others) == 1 else 'do'}" if others else ""
    return f"{domain['pin_set']}{too}"


def warn_of_fellows(api: Api, where: str, stream: str) -> None:
    """Say for which other domains the pins of a domain will change as well."""
    domain = api.call("GET", f"{api.base}/domains/{where}", stream=stream)
    others = fellows(api, domain)
    if others:
        warn(
            f"{domain['pattern']} follows the pin set {domain['pin_set']}: "
            f"this holds for {some(others)} too"
        )


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


def _require_one_way(pin: Sequence[str], pin_level: Level | None, pin_set: str | None) -> None:
    given = {"--pin": bool(pin), "--pin-level": pin_level, "--pin-set": pin_set}
    found = [name for name, value in given.items() if value]
    if len(found) > 1:
        raise CommandError(
            f"expected {' or '.join(found)}, found both", hint="livepin domain add --help"
        )


def _endpoint(
    name: str,
    port: int | None,
    connect: str | None,
    ca: str | None,
    look_at: str | None,
    *,
    needed: bool,
) -> Target | None:
    """Return where to look at a host, or None for a `*.host` that nobody needs to look at."""
    if name.startswith("*.") and look_at is None and not needed:
        return None
    wanted = host_to_look_at(name, look_at, instead="--pin sha256/...")
    return target(wanted, port, connect, ca)


def _agree_to_set(api: Api, body: dict[str, Any], *, yes: bool, look_at: str | None) -> bool:
    """Ask first where a new domain may be refused by the pin set that it is to follow."""
    name = name_of("a pin set", body["pin_set"], such_as="payments")
    found = api.call("GET", f"{api.base}/pin-sets/{name}", stream=body["stream"])
    return agree([(None, body | {"pins": found["pins"]})], yes=yes, look_at=look_at)


def _live_pins(
    api: Api, goal: Target, level: Level, common: Common
) -> tuple[list[CertificateSeen], list[dict[str, Any]]]:
    """Return the chain that is served now, shown to a person, and the pin of its key."""
    chain = look_from_both(api, goal, json=common.json).chain
    if not common.json:
        show_chain(chain)
    chosen = choose(chain, level)
    return chain, [{"sha256": chosen.sha256, "label": level, "level": level}]


def _say_added(done: dict[str, Any], chain: Sequence[CertificateSeen], again: str) -> None:
    domain, version = done["domain"], done["publication"]["version"]
    name, mode = domain["pattern"], domain["mode"]
    if domain["shared"]:
        by = f" by the pin set {domain['pin_set']}"
        say(f"{name} is pinned ({mode}){by}, in config version {version}.", "green")
        return
    say(f"{name} is pinned ({mode}), in config version {version}.", "green")
    for each in chain:
        if each.sha256 == domain["pins"][0]["sha256"]:
            left = counted(days_until(each.not_after), "day")
            say(f"This certificate expires on {each.not_after:%Y-%m-%d}, in {left}; its key will")
            say("probably change then.")
    say("Pin a backup key now, and use it for the next certificate:")
    file = re.sub(r"[^a-z0-9.-]", "_", name.replace("*.", "any.")) + "-backup.key"
    say(f"  livepin pin new-backup {quoted(name)} --out {file}{again}")


def _refuse_known(api: Api, name: str, stream: str) -> None:
    known = api.call("GET", f"{api.base}/domains", stream=stream)
    if any(each["pattern"] == name for each in known):
        raise CommandError(
            f"{name} is pinned already",
            hint=f"see: livepin domain show {quoted(name)}; "
            f"to add a key: livepin pin add {quoted(name)} PIN",
            code=REFUSED,
        )


def _yes(value: object) -> str:
    return "yes" if value else "no"
