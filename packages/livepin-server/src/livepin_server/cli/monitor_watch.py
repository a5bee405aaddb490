"""livepin monitor watch: the endpoints live in a terminal, until Ctrl-C."""

from __future__ import annotations

import time
from datetime import datetime, timezone
from typing import Annotated, Any

from cyclopts import Parameter
from cyclopts.validators import Number
from rich.text import Text

from . import monitored
from .api import Api, Common, connected
from .output import UNREACHABLE, CommandError, counted, lined, out, plain, screen
from .parameters import pattern

_DEFAULTS = Common()
_MOST = 200  # endpoints: no terminal has more lines


def watch(
    domain: Annotated[
        str | None, Parameter(name="DOMAIN", help="A domain, as it was added; else all of them.")
    ] = None,
    /,
    *,
    every: Annotated[
        int,
        Parameter(
            metavar="SECONDS", validator=Number(gte=1, lte=3600), help="How often it asks anew."
        ),
    ] = 2,
    common: Common = _DEFAULTS,
) -> None:
    """Show the endpoints live in this terminal, what is wrong first, until Ctrl-C.

    It shows what the running server found; it looks at nothing itself.
    """
    if not out().is_terminal:
        raise CommandError(
            "expected a terminal to draw on",
            hint=f"for programs: livepin monitor status --json{common.again}",
        )
    name = None if domain is None else pattern(domain)
    with connected(common) as api:
        if api.served is None:
            raise CommandError(
                "no server runs here, so nothing is looked at",
                hint=f"livepin serve{common.again}; to look once: livepin monitor run",
                code=UNREACHABLE,
            )
        found = _asked(api, name)
        try:
            with screen() as draw:
                _go_on(api, name, found, every, draw)
        except KeyboardInterrupt:  # the only way out, and no mistake
            return


def _go_on(api: Api, name: str | None, found: dict[str, Any], every: int, draw: Any) -> None:
    """Draw, and ask anew, for ever; a server that is away for a while is said to be."""
    trouble = ""
    while True:
        draw(_drawn(api, found, trouble, datetime.now(timezone.utc)))
        time.sleep(every)
        try:
            found, trouble = _asked(api, name), ""
        except CommandError as exc:
            if exc.code != UNREACHABLE:
                raise
            trouble = str(exc)


def _asked(api: Api, name: str | None) -> dict[str, Any]:
    query: dict[str, Any] = {"limit": _MOST} | ({} if name is None else {"pattern": name})
    found: dict[str, Any] = api.call("GET", f"{api.base}/monitor", **query)
    return found


def _drawn(api: Api, found: dict[str, Any], trouble: str, now: datetime) -> list[Text]:
    """Return the lines: what is wrong above, since what does not fit is cut."""
    head = f"{api.account} at {api.served}, {counted(found['count'], 'endpoint')}; {now:%H:%M:%S} "
    lines = [Text(plain(f"{head}UTC. Ctrl-C ends."), "bold")]
    if trouble:
        lines.append(Text(plain(f"as it was before: {trouble}"), "bold red"))
    lines += [Text(plain(f"warning: {text}"), "yellow") for text in found["warnings"]]
    for each in found["incidents"]:
        lines.append(Text(plain(monitored.incident(each)), monitored.severity_style(each)))
        lines += [Text(plain(line)) for line in monitored.commands(each)]
    endpoints = monitored.worst_first(found["endpoints"])
    rows = [monitored.row(each, now) for each in endpoints]
    lines.append(Text())
    return lines + lined(monitored.COLUMNS, rows, [monitored.style(each) for each in endpoints])
