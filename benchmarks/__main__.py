"""Measure everything, or the parts that are named, and write benchmarks/README.md."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import (
    adapters,
    audit,
    backup,
    changes,
    crowd,
    decoys,
    delivery,
    documents,
    enforced,
    events,
    evidence,
    imports,
    judging,
    middleware,
    nodes,
    pin_check,
    probing,
    publishers,
    signals,
    sweeping,
    token_client,
    tokens,
)
from .machine import MissingError, description

_HERE = Path(__file__).parent
_FIGURES = _HERE / "figures.json"
_PARTS: dict[str, tuple[str, Callable[[], Any]]] = {
    "pin_check": ("The pin check added to a handshake", pin_check.run),
    "adapters": ("The pin check added to a request, by adapter", adapters.run),
    "imports": ("Import", imports.run),
    "tokens": ("A token fetched", tokens.run),
    "decoys": ("A token and a decoy", decoys.run),
    "token_client": ("Tokens in an app", token_client.run),
    "signals": ("Signals in an app", signals.run),
    "evidence": ("Evidence verified and appraised", evidence.run),
    "middleware": ("A token checked by a backend", middleware.run),
    "documents": ("Configs by the number of domains", documents.run),
    "audit": ("An audit log of a million entries", audit.run),
    "delivery": ("`GET config` against nginx", delivery.run),
    "nodes": ("Delivery by one and by two processes", nodes.run),
    "publishers": ("Publishing by many at once", publishers.run),
    "events": ("One publish told to all event streams", events.run),
    "enforced": ("One publish until apps enforce it", enforced.run),
    "changes": ("Requests while a certificate changes", changes.run),
    "probing": ("A look at an endpoint", probing.run),
    "crowd": ("A thousand apps that meet a changed certificate at once", crowd.run),
    "backup": ("Backup and restore of 10,000 domains", backup.run),
    "judging": ("A million stored observations judged", judging.run),
    "sweeping": ("A sweep of 100,000 endpoints", sweeping.run),
}
_INTRODUCTION = """\
# What Livepin costs

`make bench` takes these figures and writes this page, in twenty minutes; `make bench
ARGS="delivery events"` takes some of them anew. It needs Linux; nginx, wrk and PostgreSQL for some
parts, which are skipped where one is missing. Ratios are between two things measured in the same
run, in turns. Absolute figures are of the machine named; on another one only the ratios mean
something.

"""


def main(names: list[str]) -> int:
    """Run the parts, or list them; return an exit code."""
    if "--help" in names:
        print(f"{__doc__}\n\n" + "\n".join(f"{n:14}{title}" for n, (title, _) in _PARTS.items()))
        return 0
    unknown = [name for name in names if name not in _PARTS]
    if unknown:
        print(f"error: there is no part {unknown[0]!r}; there is {', '.join(_PARTS)}")
        return 2
    figures = json.loads(_FIGURES.read_text()) if _FIGURES.exists() else {}
    for name in names or _PARTS:
        print(f"{name} ...", flush=True)
        try:
            found = _PARTS[name][1]()
        except MissingError as exc:
            print(f"skipped: {exc}")
            continue
        print(json.dumps(found, indent=2, ensure_ascii=False), flush=True)
        figures[name] = {"machine": description(), "figures": found}
    figures = {name: figures[name] for name in _PARTS if name in figures}
    _FIGURES.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n")
    (_HERE / "README.md").write_text(_page(figures))
    return 0


def _page(figures: dict[str, Any]) -> str:
    text = _INTRODUCTION
    for name, (title, _) in _PARTS.items():
        if name in figures:
            module = sys.modules[f"benchmarks.{name}"]
            how = (module.__doc__ or "").strip()
            table = _table(figures[name]["figures"])
            text += f"## {title}\n\n{how}\n\n{table}\n\nBudget: {module.BUDGET}.\n\n"
            text += f"Taken on: {figures[name]['machine']}.\n\n"
    return text.rstrip() + "\n"


def _table(figures: dict[str, Any]) -> str:
    """Return a table: one row for each group of figures, else one for each figure."""
    groups = {name: found for name, found in figures.items() if isinstance(found, dict)}
    if not groups:
        rows = [f"| {name} | {_text(value)} |" for name, value in figures.items()]
        return "\n".join(["| | |", "|---|---:|", *rows])
    columns = list(next(iter(groups.values())))
    rows = [
        f"| {name} | " + " | ".join(_text(found[column]) for column in columns) + " |"
        for name, found in groups.items()
    ]
    head = ["| | " + " | ".join(columns) + " |", "|---|" + "---:|" * len(columns)]
    single = [f"{name}: {_text(value)}" for name, value in figures.items() if name not in groups]
    return "\n".join([*single, *([""] if single else []), *head, *rows])


def _text(value: float | None) -> str:
    return "–" if value is None else f"{value:,}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
