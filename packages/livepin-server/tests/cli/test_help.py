"""Help: every command explains itself, and the reference in docs/ shows the same."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from cyclopts import App
from livepin_server.cli import output
from livepin_server.cli.app import app

REFERENCE = Path(__file__).parents[4] / "docs" / "commands.md"
COMMANDS = [
    "init", "serve", "upgrade", "status", "account add", "account list", "custody rekey",
    "root show", "root new-key", "root prepare", "root sign", "root publish", "root rotate",
    "domain add", "domain list", "domain show", "domain remove", "domain check", "domain set-mode",
    "domain set-token", "domain set-stale", "pin add", "pin remove",
    "pin list", "pin new-backup", "pinset add", "pinset update", "pinset list", "pinset show",
    "pinset use", "pinset remove", "stream add", "stream list", "stream move", "stream copy",
    "export", "doctor", "config show", "config log", "config diff", "config restore",
    "config export", "config raise", "bootstrap", "backup", "backup new-key", "restore",
    "diff", "publish", "discard", "guards show", "guards set",
    "delivery show", "delivery set", "delivery check", "delivery renew-keys",
    "api-key create", "api-key list", "api-key show", "api-key rotate", "api-key revoke",
    "api-key recover",
    "token show", "token set", "token check", "token example",
    "token-key add", "token-key rotate", "token-key list", "token-key export",
    "installation list", "installation show", "installation tag", "installation block",
    "installation unblock", "installation force-pass", "installation force-fail",
    "app add", "app set", "app list", "app show", "app remove", "app measure", "app release add",
    "app release list", "app release end", "policy show", "policy set", "policy explain",
    "override create", "override list", "override end",
    "monitor run", "monitor status", "monitor watch", "monitor set", "monitor history",
    "monitor export", "monitor worker", "monitor forget",
    "incident list", "incident show", "incident ack",
    "incident snooze", "maintenance add", "maintenance list", "maintenance end",
    "channel add email", "channel add webhook", "channel add pagerduty",
    "channel add alertmanager", "channel add apprise", "channel list", "channel test",
    "channel dead", "channel retry", "channel remove",
    "audit log", "audit export", "audit verify",
    "profile add", "profile list", "profile show", "profile use", "profile remove",
    "completion", "demo",
]  # fmt: skip


def test_the_list_of_commands_is_complete() -> None:
    assert sorted(commands(app)) == sorted(COMMANDS)


def commands(group: App, *names: str) -> Iterator[str]:
    """Give the commands of a group, and of those in it."""
    inner = [each for each in group if not each.startswith("-")]
    if names and (not inner or group.default_command):
        yield " ".join(names)
    for each in inner:
        yield from commands(group[each], *names, each)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_here_and_in_the_reference(run, command) -> None:
    done = run(*command.split(), "--help")
    assert (done.code, done.err) == (0, "")
    assert re.search(rf"\nExamples?:\n  livepin {command}\b", done.out)
    for wrong in ("STR", "PATH", "INT ", "()", "False", '""', "--folder", "--host"):
        is_meant = (command, wrong) == ("monitor set", "--host")
        assert is_meant or wrong not in done.out
    rows = [line for line in done.out.splitlines() if line.startswith("│")]
    for row in rows:
        first = re.match(r"│ [* ]{0,2} ?(--[a-z-]+|[A-Z]{2,})( [A-Z:]+)?", row)
        if first is not None:
            assert row[first.end() : -1].strip(), f"no help: {row}"
    assert f"$ livepin {command} --help\n{done.out.rstrip()}\n" in REFERENCE.read_text()


def test_the_reference_lists_the_exit_codes() -> None:
    found = re.findall(r"^\| (\d+) \| (.+) \|$", REFERENCE.read_text(), re.MULTILINE)
    assert [int(code) for code, _ in found] == [
        output.OK,
        output.FOUND,
        output.USAGE,
        output.REFUSED,
        output.UNREACHABLE,
        output.UNEXPECTED,
        output.INTERRUPTED,
    ]
    help_text = " ".join(str(app.help).split())
    for code, _ in found:
        assert re.search(rf"\b{code} [a-z]", help_text)


@pytest.mark.parametrize(
    ("arguments", "error", "hint"),
    [
        (("serv",), 'Unknown command "serv". Did you mean "serve"?', "livepin --help"),
        (("domain", "ad"), 'Unknown command "ad". Did you mean "add"?', "livepin domain --help"),
        (("serve", "--prot", "1"), "Unknown option: --prot.", "livepin serve --help"),
        (
            ("domain", "list", "a.test"),
            "expected no more arguments, found a.test",
            "livepin domain list --help",
        ),
        (("domain", "add", "--port"), "expected --port PORT", "livepin domain add --help"),
        (
            ("domain", "add", "a.test", "--pin-level", "middle"),
            'Invalid value "middle" for --pin-level. Choose from: "leaf", "intermediate", "root".',
            "livepin domain add --help",
        ),
    ],
)
def test_a_wrong_word_gets_the_nearest_right_one(run, arguments, error, hint) -> None:
    done = run(*arguments)
    assert (done.code, done.out) == (2, "")
    first, second = done.err.splitlines()
    assert first.startswith(f"error: {error}")
    assert second == f"hint:  {hint}"


@pytest.mark.parametrize("arguments", [(), ("--help",), ("domain",), ("--version",)])
def test_what_is_no_command_shows_what_there_is(run, arguments) -> None:
    done = run(*arguments)
    assert (done.code, done.err) == (0, "")
    assert done.out
