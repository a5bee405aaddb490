"""An audit log of a million entries: verified, and exported.

An entry has 370 bytes, a line of the export 520; the newest config seals them all. Each command is
a process of its own, its start included; without a server it does the work of one itself. Bare
SHA-256 is one call a line, over the same lines, read from the same file.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from hashlib import sha256
from pathlib import Path
from typing import Any

from livepin_server import folder
from livepin_server.folder import Folder, Plan
from livepin_server.services.audit import entry_of
from livepin_server.services.audit.chain import digest
from livepin_server.services.audit.entry import encode
from livepin_server.services.model import Intent
from livepin_server.settings import Settings
from livepin_server.storage.schema import audit
from sqlalchemy import insert, select

BUDGET = "1,000,000 entries verified in seconds, not minutes; memory does not grow with them"

ENTRIES = 1_000_000
_ROUNDS = 3
_AT_A_TIME = 5_000
_NOW = datetime(2026, 11, 23, 12, tzinfo=timezone.utc)
_WHO = Intent(author="operator", reason="CHG-1234", key_id="0123456789ab", origin="192.0.2.7")

# Its own high-water mark: what a parent is told of a child counts the parent's memory, too.
_PROGRAM = """
import sys, time
from livepin_server.cli.app import main
code = main(sys.argv[1:])
status = open("/proc/self/status").read()
print(time.process_time(), status.partition("VmHWM:")[2].split()[0], file=sys.stderr)
sys.exit(code)
"""


def run() -> dict[str, Any]:
    """Return how long each takes, how that compares with bare SHA-256, and the most memory."""
    with tempfile.TemporaryDirectory() as name:
        data, lines = Path(name) / "data", Path(name) / "acme.jsonl"
        _make(data)
        exported = _command("export", "--data", data, "--out", lines)
        bare, offline, online = [], [], []
        for _ in range(_ROUNDS):
            bare.append(_timed(lambda: _hash(lines)))
            offline.append(_command("verify", lines))
            online.append(_command("verify", "--data", data))
        size = lines.stat().st_size
    hashed = min(bare)
    return {
        "entries": ENTRIES,
        "bytes": size,
        "bare SHA-256": _figures(hashed, hashed, None),
        "verify, exported file": _figures(*_best(offline, hashed)),
        "verify, database and signed configs": _figures(*_best(online, hashed)),
        "export into a file": _figures(exported[0], hashed, exported[1]),
    }


def _make(data: Path) -> None:
    """Make a data folder whose account has so many entries, all sealed by its newest config."""
    settings = Settings(delivery_urls=["https://pins.example.com"])
    plan = Plan(data=data, account="acme", settings=settings, root_key=None, passphrase=None)
    folder.initialise(plan, clock=lambda: _NOW)
    with folder.opened(data, {}, clock=lambda: _NOW) as opened:
        for rows in _rows(opened):
            opened.services.database.write(lambda each, r=rows: each.execute(insert(audit), r))
        opened.services.publisher.republish("acme", "main", _WHO)


def _rows(opened: Folder) -> Iterator[list[dict[str, Any]]]:
    with opened.services.database.reading() as connection:
        query = select(audit).where(audit.c.account == "acme").order_by(audit.c.number.desc())
        newest = connection.execute(query).first()
    assert newest is not None
    before, found = newest.digest, []
    after = {"port": 443, "connect": None, "seen": "sha256/" + "A" * 43 + "="}
    entry = entry_of(
        _WHO, account="acme", action="probe", now=_NOW, target="api-0000000.example.com",
        before=after, after=after,
    )  # fmt: skip
    template = encode(entry)
    for number in range(newest.number + 1, ENTRIES):
        data = template.replace(b"0000000", b"%07d" % number)
        before = digest(before, data)
        found.append({"account": "acme", "number": number, "entry": data, "digest": before})
        if len(found) == _AT_A_TIME:
            yield found
            found = []
    yield found


def _hash(path: Path) -> None:
    with path.open("rb") as file:
        for line in file:
            sha256(line).digest()


def _timed(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def _command(*arguments: object) -> tuple[float, int]:
    """Run `livepin audit`; return its CPU time in seconds, and its most memory in KiB."""
    command = [sys.executable, "-c", _PROGRAM, "audit", *map(str, arguments)]
    done = subprocess.run(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=True
    )
    seconds, kib = done.stderr.split()[-2:]
    return float(seconds), int(kib)


def _best(found: list[tuple[float, int]], hashed: float) -> tuple[float, float, int]:
    return min(each for each, _ in found), hashed, max(kib for _, kib in found)


def _figures(seconds: float, hashed: float, kib: int | None) -> dict[str, float | None]:
    return {
        "CPU s": round(seconds, 2),
        "µs an entry": round(seconds / ENTRIES * 1e6, 2),
        "ratio": round(seconds / hashed, 1),
        "memory MiB": None if kib is None else round(kib / 1024),
    }
