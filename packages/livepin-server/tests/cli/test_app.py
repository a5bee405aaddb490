"""The table of commands: each is imported when it is run, and is explained in one way."""

from __future__ import annotations

import inspect
import subprocess
import sys
from importlib import import_module

import pytest
from cyclopts import App
from livepin_server.cli import app as table
from livepin_server.cli.app import app

HEAVY = (
    "alembic", "granian", "httpx", "litestar", "psycopg", "sqlalchemy", "uvloop",
    "livepin_server.management", "livepin_server.services", "livepin_server.storage",
    "livepin_server.web",
)  # fmt: skip


def rows(of: App) -> list[tuple[str, App]]:
    """Return the commands of a group, and of the groups in it, by name."""
    found = []
    for name in of:
        if not name.startswith("-"):
            found += [(name, of[name]), *rows(of[name])]
    return found


FUNCTIONS = [(name, each) for name, each in rows(app) if each.default_command is not None]


@pytest.mark.parametrize(("name", "command"), FUNCTIONS, ids=[name for name, _ in FUNCTIONS])
def test_what_the_table_says_of_a_command_is_what_its_function_says(name, command) -> None:
    written = inspect.getdoc(command.default_command)
    assert inspect.cleandoc(command.help) == written


def test_the_list_of_commands_imports_none_of_them() -> None:
    script = (
        "import sys; from livepin_server.cli.app import main; main(['--help'])\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    loaded = set(done.stderr.split())
    assert "livepin_server.cli.output" in loaded
    assert not loaded & {*HEAVY}
    commands = {f"livepin_server.cli.{name}" for name in ("domain", "init", "config", "account")}
    assert not loaded & commands


def test_every_row_of_the_table_leads_to_a_command() -> None:
    assert len(rows(app)) > 40
    for _, command in rows(app):
        assert command.help
    assert import_module(table.__package__).__name__ == "livepin_server.cli"
