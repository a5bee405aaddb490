"""The shape of a target, and where its seeds come from."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

VECTORS = Path(__file__).parents[2] / "vectors"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """`run` takes any bytes up to `longest`; `seeds` are good ones. `json` is mutated as such."""

    run: Callable[[bytes], None]
    seeds: Callable[[], Iterable[bytes]]
    longest: int = 16 * 1024
    json: bool = False


@cache
def cases() -> tuple[dict[str, Any], ...]:
    """Return the steps of all vectors."""
    found = sorted(VECTORS.glob("rule-*/*.json")) + sorted(VECTORS.glob("bootstrap/*.json"))
    return tuple(step for path in found for step in json.loads(path.read_text())["steps"])


def of_steps(do: str, member: str = "raw", *, longest: int = 16 * 1024) -> Iterator[bytes]:
    """Give what stands in a member of all steps of one kind."""
    for step in cases():
        value = step.get(member)
        if step["do"] == do and isinstance(value, str) and len(value) <= longest:
            yield value.encode(errors="replace")


def of_table(table: str, column: str) -> Iterator[bytes]:
    """Give a column of a table, such as `hostnames/normalise`."""
    for row in json.loads((VECTORS / f"{table}.json").read_text())["rows"]:
        yield row[column].encode(errors="surrogatepass")
