"""livepin config diff: what one version says otherwise, for people and for programs."""

from __future__ import annotations

import pytest

PIN, OTHER = "sha256/" + "A" * 43 + "=", "sha256/" + "B" * 42 + "A="


@pytest.fixture
def history(run, data) -> None:
    """Version 2 has a.test, version 3 another pin of it, version 4 b.test in its place."""
    run("domain", "add", "a.test", "--pin", PIN)
    run("pin", "add", "a.test", OTHER)
    run("domain", "add", "b.test", "--pin", PIN, "--mode", "report", "--reason", "CHG-1234")


def test_it_says_what_differs_who_published_it_and_why(run, history) -> None:
    issued = run("config", "show", "4", "--json").json["publication"]["issued"]
    head = [
        "config version 4 of acme/main, against version 2",
        f"  issued    {issued[:10]} {issued[11:16]} UTC by operator",
        "  reason    CHG-1234",
    ]
    assert run("config", "diff", "2").out.splitlines() == [
        *head,
        f"+ pin a.test {OTHER}",
        "+ domain b.test (report)",
        f"+ pin b.test {PIN}",
    ]
    assert run("config", "diff", "latest", "2").out.splitlines()[2:] == [
        "  reason    -",
        f"- pin a.test {OTHER}",
        "- domain b.test",
    ]
    assert run("config", "diff", "4").out.splitlines() == [
        "config version 4 of acme/main, against version 4",
        *head[1:],
        "They say the same.",
    ]


def test_programs_get_the_members_that_differ(run, history) -> None:
    found = run("config", "diff", "2", "3", "--json").json
    assert (found["old"]["version"], found["new"]["version"]) == (2, 3)
    assert found["changed"] == [f"+ pin a.test {OTHER}"]
    assert found["touched"] == ["a.test"]
    assert found["before"] == {}
    assert found["after"] == {"pin_sets": {"a.test": [{"sha256": OTHER.removeprefix("sha256/")}]}}


def test_what_goes_is_red_and_what_comes_is_green(terminal, run, history, monkeypatch) -> None:
    run("domain", "set-mode", "b.test", "off", "--yes")
    monkeypatch.setenv("TERM", "xterm-256color")
    shown = terminal("config", "diff", "5", "1")
    assert shown.end() == 0
    assert "\x1b[31m- domain a.test\x1b[0m" in shown.text
    shown = terminal("config", "diff", "3", "5")
    assert shown.end() == 0
    assert "\x1b[32m+ domain b.test (off)\x1b[0m" in shown.text
    shown = terminal("config", "diff", "4", "5")
    assert shown.end() == 0
    assert "\x1b[33m* domain b.test: mode report -> off\x1b[0m" in shown.text


def test_versions_of_two_streams_are_not_compared(run, history) -> None:
    run("stream", "add", "canary")
    done = run("config", "diff", "4", "5")
    assert (done.code, done.out) == (3, "")
    assert done.err == (
        "error: config version 5 of acme is one of the stream canary, not of main\n"
        "hint:  versions of one stream are compared: --stream canary\n"
    )
    assert run("config", "diff", "5", "--stream", "canary").code == 0


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["lates"], "did you mean latest?"),
        (["1", "-7"], "livepin config log shows which there are"),
        (["1", "two"], "livepin config log shows which there are"),
    ],
)
def test_what_is_no_version_is_refused_here(run, data, words, hint) -> None:
    done = run("config", "diff", *words)
    assert done.code == 2
    if not words[-1].startswith("-"):
        assert done.err == (
            f"error: expected a version number or latest, found {words[-1]!r}\nhint:  {hint}\n"
        )
