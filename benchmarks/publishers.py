"""Publishing by one and by 64 publishers at once, over the management API.

Each publisher has a connection and a domain of its own, whose mode it changes again and again, so
each request is a config version, signed, checked and synced to disk before it is answered. There is
one writer, so 64 publishers wait for each other. They are threads of one process, and share the
cores with the server.
"""

from __future__ import annotations

import itertools
import json
import statistics
import tempfile
import threading
import time
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any

from livepin.pins import Pin

from .postgres import Postgres
from .server import Server

BUDGET = "none of its own; nobody is refused, and none waits longer than all others together"

_SECONDS = 20.0
_PUBLISHERS = (1, 64)


def run() -> dict[str, Any]:
    """Return, for each database and number of publishers, versions a second and milliseconds."""
    found: dict[str, Any] = {}
    for name, count in itertools.product(("SQLite", "PostgreSQL"), _PUBLISHERS):
        with tempfile.TemporaryDirectory() as folder:
            if name == "SQLite":
                with Server(Path(folder)) as server:
                    figures = _measure(server, count)
            else:
                with Postgres() as postgres, Server(Path(folder), database=postgres.url) as server:
                    figures = _measure(server, count)
        found[f"{name}, {count} publisher{'s' if count > 1 else ''}"] = figures
    return found


def _measure(server: Server, count: int) -> dict[str, float]:
    patterns = [f"api-{number}.example.com" for number in range(count)]
    for number, pattern in enumerate(patterns):
        server.add(pattern, Pin(number.to_bytes(32, "little")))
    taken: list[float] = []
    refused: list[int] = []
    until = time.perf_counter() + _SECONDS
    threads = [
        threading.Thread(target=_publish, args=(server, pattern, until, taken, refused))
        for pattern in patterns
    ]
    started = time.perf_counter()
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    seconds = time.perf_counter() - started
    p99 = statistics.quantiles(taken, n=100, method="inclusive")[98]
    return {
        "versions/s": round(len(taken) / seconds, 1),
        "median ms": round(statistics.median(taken) * 1000, 1),
        "p99 ms": round(p99 * 1000, 1),
        "longest ms": round(max(taken) * 1000, 1),
        "refused": len(refused),
    }


def _publish(
    server: Server, pattern: str, until: float, taken: list[float], refused: list[int]
) -> None:
    """Change the mode of a domain until then; take note of how long each change takes."""
    connection = HTTPSConnection("localhost", server.management_port, context=server.context())
    path = f"/v1/accounts/bench/domains/{pattern}/settings"
    for mode in itertools.cycle(("report", "enforce")):
        began = time.perf_counter()
        if began > until:
            break
        connection.request("PATCH", path, json.dumps({"mode": mode}), server.headers)
        answer = connection.getresponse()
        answer.read()
        if answer.status == 200:
            taken.append(time.perf_counter() - began)
        else:
            refused.append(answer.status)
    connection.close()
