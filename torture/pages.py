"""The page of results, `benchmarks/torture.md`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

_INTRODUCTION = """\
# What Livepin withstood

`make torture` runs what is too long for `make test`, and writes this page; `make torture
ARGS="fuzz --seed 7 --minutes 60"` runs a part, by a seed, for as long as you like. It needs Linux
and PostgreSQL. What it found is mended, and tried again in each `make test`.

"""
_PARTS = {
    "fuzz": """\
## Fuzzing

Each target takes what comes from outside: documents (also signed with a known key, so that more
than signatures is tried), imported key files, names, settings, answers of a delivery service.
Found is what raises anything but the declared exceptions, takes over 10 seconds or 2 GiB, or
breaks a property, such as that a refused document changes nothing.
""",
    "kills": """\
## Kills

SIGKILL, or `pg_ctl stop -m immediate`, at moments that chance chooses. After each, everything
acknowledged is there, nothing is half, no version number was given twice, and an app with an old
state follows; an app has never less than what it had reported as enforced.
""",
    "chaos": """\
## An app in chaos

A delivery service and a recovery URL that answer well, late, in part, byte by byte, wrongly, with
what is old or forged, or not. The app's version never goes down, no byte reaches the attacker's
server, and nothing is raised but Livepin's own errors.
""",
}


@dataclass
class Part:
    """What a part did: a row for each thing that it ran, and what it found."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)


def page(results: dict[str, Any]) -> str:
    """Return the page of the latest results of each part."""
    text = _INTRODUCTION
    for name, result in results.items():
        text += f"{_PARTS[name]}\n{_table(result['rows'])}\n\n"
        findings = "; ".join(result["findings"]) or "nothing"
        text += f"Found: {findings}.\n\n"
        text += (
            f"Seed {result['seed']}, {result['minutes']} minutes on {result['day']}, on: "
            f"{result['machine']}.\n\n"
        )
    return text.rstrip() + "\n"


def _table(rows: list[dict[str, Any]]) -> str:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    lines = ["| " + " | ".join(columns) + " |", "|---|" + "---:|" * (len(columns) - 1)]
    for row in rows:
        cells = (row.get(name, "") for name in columns)
        lines.append("| " + " | ".join(f"{c:,}" if isinstance(c, int) else c for c in cells) + " |")
    return "\n".join(lines)
