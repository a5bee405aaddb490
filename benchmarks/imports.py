"""What `import livepin` costs beyond what it imports of `cryptography`."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from typing import Any

BUDGET = "25 ms for `import livepin`; the client is loaded when it is first asked for"

_RUNS = 15
_TIMED = "import time; a = time.process_time(); {}; print(time.process_time() - a)"


def run() -> dict[str, Any]:
    """Return milliseconds of CPU time, medians of fresh processes that take turns."""
    reference = f"import {', '.join(_reference())}"
    statements = {
        "reference": reference,
        "import livepin": f"{reference}; import livepin",
        "and the client": f"{reference}; import livepin; livepin.Client",
    }
    times: dict[str, list[float]] = {name: [] for name in statements}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(_RUNS + 1):
            for name, statement in statements.items():
                spent = _once(statement, folder)
                if number:  # the first round compiles
                    times[name].append(spent)
    medians = {name: statistics.median(found) * 1000 for name, found in times.items()}
    return {
        "cryptography and ssl alone ms": round(medians["reference"], 1),
        "`import livepin` adds ms": round(medians["import livepin"] - medians["reference"], 1),
        "with `livepin.Client` loaded adds ms": round(
            medians["and the client"] - medians["reference"], 1
        ),
    }


def _reference() -> list[str]:
    """Return what of `cryptography` is loaded by the client, and `ssl`, which every client has."""
    code = "import sys, livepin; livepin.Client; print(*(m for m in sys.modules if m[0] != '_'))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return ["ssl", *(name for name in done.stdout.split() if name.startswith("cryptography"))]


def _once(statement: str, compiled: str) -> float:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(
        [sys.executable, "-c", _TIMED.format(statement)],
        env=environment | {"PYTHONPYCACHEPREFIX": compiled},
        check=True,
        capture_output=True,
        text=True,
    )
    return float(done.stdout)
