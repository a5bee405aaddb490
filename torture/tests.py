"""The tests marked `torture`: those of `make test`, with more kills and more time."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

from .pages import Part

_ROOT = Path(__file__).parents[1]
_SERVER, _SDK = (_ROOT / "packages" / name / "tests" for name in ("livepin-server", "livepin"))
_CHAOS = [_SDK / "attacks/test_chaos.py"]
# By part: what its tests count, and how many seconds one by each of them takes, on two cores.
_COUNTED: dict[str, tuple[float, list[Path]]] = {
    "kills": (
        26.0,
        [
            _SERVER / "nodes/test_killed_server.py",
            _SERVER / "nodes/test_killed_rekey.py",
            _SERVER / "nodes/test_killed_backup.py",
            _SERVER / "nodes/test_lost_database.py",
            _SDK / "attacks/test_killed_while_storing.py",
        ],
    ),
    "disks": (
        11.0,
        [_SERVER / "storage/test_power_cut.py", _SERVER / "nodes/test_failing_disk.py"],
    ),
    "publishers": (13.0, [_SERVER / "nodes/test_many_publishers.py"]),
    "clocks": (1.0, [_SERVER / "services/publishing/test_wrong_clock.py"]),
    "api": (2.0, [_SERVER / "management/test_fuzzed.py"]),
}


def counted(name: str) -> Callable[[int, float], Part]:
    """Return what runs the tests of a part as often as there is time: fifty times by default."""
    each, files = _COUNTED[name]

    def run(seed: int, seconds: float) -> Part:
        return _run(files, f"--torture-seed={seed}", f"--kills={max(1, round(seconds / each))}")

    return run


def chaos(seed: int, seconds: float) -> Part:
    """Let an app go on in chaos for so long."""
    return _run(_CHAOS, f"--torture-seed={seed}", f"--chaos={seconds}")


def _run(files: list[Path], *options: str) -> Part:
    """Run the tests of these files that count what they do."""
    part = Part()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        done = subprocess.run(
            [
                *(sys.executable, "-m", "pytest", "-n", "0", "-v", "-p", "no:cacheprovider"),
                *("-m", "torture", "-o", "junit_family=xunit1", f"--junitxml={report}"),
                *options,
                *map(str, files),
            ],
            cwd=_ROOT,
            check=False,
        )
        found = ET.parse(report).getroot().iter("testcase")
        for case in found:
            name = _in_words(case.get("name", ""))
            counts = {e.get("name", ""): int(e.get("value", "0")) for e in case.iter("property")}
            part.rows.append({"test": name, **counts})
            if case.find("failure") is not None or case.find("error") is not None:
                part.findings.append(f"{name} failed")
    if done.returncode and not part.findings:
        part.findings.append("the tests did not run")
    return part


def _in_words(name: str) -> str:
    words = re.sub(r"^test_", "", name).replace("_", " ").replace("[", ": ").rstrip("]")
    for place, said in _PLACES.items():
        words = words.replace(place, said)
    words = words.replace("data folder-1", "a server on SQLite")
    words = words.replace("postgres folder-2", "one of two servers on PostgreSQL")
    return words.replace("data folder", "SQLite").replace("postgres folder", "PostgreSQL")


_PLACES = {
    "data folder-1-sqlite": "a server on SQLite",
    "postgres folder-2-postgres": "one of two servers on PostgreSQL",
    ": sqlite": ": on SQLite",
    ": postgresql": ": on PostgreSQL",
}
