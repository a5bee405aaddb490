"""livepin config diff: what one config version says otherwise than another."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Annotated

from cyclopts import Parameter

from .api import Common, connected
from .output import CommandError, minute, say, show_json
from .parameters import Stream

EXAMPLES = """Examples:
  livepin config diff 11
  livepin config diff 11 12 --json"""
_DEFAULTS = Common()
_STYLES = {"+": "green", "-": "red", "*": "yellow"}  # by the first character of a line


def diff(
    old: Annotated[str, Parameter(name="A", help="A version number, or latest.")],
    new: Annotated[str, Parameter(name="B", help="Another one.")] = "latest",
    /,
    *,
    stream: Stream = "main",
    common: Common = _DEFAULTS,
) -> None:
    """Show what config version B says otherwise than version A, who published B, and why."""
    for each in (old, new):
        require_version(each, common)
    with connected(common) as api:
        found = api.call("GET", f"{api.base}/configs/{old}/diff/{new}", stream=stream)
    if common.json:
        show_json(found)
        return
    first, second = found["old"], found["new"]
    say(
        f"config version {second['version']} of {second['account']}/{second['stream']}, "
        f"against version {first['version']}",
        "bold",
    )
    say(f"  issued    {minute(second['issued'])} by {second['author']}")
    say(f"  reason    {second['reason'] or '-'}")
    for line in found["changed"]:
        say(line, _STYLES.get(line[0], ""))
    if not found["changed"]:
        say("They say the same.")


def require_version(version: str, common: Common) -> None:
    """Refuse what is neither a version number nor `latest`."""
    if version == "latest" or (version.isascii() and version.isdecimal()):
        return
    meant = "did you mean latest?" if get_close_matches(version, ["latest"]) else None
    raise CommandError(
        f"expected a version number or latest, found {version[:40]!r}",
        hint=meant or f"livepin config log{common.again} shows which there are",
    )
