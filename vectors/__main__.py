"""Write the vectors anew: `python -m vectors [FOLDER]`, into this folder unless said otherwise."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .source import (
    bootstrap,
    certificates,
    hostnames,
    pins,
    rule_01,
    rule_02,
    rule_03,
    rule_04,
    rule_05,
    rule_06,
    rule_07,
    rule_08,
    rule_09,
    rule_10,
)

_CASES = (
    rule_01, rule_02, rule_03, rule_04, rule_05, rule_06, rule_07, rule_08, rule_09, rule_10,
    bootstrap,
)  # fmt: skip
_TABLES = (hostnames, pins, certificates)


def files() -> Iterator[tuple[str, dict[str, Any]]]:
    """Give the path and the content of each file."""
    for module in _CASES:
        for case in module.cases():
            yield case.path, case.to_json()
    for module in _TABLES:
        for name, table in module.tables():
            yield f"{module.__name__.rpartition('.')[2]}/{name}.json", table


def write(folder: Path) -> int:
    """Write every file below `folder`, remove what is no vector any more; return their number."""
    found: dict[str, bytes] = {}
    for path, content in files():
        if path in found:
            raise ValueError(f"two vectors are called {path}")
        found[path] = (json.dumps(content, indent=1) + "\n").encode()
    for name in {path.partition("/")[0] for path in found}:
        for old in (folder / name).glob("*.json"):
            old.unlink()
    for path, data in found.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return len(found)


if __name__ == "__main__":
    place = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    print(f"{write(place)} vectors written to {place}")
