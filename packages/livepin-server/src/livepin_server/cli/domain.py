"""livepin domain: which hosts are pinned."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote

from cyclopts import App, Parameter
from livepin.errors import MalformedError
from livepin.hostnames import candidates, normalise
from livepin.pins import parse_fingerprint

from livepin_server.probing.judge import judge

from .api import Common, connected
from .looking import Level, choose, compare, look, observation, show_chain, target
from .output import FOUND, CommandError, days_until, say, show_json, table

app = App(name="domain", help="Which hosts are pinned.")

Stream = Annotated[str, Parameter(help="The stream of configs.")]
Reason = Annotated[str, Parameter(help="Kept in the history.")]
_DEFAULTS = Common()


@app.command
def add(
    host: str,
    *,
    port: int = 443,
    connect: Annotated[str | None, Parameter(help="HOST:PORT to connect to instead.")] = None,
    ca: Annotated[Path | None, Parameter(help="PEM file of a private CA.")] = None,
    pin_level: Annotated[Level, Parameter(help="Whose key to pin.")] = "leaf",
    pin: Annotated[
        tuple[str, ...], Parameter(help="sha256/BASE64, instead of looking.", negative="")
    ] = (),
    mode: Literal["enforce", "report"] = "enforce",
    token: Annotated[bool, Parameter(negative="", help="Apps need a token as well.")] = False,
    stream: Stream = "main",
    reason: Reason = "",
    common: Common = _DEFAULTS,
) -> None:
    """Pin a host by the key that it serves now.

    Looks at the live endpoint from here and from the server, refuses if they differ, shows the
    verified chain, publishes.

    Examples: livepin domain add api.example.com
    livepin domain add api.internal --ca corp-ca.pem --connect 10.0.0.5:8443
    """
    with connected(common) as api:
        wanted = None if pin else target(host, port, connect, ca)
        leaf = None
        if wanted is None:
            pins = [{"sha256": checked(each)} for each in pin]
        else:
            here = look(wanted)
            members = {n: getattr(wanted, n) for n in ("host", "port", "connect", "ca")}
            compare(here, observation(api.call("POST", f"{api.base}/probes", members)))
            if not common.json:
                show_chain(here.chain)
            chosen = choose(here.chain, pin_level)
            pins, leaf = [{"sha256": chosen.sha256, "label": pin_level}], here.chain[0]
        body: dict[str, Any] = {
            "pattern": host if wanted is None else wanted.host,
            "pins": pins,
            "mode": mode,
            "token": token,
            "stream": stream,
            "reason": reason,
        }
        if wanted is not None:
            address = (
                None if (port == 443 and connect is None) else "{}:{}".format(*wanted.address())
            )
            body |= {"connect": address, "ca": wanted.ca}
        done = api.call("POST", f"{api.base}/domains", body)
    if common.json:
        show_json(done)
        return
    name, version = done["domain"]["pattern"], done["publication"]["version"]
    say(f"{name} is pinned ({mode}), in config version {version}.", style="bold green")
    if leaf is not None and pin_level == "leaf":
        left = days_until(leaf.not_after.isoformat())
        say(f"Its certificate expires on {leaf.not_after:%Y-%m-%d}, in {left} days; its key will")
        say("probably change then. Pin a backup key now, and use it for the next certificate:")
    else:
        say("Pin a backup key now:")
    say(f"  livepin pin new-backup {name} --out {name.replace('*', '_')}-backup.key")


@app.command(name="list")
def list_(*, stream: Stream = "main", common: Common = _DEFAULTS) -> None:
    """Show the domains of a stream."""
    with connected(common) as api:
        found = api.call("GET", f"{api.base}/domains", stream=stream)
    if common.json:
        show_json(found)
        return
    if not found:
        say("no domains yet; add one with: livepin domain add HOST")
        return
    table(
        ("domain", "mode", "token", "stale", "pins", "backup"),
        [
            (
                each["pattern"],
                each["mode"],
                "yes" if each["token"] else "no",
                each["stale"],
                str(len(each["pins"])),
                "yes" if any(pin["backup"] for pin in each["pins"]) else "none",
            )
            for each in found
        ],
    )


@app.command
def show(host: str, *, stream: Stream = "main", common: Common = _DEFAULTS) -> None:
    """Show one domain with its pins."""
    with connected(common) as api:
        found = api.call("GET", f"{api.base}/domains/{path(host)}", stream=stream)
    if common.json:
        show_json(found)
        return
    say(found["pattern"], style="bold")
    for name in ("mode", "token", "stale", "stream", "connect", "created"):
        say(f"  {name:8} {found[name]}")
    show_pins(found["pins"])


@app.command
def remove(
    host: str, *, stream: Stream = "main", reason: Reason = "", common: Common = _DEFAULTS
) -> None:
    """Remove a domain: apps no longer pin it."""
    with connected(common) as api:
        done = api.call("DELETE", f"{api.base}/domains/{path(host)}", stream=stream, reason=reason)
    if common.json:
        show_json(done)
        return
    say(f"{host} is no longer pinned, from config version {done['publication']['version']} on.")


@app.command
def check(
    host: Annotated[str | None, Parameter(help="One host; all exact domains if not given.")] = None,
    *,
    port: int = 443,
    connect: str | None = None,
    ca: Path | None = None,
    stream: Stream = "main",
    common: Common = _DEFAULTS,
) -> None:
    """Look at live endpoints from here, and say whether the pins match them.

    The exit code is 1 if apps would be refused.
    """
    with connected(common) as api:
        domains = {d["pattern"]: d for d in api.call("GET", f"{api.base}/domains", stream=stream)}
    hosts = [host] if host else [name for name in domains if not name.startswith("*.")]
    if not hosts:
        raise CommandError("there is no exact domain to check", hint="livepin domain check HOST")
    results = [_check_one(name, domains, port, connect, ca) for name in hosts]
    if common.json:
        show_json(results)
    else:
        for each in results:
            style = "green" if each["passes"] else "bold red"
            say(f"{each['host']}: {each['summary']}", style=style)
            for line in each["notes"]:
                say(f"  {line}")
    if not all(each["passes"] for each in results):
        raise SystemExit(FOUND)


def show_pins(pins: list[dict[str, Any]]) -> None:
    """Print pins as a table."""
    table(
        ("pin", "label", "backup", "from", "until", "added", "by"),
        [
            (
                pin["sha256"],
                pin["label"] or "-",
                "yes" if pin["backup"] else "no",
                (pin["not_before"] or "-")[:10],
                (pin["not_after"] or "-")[:10],
                pin["created"][:10],
                pin["author"],
            )
            for pin in pins
        ],
    )


def _check_one(
    host: str, domains: dict[str, Any], port: int, connect: str | None, ca: Path | None
) -> dict[str, Any]:
    try:
        name = normalise(host)
    except MalformedError as exc:
        raise CommandError(str(exc), hint=exc.hint) from exc
    domain = next((domains[p] for p in candidates(name) if p in domains), None)
    if domain is None:
        raise CommandError(f"no domain covers {name}", hint=f"livepin domain add {name}")
    wanted = target(name, port, connect, ca)
    if connect is None and domain["connect"]:
        wanted = target(name, port, domain["connect"], None)
    if ca is None and domain["ca"]:
        wanted = type(wanted)(
            host=wanted.host, port=wanted.port, connect=wanted.connect, ca=domain["ca"]
        )
    verdict = judge(look(wanted), domain["pins"], mode=domain["mode"])
    return {"host": name, "pattern": domain["pattern"], **verdict}


def checked(pin: str) -> str:
    """Return a pin that is written as it should be."""
    try:
        parse_fingerprint(pin)
    except MalformedError as exc:
        raise CommandError(str(exc), hint=exc.hint) from exc
    return pin


def path(host: str) -> str:
    """Return a host or pattern as a segment of a URL path."""
    return quote(host, safe="*")
