"""livepin monitor set and history: how a domain is monitored, and what its servers presented."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import Parameter
from cyclopts.validators import Number

from . import monitored
from .api import Common, connected
from .output import CommandError, day, minute, say, show_json, some, table
from .parameters import Host, Reason, lifetime, path, pattern

SET_EXAMPLES = """Examples:
  livepin monitor set api.example.com --every 5m --lead 30d --tag ops
  livepin monitor set '*.example.com' --host a.example.com --host b.example.com:8443
  livepin monitor set api.example.com --no-hosts"""
HISTORY_EXAMPLES = """Examples:
  livepin monitor history api.example.com
  livepin monitor history '*.example.com' --limit 500 --json"""
_DEFAULTS = Common()
_DAY = 24 * 60 * 60
_PINNED = {True: "yes", False: "no", None: "-"}


def set_(
    domain: Host,
    /,
    *,
    every: Annotated[
        str | None, Parameter(metavar="TIME", help="How often it is looked at: 1m to 1d.")
    ] = None,
    host: Annotated[
        tuple[str, ...],
        Parameter(
            metavar="HOST[:PORT]",
            negative=(),
            help="Look here, and nowhere else; may be given again.",
        ),
    ] = (),
    no_hosts: Annotated[
        bool, Parameter(help="Look at port 443 of the domain itself again.")
    ] = False,
    lead: Annotated[
        str | None,
        Parameter(metavar="TIME", help="How long before it expires a renewal is due: 30d."),
    ] = None,
    unserved: Annotated[
        str | None,
        Parameter(metavar="TIME", help="After how long a pin that nothing served is told of: 90d."),
    ] = None,
    tag: Annotated[
        tuple[str, ...],
        Parameter(
            metavar="TAG", negative=(), help="Tell channels with this tag; may be given again."
        ),
    ] = (),
    no_tags: Annotated[bool, Parameter(help="Have no tags any more.")] = False,
    reason: Reason = "",
    common: Common = _DEFAULTS,
) -> None:
    """Change how a domain is monitored. What is not said stays.

    Hosts replace those of before, and so do tags. A domain such as *.example.com
    is looked at only where hosts are named.
    """
    change: dict[str, Any] = {
        "every": _seconds(every),
        "hosts": _listed("--host", host, no_hosts),
        "lead": _days(lead, "--lead"),
        "unserved": _days(unserved, "--unserved"),
        "tags": _listed("--tag", tag, no_tags),
    }
    said = {name: value for name, value in change.items() if value is not None}
    if not said:
        raise CommandError(
            "expected what is to change", hint="--every, --host, --lead, --unserved or --tag"
        )
    with connected(common) as api:
        where = f"{api.base}/monitor/settings/{path(domain)}"
        done = api.call("PATCH", where, said | {"reason": reason})
    if common.json:
        show_json(done)
        return
    hosts = f" at {some(done['hosts'])}" if done["hosts"] else ""
    say(f"{pattern(domain)} is looked at{hosts} every {monitored.span(done['every'])}.", "green")
    say(f"A renewal is due {done['lead']} days before its certificate expires.")
    if done["tags"]:
        say(f"Channels with the tag {some(done['tags'])} are told, and those without any.")


def history(
    domain: Host,
    /,
    *,
    limit: Annotated[
        int, Parameter(metavar="N", validator=Number(gte=1, lte=1000), help="How many at most.")
    ] = 50,
    common: Common = _DEFAULTS,
) -> None:
    """Show each change of the certificate, the newest first, and whether it was pinned before."""
    with connected(common) as api:
        found = api.call("GET", f"{api.base}/monitor/history/{path(domain)}", limit=limit)
    if common.json:
        show_json(found)
        return
    if not found:
        say(f"No certificate of {pattern(domain)} was seen yet.")
        return
    table(
        ("seen", "endpoint", "address", "algorithm", "key", "pinned before", "expires", "issuer"),
        [
            (
                minute(each["moment"]),
                monitored.endpoint(each),
                each["address"],
                each["algorithm"],
                each["became"] or "gone",
                _PINNED[each["pinned"]],
                day(each["expires"]),
                each["issuer"] or "-",
            )
            for each in found
        ],
        ["yellow" if each["pinned"] is False and each["became"] else "" for each in found],
    )


def _seconds(text: str | None) -> int | None:
    if text is None:
        return None
    found = int(lifetime(text, option="--every").total_seconds())
    if not 60 <= found <= _DAY:
        raise CommandError(
            f"--every: expected 1m to 1d, found {text[:40]!r}", hint="such as 5m, 15m or 6h"
        )
    return found


def _days(text: str | None, option: str) -> int | None:
    if text is None:
        return None
    seconds = int(lifetime(text, option=option).total_seconds())
    if seconds == 0 or seconds % _DAY:
        raise CommandError(
            f"{option}: expected whole days, found {text[:40]!r}", hint="such as 30d, or 4w"
        )
    return seconds // _DAY


def _listed(option: str, given: tuple[str, ...], none: bool) -> list[str] | None:
    if given and none:
        raise CommandError(f"expected {option} or --no-{option[2:]}s, found both")
    return list(given) if given or none else None
