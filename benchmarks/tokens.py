"""Token requests: server CPU and rate against the bare cryptography, on each database.

A request is what an app sends in its steady state: signed, with the challenge of the answer before,
for one host, with the newest config held. The bare cryptography is one P-256 verification and one
signature, in a loop of this process, in turns with the rounds. The senders are installations on 16
connections, in this process; it shares the cores with the server, so the rate is what both reach
together, and CPU is what counts. On fresh connections each request has a TLS handshake of its own.
Stored installations are there before, and each that asks is written once a second. What they take
is on disk; of each request the server's process holds a spent challenge, for a quarter of an hour.

Good and decoy tokens are asked for in turns, by installations of which every second one is blocked.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
import tracemalloc
from datetime import datetime, timezone
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any

import msgspec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from livepin import tokens
from livepin.documents.token_request import TokenRequest
from livepin.jose import PrivateKey
from livepin.pins import Pin
from livepin_server.services.tokens.challenges import LIFETIME, Challenges
from livepin_server.services.tokens.recording import Recording, Seen
from livepin_server.storage.database import Database, sqlite_url
from sqlalchemy import func, select

from .machine import cpu_seconds, resident_kib
from .postgres import Postgres
from .server import Server

BUDGET = "twice the bare cryptography, storage included; a decoy takes as long as a token"

_HOST = "api.example.com"
_PATH = "/v1/bench/token"
_CONNECTIONS = 16
_ROUNDS = 5
_SECONDS = 2.0
_STORED = (10_000, 1_000_000)
_MIXED = 1_000
_CHALLENGES = 1_000_000


def run() -> dict[str, Any]:
    """Return, by database and what is stored, CPU for a request, its ratio, and the rate."""
    found: dict[str, Any] = {f"{_CHALLENGES:,} spent challenges, MiB": _spent_memory()}
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        with Server(folder) as server:
            _protect(server)
            found |= _timing(server)
        for stored in _STORED:
            path = folder / "data" / "livepin.db"
            _fill(sqlite_url(path), stored)
            found[f"SQLite, {stored:,} installations stored, MiB"] = _mebibytes(path.stat().st_size)
            with Server(folder) as server:
                found |= _measured(f"SQLite, {stored:,} stored", [server])
    with Postgres() as postgres, tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        with Server(folder, database=postgres.url) as first:
            _protect(first)
            kept = shutil.ignore_patterns("run", "livepin.lock")
            shutil.copytree(first.data, folder / "second" / "data", ignore=kept)
        for stored in _STORED:
            _fill(postgres.url, stored)
            size = _mebibytes(_postgres_bytes(postgres.url))
            found[f"PostgreSQL, {stored:,} installations stored, MiB"] = size
            with Server(folder, database=postgres.url) as first:
                found |= _measured(f"PostgreSQL, {stored:,} stored", [first])
                if stored == max(_STORED):
                    with Server(folder / "second", database=postgres.url) as second:
                        name = f"PostgreSQL, {stored:,} stored, 2 processes"
                        found |= _measured(name, [first, second])
    return found


class _Installation:
    """One that asks for a token again and again, over a connection of its own."""

    def __init__(self, server: Server) -> None:
        self.key = PrivateKey.generate()
        self.challenge: str | None = None
        self._server = server
        self._connection = self._connect()

    @property
    def id(self) -> str:
        return tokens.installation_id("bench", self.key.public.kid)

    def send(self) -> None:
        """Send a request."""
        request = TokenRequest(
            account="bench", app="app", key=self.key.public, challenge=self.challenge,
            stream="main", root_version=1, config_version=100, hosts={_HOST: None},
        )  # fmt: skip
        self._connection.request("POST", _PATH, body=request.signed(self.key))

    def receive(self) -> dict[str, Any] | None:
        """Return the tokens of the answer."""
        answer = self._connection.getresponse()
        found = msgspec.json.decode(answer.read())
        assert answer.status == 200, found
        self.challenge = found["challenge"]
        return found["tokens"]

    def again(self) -> None:
        """Connect anew for the next request."""
        self._connection.close()
        self._connection = self._connect()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _connect(self) -> HTTPSConnection:
        return HTTPSConnection("localhost", self._server.port, context=self._server.context())


def _protect(server: Server) -> None:
    server.add(_HOST, *(Pin(bytes([number]) * 32) for number in range(2)))
    body = {"token": True}
    server.call("PATCH", f"/v1/accounts/bench/domains/{_HOST}/settings?confirmed=true", body)
    app = _Installation(server)
    while not app.challenge or not _asked(app):  # until the first key is made
        _asked(app)
    app.close()


def _asked(app: _Installation) -> dict[str, Any] | None:
    app.send()
    return app.receive()


def _fill(url: str, count: int) -> None:
    """Have so many installations stored."""
    database = Database(url)
    try:
        recording, now = Recording(database), datetime.now(timezone.utc)
        for number in range(count):
            recording.note(Seen("bench", f"{number:022}", f"{number:043}", "app", "main", 1, now))
            if number % 100_000 == 99_999:
                recording.keep()
        recording.keep()
    finally:
        database.close()


def _measured(name: str, servers: list[Server]) -> dict[str, Any]:
    return {
        f"{name}, {kind}": _rounds(servers, fresh=fresh)
        for kind, fresh in (("kept connections", False), ("fresh connections", True))
    }


def _rounds(servers: list[Server], *, fresh: bool) -> dict[str, Any]:
    apps = [_Installation(servers[n % len(servers)]) for n in range(_CONNECTIONS)]
    for each in apps:
        _asked(each)
    pids = [pid for server in servers for pid in server.pids]
    cpus, rates, bare = [], [], []
    for _ in range(_ROUNDS):
        bare.append(_bare())
        before, began = cpu_seconds(pids), time.perf_counter()
        count = _load(apps, began + _SECONDS, fresh=fresh)
        rates.append(count / (time.perf_counter() - began))
        cpus.append((cpu_seconds(pids) - before) / count * 1e6)
    for each in apps:
        each.close()
    ratios = [a / b for a, b in zip(cpus, bare, strict=True)]
    return {
        "CPU µs": round(statistics.median(cpus)),
        "bare cryptography µs": round(statistics.median(bare)),
        "ratio": round(statistics.median(ratios), 2),
        "requests/s": round(statistics.median(rates)),
        "memory MiB": round(sum(map(resident_kib, pids)) / 1024),
    }


def _load(apps: list[_Installation], until: float, *, fresh: bool) -> int:
    """Ask until a time; return how many were answered with a token."""
    count = 0
    while time.perf_counter() < until:
        for each in apps:
            if fresh:
                each.again()
            each.send()
        for each in apps:
            count += each.receive() is not None
    return count


def _bare() -> float:
    """Return microseconds of CPU for one verification and one signature."""
    key, data = PrivateKey.generate().key, bytes(400)
    public, scheme = key.public_key(), ec.ECDSA(hashes.SHA256())
    signature, times = key.sign(data, scheme), 2_000
    began = time.thread_time()
    for _ in range(times):
        public.verify(signature, data, scheme)
        key.sign(data, scheme)
    return (time.thread_time() - began) / times * 1e6


def _timing(server: Server) -> dict[str, Any]:
    """Return how long answers with tokens and with decoys take."""
    apps = [_Installation(server) for _ in range(2)]
    for each in apps:
        _asked(each)
        assert _asked(each)
    path = f"/v1/accounts/bench/installations/{apps[1].id}/rule"
    server.call("PUT", path, {"verdict": "block", "reason": "to be measured"})
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(_MIXED):
        for app, found in zip(apps, times, strict=True):
            began = time.perf_counter()
            assert _asked(app)
            found.append((time.perf_counter() - began) * 1e6)
    for each in apps:
        each.close()
    good, decoy = (statistics.median(each) for each in times)
    spread = statistics.median(abs(each - good) for each in times[0])
    return {
        "a token, median µs": round(good),
        "a decoy, median µs": round(decoy),
        "median distance of tokens from theirs, µs": round(spread, 1),
    }


def _spent_memory() -> int:
    """Return what spent challenges take, in MiB: those of a quarter of an hour."""
    challenges, now = Challenges(bytes(32)), datetime.now(timezone.utc)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number in range(_CHALLENGES):
            issued = now - LIFETIME * 0.99 * (number / _CHALLENGES)
            assert challenges.spend(challenges.make("bench", "", issued), "bench", "", now)
            challenges.fresh.clear()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return _mebibytes(after - before)


def _postgres_bytes(url: str) -> int:
    database = Database(url)
    try:
        size = func.pg_total_relation_size("installations")
        with database.reading() as connection:
            return connection.execute(select(size)).scalar_one()
    finally:
        database.close()


def _mebibytes(count: int) -> int:
    return round(count / 2**20)
