"""Token requests: server CPU and rate against the bare cryptography, on each database.

A request is what an app sends in its steady state: signed, with the challenge of an answer before,
for one host, with the newest config held. wrk sends them over 16 connections, signed beforehand,
one after the other from another installation, so that nearly every one is a row to write. That many
are stored before. The bare cryptography is one P-256 verification and one signature, in a loop of
one thread, in turns with the rounds. On fresh connections each request has a TLS handshake of its
own, which is not in the bare loop. wrk shares the cores with the server, so the rate is what both
reach together, and CPU is what counts; that of PostgreSQL is told apart.

What is stored is on disk; of each request the server's process holds a spent challenge, for a
quarter of an hour, and for a second what is to be written of its installation.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import shutil
import statistics
import tempfile
import time
import tracemalloc
from contextlib import AbstractContextManager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import msgspec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from livepin.jose import PrivateKey
from livepin.pins import Pin
from livepin_server import folder as folders
from livepin_server.delivery.tokens import TokenDesk
from livepin_server.folder import Folder, Plan
from livepin_server.main import clock
from livepin_server.services.appraisal.verdicts import Verdicts
from livepin_server.services.appraisal.verifiers import Verifiers
from livepin_server.services.appraisal.verifying import Verifying
from livepin_server.services.composition import Services
from livepin_server.services.model import How, Intent, NewDomain, NewPin
from livepin_server.services.tokens.challenges import LIFETIME, Challenges
from livepin_server.services.tokens.recording import MOST, Recording, Seen
from livepin_server.settings import Settings
from livepin_server.storage.database import Database, sqlite_url
from livepin_server.telemetry.metrics import Metrics
from sqlalchemy import func, select

from .installations import HOST, PATH, Installation, Line, fill, protect
from .machine import cpu_seconds, resident_kib
from .postgres import Postgres
from .server import Server
from .wrk import SECONDS, Wrk

BUDGET = (
    "on kept connections five times the bare cryptography, storage included; twice, as was meant "
    "first, is [out of reach](../docs/adr/0027-what-a-token-request-costs.md)"
)

_CONNECTIONS = 16
_APPS = 4_000  # that ask in turn
_ROUNDS = 5
_MOST = 8_000  # requests to one server in one round
_STORED = (10_000, 1_000_000)
_CHALLENGES = 1_000_000


def run() -> dict[str, Any]:
    """Return, by database and what is stored, CPU for a request, its ratio, and the rate."""
    found: dict[str, Any] = {
        "an answer alone, without HTTP and storage, of the bare cryptography": _alone(),
        f"{_CHALLENGES:,} spent challenges in memory, MiB": _spent_memory(),
        f"{MOST:,} installations that wait to be written, the most, MiB": _waiting_memory(),
    }
    with tempfile.TemporaryDirectory() as text:
        _sqlite(found, Path(text))
    with Postgres() as postgres, tempfile.TemporaryDirectory() as text:
        _postgresql(found, Path(text), postgres)
    return found


def _sqlite(found: dict[str, Any], folder: Path) -> None:
    with Server(folder) as server:
        protect(server)
    path = folder / "data" / "livepin.db"
    for stored in _STORED:
        fill(sqlite_url(path), stored)
        found[f"{stored:,} installations in SQLite, MiB"] = _mebibytes(path.stat().st_size)
        with Server(folder) as server:
            found |= _measured(f"SQLite, {stored:,} stored", [server])


def _postgresql(found: dict[str, Any], folder: Path, postgres: Postgres) -> None:
    with Server(folder, database=postgres.url) as first:
        protect(first)
        kept = shutil.ignore_patterns("run", "livepin.lock")
        shutil.copytree(first.data, folder / "second" / "data", ignore=kept)
    for stored in _STORED:
        fill(postgres.url, stored)
        size = _mebibytes(_table_bytes(postgres.url))
        found[f"{stored:,} installations in PostgreSQL, MiB"] = size
        name = f"PostgreSQL, {stored:,} stored"
        with Server(folder, database=postgres.url) as first:
            found |= _measured(name, [first], postgres)
            with Server(folder / "second", database=postgres.url) as second:
                found |= _measured(f"{name}, 2 processes", [first, second], postgres)


def _measured(name: str, servers: list[Server], postgres: Postgres | None = None) -> dict[str, Any]:
    return {
        f"{name}, {kind}": _rounds(servers, postgres, fresh=fresh)
        for kind, fresh in (("kept connections", False), ("fresh connections", True))
    }


def _rounds(servers: list[Server], postgres: Postgres | None, *, fresh: bool) -> dict[str, Any]:
    fleets = [_Fleet(each) for each in servers]
    pids = [pid for server in servers for pid in server.pids]
    bare, cpus, database, rates = [], [], [], []
    for _ in range(_ROUNDS):
        for each in fleets:
            each.prepare()
        bare.append(bare())
        before = cpu_seconds(pids), postgres.cpu_seconds() if postgres else 0.0
        runs = [each.begin(fresh=fresh) for each in fleets]
        count = sum(each.requests() for each in runs)
        rates.append(count / SECONDS)
        cpus.append((cpu_seconds(pids) - before[0]) / count * 1e6)
        if postgres:
            database.append((postgres.cpu_seconds() - before[1]) / count * 1e6)
        for fleet, run in zip(fleets, runs, strict=True):
            fleet.end(run)
    return {
        "CPU µs": round(statistics.median(cpus)),
        "bare µs": round(statistics.median(bare)),
        "ratio": round(statistics.median(a / b for a, b in zip(cpus, bare, strict=True)), 2),
        "database's CPU µs": round(statistics.median(database)) if database else None,
        "requests/s": round(statistics.median(rates)),
        "of the bare rate": round(
            statistics.median(a * b / 1e6 for a, b in zip(rates, bare, strict=True)), 2
        ),
        "memory MiB": round(sum(map(resident_kib, pids)) / 1024),
    }


class _Fleet:
    """Installations that ask one server, with requests that are signed before they are sent."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._apps = itertools.cycle([Installation() for _ in range(_APPS)])
        self._file = server.data.parent / "requests"
        self._ready: list[bytes] = []

    def prepare(self) -> None:
        """Have as many requests ready as may be sent in a round."""
        lines = [Line(self._server) for _ in range(_CONNECTIONS)]
        while len(self._ready) < _MOST:
            asking = [(line, next(self._apps)) for line in lines]
            for line, app in asking:
                app.challenge = None
                line.send(app)
            for line, app in asking:
                line.receive()
                self._ready.append(app.request())
        for each in lines:
            each.close()
        self._file.write_bytes(b"\n".join(self._ready))

    def begin(self, *, fresh: bool) -> Wrk:
        """Begin to send them."""
        self._answered = self._count()
        headers = {"Connection": "close"} if fresh else {}
        url = self._server.url + PATH
        script = Path(__file__).with_name("tokens.lua")
        return Wrk(url, headers, connections=_CONNECTIONS, script=script, BODIES=str(self._file))

    def end(self, run: Wrk) -> None:
        """Go on after those that were sent; each was answered with a token."""
        assert run.taken <= len(self._ready), "the server was faster than expected"
        answered = self._count() - self._answered
        assert run.taken - 2 * _CONNECTIONS <= answered <= run.taken, (answered, run.taken)
        del self._ready[: run.taken]

    def _count(self) -> int:
        text = self._server.metrics()
        found = re.search(r'token_requests_total\{[^}]*"answered"\} (\S+)', text)
        return 0 if found is None else int(float(found[1]))


def bare() -> float:
    """Return microseconds of CPU for one verification and one signature."""
    key, data = PrivateKey.generate().key, bytes(400)
    public, scheme = key.public_key(), ec.ECDSA(hashes.SHA256())
    signature, times = key.sign(data, scheme), 2_000
    began = time.thread_time()
    for _ in range(times):
        public.verify(signature, data, scheme)
        key.sign(data, scheme)
    return (time.thread_time() - began) / times * 1e6


def _alone() -> float:
    """Return how many times the bare cryptography it takes to answer a request in memory."""
    with tempfile.TemporaryDirectory() as text, opened(Path(text) / "data") as found:
        services = found.services
        protected(services)
        challenges = Challenges(services.tokens.challenge_key())
        verifiers = Verifiers(clock=clock, revoked=lambda: None)
        verifying = Verifying(services.database, verifiers)
        desk = TokenDesk(challenges, verifying, services.recording, Metrics(), clock=clock)
        desk.replace(services.tokens.load("bench"))
        return round(asyncio.run(_answered(desk)) / bare(), 2)


async def _answered(desk: TokenDesk) -> float:
    """Return the microseconds of an answer, in an event loop that does nothing else."""
    apps = [Installation() for _ in range(_APPS)]
    for each in apps:
        challenged = await desk.answer("bench", each.request())
        each.challenge = msgspec.json.decode(challenged)["challenge"]
    requests = [each.request() for each in apps]
    began = time.thread_time()
    answers = [await desk.answer("bench", each) for each in requests]
    taken = (time.thread_time() - began) / _APPS * 1e6
    assert all(msgspec.json.decode(each)["tokens"] for each in answers)
    return taken


def protected(services: Services) -> None:
    """Have a domain ask for tokens, where no server runs."""
    settled = Intent(author="bench", how=How(confirmed=True))
    pin = NewPin(sha256=str(Pin(bytes(32))))
    services.domains.add("bench", NewDomain(pattern=HOST, pins=[pin], token=True), settled)


def opened(data: Path) -> AbstractContextManager[Folder]:
    """Make a data folder and open it."""
    chosen = Settings(delivery_urls=["https://localhost"])
    plan = Plan(data=data, account="bench", settings=chosen, root_key=None, passphrase=None)
    folders.initialise(plan, clock=clock)
    return folders.opened(
        data, {}, clock=clock, look=lambda targets: {each: [] for each in targets}
    )


def _at_nothing(targets: Any) -> dict[Any, list[Any]]:
    return {each: [] for each in targets}


def _spent_memory() -> int:
    """Return what spent challenges take, in MiB: those of a quarter of an hour."""
    challenges, now = Challenges(bytes(32)), datetime.now(timezone.utc)
    tracemalloc.start()
    try:
        for number in range(_CHALLENGES):
            issued = now - LIFETIME * 0.99 * (number / _CHALLENGES)
            assert challenges.spend(challenges.make("bench", "", issued), "bench", "", now)
            challenges.fresh.clear()
        return _mebibytes(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()


def _waiting_memory() -> int:
    """Return what the most that may wait to be written takes, in MiB."""
    with tempfile.TemporaryDirectory() as text:
        database = Database(sqlite_url(Path(text) / "none.db"))
        verdicts = Verdicts(database, clock=clock)
        recording, now = Recording(database, verdicts), datetime.now(timezone.utc)
        tracemalloc.start()
        try:
            for number in range(MOST):
                moment = now + timedelta(microseconds=number)
                recording.note(
                    Seen("bench", f"{number:022}", f"{number:043}", "app", "main", number, moment)
                )
            return _mebibytes(tracemalloc.get_traced_memory()[0])
        finally:
            tracemalloc.stop()
            database.close()


def _table_bytes(url: str) -> int:
    database = Database(url)
    try:
        with database.reading() as connection:
            size = func.pg_total_relation_size("installations")
            return int(connection.execute(select(size)).scalar_one())
    finally:
        database.close()


def _mebibytes(count: int) -> int:
    return round(count / 2**20)
