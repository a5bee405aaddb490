"""What a fresh clone promises: one clear line where something is missing, and locks that travel."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))


def make_venv(tmp_path: Path, python: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(ROOT / "scripts" / "make_venv"), python],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_python_without_venv_ends_in_one_line_with_the_command_that_mends_it(
    tmp_path: Path,
) -> None:
    (tmp_path / "venv.py").write_text("raise ImportError('Debian has it in a package of its own')")
    done = make_venv(tmp_path, sys.executable, PYTHONPATH=str(tmp_path))
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert f"apt install python{version}-venv" in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_no_python_at_all_ends_in_one_line(tmp_path: Path) -> None:
    done = make_venv(tmp_path, "")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "Python 3.11 or newer" in done.stderr


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_a_lock_has_a_hash_for_every_package_and_no_address(lock: Path) -> None:
    text = lock.read_text()
    packages = re.findall(r"^[A-Za-z0-9][^ ]*==.*?(?=^\S|\Z)", text, re.DOTALL | re.MULTILINE)
    assert packages
    assert all("--hash=sha256:" in package for package in packages)
    assert "://" not in text
    assert "--index" not in text


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make: apt install make")
def test_make_says_what_it_can_do() -> None:
    done = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    for target in ("setup", "lint", "test", "demo", "serve", "bench", "torture"):
        assert re.search(rf"^{target}\s", done.stdout, re.MULTILINE)


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_every_measurement_is_a_part_of_make_bench() -> None:
    done = bench("--help")
    files = (ROOT / "benchmarks").glob("[a-z]*.py")
    measurements = {file.stem for file in files if "\nBUDGET = " in file.read_text()}
    assert done.returncode == 0, done.stderr
    assert set(re.findall(r"^([a-z_]+)  ", done.stdout, re.MULTILINE)) == measurements


def test_a_measurement_that_there_is_not_is_refused_before_anything_is_measured() -> None:
    done = bench("imports", "speed")
    assert done.returncode == 2
    assert done.stdout.startswith("error: there is no part 'speed'; there is pin_check, ")


def test_only_what_is_locked_is_ever_installed() -> None:
    scripts = [*(ROOT / "scripts").iterdir(), ROOT / ".ci" / "counterparts", ROOT / "Makefile"]
    installs = [
        line
        for script in scripts
        if script.is_file()
        for line in script.read_text().splitlines()
        if re.search(r'pip["\s,]+install|\*pip, "install"', line)
    ]
    assert len(installs) >= 4
    assert [line for line in installs if "--no-deps" not in line] == []


def test_every_test_that_the_threat_model_names_is_there() -> None:
    text = (ROOT / "spec" / "threat-model.md").read_text()
    named = set(re.findall(r"`(server: )?([a-z_/]*test_[a-z_]+)`", text))
    assert len(named) > 60
    for server, name in named:
        folder = "livepin-server/tests" if server else "livepin/tests/attacks"
        assert (ROOT / "packages" / folder / f"{name}.py").is_file(), name
