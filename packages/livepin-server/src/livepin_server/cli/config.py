"""livepin config and livepin bootstrap: what was published, and what apps embed."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Any

import msgspec
from cyclopts import App, Parameter
from cyclopts.validators import Number
from livepin.bootstrap import Bootstrap
from livepin.documents.config import check_url
from livepin.errors import LivepinError

from livepin_server.services.naming import is_shared

from .api import Changing, Common, connected
from .config_diff import EXAMPLES as DIFF_EXAMPLES
from .config_diff import diff, require_version
from .output import CommandError, day, minute, replace, say, show_json, table, warn, write
from .parameters import Reason, Stream

app = App(name="config")
_DEFAULTS = Common()
_CHANGING = Changing()

_MOST_LINES = 12  # of a version, in the history
_MOST_BOOTSTRAP = 4 * 1024 * 1024  # bytes


@app.command(help_epilogue="Examples:\n  livepin config show\n  livepin config show 12 --json")
def show(
    version: Annotated[str, Parameter(help="A version number, or latest.")] = "latest",
    /,
    *,
    stream: Stream = "main",
    common: Common = _DEFAULTS,
) -> None:
    """Show one config version."""
    require_version(version, common)
    with connected(common) as api:
        found = api.call("GET", f"{api.base}/configs/{version}", stream=stream)
    if common.json:
        show_json(found)
        return
    what, payload = found["publication"], found["payload"]
    say(f"config version {what['version']} of {what['account']}/{what['stream']}", style="bold")
    say(f"  root      {what['root_version']}")
    say(f"  issued    {minute(what['issued'])} by {what['author']}")
    say(f"  expires   {minute(what['expires'])}")
    say(f"  reason    {what['reason'] or '-'}")
    say(f"  delivery  {', '.join(payload['delivery']['urls'])}")
    say(f"  recovery  {', '.join(payload['delivery']['recovery_urls']) or 'none'}")
    rows = [row for domain in payload["domains"] for row in _rows(domain, payload["pin_sets"])]
    if not rows:
        say("  no domains")
        return
    table(("domain", "mode", "pin"), rows)
    sets = {name: pins for name, pins in payload["pin_sets"].items() if is_shared(name)}
    if sets:
        say("")
        table(("pin set", "pin"), [(name, _pin(each)) for name in sets for each in sets[name]])


@app.command(help_epilogue="Example:\n  livepin config log --limit 5")
def log(
    *,
    limit: Annotated[
        int,
        Parameter(
            metavar="N", validator=Number(gte=1, lte=1000), help="How many, the newest first."
        ),
    ] = 20,
    stream: Stream = "main",
    common: Common = _DEFAULTS,
) -> None:
    """Show the history: every version, who made it, why, and what it changed."""
    with connected(common) as api:
        found = api.call("GET", f"{api.base}/configs", stream=stream, limit=limit)["items"]
    if common.json:
        show_json(found)
        return
    for each in found:
        when = f"{minute(each['issued'])} by {each['author']}, expires {day(each['expires'])}"
        say(f"version {each['version']}, root {each['root_version']}: {when}", style="bold")
        if each["reason"]:
            say(f"  {each['reason']}")
        for line in each["changed"][:_MOST_LINES]:
            say(f"  {line}", "green" if line.startswith("+") else "")
        if len(each["changed"]) > _MOST_LINES:
            say(f"  and {len(each['changed']) - _MOST_LINES} more, which --json shows")


@app.command(
    help_epilogue="""Examples:
  livepin config restore 41 --reason 'the pins of before'
  livepin config restore 41 --stage"""
)
def restore(
    version: Annotated[int, Parameter(help="A version number; livepin config log shows them.")],
    /,
    *,
    stream: Stream = "main",
    reason: Reason = "",
    common: Changing = _CHANGING,
) -> None:
    """Publish the domains and pins of an old version as a new one.

    Apps go forward to it. Where configs are delivered stays as it is, and labels of pins that
    are gone do not come back.
    """
    with connected(common) as api:
        latest = api.call("GET", f"{api.base}/configs/latest", stream=stream)
        done = api.change(
            "POST",
            f"{api.base}/configs/{version}/restore",
            {"reason": reason},
            expected=f'"{latest["publication"]["version"]}"',
            stream=stream,
        )
    if common.json:
        show_json(done)
        return
    new = done["publication"]["version"]
    say(f"config version {new} has the domains and pins of version {version}.", "green")


app.command(diff, help_epilogue=DIFF_EXAMPLES)


def bootstrap(
    *,
    out: Annotated[
        Path | None, Parameter(metavar="FILE", help="A file to write; else it is printed.")
    ] = None,
    string: Annotated[bool, Parameter(help="As one string, to paste into code.")] = False,
    dev: Annotated[bool, Parameter(help="Allow delivery URLs of this machine.")] = False,
    stream: Stream = "main",
    common: Common = _DEFAULTS,
) -> None:
    """Print what an app embeds: root and config, and with them the delivery URLs. No secret."""
    with connected(common) as api:
        members = api.call("GET", f"{api.base}/bootstrap", stream=stream)
        shown = api.call("GET", f"{api.base}/configs/latest", stream=stream)
    _check_delivery(shown["payload"]["delivery"], dev=dev, again=common.again)
    found = Bootstrap.parse(msgspec.json.encode(members))
    text = found.to_text() if string else found.to_json().decode()
    version = shown["publication"]["version"]
    if out is not None:
        replace(out, text + "\n", over=_is_bootstrap, what="bootstrap")
        if common.json:
            show_json({"file": str(out), "version": version})
        else:
            say(f"{out} holds config version {version}; embed it in the app. It holds no secret.")
    elif common.json and string:
        show_json({"bootstrap": text, "version": version})
    else:
        write(text)


def _rows(domain: dict[str, Any], pin_sets: dict[str, Any]) -> list[tuple[str, str, str]]:
    name = domain["pin_set"]
    pins = [f"pin set {name}"] if is_shared(name) else [_pin(each) for each in pin_sets[name]]
    return [(domain["pattern"], domain["mode"], each) for each in pins]


def _pin(found: dict[str, Any]) -> str:
    return f"sha256/{found.get('sha256', '?')}"


def _check_delivery(delivery: dict[str, Any], *, dev: bool, again: str) -> None:
    here = [url for url in delivery["urls"] if _is_here(url)]
    if here and not dev:
        raise CommandError(
            f"apps elsewhere cannot reach the delivery URL {here[0]}",
            hint=f"for trials on this machine: --dev; else: livepin delivery set --url URL{again}",
        )
    if not delivery["recovery_urls"]:
        warn("there is no recovery URL: if the delivery channel breaks, apps keep their pins")


def _is_here(url: str) -> bool:
    host = check_url(url, schemes=("https",))
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
    return address.is_loopback or address.is_unspecified


def _is_bootstrap(path: Path) -> bool:
    with path.open("rb") as file:
        found = file.read(_MOST_BOOTSTRAP)
    try:
        Bootstrap.parse(found.strip())
    except LivepinError:
        return not found.strip()
    return True
