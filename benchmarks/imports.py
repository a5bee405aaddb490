"""What `import livepin` costs beyond what it imports of `cryptography`."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from typing import Any

BUDGET = "25 ms, with `livepin.Client` loaded"

_RUNS = 15
# What the core uses of cryptography, and the standard library's ssl, which every client has loaded.
_REFERENCE = (
    "import ssl, cryptography.x509, cryptography.hazmat.primitives.asymmetric.ec, "
    "cryptography.hazmat.primitives.asymmetric.utils, cryptography.hazmat.primitives.serialization"
)
_TIMED = "import time; a = time.process_time(); {}; print(time.process_time() - a)"


def run() -> dict[str, Any]:
    """Return milliseconds of CPU time, medians of fresh processes that take turns."""
    statements = {
        "reference": _REFERENCE,
        "import livepin": f"{_REFERENCE}; import livepin",
        "and the client": f"{_REFERENCE}; import livepin; livepin.Client",
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
