"""The page of results, `benchmarks/torture.md`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

_INTRODUCTION = """\
# What Livepin withstood

`make torture` runs what is too long for `make test`, and writes this page; `make torture
ARGS="fuzz --seed 7 --scale 10"` runs a part, by a seed, for ten times as long. It needs Linux,
PostgreSQL, strace and root. What it found is mended, and tried again in each `make test`.

"""
_PARTS = {
    "fuzz": """\
## Fuzzing

Each target takes what comes from outside: documents and token requests (also signed with a known
key, so that more than signatures is tried), imported key files, names, settings, answers of a
delivery service. Found is what raises anything but the declared exceptions, takes over 10 seconds
or 2 GiB, or breaks a property, such as that a refused document changes nothing.
""",
    "api": """\
## The management API

schemathesis makes requests of the OpenAPI document, such that conform and such that do not, alone
and in sequences, to a real server that has no network. Found is what answers with 5xx, with a
status, a type or a shape that the document does not name, or leaves a traceback in the log.
""",
    "kills": """\
## Kills

SIGKILL, or `pg_ctl stop -m immediate`, at moments that chance chooses, or by strace before a
certain write, sync or message. After each, everything acknowledged is there, nothing is half, rows
and signed config say the same, no version number was given twice to anybody, and every app goes on,
from the oldest bootstrap and from configs that one ever held; an app has never less than what
it had reported as enforced.
""",
    "disks": """\
## Disks that fail

strace makes writes and syncs fail (EIO, ENOSPC), under the database alone and under a server with
publishers, also in PostgreSQL. What was acknowledged is there, also when the power goes: of what
was not synced any part is lost then, and a sync that failed has lost its pages for good.
""",
    "publishers": """\
## Sixty-four publishers

They change two servers at once, while PostgreSQL is frozen for seconds (SIGSTOP) or stopped and
started (`pg_ctl stop -m immediate`). What holds after kills holds here.
""",
    "clocks": """\
## A clock that jumps

By minutes to years, ahead and back, between publishes and signing again. Versions rise, apps go on,
no config is stale when it comes, and each is signed again once.
""",
    "evidence": """\
## Evidence that was changed

Token requests by a good key and challenge, whose evidence, of each format, was changed before it
was signed. Each is answered or refused, and a genuine device passes afterwards; on SQLite and on
PostgreSQL.
""",
    "monitoring": """\
## Monitoring

SIGKILL of what looks, and of what tells, at moments that chance chooses. No endpoint is looked
at twice at once, no finding is lost or kept twice, every notice is told. A million looks at healthy
endpoints, as varied as those in the field, go through the judge: none is said to have wrong pins, a
chain that is not trusted, or anybody in between.
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
