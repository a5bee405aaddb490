"""livepin incident: what is wrong, and who takes care of it."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

from cyclopts import App, Parameter
from cyclopts.validators import Number

from . import monitored
from .api import Common, connected
from .output import CommandError, counted, minute, say, show_json, table
from .parameters import Reason, lifetime

app = App(name="incident")

_DEFAULTS = Common()
_SHORTEST, _LONGEST = timedelta(minutes=1), timedelta(days=30)
_MOST_SAID = 100  # characters of a sentence in a row
_NUMBERS = Number(gte=1, lte=2**53 - 1)

Which = Annotated[
    int, Parameter(name="NUMBER", validator=_NUMBERS, help="Its number: livepin incident list.")
]


@app.command(
    name="list",
    help_epilogue="""Examples:
  livepin incident list
  livepin incident list --resolved --json""",
)
def list_(
    *,
    resolved: Annotated[bool, Parameter(help="Those that are over.")] = False,
    limit: Annotated[
        int, Parameter(metavar="N", validator=Number(gte=1, lte=1000), help="How many at most.")
    ] = 50,
    common: Common = _DEFAULTS,
) -> None:
    """Show the incidents, the newest first: one for each cause, wherever it is seen."""
    query: dict[str, Any] = {"limit": limit} | ({"resolved": "true"} if resolved else {})
    with connected(common) as api:
        found = api.call("GET", f"{api.base}/monitor/incidents", **query)
    if common.json:
        show_json(found)
        return
    if not found:
        say("No incident is over yet." if resolved else "There is no incident.")
        return
    table(
        ("incident", "severity", "state", "since", "where", "what"),
        [
            (
                str(each["number"]),
                each["severity"],
                each["state"],
                minute(each["opened"]),
                monitored.places(each),
                _short(each["notice"]["sentence"]),
            )
            for each in found
        ],
        [monitored.severity_style(each) for each in found],
    )


@app.command(help_epilogue="Example:\n  livepin incident show 3")
def show(number: Which, /, *, common: Common = _DEFAULTS) -> None:
    """Show one incident: what is wrong, which apps it hits, and the command that mends it."""
    with connected(common) as api:
        found = api.call("GET", f"{api.base}/monitor/incidents/{number}")
    if common.json:
        show_json(found)
        return
    notice = found["notice"]
    say(f"incident {found['number']}: {notice['title']}", "bold")
    say(f"  {notice['sentence']}")
    for line in notice.get("lines", ()):
        say(f"  {line}")
    for label, text in _members(found):
        say(f"  {label:12} {text}")
    commands = monitored.commands(found)
    if commands:
        say("To mend it:")
    for line in commands:
        say(line)
    if found["state"] == "open":
        say(f"To take care of it: livepin incident ack {found['number']}{common.again}")


@app.command(help_epilogue="Example:\n  livepin incident ack 3 --reason 'renewing it, bob'")
def ack(number: Which, /, *, reason: Reason = "", common: Common = _DEFAULTS) -> None:
    """Say that somebody takes care of an incident: people are not reminded of it any more.

    They are told if it gets worse, and when it is over.
    """
    with connected(common) as api:
        where = f"{api.base}/monitor/incidents/{number}/acknowledge"
        found = api.call("POST", where, {"reason": reason})
    if common.json:
        show_json(found)
        return
    say(f"Incident {number} is acknowledged by {found['acknowledged_by']}.", "green")


@app.command(help_epilogue="Example:\n  livepin incident snooze 3 --for 2h --reason 'next week'")
def snooze(
    number: Which,
    /,
    *,
    for_: Annotated[
        str, Parameter(name="--for", metavar="TIME", help="Until it is told of again: 1m to 30d.")
    ],
    reason: Reason = "",
    common: Common = _DEFAULTS,
) -> None:
    """Have an incident told of again after a while, if it is not over by then."""
    lasts = lifetime(for_, option="--for")
    if not _SHORTEST <= lasts <= _LONGEST:
        raise CommandError(
            f"--for: expected 1m to 30d, found {for_[:40]!r}", hint="such as 2h, or 1d"
        )
    body = {"seconds": int(lasts.total_seconds()), "reason": reason}
    with connected(common) as api:
        found = api.call("POST", f"{api.base}/monitor/incidents/{number}/snooze", body)
    if common.json:
        show_json(found)
        return
    say(f"Incident {number} is snoozed until {minute(found['snoozed_until'])}.", "green")


def _members(found: dict[str, Any]) -> list[tuple[str, str]]:
    """Return what an incident says of itself, a label and a text each."""
    notice = found["notice"]
    said = [
        ("severity", found["severity"]),
        ("kind", found["kind"].replace("_", " ")),
        ("state", monitored.standing(found)),
        ("since", minute(found["opened"])),
        ("last seen", minute(found["seen"])),
        ("apps", notice.get("apps", "")),
        ("told", f"{counted(found['notices'], 'time')}{_next(found)}"),
    ]
    more = found["count"] - len(found["endpoints"])
    where = [*found["endpoints"], *([f"and {more} more"] if more > 0 else [])]
    for label, texts in (
        ("endpoint", where), ("address", notice.get("addresses", ())),
        ("serves", notice.get("fingerprints", ())), ("pinned", notice.get("pinned", ())),
    ):  # fmt: skip
        said += [(label, text) for text in texts]
    return [(label, text) for label, text in said if text]


def _next(found: dict[str, Any]) -> str:
    return "" if found["next_notice"] is None else f", again {minute(found['next_notice'])}"


def _short(text: str) -> str:
    return text if len(text) <= _MOST_SAID else f"{text[: _MOST_SAID - 4]} ..."
