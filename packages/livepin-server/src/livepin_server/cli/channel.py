"""livepin channel: who is told, and how."""

from __future__ import annotations

import time
from typing import Annotated, Any

from cyclopts import App, Parameter
from cyclopts.validators import Number

from .api import Api, Common, connected
from .channel_add import ChannelName
from .channel_add import app as add
from .output import (
    FOUND,
    UNREACHABLE,
    counted,
    minute,
    progress,
    say,
    show_json,
    table,
    warn,
    working,
)
from .parameters import Reason, name_of

app = App(name="channel")
app.command(add)

_DEFAULTS = Common()
_PAUSE = 0.25  # seconds


@app.command(name="list", help_epilogue="Example:\n  livepin channel list")
def list_(*, common: Common = _DEFAULTS) -> None:
    """Show the channels, and what waits or was given up in each. Secrets are never shown."""
    with connected(common) as api:
        found = api.call("GET", f"{api.base}/monitor/channels")
    if common.json:
        show_json(found)
        return
    if not found:
        say("There is no channel: nobody is told of anything.")
        say(f"  livepin channel add email ops --to ops@example.com{common.again}")
        return
    table(
        ("channel", "kind", "leads to", "severity", "tags", "waiting", "dead", "state"),
        [
            (
                each["name"],
                each["kind"],
                each["target"],
                each["severity"],
                ",".join(each["tags"]) or "all",
                str(each["waiting"]),
                str(each["dead"]),
                _state(each),
            )
            for each in found
        ],
        [_style(each) for each in found],
    )
    for each in found:
        if each["dead"]:
            warn(
                f"{each['name']} could not deliver {counted(each['dead'], 'notice')}: "
                f"livepin channel dead {each['name']}{common.again}"
            )


@app.command(name="test", help_epilogue="Example:\n  livepin channel test ops")
def try_(
    name: ChannelName,
    /,
    *,
    wait: Annotated[
        int,
        Parameter(
            metavar="SECONDS", validator=Number(gte=1, lte=600), help="How long to wait for it."
        ),
    ] = 60,
    common: Common = _DEFAULTS,
) -> None:
    """Send a notice that says it is a test, wait, and show what became of it.

    The exit code is 1 if it could not be delivered to all, 4 if that is not known yet.
    """
    name_of("a channel", name, such_as="ops")
    with connected(common) as api:
        posted = api.call("POST", f"{api.base}/monitor/channels/{name}/test", {})
        found = _followed(api, posted, wait)
    if common.json:
        show_json(found)
    elif found["state"] == "delivered" and found["trouble"]:
        say(f"{name} has delivered it, but not to all: {found['trouble']}", "yellow")
    elif found["state"] == "delivered":
        say(f"{name} has delivered it. Did it arrive?", "green")
    elif found["state"] == "dead":
        say(f"{name} cannot deliver it: {found['trouble']}", "bold red")
    elif found["trouble"]:
        say(f"{name} could not deliver it yet: {found['trouble']}", "yellow")
        say(f"It is tried again {minute(found['due'])}; see: livepin channel list{common.again}")
    else:
        say(f"{name} has not sent it yet. Does a server run? {_hint(common)}", "yellow")
    if found["state"] == "dead" or found["trouble"]:
        raise SystemExit(FOUND)
    if found["state"] == "waiting":
        raise SystemExit(UNREACHABLE)


@app.command(help_epilogue="Example:\n  livepin channel remove ops --reason 'bob left'")
def remove(name: ChannelName, /, *, reason: Reason = "", common: Common = _DEFAULTS) -> None:
    """Remove a channel, with what waits in it."""
    name_of("a channel", name, such_as="ops")
    with connected(common) as api:
        done = api.call("DELETE", f"{api.base}/monitor/channels/{name}", reason=reason)
        nobody = api.call("GET", f"{api.base}/monitor", limit=1)["warnings"]
    if common.json:
        show_json(done)
        return
    say(f"{name} is removed.", "green")
    for text in nobody:
        if "nobody" in text:
            warn(text)


@app.command(help_epilogue="Example:\n  livepin channel dead ops")
def dead(
    name: ChannelName,
    /,
    *,
    limit: Annotated[
        int, Parameter(metavar="N", validator=Number(gte=1, lte=1000), help="How many at most.")
    ] = 50,
    common: Common = _DEFAULTS,
) -> None:
    """Show the notices of a channel that nobody got, the newest first."""
    name_of("a channel", name, such_as="ops")
    with connected(common) as api:
        found = api.call("GET", f"{api.base}/monitor/channels/{name}/dead", limit=limit)
    if common.json:
        show_json(found)
        return
    if not found:
        say(f"Whatever {name} was given is delivered, or waits.")
        return
    table(
        ("notice", "of", "tries", "what", "why not"),
        [
            (
                str(each["id"]),
                minute(each["created"]),
                str(each["attempts"]),
                each["title"],
                each["trouble"] or "",
            )
            for each in found
        ],
    )
    say(f"To send them again: livepin channel retry {name}{common.again}")


@app.command(
    help_epilogue="""Examples:
  livepin channel retry ops
  livepin channel retry ops 17 18
  livepin channel retry ops --drop --reason 'long over'"""
)
def retry(
    name: ChannelName,
    /,
    *notices: Annotated[
        int,
        Parameter(
            name="NOTICE",
            validator=Number(gte=1, lte=2**53 - 1),
            help="Only these: livepin channel dead NAME. Else all.",
        ),
    ],
    drop: Annotated[
        bool, Parameter(negative=(), help="Forget them instead: nobody is told of them.")
    ] = False,
    reason: Reason = "",
    common: Common = _DEFAULTS,
) -> None:
    """Send again what was given up. A channel that was turned off needs a test before.

    What is out of date is not sent, since nothing would end it again: the channel
    was told more of the incident, or that is over.
    """
    name_of("a channel", name, such_as="ops")
    body = {"notices": list(notices), "drop": drop, "reason": reason}
    with connected(common) as api:
        done = api.call("POST", f"{api.base}/monitor/channels/{name}/retry", body)
    if common.json:
        show_json(done)
        return
    if drop:
        say(f"{counted(done['dropped'], 'notice')} of {name} dropped.", "green")
    else:
        say(f"{counted(done['notices'], 'notice')} of {name} sent again.", "green")
    if done["skipped"]:
        say(f"{counted(done['skipped'], 'notice')} out of date, so not sent. To forget all of it:")
        say(f"  livepin channel retry {name} --drop{common.again}")


def _followed(api: Api, posted: dict[str, Any], wait: int) -> dict[str, Any]:
    """Return a notice once it was delivered, given up, or tried at all."""
    until = time.monotonic() + wait
    found = posted
    with working("sending"):
        while found["state"] == "waiting" and not found["trouble"]:
            if time.monotonic() > until:
                break
            progress("waiting for what becomes of it")
            time.sleep(_PAUSE)
            found = api.call("GET", f"{api.base}/monitor/notices/{posted['id']}")
    return found


def _state(each: dict[str, Any]) -> str:
    if each["disabled"] is not None:
        return f"off since {minute(each['disabled'])}: {each['trouble'] or 'turned off'}"
    return each["trouble"] or "in order"


def _style(each: dict[str, Any]) -> str:
    if each["disabled"] is not None:
        return "bold red"
    return "yellow" if each["trouble"] or each["dead"] else ""


def _hint(common: Common) -> str:
    return f"livepin status{common.again}"
