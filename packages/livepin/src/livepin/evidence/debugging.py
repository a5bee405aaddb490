"""Debuggers and tracing: what looks at a process, line by line or through its system."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator

from .finding import Finding, UnavailableError

_STATUS = "/proc/self/status"
_TRACER = b"TracerPid:"
_DEBUGGERS = ("pydevd", "debugpy")
_TOOLS = 6  # PEP 669


def python_debuggers() -> Iterator[Finding]:
    """Give the debuggers that were loaded into this process."""
    for name in _DEBUGGERS:
        if name in sys.modules:
            yield Finding.of("debugger", name)


def tracer() -> Iterator[Finding]:
    """Give whether another process traces this one.

    Raises:
        UnavailableError: this is no Linux, or one that does not tell.
    """
    try:
        with open(_STATUS, "rb") as file:  # noqa: PTH123 - it is read before each token
            lines = file.read(64 * 1024).splitlines()
    except OSError as exc:
        raise UnavailableError(f"{_STATUS}: {exc.strerror}") from exc
    for line in lines:
        if line.startswith(_TRACER) and line[len(_TRACER) :].strip() != b"0":
            yield Finding.of("debugger", "another process traces this one")


def tracing() -> Iterator[Finding]:
    """Give what follows this process's Python code: in any thread, or in those to come."""
    if (
        sys.gettrace()
        or threading.gettrace()
        or any(each.f_trace for each in sys._current_frames().values())
    ):
        yield Finding.of("tracing", "sys.settrace")
    if sys.getprofile() or threading.getprofile():
        yield Finding.of("tracing", "sys.setprofile")
    monitoring = getattr(sys, "monitoring", None)  # Python 3.12
    if monitoring is not None:
        for tool in range(_TOOLS):
            name = monitoring.get_tool(tool)
            if name is not None:
                yield Finding.of("tracing", f"sys.monitoring {name}")
