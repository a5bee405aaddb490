"""livepin maintenance: times in which nobody is told."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Annotated, Any

from cyclopts import App, Parameter
from cyclopts.validators import Number

from .api import Common, connected
from .output import CommandError, minute, say, show_json, table
from .parameters import Reason, lifetime, moment, pattern

app = App(name="maintenance")

_DEFAULTS = Common()
_SHORTEST, _LONGEST = timedelta(minutes=1), timedelta(days=7)


@app.command(
    help_epilogue="""Examples:
  livepin maintenance add api.example.com --for 2h --reason 'rotation'
  livepin maintenance add --for 30m --starts 2027-01-31T06:00Z --reason 'move to the new CDN'"""
)
def add(
    domain: Annotated[
        str | None, Parameter(name="DOMAIN", help="A domain, as it was added; else all of them.")
    ] = None,
    /,
    *,
    for_: Annotated[
        str, Parameter(name="--for", metavar="TIME", help="How long it lasts: 1m to 7d.")
    ],
    starts: Annotated[
        str | None, Parameter(metavar="TIME", help="When it starts; else now.")
    ] = None,
    reason: Reason = "",
    common: Common = _DEFAULTS,
) -> None:
    """Have nobody told of what is found in a time of work. Looking goes on.

    What is still wrong when it ends is told then. What began and ended within it
    never is.
    """
    lasts = lifetime(for_, option="--for")
    if not _SHORTEST <= lasts <= _LONGEST:
        raise CommandError(
            f"--for: expected 1m to 7d, found {for_[:40]!r}", hint="such as 2h, or 1d"
        )
    body: dict[str, Any] = {
        "pattern": "" if domain is None else pattern(domain),
        "starts": moment(starts, option="--starts"),
        "lasts": int(lasts.total_seconds()),
        "reason": reason,
    }
    with connected(common) as api:
        done = api.call("POST", f"{api.base}/monitor/maintenance", body)
    if common.json:
        show_json(done)
        return
    what = done["pattern"] or "any domain"
    say(f"Nobody is told of {what} from {minute(done['starts'])} to {minute(done['ends'])}.",
        "green")  # fmt: skip
    say(f"To end it before: livepin maintenance end {done['number']}{common.again}")


@app.command(name="list", help_epilogue="Example:\n  livepin maintenance list")
def list_(
    *,
    limit: Annotated[
        int, Parameter(metavar="N", validator=Number(gte=1, lte=1000), help="How many at most.")
    ] = 50,
    common: Common = _DEFAULTS,
) -> None:
    """Show the times in which nobody is told, the newest first; those that are over, too."""
    with connected(common) as api:
        found = api.call("GET", f"{api.base}/monitor/maintenance", limit=limit)
    if common.json:
        show_json(found)
        return
    if not found:
        say("There was no maintenance yet: people are told of everything.")
        return
    now = datetime.now(timezone.utc)
    table(
        ("number", "domain", "from", "to", "state", "by", "reason"),
        [
            (
                str(each["number"]),
                each["pattern"] or "all",
                minute(each["starts"]),
                minute(each["ends"]),
                _state(each, now),
                each["author"],
                each["reason"],
            )
            for each in found
        ],
        ["yellow" if each["active"] else "" for each in found],
    )


@app.command(help_epilogue="Example:\n  livepin maintenance end 2 --reason 'done early'")
def end(
    number: Annotated[
        int,
        Parameter(
            name="NUMBER",
            validator=Number(gte=1, lte=2**53 - 1),
            help="Its number: livepin maintenance list.",
        ),
    ],
    /,
    *,
    reason: Reason = "",
    common: Common = _DEFAULTS,
) -> None:
    """End a time of work now: what is wrong is told from now on."""
    with connected(common) as api:
        where = f"{api.base}/monitor/maintenance/{number}"
        done = api.call("DELETE", where, reason=reason)
    if common.json:
        show_json(done)
    else:
        say(f"People are told of {done['pattern'] or 'every domain'} again.", "green")


def _state(each: dict[str, Any], now: datetime) -> str:
    if each["active"]:
        return "now"
    return "to come" if datetime.fromisoformat(each["starts"]) > now else "over"
