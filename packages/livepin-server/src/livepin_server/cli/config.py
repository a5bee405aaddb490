"""livepin config and livepin bootstrap: what was published, and what apps embed."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import msgspec
from cyclopts import App, Parameter
from livepin.bootstrap import Bootstrap

from .api import Common, connected
from .domain import Stream
from .output import CommandError, day, say, show_json, table, warn

app = App(name="config", help="What was published.")
_DEFAULTS = Common()


@app.command
def show(
    version: Annotated[str, Parameter(help="A version number.")] = "latest",
    *,
    stream: Stream = "main",
    common: Common = _DEFAULTS,
) -> None:
    """Show one config version."""
    with connected(common) as api:
        found = api.call("GET", f"{api.base}/configs/{version}", stream=stream)
    if common.json:
        show_json(found)
        return
    what, payload = found["publication"], found["payload"]
    say(f"config version {what['version']} of {what['account']}/{what['stream']}", style="bold")
    say(f"  under root  {what['root_version']}")
    say(f"  issued      {what['issued']} by {what['author']}")
    say(f"  expires     {what['expires']}")
    say(f"  reason      {what['reason'] or '-'}")
    say(f"  delivered   {', '.join(payload['delivery']['urls'])}")
    say(f"  recovery    {', '.join(payload['delivery']['recovery_urls']) or 'none'}")
    table(
        ("domain", "mode", "pins"),
        [
            (
                domain["pattern"],
                domain["mode"],
                "\n".join(
                    f"sha256/{pin.get('sha256', '?')}"
                    for pin in payload["pin_sets"][domain["pin_set"]]
                ),
            )
            for domain in payload["domains"]
        ],
    )


@app.command
def log(
    *,
    limit: Annotated[int, Parameter(help="How many, the newest first.")] = 20,
    stream: Stream = "main",
    common: Common = _DEFAULTS,
) -> None:
    """Show the history: every version, who made it, and why."""
    with connected(common) as api:
        found = api.call("GET", f"{api.base}/configs", stream=stream, limit=limit)["items"]
    if common.json:
        show_json(found)
        return
    table(
        ("version", "root", "issued", "expires", "by", "reason", "changes"),
        [
            (
                str(each["version"]),
                str(each["root_version"]),
                each["issued"],
                day(each["expires"]),
                each["author"],
                each["reason"] or "-",
                "\n".join(each["changed"]) or "-",
            )
            for each in found
        ],
    )


def bootstrap(
    *,
    out: Annotated[Path | None, Parameter(help="A file to write; else it is printed.")] = None,
    string: Annotated[bool, Parameter(negative="", help="As one string.")] = False,
    dev: Annotated[bool, Parameter(negative="", help="Allow loopback delivery URLs.")] = False,
    stream: Stream = "main",
    common: Common = _DEFAULTS,
) -> None:
    """Print what an app embeds: root, config, and with it the delivery URLs. No secret.

    Example: livepin bootstrap --out bootstrap.json
    """
    with connected(common) as api:
        members = api.call("GET", f"{api.base}/bootstrap", stream=stream)
        shown = api.call("GET", f"{api.base}/configs/latest", stream=stream)
    delivery = shown["payload"]["delivery"]
    _check_delivery(delivery, dev=dev)
    found = Bootstrap.parse(msgspec.json.encode(members))
    text = found.to_text() if string else found.to_json().decode()
    if out is None:
        say(text)
        return
    try:
        out.write_text(text + "\n")
    except OSError as exc:
        raise CommandError(f"cannot write {out}: {exc.strerror}") from exc
    version = shown["publication"]["version"]
    if common.json:
        show_json({"file": str(out), "version": version})
    else:
        say(f"{out} holds config version {version}; embed it in the app. It holds no secret.")


def _check_delivery(delivery: dict[str, Any], *, dev: bool) -> None:
    loopback = [url for url in delivery["urls"] if _is_loopback(url)]
    if loopback and not dev:
        raise CommandError(
            f"apps elsewhere cannot reach the delivery URL {loopback[0]}",
            hint="for trials on this machine: --dev; else: livepin delivery set --url URL",
        )
    if not delivery["recovery_urls"]:
        warn("there is no recovery URL: if the delivery channel breaks, apps keep their pins")


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
