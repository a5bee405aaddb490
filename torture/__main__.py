"""Run everything that is too long for `make test`, or the parts named; write benchmarks/torture.md.

`python -m torture [PART ...] [--seed N] [--minutes N]`
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

from benchmarks.machine import description

from . import fuzzing, pages, tests
from .pages import Part

_ROOT = Path(__file__).parents[1]
_RESULTS, _PAGE = _ROOT / "benchmarks" / "torture.json", _ROOT / "benchmarks" / "torture.md"
_MINUTES = 50.0

# What each part takes of the time; what is counted takes about this.
_PARTS: dict[str, tuple[float, Callable[[int, float], Part]]] = {
    "fuzz": (0.11, fuzzing.run),
    "api": (0.0335, tests.counted("api")),
    "kills": (0.335, tests.counted("kills")),
    "disks": (0.185, tests.counted("disks")),
    "publishers": (0.218, tests.counted("publishers")),
    "clocks": (0.0165, tests.counted("clocks")),
    "chaos": (0.1, tests.chaos),
}


def main(arguments: list[str]) -> int:
    """Run the parts; return an exit code, which is 1 where something was found."""
    parser = argparse.ArgumentParser(prog="python -m torture", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(_PARTS))
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**31))
    parser.add_argument("--minutes", type=float, default=_MINUTES)
    given = parser.parse_args(arguments)
    unknown = [name for name in given.parts if name not in _PARTS]
    if unknown:
        print(f"error: there is no part {unknown[0]!r}; there is {', '.join(_PARTS)}")
        return 2
    print(f"seed {given.seed}; to repeat it: make torture ARGS='--seed {given.seed}'", flush=True)
    results = json.loads(_RESULTS.read_text()) if _RESULTS.exists() else {}
    found = 0
    for name in given.parts or _PARTS:
        share, run = _PARTS[name]
        start = time.monotonic()
        part = run(given.seed, given.minutes * 60 * share)
        found += len(part.findings)
        results[name] = {
            "seed": given.seed,
            "minutes": round((time.monotonic() - start) / 60, 1),
            "machine": description(),
            "day": f"{datetime.now(timezone.utc):%Y-%m-%d}",
            "rows": part.rows,
            "findings": part.findings,
        }
    _RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    _PAGE.write_text(pages.page({name: results[name] for name in _PARTS if name in results}))
    print(f"{found} findings" if found else "nothing was found", flush=True)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
