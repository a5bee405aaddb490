"""livepin installation: listed, tagged, blocked; and what an operator is told."""

from __future__ import annotations

import json
from datetime import datetime, timezone

import pytest
from livepin_server.services.tokens.recording import Seen

ONE, TWO, NEW = ("1" * 22, "2" * 22, "3" * 22)
ODD = "-" + "4" * 21  # as one id in 64


@pytest.fixture
def known(data):
    """Two installations that asked for tokens."""
    with _opened(data) as found:
        for minute, name in enumerate((ONE, TWO)):
            found.services.recording.note(
                Seen(
                    account="acme",
                    id=name,
                    thumbprint=name + "t" * 21,
                    app="com.example.app",
                    stream="main",
                    config_version=7,
                    moment=datetime(2026, 11, 26, 12, minute, tzinfo=timezone.utc),
                )
            )
    return data


def _opened(data):
    from livepin_server import folder

    return folder.opened(data, {}, clock=lambda: datetime.now(timezone.utc))


def test_there_is_none_at_first(run, data) -> None:
    assert run("installation", "list").out == "No installation has asked for a token yet.\n"
    done = run("installation", "show", "latest")
    assert (done.code, "client.installation_id" in done.err) == (3, True)


def test_the_one_seen_last_comes_first(run, known) -> None:
    lines = run("installation", "list").out.splitlines()
    assert [each.split()[0] for each in lines] == ["installation", TWO, ONE]
    assert lines[1].split()[1:5] == ["com.example.app", "2026-11-26", "12:01", "UTC"]
    assert [
        each["id"] for each in json.loads(run("installation", "list", "--latest", "--json").out)
    ] == [TWO]


def test_one_is_shown(run, known) -> None:
    done = run("installation", "show", ONE)
    assert done.out.splitlines()[0] == ONE
    assert "  last seen   2026-11-26 12:00 UTC, with config 7 of main\n" in done.out
    assert json.loads(run("installation", "show", "latest", "--json").out)["id"] == TWO


def test_tags_are_given_found_and_taken(run, known) -> None:
    assert run("installation", "tag", ONE, "lab", "beta").out == f"{ONE} has the tags beta, lab.\n"
    found = json.loads(run("installation", "list", "--tag", "lab", "--json").out)
    assert [each["id"] for each in found] == [ONE]
    assert "  tags        beta, lab\n" in run("installation", "show", ONE).out
    assert run("installation", "tag", ONE).out == f"{ONE} has no tags.\n"
    assert json.loads(run("installation", "tag", ONE, "x", "--json").out)["tags"] == ["x"]


def test_an_id_may_begin_with_a_hyphen(run, data) -> None:
    for command in ("block", "force-fail", "force-pass"):
        assert run("installation", command, ODD, "--reason", "a test").code == 0
    assert run("installation", "tag", ODD, "lab").out == f"{ODD} has the tags lab.\n"
    assert run("installation", "show", ODD).out.startswith(f"{ODD}\n")
    assert run("installation", "unblock", ODD).code == 0
    assert run("installation", "block", "--reason", "x").code == 2


@pytest.mark.parametrize(
    ("command", "verdict", "words"),
    [
        ("block", "block", "is blocked: it gets tokens that no backend takes"),
        ("force-fail", "fail", "fails from now on"),
        ("force-pass", "pass", "passes from now on"),
    ],
)
def test_what_is_decided_is_told_and_lifted(run, known, command, verdict, words) -> None:
    done = run("installation", command, NEW, "--reason", "a test", "--expires", "24h")
    assert (done.code, words in done.out, ", until " in done.out) == (0, True, True)
    shown = run("installation", "show", NEW).out
    assert "  it has not asked for a token yet\n" in shown
    assert f"  decided     {verdict} until " in shown
    assert f"installation.{'block' if verdict == 'block' else command}" in run("audit", "log").out
    done = run("installation", "unblock", NEW)
    assert done.out == f"Nothing is decided of {NEW} any more.\n"
    assert run("installation", "unblock", NEW).code == 3
    found = run("installation", command, ONE, "--reason", "a test", "--json")
    assert json.loads(found.out)["rule"]["expires"] is None
    assert verdict in run("installation", "list").out
    assert run("installation", "unblock", ONE, "--json").code == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("block", ONE),
        ("block", "short", "--reason", "x"),
        ("block", "*" * 22, "--reason", "x"),
        ("block", ONE, "--reason", "x", "--expires", "soon"),
        ("list", "--limit", "0"),
    ],
)
def test_what_cannot_be_is_refused(run, data, arguments) -> None:
    assert run("installation", *arguments).code == 2
