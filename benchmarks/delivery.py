"""`GET config` against nginx: server CPU for each request, on kept and on fresh connections.

wrk sends the load. Rounds of both servers take turns; the median of the paired ratios counts.
"""

from __future__ import annotations

import ssl
import statistics
import tempfile
import urllib.request
from pathlib import Path
from typing import Any

from livepin.pins import Pin

from .machine import cpu_seconds
from .nginx import Nginx
from .server import Server
from .wrk import Wrk

BUDGET = "twice nginx on a kept connection, 1.3 times on a fresh one"

_ROUNDS = 5
_CONNECTIONS = 16
_DOMAINS = 10
_PATH = "/v1/bench/config/main"


def run() -> dict[str, Any]:
    """Return, per kind of request, microseconds of server CPU for one, and the ratio to nginx."""
    with tempfile.TemporaryDirectory() as folder, Server(Path(folder)) as server:
        add_domains(server, _DOMAINS)
        body, tag = server.get(_PATH)
        place = Path(folder, "nginx")
        place.mkdir()
        tls = server.data / "tls"
        with Nginx(place, certificate=tls / "server.pem", key=tls / "server.key") as nginx:
            nginx.serve(_PATH, body)
            tags = {server.url: tag, nginx.url: _tag_of(nginx.url, server.context())}
            kinds: dict[str, tuple[bool, bool]] = {
                "200, kept connection": (False, False),
                "304, kept connection": (False, True),
                "200, fresh TLS connection": (True, False),
                "304, fresh TLS connection": (True, True),
            }
            return {"config bytes": len(body)} | {
                name: _compare(server, nginx, tags, fresh=fresh, held=held)
                for name, (fresh, held) in kinds.items()
            }


def add_domains(server: Server, count: int) -> None:
    """Add domains with two pins each."""
    pins = [Pin(bytes([number]) * 32) for number in range(2)]
    for number in range(count):
        server.add(f"api-{number}.example.com", *pins)


def _compare(
    server: Server, nginx: Nginx, tags: dict[str, str], *, fresh: bool, held: bool
) -> dict[str, float]:
    ours, reference = [], []
    for _ in range(_ROUNDS):
        for found, each in ((ours, server), (reference, nginx)):
            headers = {"Connection": "close"} if fresh else {}
            if held:
                headers["If-None-Match"] = tags[each.url]
            before = cpu_seconds(each.pids)
            requests = Wrk(each.url + _PATH, headers, connections=_CONNECTIONS).requests()
            found.append((cpu_seconds(each.pids) - before) / requests * 1e6)
    ratios = [a / b for a, b in zip(ours, reference, strict=True)]
    return {
        "livepin µs": round(statistics.median(ours), 1),
        "nginx µs": round(statistics.median(reference), 1),
        "ratio": round(statistics.median(ratios), 2),
    }


def _tag_of(url: str, context: ssl.SSLContext) -> str:
    with urllib.request.urlopen(url + _PATH, context=context) as answer:
        return str(answer.headers["ETag"])
