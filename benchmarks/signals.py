"""What looking for signs of tampering costs an app.

At its start: what functions there are is remembered, and all is looked at once. Before each token
all is looked at again. In a thread, each 15 to 40 seconds, code and the active config are compared
too, which takes longer the more domains there are; the first time after a newer config, its
signatures are verified. CPU time of a process in which httpx, aiohttp and gRPC are loaded,
medians; after a collection of garbage, which whatever allocates next would pay for what was loaded
before, with some 15 ms.
"""

from __future__ import annotations

import gc
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

BUDGET = "5 ms at the start of an app; none for the others"

_TIMES = 50
_DOMAINS = 10, 1_000, 10_000


def run() -> dict[str, Any]:
    """Return milliseconds, measured in a process of its own."""
    code = "from benchmarks import signals; signals.measure()"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def measure() -> None:
    """Print what `run` returns."""
    import aiohttp  # noqa: F401
    import grpc  # noqa: F401
    import httpx  # noqa: F401
    from livepin.client import Client  # noqa: F401 - its functions are those that are watched
    from livepin.evidence.signals import Signals

    gc.collect()
    began = time.process_time()
    first = Signals()
    cold = time.process_time() - began
    found = {
        "at the start, the first time in a process ms": round(cold * 1e3, 2),
        "at the start ms": _median(Signals),
        "before a token ms": _median(first.look),
    }
    for domains in _DOMAINS:
        found |= _compared(domains)
    print(json.dumps(found))


def _compared(domains: int) -> dict[str, float]:
    """Return what comparing the config of an app costs, with so many domains."""
    from livepin.testing import DeliverySimulator, Domain, Pin, PinSet

    service = DeliverySimulator()
    for number in range(domains):
        host = f"api{number}.example.com"
        service.pin_sets[host] = PinSet((Pin(number.to_bytes(32, "big")), Pin(bytes(32))))
        service.domains[host] = Domain(pattern=host, pin_set=host, pins=service.pin_sets[host])
    service.publish()
    with service.client() as pins:
        signals = pins._signals
        assert signals is not None
        began = time.process_time()
        signals.look(thorough=True)
        first = time.process_time() - began
        again = _median(lambda: signals.look(thorough=True), times=5)
        assert not any(each.startswith("replaced") for each in signals.texts())
    return {
        f"in the background, {domains:,} domains ms": again,
        f"in the background after a newer config, {domains:,} domains ms": round(first * 1e3, 2),
    }


def _median(one: Callable[[], object], times: int = _TIMES) -> float:
    spent = []
    for _ in range(times):
        began = time.process_time()
        one()
        spent.append(time.process_time() - began)
    return round(statistics.median(spent) * 1e3, 2)
