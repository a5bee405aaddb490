"""Threads that agents are known by. Those of Frida 17 have no names of their own any more."""

from __future__ import annotations

import os
from collections.abc import Iterator

from .finding import Finding, UnavailableError

_TASKS = "/proc/self/task"
_AGENTS = ("gum-js-loop", "pool-frida", "frida-")  # GLib's own, gmain and gdbus, are many apps'
_MOST = 256  # threads; an agent's are among the newest


def agents() -> Iterator[Finding]:
    """Give the threads whose name is that of an agent's.

    Raises:
        UnavailableError: this is no Linux, or one that does not tell.
    """
    try:
        tasks = sorted(map(int, os.listdir(_TASKS)))  # noqa: PTH208 - before each token
    except OSError as exc:
        raise UnavailableError(f"{_TASKS}: {exc.strerror}") from exc
    for task in tasks[-_MOST:]:
        name = _name(task)
        if name.startswith(_AGENTS):
            yield Finding.of("injected_code", f"thread {name}")


def _name(task: int) -> str:
    try:
        with open(f"{_TASKS}/{task}/comm", encoding="utf-8", errors="replace") as file:  # noqa: PTH123
            return file.read(64).strip()
    except OSError:  # it has ended
        return ""
