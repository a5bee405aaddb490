"""livepin stream: lines of configs, of which each app follows one."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import App, Parameter

from .api import Api, Changing, Common, connected
from .consequences import agree
from .looking import require_covered
from .output import day, say, show_json, table
from .parameters import Host, LookAt, Reason, name_of, path, pattern

app = App(name="stream")
_DEFAULTS = Common()
_CHANGING = Changing()

_From = Annotated[str, Parameter(name="--from", metavar="NAME", help="The stream that has it.")]
_To = Annotated[str, Parameter(metavar="NAME", help="The stream that gets it.")]


@app.command(
    help_epilogue="""Examples:
  livepin stream add canary
  livepin stream add partner --from canary --reason 'the partner app'"""
)
def add(
    name: Annotated[str, Parameter(name="NAME", help="A name of a-z, 0-9 and hyphens.")],
    /,
    *,
    from_: Annotated[
        str, Parameter(name="--from", metavar="NAME", help="The stream to copy.")
    ] = "main",
    reason: Reason = "",
    common: Changing = _CHANGING,
) -> None:
    """Add a stream: a copy of another one's domains and pin sets, as they are now.

    It goes its own way from then on, and stays for good: apps may follow it.
    """
    body = {"name": _name(name), "source": _name(from_), "reason": reason}
    with connected(common) as api:
        done = api.change("POST", f"{api.base}/streams", body)
    if common.json:
        show_json(done)
        return
    version = done["publication"]["version"]
    say(f"The stream {name} is a copy of {from_}, in config version {version}.", "green")
    say("An app follows it that embeds a bootstrap of it:")
    say(f"  livepin bootstrap --stream {name} --out bootstrap-{name}.json{common.again}")


@app.command(name="list", help_epilogue="Example:\n  livepin stream list")
def list_(*, common: Common = _DEFAULTS) -> None:
    """Show the streams of an account, each with its newest config version."""
    with connected(common) as api:
        found = api.call("GET", f"{api.base}/streams")
    if common.json:
        show_json(found)
        return
    table(
        ("stream", "version", "domains", "pin sets", "issued", "expires"),
        [
            (
                each["name"],
                str(each["version"]),
                str(each["domains"]),
                str(each["pin_sets"]),
                day(each["issued"]),
                day(each["expires"]),
            )
            for each in found
        ],
    )


@app.command(help_epilogue="Example:\n  livepin stream move api.example.com --from main --to beta")
def move(
    host: Host,
    /,
    *,
    from_: _From,
    to: _To,
    look_at: LookAt = None,
    reason: Reason = "",
    common: Changing = _CHANGING,
) -> None:
    """Move a domain with its pins to another stream, and publish both at once.

    Apps that follow the stream that had it no longer pin the host: it asks first.
    """
    lost = f"apps that follow {from_} will no longer pin {pattern(host)}"
    _take(host, from_, to, look_at, reason, common, lost=lost)


@app.command(
    help_epilogue="Example:\n  livepin stream copy api.example.com --from canary --to main"
)
def copy(
    host: Host,
    /,
    *,
    from_: _From,
    to: _To,
    look_at: LookAt = None,
    reason: Reason = "",
    common: Changing = _CHANGING,
) -> None:
    """Have a domain in another stream as it is in this one: what a canary has tried, for all.

    What the other stream had of it is replaced. What weakens the protection there, or may shut
    apps out, asks first.
    """
    _take(host, from_, to, look_at, reason, common)


def _take(
    host: str,
    source: str,
    stream: str,
    look_at: str | None,
    reason: str,
    common: Changing,
    *,
    lost: str | None = None,
) -> None:
    name, source, stream = pattern(host), _name(source), _name(stream)
    look_at = require_covered(name, look_at)
    body = {"pattern": name, "source": source, "keep": lost is None, "reason": reason}
    with connected(common) as api:
        agreed = common.yes
        if not agreed:
            change = _change(api, name, source, stream)
            agreed = agree([change], yes=common.yes, look_at=look_at, also=[lost] if lost else [])
        done = api.change("POST", f"{api.base}/streams/{stream}/domains", body, confirmed=agreed)[
            "items"
        ]
    if common.json:
        show_json(done)
        return
    for each in done:
        (line,) = each["changed"]
        say(f"{each['stream']}, config version {each['version']}: {line}")


def _change(
    api: Api, name: str, source: str, stream: str
) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """Return a domain of a stream as it is, if it is there, and as it will be."""
    after = api.call("GET", f"{api.base}/domains/{path(name)}", stream=source)
    known = api.call("GET", f"{api.base}/domains", stream=stream)
    return next((each for each in known if each["pattern"] == name), None), after


def _name(text: str) -> str:
    return name_of("a stream", text, such_as="canary")
