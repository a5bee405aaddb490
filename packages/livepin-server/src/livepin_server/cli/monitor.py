"""livepin monitor: what servers present now, whether apps accept it, and who looks."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter
from cyclopts.validators import Number

from . import monitored
from .api import Api, Common, Local, Place, connected, data_folder, opening
from .monitor_settings import HISTORY_EXAMPLES, SET_EXAMPLES, history, set_
from .monitor_watch import watch
from .output import (
    FOUND,
    UNREACHABLE,
    CommandError,
    counted,
    out,
    progress,
    replace,
    say,
    show_json,
    table,
    warn,
    working,
    write,
)
from .parameters import Reason, name_of, pattern, quoted

app = App(name="monitor")

_DEFAULTS = Common()
_LOCAL = Local()
_PLACE = Place()
_FIRST_LINE = "# Alert rules for Prometheus, made by livepin monitor export."
_PAUSE = 0.25  # seconds between two questions how far it is
_SETTLES = 10.0  # seconds that a second look may take, beyond the first
_MOST = 1000  # endpoints that are shown

Domain = Annotated[
    str | None, Parameter(name="DOMAIN", help="A domain, as it was added; else all of them.")
]


@app.command(
    help_epilogue="""Examples:
  livepin monitor run
  livepin monitor run api.example.com --json"""
)
def run(
    domain: Domain = None,
    /,
    *,
    wait: Annotated[
        int,
        Parameter(
            metavar="SECONDS", validator=Number(gte=1, lte=3600), help="How long to wait for it."
        ),
    ] = 120,
    common: Common = _DEFAULTS,
) -> None:
    """Look at every endpoint once, now, and show what was found.

    What is found counts as any other look: it may open an incident, and tell
    people. Where no server runs, this command looks itself. The exit code is 1
    if no pin matches somewhere, else 4 if an endpoint could not be looked at, or
    its chain not be verified: also of endpoints beyond the thousand it shows.
    """
    with connected(common) as api:
        asked = api.call("POST", f"{api.base}/monitor/looks", {"pattern": _named(domain)})
        if not asked["endpoints"]:
            raise _nothing(api, domain, common)
        found = _followed(api, asked, domain, wait)
    if common.json:
        show_json(found)
    else:
        _show(found, everything=domain is not None)
    _end(found)


@app.command(
    help_epilogue="""Examples:
  livepin monitor status
  livepin monitor status api.example.com
  livepin monitor status --json"""
)
def status(
    domain: Domain = None,
    /,
    *,
    limit: Annotated[
        int,
        Parameter(
            metavar="N", validator=Number(gte=1, lte=_MOST), help="How many endpoints at most."
        ),
    ] = _MOST,
    common: Common = _DEFAULTS,
) -> None:
    """Show how the endpoints are, what is wrong, and whether anybody looks.

    Nothing is looked at for it. The exit code is 1 if something needs attention.
    """
    with connected(common) as api:
        found = seen(api, domain, limit=limit)
        settings = {} if domain is None else api.call("GET", f"{api.base}/monitor/settings")
    if common.json:
        show_json(found)
    else:
        _show(found, everything=domain is not None)
        if domain is not None:
            _show_settings(settings.get(pattern(domain), {}))
        if not found["endpoints"] and not found["unwatched"]:
            say("Nothing was looked at yet. Domains are while a server runs, or at once by:")
            say(f"  livepin monitor run{common.again}")
        for text in found["warnings"]:
            warn(text)
    wrong = found["mismatched"] or any(each["state"] == "firing" for each in found["endpoints"])
    if wrong or found["incidents"] or found["warnings"]:
        raise SystemExit(FOUND)


app.command(
    watch,
    help_epilogue="""Examples:
  livepin monitor watch
  livepin monitor watch api.example.com --every 5""",
)
app.command(set_, name="set", help_epilogue=SET_EXAMPLES)
app.command(history, help_epilogue=HISTORY_EXAMPLES)


@app.command(
    help_epilogue="""Examples:
  livepin monitor export --format prometheus-rules --out livepin-rules.yml
  livepin monitor export | promtool check rules"""
)
def export(
    *,
    format_: Annotated[
        Literal["prometheus-rules"], Parameter(name="--format", help="What to print.")
    ] = "prometheus-rules",
    out_file: Annotated[
        Path | None, Parameter(name="--out", metavar="FILE", help="Write to FILE instead.")
    ] = None,
) -> None:
    """Print alert rules for Prometheus, over the metrics of this version.

    It works without a server.
    """
    assert format_ == "prometheus-rules"
    from livepin_server.monitor.rules import prometheus_rules

    text = f"{_FIRST_LINE}\n{prometheus_rules()}".rstrip()
    if out_file is None:
        write(text)
        return
    replace(out_file, f"{text}\n", over=_is_rules, what="file of these rules")
    say(f"{out_file} is written; have Prometheus read it as one of its rule_files.", "green")


@app.command(
    help_epilogue="Example:\n  livepin monitor worker --vantage eu-west --data ./livepin-data"
)
def worker(
    *,
    vantage: Annotated[
        str, Parameter(metavar="NAME", help="From where it looks: a name of a-z, 0-9, hyphens.")
    ],
    place: Place = _PLACE,
) -> None:
    """Look at endpoints from here as well, until Ctrl-C or SIGTERM.

    It takes the data folder of a server, and its PostgreSQL: on SQLite the server
    itself is the one that looks. Any number of workers may share a vantage.
    """
    name_of("a vantage", vantage, such_as="eu-west")
    data = data_folder(place)

    def started() -> None:
        if out().is_terminal:
            say(f"looking from {vantage}; Ctrl-C stops.")

    with opening(data):
        from livepin_server.main import run_worker  # it takes a while

        run_worker(data, vantage=vantage, started=started)


@app.command(help_epilogue="Example:\n  livepin monitor forget eu-west --reason 'moved away'")
def forget(
    vantage: Annotated[str, Parameter(name="VANTAGE", help="From where nobody looks any more.")],
    /,
    *,
    reason: Reason = "",
    local: Local = _LOCAL,
) -> None:
    """Forget a vantage whose workers were taken away, and what they saw."""
    name_of("a vantage", vantage, such_as="eu-west")
    with connected(local) as api:
        done = api.call("DELETE", f"/v1/vantages/{vantage}", reason=reason)
    if local.json:
        show_json(done)
    else:
        number = counted(done["endpoints"], "endpoint")
        say(f"{vantage} is forgotten; {number} had been looked at from there.", "green")


def seen(
    api: Api, domain: str | None, *, limit: int = _MOST, since: str | None = None
) -> dict[str, Any]:
    """Return how monitoring of the account, or of one domain, fares, and who is late `since`."""
    query: dict[str, Any] = {"limit": limit} | ({} if since is None else {"since": since})
    if domain is not None:
        query["pattern"] = pattern(domain)
    found: dict[str, Any] = api.call("GET", f"{api.base}/monitor", **query)
    return found


def _named(domain: str | None) -> str:
    return "" if domain is None else pattern(domain)


def _followed(api: Api, asked: dict[str, Any], domain: str | None, wait: int) -> dict[str, Any]:
    """Return the status once each endpoint was looked at; and again, where that found it wrong."""
    until = time.monotonic() + wait
    first: dict[tuple[str, ...], str] = {}
    is_first = True
    with working("looking"):
        while True:
            before = time.monotonic()
            found = seen(api, domain, since=asked["moment"])
            now = time.monotonic()
            left = sum(found["late"].values())
            if is_first and not left:
                is_first = False
                first = {_key(each): each["looked"] for each in found["endpoints"] if _odd(each)}
                until = min(until, now + _SETTLES)
            seen_wrong = [each for each in found["incidents"] if _is_seen(each)]
            told = {place for each in seen_wrong for place in each["endpoints"]}
            again = [
                each for each in found["endpoints"]
                if _odd(each) and monitored.endpoint(each) not in told
                and first.get(_key(each)) == each["looked"]
            ]  # fmt: skip
            if (not left and not again) or now > until:
                return found
            progress(_far(found["count"], left, len(again)))
            time.sleep(max(_PAUSE, now - before))  # a large account is asked less often


def _key(each: dict[str, Any]) -> tuple[str, ...]:
    return each["host"], str(each["port"]), each["vantage"]


def _odd(each: dict[str, Any]) -> bool:
    """Tell whether it is looked at once more before anybody is told."""
    return each["state"] == "suspect" or each["pins_match"] is False


def _is_seen(incident: dict[str, Any]) -> bool:
    """Tell whether an incident is about what was seen, and not about what may come."""
    return incident["kind"] not in ("at_risk", "would_break")


def _far(number: int, left: int, again: int) -> str:
    if left:
        return f"looked at {number - left} of {counted(number, 'endpoint')}"
    return f"looking again at {counted(again, 'endpoint')} that may not be right"


def _nothing(api: Api, domain: str | None, common: Common) -> CommandError:
    """Return the error where there is no endpoint to look at."""
    unwatched = seen(api, domain)["unwatched"]
    if unwatched:
        name = unwatched[0]
        return CommandError(
            f"nobody knows where to look: {name} names no host",
            hint=f"livepin monitor set {quoted(name)} --host www{name[1:]}{common.again}",
        )
    return CommandError(
        "there is nothing to look at yet", hint=f"livepin domain add HOST{common.again}"
    )


def _end(found: dict[str, Any]) -> None:
    """End with the exit code that says what was found, also of what is not listed."""
    late = found["late"]
    if late:
        warn(
            f"{counted(sum(late.values()), 'endpoint')} not looked at in time, from "
            f"{', '.join(late)}; is a server or worker running there? see: livepin monitor status"
        )
    if found["mismatched"]:
        raise SystemExit(FOUND)
    if late or found["unknown"]:
        raise SystemExit(UNREACHABLE)


def _show(found: dict[str, Any], *, everything: bool) -> None:
    """Print endpoints, what is wrong with them, and the incidents with what mends them."""
    now = datetime.now(timezone.utc)
    endpoints = monitored.worst_first(found["endpoints"])
    if endpoints:
        rows = [monitored.row(each, now) for each in endpoints]
        table(monitored.COLUMNS, rows, [monitored.style(each) for each in endpoints])
    if found["count"] > len(endpoints):
        say(f"... and {counted(found['count'] - len(endpoints), 'endpoint')} more")
    for sentence in _sentences(endpoints, found["incidents"], everything=everything):
        say(sentence, "yellow")
    for each in found["incidents"]:
        say(monitored.incident(each), monitored.severity_style(each))
        for line in monitored.commands(each):
            say(line)


def _sentences(
    endpoints: list[dict[str, Any]], incidents: list[dict[str, Any]], *, everything: bool
) -> list[str]:
    """Return what is wrong with endpoints that no incident says, each sentence once."""
    told = {each["notice"]["sentence"] for each in incidents}
    wanted: Callable[[dict[str, Any]], bool] = lambda each: everything or each["state"] != "ok"  # noqa: E731
    found = dict.fromkeys(text for each in endpoints if wanted(each) for text in each["findings"])
    return [text for text in found if text not in told]


def _show_settings(settings: dict[str, Any]) -> None:
    """Print how a domain is monitored."""
    every = monitored.span(settings.get("every", 900))
    lead, unserved = settings.get("lead", 21), settings.get("unserved", 90)
    say(f"Looked at every {every}; a renewal is due {counted(lead, 'day')} before it expires; a "
        f"pin is told of that nothing served for {counted(unserved, 'day')}.")  # fmt: skip
    for member, called in (("hosts", "Hosts"), ("tags", "Tags")):
        if settings.get(member):
            say(f"{called}: {', '.join(settings[member])}")


def _is_rules(path: Path) -> bool:
    try:
        with path.open(encoding="utf-8") as file:
            return file.readline(200).rstrip("\n") == _FIRST_LINE
    except UnicodeDecodeError:
        return False
