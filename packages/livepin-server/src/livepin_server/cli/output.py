"""What commands show: tables for people, JSON for programs, `error:` and `hint:` on failure.

What is printed may come from a hostile endpoint, such as the subject of its certificate: control
characters are shown, never sent, so that nothing can rewrite what an operator sees.
"""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from threading import Timer
from typing import IO, Any

import msgspec
from rich.cells import cell_len
from rich.console import Console, Group
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

OK, FOUND, USAGE, REFUSED, UNREACHABLE, UNEXPECTED, INTERRUPTED = 0, 1, 2, 3, 4, 70, 130

_MOST_NAMED = 5  # names in a line
_A_MOMENT = 0.3  # seconds until progress is shown
_working: list[Spinner] = []  # the one that is shown


class CommandError(Exception):
    """A command ends with this line, a hint, and an exit code."""

    def __init__(self, message: str, *, hint: str | None = None, code: int = USAGE) -> None:
        super().__init__(message)
        self.hint = hint
        self.code = code


class Kept(Exception):  # noqa: N818 - it is no error
    """A change was not published, but kept for later: there is nothing else to show of it."""

    def __init__(self, found: dict[str, Any], *, again: str, json: bool) -> None:
        super().__init__("kept for later")
        self._found = found
        self._again = again
        self._json = json

    def show(self) -> None:
        """Say what was kept, and what comes next."""
        found, again = self._found, self._again
        if self._json:
            show_json(found)
            return
        for line in found["changed"]:
            say(line, "green" if line.startswith("+") else "")
        if found["at"] is not None:
            say(f"This is stage {found['stage']}, which is published at {minute(found['at'])}.")
            if found["second_person"]:
                say("Before that, by another API key:")
                say(f"  livepin publish {found['stage']} --approve{again}")
            return
        say(f"Staged, not published; {counted(found['number'], 'change')} on the stage. Next:")
        approve = " --approve" if found["second_person"] else ""
        say(f"  livepin diff{again}")
        say(f"  livepin publish{approve}{again}{', by another API key' if approve else ''}")


class Terminal(Console):
    """A console whose reader may leave: the command goes on, and its exit code stays true."""

    def __init__(self, stream: IO[str]) -> None:
        super().__init__(file=stream, highlight=False, soft_wrap=True)

    def on_broken_pipe(self) -> None:
        """Write to nowhere from now on."""
        _to_nowhere(self.file)


def out() -> Terminal:
    """Return the console for results."""
    return Terminal(sys.stdout)


def err() -> Terminal:
    """Return the console for everything that is no result."""
    return Terminal(sys.stderr)


def show_json(value: Any) -> None:
    """Print a value as JSON, without a character that a terminal would obey."""
    text = msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
    write("".join(c if c.isprintable() or c == "\n" else _in_json(c) for c in text))


def write(text: str) -> None:
    """Print text for programs, as it is."""
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        _to_nowhere(sys.stdout)
    except OSError as exc:
        raise _unwritten(sys.stdout, exc) from exc


def replace(path: Path, text: str, *, over: Callable[[Path], bool], what: str) -> None:
    """Write a file, whole or not at all, over nothing but an older one of its kind.

    Raises:
        CommandError: another file is there, or it cannot be written.
    """
    try:
        if path.exists() and not path.is_file():  # such as /dev/stdout
            path.write_text(text)
            return
        if path.exists() and not over(path):
            raise CommandError(
                f"{path} exists, and is no {what}", hint="name another file; it was left alone"
            )
        put(path, text)
    except OSError as exc:
        raise CommandError(f"cannot write {path}: {exc.strerror}") from exc


def put(path: Path, text: str, *, mode: int = 0o666) -> None:
    """Write a file, whole or not at all; where it is a link, what that leads to.

    Raises:
        OSError: it cannot be written; nothing is left beside it.
    """
    path = path.resolve()
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)  # no one else's file
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        beside.replace(path)
    except BaseException:
        beside.unlink()
        raise


def show_error(message: str, hint: str | None) -> None:
    """Print `error:` and, where there is something to do, `hint:`; a line each."""
    _labelled("error: ", "bold red", message)
    if hint:
        _labelled("hint:  ", "bold cyan", hint)


def warn(message: str) -> None:
    """Print a warning."""
    _labelled("warning: ", "bold yellow", message)


def say(message: str, style: str = "", *, to: Terminal | None = None) -> None:
    """Print a line for people."""
    _print(to or out(), Text(plain(message), style=style))


def confirm(consequence: str, *, yes: bool) -> None:
    """Go on only where a person agrees, or has agreed already with --yes."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise CommandError(f"{consequence}, and nobody is here to agree", hint="to agree: --yes")
    say(f"{consequence}. Type yes to go on:", to=err())
    if sys.stdin.readline().strip().lower() != "yes":
        raise CommandError("nothing was changed")


def table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], styles: Sequence[str] = ()
) -> None:
    """Print a table; a row is a line, so that it can be searched and copied."""
    console = out()
    for line in lined(columns, rows, styles):
        _print(console, line)


def lined(
    columns: Sequence[str], rows: Sequence[Sequence[str]], styles: Sequence[str] = ()
) -> list[Text]:
    """Return the lines of a table, its head first; each row in its style, if there are any."""
    cells = [[plain(cell) for cell in row] for row in rows]
    widths = [max(map(cell_len, column)) for column in zip(columns, *cells, strict=True)]
    drawn = ["bold", *(styles or [""] * len(rows))]
    found = []
    for row, style in zip([list(columns), *cells], drawn, strict=True):
        padded = (
            cell + " " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True)
        )
        found.append(Text("  ".join(padded).rstrip(), style=style))
    return found


@contextmanager
def screen() -> Iterator[Callable[[Sequence[Text]], None]]:
    """Give what draws lines in the place of those before, on a screen of its own until the end.

    What does not fit is cut. Nothing else is printed within, progress neither.
    """
    console = out()
    with Live(console=console, screen=True, auto_refresh=False) as shown:
        _working.append(Spinner("dots"))

        def draw(lines: Sequence[Text]) -> None:
            for line in lines:
                line.no_wrap, line.overflow = True, "ellipsis"
            shown.update(Group(*lines[: console.height]), refresh=True)

        try:
            yield draw
        finally:
            _working.clear()


@contextmanager
def working(message: str) -> Iterator[None]:
    """Show that something takes its time, where a person is looking; nothing is printed within.

    It appears after a moment, so that nothing flickers. Within another one it lends it its words.
    """
    if _working:
        before = _working[0].text
        _working[0].update(text=Text(plain(message)))
        try:
            yield
        finally:
            _working[0].update(text=before)
        return
    console = err()
    if not console.is_terminal:
        yield
        return
    spinner = Spinner("dots", Text(plain(message)))
    shown = Live(
        spinner, console=console, transient=True, redirect_stdout=False, redirect_stderr=False
    )
    later = Timer(_A_MOMENT, shown.start)
    later.daemon = True
    _working.append(spinner)
    later.start()
    try:
        yield
    finally:
        later.cancel()
        later.join()
        shown.stop()
        _working.clear()


def progress(message: str) -> None:
    """Say how far what takes its time has got, where that is shown."""
    if _working:
        _working[0].update(text=Text(plain(message)))


def plain(text: str) -> str:
    """Return a text with whatever a terminal would obey made visible."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _in_json(character: str) -> str:
    units = character.encode("utf-16-be").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


def day(text: str | None) -> str:
    """Return the day of an RFC 3339 time, or a dash."""
    return text[:10] if text else "-"


def minute(text: str) -> str:
    """Return an RFC 3339 time in UTC as people write it."""
    return f"{text[:10]} {text[11:16]} UTC"


def days_until(moment: datetime) -> int:
    """Return how many whole days are left."""
    return (moment - datetime.now(timezone.utc)).days


def counted(number: int, what: str, more: str | None = None) -> str:
    """Return a number of things in words; `more` is what several are called."""
    return f"{number} {what}" if number == 1 else f"{number} {more or f'{what}s'}"


def some(names: Sequence[str]) -> str:
    """Return names in a line that stays short, however many there are."""
    if len(names) > _MOST_NAMED:
        return f"{', '.join(names[:_MOST_NAMED])} and {len(names) - _MOST_NAMED} more"
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def _labelled(label: str, style: str, message: str) -> None:
    _print(err(), Text.assemble((label, style), plain(message)))


def _print(console: Terminal, text: Text) -> None:
    try:
        console.print(text)
        console.file.flush()
    except BrokenPipeError:
        console.on_broken_pipe()
    except OSError as exc:
        raise _unwritten(console.file, exc) from exc


def _unwritten(stream: IO[str], exc: OSError) -> CommandError:
    """Return the error of a full disk; what the stream still holds is let go."""
    _to_nowhere(stream)
    return CommandError(f"cannot write the output: {exc.strerror}", hint="the command itself ran")


def _to_nowhere(stream: IO[str]) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
