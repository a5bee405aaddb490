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
_COUNTED = {
    "kills": [
        _SERVER / "nodes/test_killed_server.py",
        _SERVER / "nodes/test_killed_rekey.py",
        _SERVER / "nodes/test_killed_backup.py",
        _SERVER / "nodes/test_lost_database.py",
        _SDK / "attacks/test_killed_while_storing.py",
    ],
    "disks": [_SERVER / "storage/test_power_cut.py", _SERVER / "nodes/test_failing_disk.py"],
    "publishers": [_SERVER / "nodes/test_many_publishers.py"],
    "clocks": [_SERVER / "services/publishing/test_wrong_clock.py"],
    "evidence": [_SERVER / "services/appraisal/test_verifying.py"],
    "monitoring": [
        _SERVER / "services/monitoring/test_killed_worker.py",
        _SERVER / "monitor/test_killed_notifier.py",
        _SERVER / "services/monitoring/judging/test_endpoint.py",
    ],
    "api": [_SERVER / "management/test_fuzzed.py"],
}
_TIMES = 50  # that each test of a part does what it counts
_CHAOS_SECONDS = 300


def counted(name: str) -> Callable[[int, float], Part]:
    """Return what makes the tests of a part do what they count fifty times, by a scale of 1."""

    def run(seed: int, scale: float) -> Part:
        times = max(1, round(_TIMES * scale))
        return _run(_COUNTED[name], f"--torture-seed={seed}", f"--kills={times}")

    return run


def chaos(seed: int, scale: float) -> Part:
    """Let an app go on in chaos for five minutes, by a scale of 1."""
    return _run(_CHAOS, f"--torture-seed={seed}", f"--chaos={_CHAOS_SECONDS * scale}")


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
