"""What is left when the power goes: the disk, page by page, as system calls say that it is.

strace tells what a process wrote and which syncs the kernel confirmed, and makes some of them fail.
A sync that fails is told once, and its pages count as clean from then on though no disk has them:
the worst that Linux does. Nothing that was acknowledged may go with the power all the same.
"""

from __future__ import annotations

import contextlib
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from livepin_server.storage.database import Database, sqlite_url

PAGE = 4096
CALLS = "pwrite64,write,ftruncate,fsync,fdatasync,unlink"

WRITING = """
import os, sys
from pathlib import Path
from livepin_server.errors import UnavailableError
from livepin_server.storage.database import Database, sqlite_url

path, label, count, settling = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]
says = os.open(path.with_name("says"), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
database = Database(sqlite_url(path))
try:
    if settling == "settling":
        database.settle()
except UnavailableError:
    os.kill(os.getpid(), 9)  # a server does not start
for number in range(count):
    name = f"{label}{number}"
    def change(connection):
        connection.exec_driver_sql("INSERT INTO things VALUES (?)", (name + "-" * 3000 * number,))
    try:
        database.write(change)
    except UnavailableError as exc:
        os.write(says, f"refused {name}: {exc}\\n".encode())
    else:
        os.write(says, f"acknowledged {name}\\n".encode())
os.kill(os.getpid(), 9)
"""


@dataclass
class File:
    """A file as the kernel shows it, and as the disk has it."""

    shown: bytearray = field(default_factory=bytearray)
    kept: bytearray = field(default_factory=bytearray)
    dirty: set[int] = field(default_factory=set)
    named: bool = False  # whether its folder was synced since it was made

    def write(self, data: bytes, at: int) -> None:
        self.shown.extend(bytes(max(0, at + len(data) - len(self.shown))))
        self.shown[at : at + len(data)] = data
        self.dirty.update(range(at // PAGE, (at + len(data) - 1) // PAGE + 1))

    def truncate(self, size: int) -> None:
        del self.shown[size:]
        self.dirty = {page for page in self.dirty if page * PAGE < size}

    def sync(self, done: bool) -> None:
        if done:
            self._take(self.dirty)
            del self.kept[len(self.shown) :]
        self.dirty.clear()  # also if it failed

    def after_a_power_cut(self, chance: random.Random) -> bytes:
        """Return what is found: of what was not synced, any part."""
        found = File(self.shown, bytearray(self.kept))
        found._take({page for page in self.dirty if chance.random() < 0.5})
        return bytes(found.kept)

    def _take(self, pages: set[int]) -> None:
        for page in pages:
            data = self.shown[page * PAGE : (page + 1) * PAGE]
            end = page * PAGE + len(data)
            self.kept.extend(bytes(max(0, end - len(self.kept))))
            self.kept[page * PAGE : end] = data


class Disk:
    """The folder of a database through several processes, until the power goes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: dict[str, File] = {}
        for each in (path for path in folder.iterdir() if path.name != "says"):
            content = each.read_bytes()
            self.files[each.name] = File(bytearray(content), bytearray(content), named=True)
        self.acknowledged: list[str] = []
        self.refused: list[str] = []

    def replay(self, log: Path) -> Iterator[None]:
        """Follow the system calls; stop at each acknowledgement."""
        for name, file, data, rest, result in calls(log):
            if name == "write" and file.name == "says":
                word, _, text = data.decode().partition(" ")
                (self.acknowledged if word == "acknowledged" else self.refused).append(text.strip())
                yield
            elif file == self.folder:
                for each in self.files.values():
                    each.named |= result == "0"
            elif file.name.endswith("-shm"):
                pass  # made anew from the log
            elif name == "unlink":
                del self.files[file.name]
            elif name in ("fsync", "fdatasync"):
                self.files.setdefault(file.name, File()).sync(done=result == "0")
            elif not result.startswith("-1"):
                found = self.files.setdefault(file.name, File())
                if name == "ftruncate":
                    found.truncate(int(rest))
                else:
                    found.write(data, int(rest.split(", ")[1]))

    def names_after_a_power_cut(self, chance: random.Random, folder: Path) -> set[str]:
        """Return what the database holds then."""
        folder.mkdir()
        for name, file in self.files.items():
            if file.named or chance.random() < 0.5:
                (folder / name).write_bytes(file.after_a_power_cut(chance))
        with contextlib.closing(sqlite3.connect(folder / "livepin.db")) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            rows = connection.execute("SELECT name FROM things").fetchall()
        shutil.rmtree(folder)
        return {name.rstrip("-") for (name,) in rows}


CALL = re.compile(r'(\w+)\((?:\d+<([^>]*)>|"([^"]*)")(?:, "([^"]*)"\.*)?(?:, )?(.*?)\) += (-?\d+)')


def calls(log: Path) -> Iterator[tuple[str, Path, bytes, str, str]]:
    """Give each system call: its name, its file, what was written, the rest, and its result."""
    begun: dict[str, str] = {}
    for line in log.read_text().splitlines():
        thread, text = line.split(" ", 1)
        text = text.strip()
        if text.endswith("<unfinished ...>"):
            begun[thread] = text.removesuffix("<unfinished ...>")
            continue
        if text.startswith("<... "):
            text = begun.pop(thread) + text.partition(" resumed>")[2]
        if text.startswith("+++"):
            continue
        found = CALL.match(text)
        assert found, text
        name, opened, path, data, rest, result = found.groups()
        file = Path(_bytes(opened or path).decode())
        yield name, file, _bytes(data or ""), rest, result


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))


@pytest.fixture
def written(counterpart, tmp_path):
    """Have a process write under strace until it kills itself; return the log of its calls."""
    strace = counterpart("strace")

    def one(path: Path, label: str, count: int, settling: str, *faults: str) -> Path:
        log = tmp_path / f"{label}.log"
        watched = [path, *(path.with_name(f"{path.name}-{each}") for each in ("wal", "journal"))]
        command = [strace, "-f", "--seccomp-bpf", "-qq", "-y", "-xx", "-s", str(16 * PAGE)]
        command += ["-e", "signal=none", "-e", f"trace={CALLS}", "-o", str(log)]
        for each in (*watched, path.parent, path.with_name("says")):
            command += ["-P", str(each)]
        for each in faults:
            command += ["-e", f"inject={each}"]
        command += [sys.executable, "-c", WRITING, str(path), label, str(count), settling]
        assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
        return log

    return one


@pytest.fixture
def path(tmp_path) -> Path:
    """A database as a server leaves it that ended in order."""
    found = tmp_path / "database" / "livepin.db"
    found.parent.mkdir()
    with contextlib.closing(sqlite3.connect(found)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE things (name TEXT PRIMARY KEY)")
    return found


def test_what_is_acknowledged_after_a_restart_does_not_rest_on_pages_that_never_reached_the_disk(
    written, path, tmp_path
):
    """A sync fails, the process is killed, the next one goes on, the power goes."""
    disk, chance = Disk(path.parent), random.Random(1)
    log = written(path, "a", 4, "settling", "fdatasync:error=EIO:when=6")
    assert list(disk.replay(log)) == [None] * 4
    (last,) = disk.refused
    assert last.startswith("a3: the database cannot be written")
    # It was refused; the log has it as committed all the same, and the next process takes it so.
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        assert len(connection.execute("SELECT name FROM things").fetchall()) == 4
    for _ in disk.replay(written(path, "b", 3, "settling")):
        found = disk.names_after_a_power_cut(chance, tmp_path / "after")
        assert found >= {*disk.acknowledged}
    assert found == {"a0", "a1", "a2", "a3", "b0", "b1", "b2"}


def test_without_settling_it_would(written, path, tmp_path):
    """That the test above can fail."""
    disk, chance = Disk(path.parent), random.Random(1)
    list(disk.replay(written(path, "a", 4, "settling", "fdatasync:error=EIO:when=6")))
    list(disk.replay(written(path, "b", 3, "no")))
    assert disk.names_after_a_power_cut(chance, tmp_path / "after") == {"a0", "a1", "a2"}


@pytest.mark.torture
@pytest.mark.timeout(3600)
def test_syncs_and_writes_that_fail_anywhere_cost_nothing_that_was_acknowledged(
    written, path, tmp_path, torture
):
    disk, chance, cuts = Disk(path.parent), torture.chance, 0
    for number in range(torture.kills):
        error = chance.choice(
            ["fdatasync:error=EIO", "pwrite64:error=EIO", "pwrite64:error=ENOSPC"]
        )
        when = chance.randint(1, 6 if error.startswith("fdatasync") else 40)
        again = chance.choice(["", "+", f"+{chance.randint(1, 5)}"])
        log = written(path, f"r{number}n", 8, "settling", f"{error}:when={when}{again}")
        for _ in disk.replay(log):
            for _ in range(2):
                found = disk.names_after_a_power_cut(chance, tmp_path / "after")
                assert found >= {*disk.acknowledged}
                cuts += 1
    assert disk.refused
    with contextlib.closing(Database(sqlite_url(path))) as database:
        database.settle()
        with database.reading() as connection:
            rows = connection.exec_driver_sql("SELECT name FROM things").scalars().all()
    kept = {name.rstrip("-") for name in rows}
    assert {*disk.acknowledged} <= kept
    torture.count("failures", len(disk.refused))
    torture.count("power cuts", cuts)
