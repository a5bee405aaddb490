"""The machine of a run, and what is read off it."""

from __future__ import annotations

import contextlib
import os
import platform
import resource
import shutil
import ssl
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


def description() -> str:
    """Return one line that says on what the figures were taken."""
    cores = os.cpu_count()
    return (
        f"{_processor()}, {cores} cores; Python {platform.python_version()}, "
        f"{ssl.OPENSSL_VERSION.split(' (')[0]}"
    )


class MissingError(Exception):
    """A program that a measurement needs is not here."""


def program(name: str, package: str) -> str:
    """Return the path of a program, also of one that no PATH has.

    Raises:
        MissingError: it is not installed.
    """
    beside = ["/usr/sbin", "/usr/local/sbin", *Path("/usr/lib/postgresql").glob("*/bin")]
    found = shutil.which(name) or shutil.which(name, path=":".join(map(str, beside)))
    if found is None:
        raise MissingError(f"{name} is not here; install it: apt install {package}")
    return found


def cpu_seconds(pids: list[int]) -> float:
    """Return the CPU time, user and system, that these processes have used so far."""
    return sum(sum(_ticks(pid)[:2]) for pid in pids) / _TICK


def family_cpu_seconds(pid: int) -> float:
    """Return that of a process and of its children, those that have ended included."""
    total = sum(_ticks(pid))
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        with contextlib.suppress(FileNotFoundError):  # it has just ended
            total += sum(_ticks(int(child))[:2])
    return total / _TICK


def _ticks(pid: int) -> list[int]:
    """Return user and system time of a process, and those of its ended children."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return [int(each) for each in fields[11:15]]


def resident_kib(pid: int) -> int:
    """Return the resident memory of a process in KiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0


def may_open(files: int) -> int:
    """Raise the limit of open files as far as needed and allowed; return how many there may be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = files if hard == resource.RLIM_INFINITY else min(files, hard)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return max(soft, wanted)


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.machine()
