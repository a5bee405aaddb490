"""livepin --stage, diff, publish, discard, and guards: changes before apps see them."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

HOST = "api.example.com"


@pytest.fixture
def pins(pin_text):
    return [pin_text(number) for number in range(4)]


@pytest.fixture
def stage_domain(run, data, pins):
    """Stage a domain."""

    def one(host=HOST, *options):
        done = run("domain", "add", host, "--pin", pins[0], "--stage", *options)
        assert done.code == 0, done.err
        return done

    return one


def test_a_change_is_staged_seen_and_published(run, stage_domain, pins) -> None:
    done = stage_domain()
    assert done.out.splitlines() == [
        f"+ domain {HOST} (enforce)",
        f"+ pin {HOST} {pins[0]}",
        "Staged, not published; 1 change on the stage. Next:",
        "  livepin diff",
        "  livepin publish",
    ]
    assert "no domains yet" in run("domain", "list").out
    assert run("pin", "add", HOST, pins[1], "--stage", "--reason", "CHG-7").code == 0
    status = run("status")
    assert "acme: 2 changes staged by operator, not published: livepin diff" in status.out
    shown = run("diff")
    assert shown.code == 0
    assert f"  + pin {HOST} {pins[1]}" in shown.out.splitlines()
    assert "operator, " in shown.out
    done = run("publish")
    assert done.code == 0, done.err
    assert "main: config version 2 is published" in done.out
    assert run("config", "log", "--limit", "1").out.count("CHG-7") == 1
    nothing = run("publish")
    assert nothing.code == 3
    assert nothing.err.splitlines() == [
        "error: nothing is staged in acme", "hint:  see: livepin status",
    ]  # fmt: skip


def test_staged_changes_are_json_too(run, stage_domain) -> None:
    found = stage_domain(HOST, "--json").json
    assert (found["stage"], found["number"], found["at"]) == (1, 1, None)
    trial = run("diff", "--json").json
    assert trial["stage"]["revision"] == 1
    assert [each["stream"] for each in trial["streams"]] == ["main"]
    assert run("status", "--json").json["stages"]["acme"][0]["number"] == 1
    assert run("publish", "--json").json["items"][0]["version"] == 2


def test_a_stage_is_discarded(run, stage_domain) -> None:
    stage_domain()
    assert run("discard").out == "1 change forgotten; nothing was published\n"
    assert run("discard").code == 3
    stage_domain()
    assert len(run("discard", "2", "--json").json["changes"]) == 1


def test_a_time_is_given_to_a_change_or_to_a_stage(run, stage_domain) -> None:
    soon = (datetime.now(timezone.utc) + timedelta(days=2)).strftime("%Y-%m-%dT%H:%MZ")
    lines = stage_domain(HOST, "--at", soon).out.splitlines()
    assert lines[-1].startswith("This is stage 1, which is published at ")
    stage_domain("b.example.com")
    done = run("publish", "--at", soon)
    assert "stage 2 is published at" in done.out
    assert "To forget it: livepin discard 2" in done.out
    assert "acme: stage 1, 1 change by operator, at " in run("status").out
    assert run("publish", "2").code == 0
    assert run("diff", "1").code == 0


@pytest.mark.parametrize("when", ["yesterday", "2020-01-01", "2027-01-31T12:00"])
def test_a_time_that_is_none_is_refused_in_words(run, data, pins, when: str) -> None:
    done = run("domain", "add", HOST, "--pin", pins[0], "--at", when)
    assert done.code == 2
    assert done.err.count("\n") == 2


def test_two_persons_publish(run, data, stage_domain, pins) -> None:
    done = run("guards", "set", "--second-person", "on", "--most-domains", "7")
    assert done.out.splitlines() == [
        "One publish touches at most 7 domains.",
        "Changes are staged, and published by another API key: livepin publish --approve",
    ]
    assert run("guards", "show", "--json").json == {"most_domains": 7, "second_person": True}
    done = run("domain", "add", HOST, "--pin", pins[0])
    assert done.code == 3
    assert "by a second person" in done.err
    assert stage_domain().out.splitlines()[-1] == "  livepin publish --approve, by another API key"
    assert run("publish").code == 3
    done = run("publish", "--approve", "--yes")
    assert done.code == 3
    assert "nobody approves their own changes" in done.err
    asked = run("publish", "--approve")
    assert (asked.code, "nobody is here to agree" in asked.err) == (2, True)


def test_guards_need_something_to_change(run, data) -> None:
    done = run("guards", "set")
    assert (done.code, "there is nothing to change" in done.err) == (2, True)
    assert run("guards", "show").out.splitlines()[-1] == (
        "Whoever may change something publishes it alone."
    )


def test_guards_alone_are_published_without_a_config(run, data) -> None:
    assert run("guards", "set", "--most-domains", "7", "--stage").code == 0
    done = run("publish")
    assert done.out.splitlines()[-1] == "done; no config tells of it"
    assert run("guards", "show", "--json").json["most_domains"] == 7


def test_guards_that_are_staged_are_shown_to_who_approves_them(run, data) -> None:
    line = "* second person: on -> off"
    assert run("guards", "set", "--second-person", "on").code == 0
    assert run("guards", "set", "--second-person", "off", "--stage").code == 0
    assert f"  {line}" in run("status").out.splitlines()
    assert run("diff").out.splitlines()[1:] == ["acme, in no config:", f"  {line}"]
    asked = run("publish", "--approve")
    assert asked.code == 2
    assert f"you approve 1 change, {line}" in asked.err


def test_delivery_that_is_staged_is_shown_as_it_was_and_will_be(run, data) -> None:
    line = "  * delivery: refresh interval 300 s -> 60 s"
    assert run("delivery", "set", "--refresh-interval", "60", "--stage").code == 0
    assert line in run("status").out.splitlines()
    assert line in run("diff").out.splitlines()


def test_to_force_needs_a_reason(run, data, pins) -> None:
    done = run("domain", "add", HOST, "--pin", pins[0], "--force")
    assert done.code == 2
    assert done.err.splitlines() == [
        "error: expected a reason, for it is forced", "hint:  --reason TEXT",
    ]  # fmt: skip


def test_a_backup_key_that_is_staged_stays(run, data, stage_domain, tmp_path) -> None:
    stage_domain()
    done = run("pin", "new-backup", HOST, "--out", str(tmp_path / "next.key"), "--stage")
    assert done.code == 0
    assert (tmp_path / "next.key").exists()
    assert f"The private key is in {tmp_path / 'next.key'}." in done.out
