"""livepin domain set-mode, set-token and set-stale: what weakens asks first."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest

from .conftest import no_backup, unseen

PIN = "sha256/" + "A" * 43 + "="
HOST = "a.test"
OPEN = "warning: apps will connect to a.test whatever key it has"
BACK = "; if that is not meant: livepin config restore 2\n"
UNSEEN, SINGLE = unseen(HOST), no_backup(HOST)
# Command, from, to; whether that weakens, or nobody can look whether it shuts apps out; what the
# server says of it.
CHANGES = [
    ("set-mode", "enforce", "report", True, f"{OPEN}, and only report it{BACK}"),
    ("set-mode", "enforce", "off", True, OPEN + BACK),
    ("set-mode", "report", "off", True, ""),
    ("set-mode", "off", "report", False, ""),
    ("set-mode", "report", "enforce", True, UNSEEN + SINGLE),
    ("set-mode", "off", "enforce", True, UNSEEN + SINGLE),
    ("set-token", "on", "off", True, SINGLE),
    ("set-token", "off", "on", False, SINGLE),
    ("set-stale", "refuse", "enforce", True, SINGLE),
    ("set-stale", "enforce", "refuse", False, SINGLE),
]


@pytest.fixture
def domain(run, data) -> str:
    """A domain with one pin."""
    run("domain", "add", HOST, "--pin", PIN)
    return HOST


def published(run) -> tuple[int, dict[str, object]]:
    shown = run("config", "show", "--json").json
    (found,) = shown["payload"]["domains"]
    return shown["publication"]["version"], found


@pytest.mark.parametrize(("command", "before", "after", "asks", "warned"), CHANGES)
def test_a_change_is_published_and_asks_first_if_apps_may_be_worse_off(
    run, domain, command, before, after, asks, warned
) -> None:
    run("domain", command, domain, before, "--yes")
    start = published(run)
    done = run("domain", command, domain, after, "--reason", "CHG-1")
    if asks:
        assert (done.code, done.out) == (2, "")
        first, second = done.err.splitlines()
        assert first.startswith(("error: apps will ", "error: apps may be refused: "))
        assert first.endswith(", and nobody is here to agree")
        assert second == "hint:  to agree: --yes"
        assert published(run) == start
        done = run("domain", command, domain, after, "--reason", "CHG-1", "--yes")
    what = command.removeprefix("set-")
    version, found = published(run)
    assert (done.code, done.err) == (0, warned)
    assert done.out == (f"a.test: {what} {before} -> {after}, from config version {version} on.\n")
    assert version == start[0] + 1
    assert found[what] == {"on": True, "off": False}.get(after, after) if what == "token" else after
    log = run("config", "log", "--json").json[0]
    assert (log["reason"], log["changed"]) == (
        "CHG-1",
        [f"* domain a.test: {what} {before} -> {after}"],
    )


@pytest.mark.parametrize(
    ("answer", "mode"), [(b"yes\n", "off"), (b"y\n", "enforce"), (b"\x04", "enforce")]
)
def test_on_a_terminal_only_yes_agrees(run, domain, answer, mode) -> None:
    here, there = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "livepin", "domain", "set-mode", domain, "off"],
        stdin=there,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=dict(os.environ),
    )
    try:
        os.write(here, answer)
        _, err = process.communicate(timeout=60)
    finally:
        os.close(here)
        os.close(there)
    asked = "apps will connect to a.test whatever key it has. Type yes to go on:\n"
    then = OPEN + BACK if mode == "off" else "error: nothing was changed\n"
    assert err.decode() == asked + then
    assert process.returncode == (0 if mode == "off" else 2)
    assert published(run)[1]["mode"] == mode


@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
        (("set-mode", HOST, "enforce"), 3, "a.test has mode enforce already"),
        (("set-token", HOST, "off"), 3, "a.test has token off already"),
        (("set-stale", HOST, "enforce"), 3, "a.test has stale enforce already"),
        (("set-mode", "b.test", "off"), 3, "there is no domain 'b.test'"),
        (
            ("set-mode", HOST, "loose"),
            2,
            'Invalid value "loose" for MODE. Choose from: "enforce", "report", "off".',
        ),
        (("set-mode", HOST), 2, "expected MODE"),
        (("set-mode", "a b", "off"), 2, "expected a host name, found 'a b'"),
    ],
)
def test_a_mistake_changes_nothing(run, domain, arguments, code, error) -> None:
    start = published(run)
    done = run("domain", *arguments)
    assert (done.code, done.out, done.err.splitlines()[0]) == (code, "", f"error: {error}")
    assert published(run) == start


def test_json_is_what_the_api_gives(run, domain) -> None:
    done = run("domain", "set-token", domain, "on", "--json")
    assert done.json["domain"]["token"] is True


# -- enforcing, with a look at the host ----------------------------------------------------------


@pytest.fixture
def reported(run, data, api, ca):
    """The endpoint, with the pin of another key, in report mode."""
    run(
        "domain", "add", "localhost", "--pin", PIN, "--mode", "report",
        "--connect", f"localhost:{api.port}", "--ca", ca,
    )  # fmt: skip
    return api


def test_pins_of_which_none_matches_are_not_enforced_by_mistake(run, reported) -> None:
    start = published(run)
    done = run("domain", "set-mode", "localhost", "enforce")
    assert (done.code, done.out) == (2, "")
    assert done.err.splitlines() == [
        "error: apps would be refused: no pin matches what localhost serves now, "
        "and nobody is here to agree",
        "hint:  to agree: --yes",
    ]
    agreed = run("domain", "set-mode", "localhost", "enforce", "--yes")
    assert (agreed.code, agreed.out) == (3, "")
    assert agreed.err.startswith("error: no pin of localhost matches what localhost serves at this")
    assert published(run) == start
    forced = ("--yes", "--force", "--reason", "the new key comes tonight")
    assert run("domain", "set-mode", "localhost", "enforce", *forced).code == 0


def test_pins_of_which_one_matches_are_enforced_at_once(run, reported) -> None:
    run("pin", "add", "localhost", "--live")
    reported.wait_closed()
    before = reported.handshakes
    done = run("domain", "set-mode", "localhost", "enforce")
    assert done.code == 0
    assert done.err.startswith("warning: localhost has no backup pin")
    assert done.err.count("\n") == 1
    reported.wait_closed()
    assert reported.handshakes == before + 2  # from here, and from the server
    assert published(run)[1]["mode"] == "enforce"
    # Whatever leaves the keys that apps accept as they are is not looked at.
    for arguments in (("set-token", "on"), ("set-stale", "refuse")):
        assert run("domain", arguments[0], "localhost", arguments[1]).code == 0
    assert reported.handshakes == before + 2


def test_for_a_wildcard_somebody_names_the_host_to_look_at(run, data, api, ca, chain) -> None:
    address = ("--connect", f"localhost:{api.port}", "--ca", ca)
    run("domain", "add", "*.example.test", "--look-at", "api.example.test", *address)
    run("domain", "set-mode", "*.example.test", "report", "--yes")
    done = run("domain", "set-mode", "*.example.test", "enforce")
    assert done.code == 2
    assert done.err.startswith(
        "error: apps may be refused: *.example.test is no host that one can look at (see --look-at)"
    )
    wrong = run("domain", "set-mode", "*.example.test", "enforce", "--look-at", "a.test")
    assert wrong.err.startswith("error: *.example.test does not cover a.test")
    named = ("--look-at", "api.example.test")
    assert run("domain", "set-mode", "*.example.test", "enforce", *named).code == 0
