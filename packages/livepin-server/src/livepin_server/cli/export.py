"""livepin export: the pins of domains in the formats of other software."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter
from livepin.pins import PREFIX

from livepin_server.exports.formats import DeclinedError, Entry, ExportPin, export
from livepin_server.services.nearest import nearest

from .api import Common, connected
from .looking import Level
from .output import REFUSED, CommandError, counted, replace, say, show_json, warn, write
from .parameters import Stream, pattern

_DEFAULTS = Common()
_FIXED = "an export does not follow the config: export again after each change"

Format = Literal["android", "ios", "trustkit", "okhttp", "curl", "envoy", "json"]


def export_(
    format_: Annotated[Format, Parameter(name="FORMAT", help="The software that is to pin.")],
    /,
    *host: Annotated[
        str, Parameter(name="HOST", help="A host, *.host, or an IP address; else all domains.")
    ],
    pin_level: Annotated[
        Level | None, Parameter(help="The level of the pins whose level is not known.")
    ] = None,
    out: Annotated[
        Path | None, Parameter(metavar="FILE", help="A file to write; else it is printed.")
    ] = None,
    stream: Stream = "main",
    common: Common = _DEFAULTS,
) -> None:
    """Print the pins in the format of other software.

    What a format cannot say is declined. Where it protects less, standard error says so.
    """
    wanted = [pattern(each) for each in host]
    with connected(common) as api:
        found = {d["pattern"]: d for d in api.call("GET", f"{api.base}/domains", stream=stream)}
    for name in wanted:
        if name not in found:
            raise CommandError(
                f"there is no domain {name!r}", hint=nearest("domain", name, found), code=REFUSED
            )
    domains = [found[name] for name in dict.fromkeys(wanted)] if wanted else list(found.values())
    try:
        done = export(format_, [_entry(each, pin_level) for each in domains])
    except DeclinedError as exc:
        raise CommandError(str(exc), hint=exc.hint) from exc
    notes = [*done.notes, *_of(domains), _FIXED]
    if out is not None:
        start = _start(done.text, domains)
        replace(
            out,
            done.text + "\n",
            over=lambda path: _starts(path, start),
            what=f"export for {format_}",
        )
    if common.json:
        result = {"text": done.text} if out is None else {"file": str(out)}
        show_json({"format": format_, **result, "notes": notes})
        return
    if out is None:
        write(done.text)
    else:
        pinned = sum(each["mode"] != "off" for each in domains)
        say(f"{out} holds the pins of {counted(pinned, 'domain')}.")
    for text in notes:
        warn(text)


def _start(text: str, domains: list[dict[str, Any]]) -> bytes:
    """Return what every export in its format starts with: the lines before one names a domain."""
    head = text.index("\n") + 1  # which no domain is in, though one may be called as a word of it
    found = [text.find(each["pattern"].removeprefix("*."), head) for each in domains]
    return text[: text.rindex("\n", 0, min(at for at in found if at >= 0)) + 1].encode()


def _starts(path: Path, start: bytes) -> bool:
    with path.open("rb") as file:
        found = file.read(len(start))
    return found in (b"", start)


def _entry(domain: dict[str, Any], level: Level | None) -> Entry:
    return Entry(
        pattern=domain["pattern"],
        mode=domain["mode"],
        pins=tuple(
            ExportPin(
                sha256=pin["sha256"].removeprefix(PREFIX),
                level=pin["level"] or level,
                timed=bool(pin["not_before"] or pin["not_after"]),
            )
            for pin in domain["pins"]
        ),
    )


def _of(domains: list[dict[str, Any]]) -> list[str]:
    """Return what is said of single domains: what is not in the export, and what it needs."""
    found = [f"{d['pattern']} is off, and not in it" for d in domains if d["mode"] == "off"]
    pinned = [d for d in domains if d["mode"] != "off"]
    found += [f"{d['pattern']} has a private CA: trust it there too" for d in pinned if d["ca"]]
    found += [f"{d['pattern']} needs a token, which it lacks" for d in pinned if d["token"]]
    found += [
        f"{d['pattern']} is refused where a config is stale; an export never is"
        for d in pinned
        if d["stale"] == "refuse"
    ]
    found += [f"{d['pattern']} follows the pin set {d['pin_set']}" for d in pinned if d["shared"]]
    return found
