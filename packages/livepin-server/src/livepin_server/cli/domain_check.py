"""livepin domain check: whether the pins match what hosts serve now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from cyclopts import Parameter
from livepin.hostnames import candidates

from livepin_server.probing.probe import Target

from .api import Common, connected
from .consequences import judged, look_at_all
from .looking import read_ca, target
from .output import FOUND, REFUSED, UNREACHABLE, CommandError, say, show_json
from .parameters import Ca, Connect, Port, Stream

EXAMPLES = """Examples:
  livepin domain check
  livepin domain check api.example.com --connect 192.0.2.7:443"""
_DEFAULTS = Common()


def check(
    host: Annotated[
        str | None, Parameter(help="A host; else all domains that name exactly one.")
    ] = None,
    /,
    *,
    port: Port = None,
    connect: Connect = None,
    ca: Ca = None,
    stream: Stream = "main",
    common: Common = _DEFAULTS,
) -> None:
    """Look at live endpoints from here, and say whether the pins match.

    The exit code is 1 if no pin matches, in report mode too; else 4 if no chain could be
    verified.
    """
    if host is None and (port or connect):
        raise CommandError("--port and --connect go with a host", hint="livepin domain check HOST")
    authorities = read_ca(ca)
    named = None if host is None else target(host, port, connect, authorities)
    with connected(common) as api:
        domains = {d["pattern"]: d for d in api.call("GET", f"{api.base}/domains", stream=stream)}
    if named is None:
        wanted = [
            target(name, None, None, authorities) for name in domains if not name.startswith("*.")
        ]
    else:
        wanted = [named]
    if not wanted:
        raise CommandError("there is no exact domain to check", hint="livepin domain check HOST")
    keep = port is not None or connect is not None
    covering = [_covering(each.host, domains) for each in wanted]
    goals = [_goal(*pair, keep=keep) for pair in zip(wanted, covering, strict=True)]
    seen = look_at_all(goals)
    results = [judged(*each) for each in zip(goals, seen, covering, strict=True)]
    if common.json:
        show_json(results)
    else:
        _show_results(results)
    if any(each["mismatch"] for each in results):
        raise SystemExit(FOUND)
    if not all(each["passes"] for each in results):
        raise SystemExit(UNREACHABLE)


def _covering(host: str, domains: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    for each in candidates(host):
        if each in domains:
            return domains[each]
    raise CommandError(f"no domain covers {host}", hint=f"livepin domain add {host}", code=REFUSED)


def _goal(wanted: Target, domain: dict[str, Any], *, keep: bool) -> Target:
    """Return where to look: what the command line says, else what the domain was added with."""
    connect = wanted.connect if keep else domain["connect"]
    ca = wanted.ca or domain["ca"]
    return Target(host=wanted.host, port=wanted.port, connect=connect, ca=ca)


def _show_results(results: list[dict[str, Any]]) -> None:
    for each in results:
        style = "bold yellow" if each["mismatch"] else "green"
        say(f"{each['host']}: {each['summary']}", style if each["passes"] else "bold red")
        for line in each["notes"]:
            say(f"  {line}")
