"""Run everything that is too long for `make test`, or the parts named; write benchmarks/torture.md.

`python -m torture [PART ...] [--seed N] [--scale N]`
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
# Each takes a seed, and a scale: 2 is twice as many kills and twice as long.
_PARTS: dict[str, Callable[[int, float], Part]] = {
    "fuzz": fuzzing.run,
    "api": tests.counted("api"),
    "kills": tests.counted("kills"),
    "disks": tests.counted("disks"),
    "publishers": tests.counted("publishers"),
    "clocks": tests.counted("clocks"),
    "evidence": tests.counted("evidence"),
    "monitoring": tests.counted("monitoring"),
    "chaos": tests.chaos,
}


def main(arguments: list[str]) -> int:
    """Run the parts; return an exit code, which is 1 where something was found."""
    parser = argparse.ArgumentParser(prog="python -m torture", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(_PARTS))
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**31))
    parser.add_argument("--scale", type=float, default=1.0)
    given = parser.parse_args(arguments)
    unknown = [name for name in given.parts if name not in _PARTS]
    if unknown:
        print(f"error: there is no part {unknown[0]!r}; there is {', '.join(_PARTS)}")
        return 2
    print(f"seed {given.seed}; to repeat it: make torture ARGS='--seed {given.seed}'", flush=True)
    results = json.loads(_RESULTS.read_text()) if _RESULTS.exists() else {}
    found = 0
    for name in given.parts or _PARTS:
        start = time.monotonic()
        part = _PARTS[name](given.seed, given.scale)
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
