"""Delivery by one and by two processes that share a PostgreSQL, and how soon both know.

wrk sends the load, 16 connections in all, to one process or to both. It shares the cores with them,
so what counts is the CPU that a request takes: it should be the same. Then configs are published on
the first process, again and again, until an app that listens at the second has fetched each.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any

from livepin.pins import Pin

from .delivery import add_domains
from .machine import cpu_seconds
from .postgres import Postgres
from .server import Server
from .wrk import SECONDS, Wrk

BUDGET = "none of its own; the CPU of a request must not grow by the second process"

_ROUNDS = 5
_CONNECTIONS = 16
_DOMAINS = 10
_PUBLICATIONS = 200
_PATH, _EVENTS = "/v1/bench/config/main", "/v1/bench/events"


def run() -> dict[str, Any]:
    """Return requests a second and server CPU for each, and milliseconds from node to node."""
    with Postgres() as postgres, tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        with Server(folder, database=postgres.url) as first:
            add_domains(first, _DOMAINS)
            kept = shutil.ignore_patterns("run", "livepin.lock")
            shutil.copytree(first.data, folder / "second" / "data", ignore=kept)
            with Server(folder / "second", database=postgres.url) as second:
                return _publications(first, second) | {
                    "kept connections": _loads([first, second], {}),
                    "fresh TLS connections": _loads([first, second], {"Connection": "close"}),
                }


def _loads(nodes: list[Server], headers: dict[str, str]) -> dict[str, float]:
    found: dict[int, list[tuple[float, float]]] = {1: [], 2: []}
    for _ in range(_ROUNDS):
        for count, rounds in found.items():
            rounds.append(_load(nodes[:count], headers))
    figures: dict[str, float] = {}
    for count, rounds in found.items():
        each = f"{count} process{'es' if count > 1 else ''}"
        figures[f"{each}: requests/s"] = round(statistics.median(rate for rate, _ in rounds))
        figures[f"{each}: CPU µs"] = round(statistics.median(cpu for _, cpu in rounds), 1)
    pairs = zip(found[1], found[2], strict=True)
    return figures | {
        "ratio of CPU": round(statistics.median(b / a for (_, a), (_, b) in pairs), 2)
    }


def _load(nodes: list[Server], headers: dict[str, str]) -> tuple[float, float]:
    """Return requests a second, and microseconds of server CPU for one."""
    pids = [pid for node in nodes for pid in node.pids]
    before = cpu_seconds(pids)
    share = _CONNECTIONS // len(nodes)
    loads = [Wrk(node.url + _PATH, headers, connections=share) for node in nodes]
    requests = sum(load.requests() for load in loads)
    return requests / SECONDS, (cpu_seconds(pids) - before) / requests * 1e6


def _told(node: Server) -> Iterator[bytes]:
    """Listen at a node; give each of its messages."""
    listener = HTTPSConnection("localhost", node.port, context=node.context())
    listener.request("GET", _EVENTS)
    with listener.getresponse() as answer:
        while line := answer.readline():
            if line.startswith(b"data:"):
                yield line
    listener.close()


def _publications(first: Server, second: Server) -> dict[str, float]:
    """Publish on the first node, until an app at the second has each config."""
    told = _told(second)
    app = HTTPSConnection("localhost", second.port, context=second.context())
    next(told)
    answered, served = [], []
    for number in range(2, _PUBLICATIONS + 2):
        started = time.perf_counter()
        version = first.pin("api-0.example.com", Pin(number.to_bytes(32, "little")))
        answered.append((time.perf_counter() - started) * 1000)
        wanted = f'"version":{version}}}'.encode()
        while wanted not in next(told):
            pass
        app.request("GET", _PATH)
        answer = app.getresponse()
        answer.read()
        served.append((time.perf_counter() - started) * 1000)
        assert answer.headers["ETag"].endswith(f'.{version}"')
    app.close()
    return {
        "publications": _PUBLICATIONS,
        "answered by the first, median ms": round(statistics.median(answered), 1),
        "fetched from the second, median ms": round(statistics.median(served), 1),
        "fetched from the second, p99 ms": round(statistics.quantiles(served, n=100)[98], 1),
    }
