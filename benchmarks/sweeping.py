"""What monitoring costs beside its looks: claimed, looked at, judged and written back.

There are rows for 100,000 endpoints, of which 1,500 are at nginx servers on this machine, half of
them with an ECDSA certificate and half with an RSA one, and due at once. A worker sweeps these in
batches; then its prober is asked the very same questions and nothing is done with the answers. The
ratio is between the CPU times of the two, in turns: of the worker, of the children that look, and
for PostgreSQL of all processes of its server, a `VACUUM` after each sweep included, which is more
than autovacuum does. A sweep also bears its part of reading, once an hour, what the account's
endpoints are judged by. `verified` is a sweep in which nothing has changed and `fast` is not
believed; at the first look everything is new, so all of it is written. As they come due, 111 in a
second, endpoints are looked at by `verified` in small batches. Medians of three rounds, and of
their paired ratios; the last two are measured once.

The rest is on SQLite. Memory is the most that the worker's process took, without its children, for
whom the number of endpoints is nothing. A certificate is replaced by one with a key that nobody
pinned, just before its endpoint is due, while others are looked at as often as 100,000 each 15
minutes are: seconds from then until it is known to be wrong, and until a second look has confirmed
that and there is an incident; the median, and the longest.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from functools import partial
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec
import psycopg
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from livepin.pins import Pin
from livepin.testing import Chain, make_authority, make_chain, make_key
from livepin_server import folder
from livepin_server.probing.probe import CertificateSeen, Observation
from livepin_server.services.model import How, Intent, NewDomain, NewPin
from livepin_server.services.monitoring.model import HERE, Held, Sighted
from livepin_server.settings import Settings
from livepin_server.storage.database import Database
from livepin_server.storage.schema import findings, micros
from sqlalchemy import Connection, select, text

from .machine import family_cpu_seconds
from .nginx import Nginx
from .postgres import Postgres

BUDGET = "ratio 1.25 for `verified`"

_ENDPOINTS, _MANY = 100_000, 1_000_000
_WATCHED = 1_500  # endpoints that are at servers; the first ones
_FEW = 200  # such endpoints among the many
_REPLACED = 4  # of them, at a server of their own whose certificate is replaced
_EVERY = 900  # seconds
_ROUNDS = 3
_PACED = 12.0  # seconds
_SOON = 1.5  # seconds from a replaced certificate until its endpoint is due
_NAMES = ("first", "second", "replaced")  # of servers; each has a domain, and connects there
_NOW = datetime.now(timezone.utc)
_MODES = {"verified": (False, False), "fast": (False, True), "first look": (True, False)}

_SERIES = {
    "sqlite": """(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n
        WHERE i < :count) SELECT i FROM n) AS n""",
    "postgresql": "generate_series(1, :count) AS n(i)",
}
_FILL = (
    """INSERT INTO endpoints
        (id, account, host, port, connect, ca_digest, ca, every, domain, stream, created)
    SELECT i, 'bench', 'h' || i || CASE WHEN i <= :replaced THEN '.replaced' WHEN i > :watched
            THEN '' WHEN i % 2 = 0 THEN '.first' ELSE '.second' END || '.example.com', 443,
        CASE WHEN i <= :replaced THEN CAST(:third AS TEXT) WHEN i > :watched THEN ''
            WHEN i % 2 = 0 THEN CAST(:first AS TEXT) ELSE CAST(:second AS TEXT) END,
        '', CASE WHEN i <= :watched THEN CAST(:ca AS TEXT) END,
        CAST(:every AS INTEGER), '*.first.example.com', 'main', CAST(:now AS BIGINT)
    FROM {series}""",
    """INSERT INTO schedule (endpoint, vantage, next_due, lease_until, fence, looked, took)
    SELECT i, CAST(:vantage AS TEXT),
        CASE WHEN i <= :watched THEN CAST(:now AS BIGINT) ELSE :later + i END,
        0, 1, CASE WHEN i > :watched THEN CAST(:now AS BIGINT) END, 12
    FROM {series}""",
    # Each has a key of its own, of 32 bytes in Base64.
    """INSERT INTO observations
        (endpoint, vantage, state, changed, addresses, expires, pins_match)
    SELECT i, CAST(:vantage AS TEXT),
        replace(CAST(:state AS TEXT), '0123456789', CAST(10000000000 + i AS TEXT)),
        CAST(:now AS BIGINT), 1, :later, true
    FROM {series} WHERE i > :watched""",
)


def run() -> dict[str, Any]:
    """Return what a sweep costs beside its looks, memory, and how soon a change is found."""
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        place = Path(name)
        servers = _Servers(place, stack)
        one, other = place / "one", place / "other"
        url = _made(one, "", _ENDPOINTS, servers)
        with _Worker(url) as worker:
            figures: dict[str, Any] = {"memory with 100,000 endpoints, MB": worker.memory()}
            groups = _measured("SQLite", worker, None)
        with _Worker(url) as worker:
            found = _found(worker, url, servers)
        url = _made(other, "", _MANY, servers, watched=_FEW)
        with _Worker(url, watched=_FEW) as worker:
            figures["memory with 1,000,000 endpoints, MB"] = worker.memory()
        figures |= found
        with Postgres() as postgres:
            url = _made(place / "third", postgres.url, _ENDPOINTS, servers)
            with _Worker(url) as worker:
                groups |= _measured("PostgreSQL", worker, postgres)
    return figures | groups


# -- what there is to look at --------------------------------------------------------------------


class _Servers:
    """nginx with an ECDSA certificate, with an RSA one, and with one that is replaced."""

    def __init__(self, place: Path, stack: contextlib.ExitStack) -> None:
        self._authority = make_authority()
        self.ca = self._authority.pem
        self._folders = [place / each for each in ("ecdsa", "rsa", "replaced")]
        self.pins: list[Pin] = []
        self._nginx: list[Nginx] = []
        for each, kind, name in zip(self._folders, ("ec", "rsa", "ec"), _NAMES, strict=True):
            each.mkdir()
            self.pins.append(_write(each, self._chain(kind, name)))
            files = {"certificate": each / "chain.pem", "key": each / "key.pem"}
            self._nginx.append(stack.enter_context(Nginx(each, **files)))

    @property
    def addresses(self) -> list[str]:
        """Where each is."""
        return [f"127.0.0.1:{each.port}" for each in self._nginx]

    def replace(self) -> None:
        """Have the third one present a certificate with another key, and wait until it does."""
        before = self._presented()
        self.pins[2] = _write(self._folders[2], self._chain("ec", _NAMES[2]))
        os.kill(self._nginx[2].pids[0], signal.SIGHUP)
        _until(lambda: self._presented() != before)

    def _chain(self, kind: str, name: str) -> Chain:
        key = make_key(kind)
        return make_chain(_pattern(name), authority=self._authority, intermediate=True, key=key)

    def _presented(self) -> str:
        return ssl.get_server_certificate(("127.0.0.1", self._nginx[2].port), timeout=30)


def _pattern(name: str) -> str:
    return f"*.{name}.example.com"


def _write(place: Path, chain: Chain) -> Pin:
    """Write a chain with its key; return its pin."""
    pem = b"".join(each.public_bytes(Encoding.PEM) for each in chain.presented)
    key = chain.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (place / "chain.pem").write_bytes(pem)
    (place / "key.pem").write_bytes(key)
    return chain.pin


def _made(data: Path, database: str, count: int, servers: _Servers, watched: int = _WATCHED) -> str:
    """Make an account with domains and rows for so many endpoints; return the database's URL."""
    settings = Settings(delivery_urls=["https://pins.example.com"], database=database)
    plan = folder.Plan(
        data=data, account="bench", settings=settings, root_key=None, passphrase=None
    )
    folder.initialise(plan, clock=lambda: _NOW)
    spare = Pin(sha256(b"spare").digest())
    pins = [NewPin(sha256=str(each), backup=each is spare) for each in (*servers.pins, spare)]
    intent = Intent(author="bench", reason="bench", how=How(confirmed=True, force=True))
    with folder.opened(data, {}, clock=lambda: _NOW, look=lambda t: {e: [] for e in t}) as found:
        services = found.services
        for name, address in zip(_NAMES, servers.addresses, strict=True):
            new = NewDomain(pattern=_pattern(name), pins=pins, connect=address, ca=servers.ca)
            services.domains.add("bench", new, intent)
        services.database.write(lambda each: _fill(each, count, watched, servers))
        url = services.database.url.render_as_string(hide_password=False)
    if database:
        _vacuum(database, "")
    return url


def _fill(connection: Connection, count: int, watched: int, servers: _Servers) -> None:
    first, second, third = servers.addresses
    given = {
        "count": count, "replaced": _REPLACED, "watched": watched, "first": first,
        "second": second, "third": third, "ca": servers.ca, "every": _EVERY,
        "now": micros(_NOW), "later": micros(_NOW + timedelta(days=30)), "vantage": HERE,
        "state": _state(),
    }  # fmt: skip
    series = _SERIES[connection.dialect.name]
    for statement in _FILL:
        query = text(statement.format(series=series))
        connection.execute(query, {name: given[name] for name in query.compile().params})


def _state() -> str:
    """Return what is held of an endpoint that nobody looks at here, with a key to be replaced."""
    leaf = CertificateSeen(
        subject="CN=h", issuer="CN=Issuer", names=[_pattern(_NAMES[0])], key_type="EC P-256",
        not_before=_NOW, not_after=_NOW + timedelta(days=90),
        sha256=f"sha256/0123456789{'A' * 32}=",
    )  # fmt: skip
    seen = Observation(
        host="h.example.com", port=443, address="192.0.2.7", verified=True, chain=[leaf],
        digest=sha256(b"h").hexdigest(), elapsed_ms=0.0,
    )  # fmt: skip
    sighted = Sighted(
        address="192.0.2.7", algorithm="ecdsa", observation=seen, since=_NOW, verified=_NOW
    )
    return msgspec.json.encode(Held(sights=[sighted])).decode()


def _vacuum(url: str, tables: str) -> None:
    address = url.replace("postgresql+psycopg", "postgresql")
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute(f"VACUUM ANALYZE {tables}".encode())


# -- what is measured ----------------------------------------------------------------------------


class _Worker:
    """The process that looks. It has swept once: its children run, and the account is read."""

    def __init__(self, url: str, watched: int = _WATCHED) -> None:
        self._watched = watched
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.sweeper", url, str(watched)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.pid = self._process.pid

    def tell(self, name: str, *arguments: object) -> Any:
        """Have it do something; return what it says then."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([name, *arguments]) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the worker has ended")
        return json.loads(line)

    def sweep(self, *, fast: bool) -> int:
        """Have it sweep what is due; return of how many looks that was."""
        kept = int(self.tell("sweep", fast))
        if kept < self._watched:
            raise RuntimeError(f"{kept} of {self._watched} endpoints were kept")
        return kept

    def memory(self) -> int:
        """Return megabytes, after the account was read anew."""
        self.tell("read")
        return round(int(self.tell("memory")) / 1e6)

    def __enter__(self) -> _Worker:
        try:
            self.tell("reset", False)
            self.sweep(fast=False)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)
        assert self._process.stdout is not None
        self._process.stdout.close()


class _Meter:
    """Takes the CPU time of a worker and of its database's server."""

    def __init__(self, worker: _Worker, postgres: Postgres | None) -> None:
        self._worker = worker
        self._postgres = postgres

    def of(self, work: Callable[[], Any]) -> tuple[float, Any]:
        """Return the seconds that something takes, and its result."""
        before = self._now()
        result = work()
        return self._now() - before, result

    def swept(self, *, first: bool, fast: bool) -> float:
        """Return the seconds for one endpoint that a sweep takes."""
        self._worker.tell("reset", first)
        self.tidy()

        def whole() -> int:
            kept = self._worker.sweep(fast=fast)
            self.tidy()
            return kept

        seconds, kept = self.of(whole)
        if self._worker.tell("wrong"):
            raise RuntimeError("nothing was to be found wrong")
        return seconds / int(kept)

    def paced(self) -> float:
        """Return the seconds for one endpoint that it takes to look as they come due."""
        self.tidy()

        def whole() -> int:
            kept = int(self._worker.tell("paced", _EVERY / _ENDPOINTS, _PACED))
            self.tidy()
            return kept

        seconds, kept = self.of(whole)
        return seconds / int(kept)

    def alone(self) -> float:
        """Return the seconds for one endpoint that the looks of the last sweep take."""
        seconds, looks = self.of(lambda: self._worker.tell("alone"))
        return seconds / int(looks)

    def tidy(self) -> None:
        """Do what autovacuum would do at times."""
        if self._postgres is not None:
            _vacuum(self._postgres.url, "schedule, observations")

    def _now(self) -> float:
        server = 0.0 if self._postgres is None else self._postgres.cpu_seconds()
        return family_cpu_seconds(self._worker.pid) + server


def _measured(name: str, worker: _Worker, postgres: Postgres | None) -> dict[str, Any]:
    meter = _Meter(worker, postgres)
    read, _ = meter.of(lambda: worker.tell("read"))
    share = read / (_ENDPOINTS * 3600 / _EVERY)
    found: dict[str, list[tuple[float, float]]] = {mode: [] for mode in _MODES}
    for number in range(_ROUNDS):
        for mode, (first, fast) in _MODES.items():
            if first and number:
                continue  # once: it takes long
            found[mode].append((meter.swept(first=first, fast=fast) + share, meter.alone()))
    found["as they come due"] = [(meter.paced() + share, meter.alone())]
    return {f"the account read on {name}, CPU s": round(read, 1)} | {
        f"{name}, {mode}": {
            "CPU µs": round(statistics.median(whole for whole, _ in rounds) * 1e6),
            "of looks alone": round(statistics.median(alone for _, alone in rounds) * 1e6),
            "ratio": round(statistics.median(whole / alone for whole, alone in rounds), 2),
        }
        for mode, rounds in found.items()
    }


def _found(worker: _Worker, url: str, servers: _Servers) -> dict[str, float]:
    """Replace certificates while others are looked at; return seconds from due to what follows."""
    database = Database(url)
    worker.tell("run", _EVERY / _ENDPOINTS, _REPLACED)
    suspect, firing = [], []
    try:
        for endpoint in range(1, _REPLACED + 1):
            servers.replace()
            due = worker.tell("due", endpoint, _SOON)
            _until(partial(_is, database, endpoint, "suspect"))
            suspect.append(time.time() - due)
            _until(partial(_is, database, endpoint, "firing"))
            firing.append(time.time() - due)
    finally:
        database.close()
    return {
        "replaced certificate, s until suspect": round(statistics.median(suspect), 2),
        "longest": round(max(suspect), 2),
        "s until confirmed, in an incident": round(statistics.median(firing), 2),
        "the longest": round(max(firing), 2),
    }


def _is(database: Database, endpoint: int, state: str) -> bool:
    """Tell whether something is known to be wrong with an endpoint, and in an incident if firing.

    What is firing was suspect.
    """
    row = findings.c
    query = select(row.state, row.incident).where(row.endpoint == endpoint)
    with database.reading() as connection:
        found = connection.execute(query).all()
    return any(
        state == "suspect" or (each.state == "firing" and each.incident is not None)
        for each in found
    )


def _until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        if time.monotonic() > deadline:
            raise RuntimeError("it took too long")
        time.sleep(0.02)
