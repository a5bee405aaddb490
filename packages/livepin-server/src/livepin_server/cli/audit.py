"""livepin audit log and export: what was done, by whom, from where and why."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import msgspec
from cyclopts import App, Parameter
from cyclopts.validators import Number

from .api import Api, Common, connected
from .audit_verify import EXAMPLES as VERIFY_EXAMPLES
from .audit_verify import verify
from .output import CommandError, counted, say, show_json, write
from .parameters import moment

app = App(name="audit")
app.command(verify, help_epilogue=VERIFY_EXAMPLES)
_DEFAULTS = Common()

_MOST_LINES = 12  # of an entry
_LONGEST = 200  # characters of a value
_IN_LINES = ("domains", "pin_sets")  # what the lines of the history say of a config
_PAGE = 1000  # entries in one answer

OfServer = Annotated[bool, Parameter(name="--server", help="The log of the server itself.")]
Since = Annotated[
    str | None, Parameter(metavar="TIME", help="From then on: a day in UTC, or RFC 3339.")
]


@app.command(
    help_epilogue="""Examples:
  livepin audit log --limit 5
  livepin audit log --action api-key --since 2026-11-01
  livepin audit log --server"""
)
def log(
    *,
    limit: Annotated[
        int,
        Parameter(
            metavar="N", validator=Number(gte=1, lte=_PAGE), help="How many, the newest first."
        ),
    ] = 20,
    action: Annotated[
        str, Parameter(metavar="PREFIX", help="Only what begins so, such as config or api-key.")
    ] = "",
    author: Annotated[
        str | None, Parameter(metavar="NAME", help="Only what was done with this API key.")
    ] = None,
    since: Since = None,
    server: OfServer = False,
    common: Common = _DEFAULTS,
) -> None:
    """Show what was done: when, by whom, from where, why, and how it was before and after."""
    wanted = {"action": action, "author": author, "since": moment(since, option="--since")}
    query: dict[str, Any] = {name: value for name, value in wanted.items() if value}
    found: list[dict[str, Any]] = []
    with connected(common) as api:
        path = path_of(api, server)
        while len(found) < limit:
            page = api.call("GET", path, None, limit=limit - len(found), **query)
            found += page["items"]
            if page["before"] is None:
                break
            query["before"] = page["before"]
    if common.json:
        show_json(found)
        return
    for each in found:
        _show(each["number"], each["entry"])


@app.command(
    help_epilogue="""Examples:
  livepin audit export --out acme.jsonl
  livepin audit export --after 1200 >> acme.jsonl
  livepin audit export --server --since 2026-11-01"""
)
def export(
    *,
    after: Annotated[
        int,
        Parameter(metavar="N", validator=Number(gte=0), help="Only entries after this number."),
    ] = 0,
    since: Since = None,
    out: Annotated[
        Path | None, Parameter(metavar="FILE", help="A new file; else they are printed.")
    ] = None,
    server: OfServer = False,
    common: Common = _DEFAULTS,
) -> None:
    """Print the log as JSON lines, each entry exactly as it is kept, for another system."""
    query = {} if since is None else {"since": moment(since, option="--since")}
    first, last = 0, after
    with connected(common) as api, _writing(out) as put:
        path = path_of(api, server)
        while page := api.fetch(f"{path}/entries", after=last, **query):
            put(page)
            first = first or _number(page.partition(b"\n")[0])
            last = _number(page.rstrip(b"\n").rpartition(b"\n")[2])
    if out is None:
        return
    number = last - first + 1 if first else 0
    if common.json:
        show_json({"file": str(out), "entries": number, "last": last})
    else:
        said = f": {first} to {last}" if first else f": there is none after {after}"
        say(f"{out} holds {counted(number, 'entry', 'entries')}{said}")


def path_of(api: Api, server: bool) -> str:
    """Return the path of the log that is meant."""
    return "/v1/audit" if server else f"{api.base}/audit"


@contextmanager
def _writing(out: Path | None) -> Iterator[Callable[[bytes], object]]:
    """Give what takes the pages: a new file that is whole or not there at all, or the output."""
    if out is None:
        yield lambda page: write(page.decode().removesuffix("\n"))
        return
    if out.exists():
        raise CommandError(f"{out} exists already", hint="name a new file; it was left alone")
    beside = out.with_name(f".{out.name}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield file.write
            beside.rename(out)
        except BaseException:
            beside.unlink()
            raise
    except OSError as exc:
        raise CommandError(f"cannot write {out}: {exc.strerror}") from exc


def _number(line: bytes) -> int:
    return int(msgspec.json.decode(line)["number"])


def _show(number: int, entry: dict[str, Any]) -> None:
    """Show an entry: what, by whom and from where; why; and what is other than before."""
    when = f"{entry['moment'][:10]} {entry['moment'][11:19]} UTC"
    what = " ".join(each for each in (entry["action"], entry.get("target")) if each)
    by = f" by {entry['author']}" if entry["author"] else ""
    place = f" from {entry['origin']}" if entry.get("origin") else ""
    say(f"entry {number}, {when}: {what}{by}{place}", style="bold")
    if entry.get("reason"):
        say(f"  {entry['reason']}")
    lines = _changes(entry.get("before") or {}, entry.get("after") or {})
    for line in lines[:_MOST_LINES]:
        say(f"  {line}", "green" if line.startswith("+") else "")
    if len(lines) > _MOST_LINES:
        say(f"  and {len(lines) - _MOST_LINES} more, which --json shows")
    for name, cut in (entry.get("cut") or {}).items():
        say(f"  {name} is not whole: it had {cut['bytes']} bytes")


def _changes(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Return what differs, a line each; lines of the history as they are."""
    found = []
    lines = after.get("changed")
    for name in dict.fromkeys([*before, *after]):
        old, new = before.get(name), after.get(name)
        if lines and name in _IN_LINES:
            continue
        if name == "changed" and isinstance(new, list):
            found += [str(each) for each in new]
        elif name not in before:
            found.append(f"{name}: {_said(new)}")
        elif name not in after:
            found.append(f"{name}: {_said(old)} -> -")
        elif old != new:
            found.append(f"{name}: {_said(old)} -> {_said(new)}")
    return found


def _said(value: Any) -> str:
    if value is None:
        return "-"
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ..."
