"""A backup of 10,000 domains with their history, and a server restored from it.

Each domain has a pin set of its own with two pins; the history has twenty configs of them all, so
most of a backup is signed documents. Measured are the commands as an operator runs them, from the
start of the process to its end, the median of several runs; and the most memory that each took.
`restore` looks at nothing outside, with `--offline`.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timezone
from hashlib import sha256
from pathlib import Path
from typing import Any

import psycopg
from livepin.pins import fingerprint_text
from livepin_server import folder
from livepin_server.services.model import Intent
from livepin_server.settings import Settings
from livepin_server.storage import schema_version
from livepin_server.storage.database import Database
from livepin_server.storage.schema import domains, pin_sets, pins
from sqlalchemy import Connection, insert

from .postgres import Postgres

BUDGET = "none of its own"

_DOMAINS, _VERSIONS, _ROUNDS = 10_000, 20, 3
_NOW = datetime.now(timezone.utc)
_MB = 1_000_000


def run() -> dict[str, Any]:
    """Return, per database, what a backup holds and what it and its restore cost."""
    with Postgres() as postgres, tempfile.TemporaryDirectory() as text:
        place = Path(text)
        data = place / "data"
        _make(data)
        _livepin("backup", "new-key", str(place / "identity"))
        figures = {"SQLite": _measure(place, data, "sqlite")}
        first, second = (_new_database(postgres, name) for name in ("first", "second"))
        _livepin("upgrade", "--data", str(data), "--to", first)
        settings = data / "livepin.toml"
        settings.write_text(f'database = "{first}"\n{settings.read_text()}')
        return figures | {"PostgreSQL": _measure(place, data, second)}


def _make(data: Path) -> None:
    """Make an account with domains and a history."""
    settings = Settings(delivery_urls=["https://pins.example.com"])
    plan = folder.Plan(
        data=data, account="bench", settings=settings, root_key=None, passphrase=None
    )
    folder.initialise(plan, clock=lambda: _NOW)
    with folder.opened(data, {}, clock=lambda: _NOW) as opened:
        opened.services.database.write(_fill)
        for version in range(1, _VERSIONS + 1):
            above = 10 * version
            opened.services.versions.raise_above("bench", above, Intent(author="bench"))


def _fill(connection: Connection) -> None:
    names = [f"api-{number}.example.com" for number in range(_DOMAINS)]
    common = {"account": "bench", "stream": "main"}
    made = {**common, "created": _NOW}
    connection.execute(insert(pin_sets), [{**common, "name": each} for each in names])
    rows = [
        {
            **made, "pin_set": each, "label": "", "level": None, "backup": bool(n),
            "not_before": None, "not_after": None, "author": "bench",
            "sha256": fingerprint_text(sha256(f"{each} {n}".encode()).digest())[7:],
        }
        for each in names
        for n in range(2)
    ]  # fmt: skip
    connection.execute(insert(pins), rows)
    rows = [
        {
            **made, "pattern": each, "pin_set": each, "mode": "enforce", "token": False,
            "stale": "enforce", "connect": None, "ca": None,
        }
        for each in names
    ]  # fmt: skip
    connection.execute(insert(domains), rows)


def _measure(place: Path, data: Path, database: str) -> dict[str, Any]:
    identity, file, new = place / "identity", place / "bench.age", place / "new"
    (recipient,) = [e for e in identity.read_text().split() if e.startswith("age1")]
    backups, restores = [], []
    for _ in range(_ROUNDS):
        backups.append(_timed("backup", file, "--recipient", recipient, "--data", data))
        restores.append(
            _timed("restore", file, new, "--identity", identity, "--database", database,
                   "--offline")
        )  # fmt: skip
        shutil.rmtree(new)
        if database != "sqlite":
            target = Database(database)
            schema_version.remove(target)
            target.close()
    return {
        "configs": _VERSIONS + 1,
        "file MB": round(file.stat().st_size / _MB, 1),
        **_figures("backup", backups),
        **_figures("restore", restores),
    }


def _figures(name: str, runs: list[tuple[float, float, float]]) -> dict[str, float]:
    seconds, cpu, megabytes = zip(*runs, strict=True)
    return {
        f"{name} s": round(statistics.median(seconds), 1),
        f"{name}, CPU s": round(statistics.median(cpu), 1),
        f"{name}, memory MB": round(max(megabytes)),
    }


def _new_database(postgres: Postgres, name: str) -> str:
    """Make a database; return its URL."""
    address = postgres.url.replace("postgresql+psycopg", "postgresql")
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template0".encode())
    return postgres.url.replace("/postgres?", f"/{name}?")


def _timed(*arguments: object) -> tuple[float, float, float]:
    """Run a command; return its seconds, those of CPU, and the megabytes that it took at most."""
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "livepin", *map(str, arguments)], stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        raise RuntimeError(f"livepin {arguments[0]} failed")
    process.returncode = 0
    seconds = time.perf_counter() - started
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / _MB


def _livepin(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "livepin", *arguments], check=True, capture_output=True)
