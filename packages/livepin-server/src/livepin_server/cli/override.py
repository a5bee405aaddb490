"""livepin override: one installation unpinned for a while, for a pentest."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal
from urllib.parse import quote

from cyclopts import App, Parameter
from cyclopts.validators import Number

from .api import Common, connected
from .installation import which
from .output import CommandError, minute, say, show_json, some, table
from .parameters import Reason, checked, lifetime, pattern

app = App(name="override")

_DEFAULTS = Common()
_SHORTEST, _LONGEST = timedelta(minutes=1), timedelta(days=7)
_LONGEST_NUMBER = 16  # digits; an id has more
_DOES = {
    "off": "is unpinned at",
    "report": "connects whatever it is shown, and reports it, at",
    "enforce": "takes these pins and no others at",
}

Installation = Annotated[
    str,
    Parameter(
        name="INSTALLATION",
        allow_leading_hyphen=True,  # one id in 64 begins with one
        help="The id or the thumbprint that its app shows; or latest, whoever asked last.",
    ),
]


@app.command(
    help_epilogue="""Examples:
  livepin override create latest --domain api.example.com --mode off --reason 'pentest, CHG-1234'
  livepin override create 1Zk0R4mVtq8XyPjB2nHdLw --domain '*.example.com' --mode report \\
    --for 2h --reason 'which hosts does it call?'
  livepin override create latest --domain api.example.com --for 3d --reason 'our proxy' \\
    --pins sha256/47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="""
)
def create(
    installation: Installation,
    /,
    *,
    domain: Annotated[
        tuple[str, ...],
        Parameter(
            metavar="HOST",
            negative=(),
            help="A host or *.host that its config lists; may be given again.",
        ),
    ],
    mode: Annotated[
        Literal["off", "report"] | None,
        Parameter(help="off: not pinned; report: connect, but report what does not match."),
    ] = None,
    pins: Annotated[
        tuple[str, ...],
        Parameter(
            metavar="PIN",
            negative=(),
            help="Pins in the place of the config's, such as a proxy's; may be given again.",
        ),
    ] = (),
    for_: Annotated[
        str, Parameter(name="--for", metavar="TIME", help="Until it ends by itself: at most 7d.")
    ] = "24h",
    stream: Annotated[
        str | None,
        Parameter(metavar="NAME", help="The stream of its app; else that of its last request."),
    ] = None,
    reason: Reason = "",
    common: Common = _DEFAULTS,
) -> None:
    """Unpin one installation for a while, at some hosts; or give it other pins there.

    No other installation takes what is signed for this one, and no config
    changes. Who is no admin names one that an admin has tagged test. One that
    has an override already gets this one instead.
    """
    if not reason:
        raise CommandError("expected --reason TEXT", hint="it stays in the audit log")
    if mode is None and not pins:
        raise CommandError(
            "expected what is to change there", hint="--mode off, --mode report, or --pins PIN"
        )
    lives = lifetime(for_, option="--for")
    if not _SHORTEST <= lives <= _LONGEST:
        raise CommandError("--for: expected at most 7d, and some time", hint="such as 2h, or 24h")
    body: dict[str, Any] = {
        "installation": which(installation),
        "domains": [pattern(each) for each in domain],
        "mode": mode,
        "pins": [checked(each) for each in pins],
        "lives": int(lives.total_seconds()),
        "stream": stream,
        "reason": reason,
    }
    with connected(common) as api:
        done = api.call("POST", f"{api.base}/overrides", body)
    if common.json:
        show_json(done)
        return
    say(
        f"{done['installation']} {_DOES[done['mode']]} {some(done['domains'])} until "
        f"{minute(done['expires'])}.",
        "green",
    )
    say("It hears of that with its next token, or when it next looks for a config.")
    say(f"To end it before: livepin override end {done['version']}{common.again}")


@app.command(
    name="list",
    help_epilogue="""Examples:
  livepin override list
  livepin override list latest --json""",
)
def list_(
    installation: Annotated[
        str | None,
        Parameter(
            name="INSTALLATION", allow_leading_hyphen=True, help="One installation; else all."
        ),
    ] = None,
    /,
    *,
    limit: Annotated[
        int, Parameter(metavar="N", validator=Number(gte=1, lte=1000), help="How many at most.")
    ] = 50,
    common: Common = _DEFAULTS,
) -> None:
    """Show the overrides, the newest first: those in force, and those of the last 30 days."""
    query: dict[str, Any] = {"limit": limit}
    if installation is not None:
        query["installation"] = which(installation)
    with connected(common) as api:
        found = api.call("GET", f"{api.base}/overrides", **query)
    if common.json:
        show_json(found)
        return
    if not found:
        say("There is no override.")
        return
    columns = ("override", "installation", "domains", "mode", "state", "by", "reason")
    table(columns, [_line(each) for each in found])


@app.command(
    help_epilogue="""Examples:
  livepin override end 17
  livepin override end latest --reason 'the test is over'"""
)
def end(
    which_: Annotated[
        str,
        Parameter(
            name="OVERRIDE",
            allow_leading_hyphen=True,
            help="Its number, or the installation that it is for.",
        ),
    ],
    /,
    *,
    reason: Reason = "",
    common: Common = _DEFAULTS,
) -> None:
    """End an override before it expires: the installation is pinned as the others are.

    It hears of that as it heard of the override. One that is offline goes on
    until its override expires, which it counts by itself.
    """
    is_number = which_.isascii() and which_.isdigit() and len(which_) <= _LONGEST_NUMBER
    name = which_ if is_number else which(which_)
    with connected(common) as api:
        done = api.call("DELETE", f"{api.base}/overrides/{quote(name)}", reason=reason)
    if common.json:
        show_json(done)
    else:
        say(f"The override {done['version']} of {done['installation']} has ended.", "green")


def _line(found: dict[str, Any]) -> tuple[str, ...]:
    return (
        str(found["version"]),
        found["installation"],
        some(found["domains"]),
        found["mode"],
        _state(found),
        found["author"],
        found["reason"],
    )


def _state(found: dict[str, Any]) -> str:
    if found["in_force"]:
        return f"until {minute(found['expires'])}"
    if found["ended"] is not None:
        return f"ended {minute(found['ended'])} by {found['ended_by']}"
    return f"expired {minute(found['expires'])}"
