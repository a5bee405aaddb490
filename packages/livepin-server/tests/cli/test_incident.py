"""livepin incident and livepin maintenance."""

from __future__ import annotations

import pytest
from livepin.testing import make_chain

HOST = "localhost"


@pytest.fixture
def wrong(run, data, api, ca, authority):
    """A domain whose endpoint serves another key than the pinned one; return the incident."""
    run("domain", "add", HOST, "--ca", ca, "--connect", f"127.0.0.1:{api.port}")
    api.present(make_chain(HOST, authority=authority))
    assert run("monitor", "run").code == 1
    found = run("incident", "list", "--json").json
    return str(next(each["number"] for each in found if each["kind"] == "pin_mismatch"))


def test_there_is_none_at_first(run, data) -> None:
    assert run("incident", "list").out == "There is no incident.\n"
    assert run("incident", "list", "--resolved").out == "No incident is over yet.\n"
    assert run("maintenance", "list").out.startswith("There was no maintenance yet")


def test_one_is_shown_with_what_mends_it_acknowledged_and_snoozed(run, wrong) -> None:
    line = next(each for each in run("incident", "list").out.splitlines() if each.startswith(wrong))
    assert line.split()[1:3] == ["critical", "open"]
    shown = run("incident", "show", wrong).out
    assert f"\nTo mend it:\n  livepin pin add {HOST} sha256/" in shown
    assert shown.endswith(f"To take care of it: livepin incident ack {wrong}\n")
    done = run("incident", "ack", wrong, "--reason", "renewing it")
    assert done.out == f"Incident {wrong} is acknowledged by operator.\n"
    assert "state        acknowledged by operator" in run("incident", "show", wrong).out
    done = run("incident", "snooze", wrong, "--for", "2h")
    assert done.out.startswith(f"Incident {wrong} is snoozed until 20")
    assert run("incident", "show", wrong, "--json").json["state"] == "snoozed"


def test_a_time_of_work_is_added_listed_and_ended(run, wrong) -> None:
    done = run("maintenance", "add", HOST, "--for", "2h", "--reason", "rotation")
    assert done.out.splitlines()[1] == "To end it before: livepin maintenance end 1"
    line = run("maintenance", "list").out.splitlines()[1]
    assert "  now    operator  rotation" in line
    assert run("maintenance", "end", "1").out == f"People are told of {HOST} again.\n"
    assert "  over   " in run("maintenance", "list").out.splitlines()[1]


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("incident", "show", "99"), 3, "there is no incident '99'"),
        (("incident", "ack", "x"), 2, "NUMBER"),
        (("incident", "snooze", "1", "--for", "31d"), 2, "expected 1m to 30d"),
        (("incident", "snooze", "1", "--for", "soon"), 2, "expected a length of time"),
        (("maintenance", "add", "--for", "8d"), 2, "expected 1m to 7d"),
        (("maintenance", "add", "none.example.com", "--for", "1h"), 3, "there is no domain"),
        (("maintenance", "add", "--for", "1h", "--starts", "later"), 2, "--starts: expected"),
        (("maintenance", "end", "7"), 3, "there is no maintenance window '7'"),
    ],
)
def test_what_cannot_be_is_refused_in_words(run, data, arguments, code, text) -> None:
    done = run(*arguments)
    assert (done.code, text in done.err) == (code, True), done.err
