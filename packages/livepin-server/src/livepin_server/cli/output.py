"""What commands show: tables for people, JSON for programs, `error:` and `hint:` on failure."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

OK, FOUND, USAGE, REFUSED, UNREACHABLE, UNEXPECTED = 0, 1, 2, 3, 4, 70


class CommandError(Exception):
    """A command ends with this line, a hint, and an exit code."""

    def __init__(self, message: str, *, hint: str | None = None, code: int = USAGE) -> None:
        super().__init__(message)
        self.hint = hint
        self.code = code


def out() -> Console:
    """Return the console for results."""
    return Console(file=sys.stdout, highlight=False, soft_wrap=True)


def err() -> Console:
    """Return the console for everything that is no result."""
    return Console(file=sys.stderr, highlight=False, soft_wrap=True)


def show_json(value: Any) -> None:
    """Print a value as JSON."""
    text = msgspec.json.format(msgspec.json.encode(value), indent=2)
    sys.stdout.write(text.decode() + "\n")


def show_error(message: str, hint: str | None) -> None:
    """Print `error:` and, where there is something to do, `hint:`."""
    _labelled("error: ", "bold red", message)
    if hint:
        _labelled("hint:  ", "bold cyan", hint)


def warn(message: str) -> None:
    """Print a warning."""
    _labelled("warning: ", "bold yellow", message)


def say(message: str, style: str = "") -> None:
    """Print a line for people."""
    out().print(Text(message, style=style))


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table; the cells are plain text."""
    found = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        found.add_column(column, overflow="fold")
    for row in rows:
        found.add_row(*(Text(cell) for cell in row))
    out().print(found)


@contextmanager
def working(message: str) -> Iterator[None]:
    """Show that something takes its time, where a person is looking."""
    console = err()
    if not console.is_terminal:
        yield
        return
    with console.status(message):
        yield


def day(text: str | None) -> str:
    """Return the day of an RFC 3339 time, or a dash."""
    return text[:10] if text else "-"


def days_until(text: str) -> int:
    """Return how many whole days are left until an RFC 3339 time."""
    return (datetime.fromisoformat(text) - datetime.now(timezone.utc)).days


def _labelled(label: str, style: str, message: str) -> None:
    err().print(Text(label, style=style) + Text(message))
