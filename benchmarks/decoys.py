"""How long answers with tokens take, and those with decoys, asked for in turns.

Two installations, one of them blocked, ask for tokens for one host over kept connections, a
thousand times each, while nothing else happens; for each algorithm a host. What `tokens check`
says of the first and of the last token of either is looked at: the one's are taken, the other's
are not. Medians; the spread is the median distance of tokens from theirs.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from .installations import Installation, Line, protect
from .server import Server

BUDGET = "none of its own; the difference is to be within the spread"

_ALGORITHMS = ("ES256", "EdDSA", "HS256")
_TIMES = 1_000


def run() -> dict[str, Any]:
    """Return microseconds, by algorithm."""
    with tempfile.TemporaryDirectory() as text, Server(Path(text)) as server:
        return {each: _measured(server, each) for each in _ALGORITHMS}


def _measured(server: Server, algorithm: str) -> dict[str, Any]:
    host = f"{algorithm.lower()}.example.com"
    key = {"name": algorithm.lower(), "algorithm": algorithm}
    protect(server, host, **key, **({"domain": host} if algorithm == "HS256" else {}))
    apps = [Installation(host) for _ in range(2)]
    lines = [Line(server) for _ in apps]
    for app, line in zip(apps, lines, strict=True):
        line.ask(app)
    path = f"/v1/accounts/bench/installations/{apps[1].id}/rule"
    server.call("PUT", path, {"verdict": "block", "reason": "to be measured"})
    while _is_taken(server, _token(lines[1], apps[1], host)):
        pass
    times: tuple[list[float], list[float]] = ([], [])
    for number in range(_TIMES):
        for app, line, found, good in zip(apps, lines, times, (True, False), strict=True):
            began = time.perf_counter()
            token = _token(line, app, host)
            found.append((time.perf_counter() - began) * 1e6)
            if number in (0, _TIMES - 1):
                assert _is_taken(server, token) is good
    for line in lines:
        line.close()
    token, decoy = (statistics.median(each) for each in times)
    return {
        "token µs": round(token, 1),
        "decoy µs": round(decoy, 1),
        "difference µs": round(decoy - token, 1),
        "spread µs": round(statistics.median(abs(each - token) for each in times[0]), 1),
    }


def _token(line: Line, app: Installation, host: str) -> str:
    found = line.ask(app)
    assert found is not None
    return str(found[host]["token"])


def _is_taken(server: Server, token: str) -> bool:
    checked = server.call("POST", "/v1/accounts/bench/tokens/check", {"token": token})
    return bool(checked["taken"])
