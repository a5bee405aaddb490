"""The words of a notice: whole, bounded, and of one line each, whatever strangers write."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from livepin_server.services.monitoring.incidents.reminding import Said
from livepin_server.services.monitoring.incidents.wording import (
    MOST_COMMANDS,
    MOST_LISTED,
    Firing,
    Told,
    compose,
    duration,
    over,
)
from msgspec import structs

NOW = datetime(2026, 11, 23, 12, tzinfo=timezone.utc)
HOST = "api.example.com"


def told(event="opened", count=1):
    return Told(account="acme", number=7, event=event, count=count, now=NOW, since=NOW)


def firing(found, endpoint=1):
    return Firing(endpoint=endpoint, vantage="here", since=NOW, finding=found)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (59, "59 s"), (61, "1 min 1 s"), (7500, "2 h 5 min"), (90000, "1 d 1 h"),
     (86400, "1 d")],
)  # fmt: skip
def test_a_duration_is_said_in_its_two_largest_units(seconds, words):
    assert duration(timedelta(seconds=seconds)) == words


def test_many_endpoints_are_told_by_the_first_few_and_how_many(wrong):
    found = [firing(wrong(f"h{n}.example.com"), n) for n in range(30)]
    notice = compose(found, told(count=30))
    assert notice.title == "h0.example.com and 29 more: its certificate is not pinned"
    assert notice.lines[0] == (
        "30 endpoints share this cause, of h0.example.com, h1.example.com, h10.example.com, "
        "h11.example.com, h12.example.com and 25 more"
    )
    assert notice.lines[1].startswith("h1.example.com:443: h1.example.com:443 serves")
    assert notice.lines[-1] == "and 24 more"
    commands = notice.command.splitlines()
    assert len(commands) == MOST_COMMANDS
    assert commands[0] == "livepin pin add h0.example.com sha256/AAA"


def test_two_endpoints_leave_nothing_out(wrong):
    notice = compose([firing(wrong()), firing(wrong("b.example.com"), 2)], told(count=2))
    assert notice.lines == [
        "2 endpoints share this cause, of api.example.com, b.example.com",
        "b.example.com:443: b.example.com:443 serves a key that is not pinned",
    ]


def test_one_command_that_mends_all_stands_alone(wrong):
    found = [firing(wrong(f"h{n}.example.com", command="livepin x"), n) for n in range(3)]
    assert compose(found, told(count=3)).command == "livepin x"


def test_the_worst_is_told_first(wrong):
    found = [firing(wrong("a", severity="warning")), firing(wrong("c", kind="partial")),
             firing(wrong("b"))]  # fmt: skip
    assert compose(found, told(count=3)).title.startswith("b and 2 more")


def test_text_of_strangers_stays_on_its_line_and_is_cut(wrong):
    bad = "evil\r\nBcc: x@example.com\x1b[2J" + "x" * 5000
    found = wrong(
        sentence=bad, apps=bad, addresses=[bad] * 50, fingerprints=[f"f{n}" for n in range(99)],
        command="livepin pin add a\nrm -rf /",
    )  # fmt: skip
    notice = compose([firing(found)], told(), more=[bad])
    texts = [notice.title, notice.sentence, notice.apps, *notice.lines, *notice.addresses]
    assert all(each.isprintable() and len(each) < 1100 for each in texts)
    assert len(notice.fingerprints) == MOST_LISTED
    assert notice.command == ""


def test_the_end_says_how_long_it_lasted_and_why(wrong):
    notice = structs.replace(
        compose([firing(wrong(severity="warning", tags=["a"]))], told("again")), tags=["a"]
    )
    said = Said(shown=notice, told=notice, worst="critical", tags=["b"])
    end = over(said, told("resolved"), NOW + timedelta(hours=2))
    assert end.title == f"over: {HOST}: its certificate is not pinned"
    assert end.sentence.startswith("over after 2 h, it is not so any more: api.example.com:443")
    assert (end.duration, end.severity, end.tags, end.command) == (7200, "critical", ["a", "b"], "")
    gone = over(structs.replace(said, gone=True), told("resolved"), NOW)
    assert "it is no longer monitored" in gone.sentence
