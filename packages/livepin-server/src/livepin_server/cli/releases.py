"""livepin app release: the releases of an app, of which measured files may be."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

from cyclopts import App, Parameter

from .api import Common, connected
from .apps import at
from .files import read_text
from .output import counted, minute, say, show_json, table
from .parameters import Reason

app = App(name="release")

_DEFAULTS = Common()

AppName = Annotated[str, Parameter(name="APP", help="The name of a registered app.")]
Version = Annotated[str, Parameter(name="VERSION", help="The version of a release.")]


@app.command(
    help_epilogue="""Examples:
  livepin app release add shop 1.4 --manifest shop-1.4.manifest
  livepin app measure dist/shop-1.4-py3-none-any.whl --manifest shop-1.4.manifest"""
)
def add(
    name: AppName,
    version: Version,
    /,
    *,
    manifest: Annotated[
        Path, Parameter(metavar="FILE", help="The list of its files: see livepin app measure.")
    ],
    reason: Reason = "",
    common: Common = _DEFAULTS,
) -> None:
    """Register a release. Installations with exactly its files can say so from now on."""
    body = {
        "version": version,
        "manifest": read_text(manifest, hint="livepin app measure PATH --manifest FILE"),
        "reason": reason,
    }
    with connected(common) as api:
        found = api.call("POST", f"{at(api, name)}/releases", body)
    if common.json:
        show_json(found)
        return
    files = counted(found["files"], "file")
    say(f"The release {version} of {name} is registered: {files}, {found['digest']}.", "green")


@app.command(name="list", help_epilogue="Example:\n  livepin app release list shop")
def list_(name: AppName, /, *, common: Common = _DEFAULTS) -> None:
    """Show the releases of an app, the one that was added last first."""
    with connected(common) as api:
        found = api.call("GET", f"{at(api, name)}/releases")
    if common.json:
        show_json(found)
        return
    if not found:
        say(f"No release of {name} is registered: livepin app release add {name} VERSION")
        return
    columns = ("version", "digest", "files", "added", "by", "ended")
    table(columns, [_line(each) for each in found])


@app.command(
    help_epilogue="Example:\n  livepin app release end shop 1.3 --reason 'everybody has 1.4'"
)
def end(
    name: AppName, version: Version, /, *, reason: Reason = "", common: Common = _DEFAULTS
) -> None:
    """End a release: its files are those of no release from now on."""
    with connected(common) as api:
        where = f"{at(api, name)}/releases/{quote(version, safe='')}"
        found = api.call("DELETE", where, reason=reason)
    if common.json:
        show_json(found)
        return
    say(f"The release {version} of {name} has ended.", "green")


def _line(found: dict[str, Any]) -> tuple[str, ...]:
    ended = found["ended"]
    return (
        found["version"],
        found["digest"],
        str(found["files"]),
        minute(found["created"]),
        found["author"],
        minute(ended) if ended else "",
    )
