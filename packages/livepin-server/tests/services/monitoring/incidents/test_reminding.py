"""What is told of an incident, and when: decided without a database."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest
from livepin_server.services.monitoring.incidents.reminding import (
    CAME_BACK,
    FLAPS,
    GROWTH,
    LATER_GROWTH,
    MOST_PATTERNS,
    Decision,
    Said,
    Standing,
    after,
    decide,
)
from livepin_server.services.monitoring.model import Notice
from msgspec import structs

NOW = datetime(2026, 11, 23, 12, tzinfo=timezone.utc)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
NOTICE = Notice(
    account="acme", event="opened", incident=1, kind="pin_mismatch", severity="critical",
    title="", sentence="", moment=NOW, since=NOW,
)  # fmt: skip


def standing(told="opened", *, severity="critical", was="critical", again=0, grew=0, **members):
    notice = None
    if told is not None:
        notice = structs.replace(NOTICE, event=told, severity=was)
    said = Said(shown=NOTICE, told=notice, patterns=["a"], again=again, grew=grew)
    whole = {"open": True, "severity": severity, "count": 1, "patterns": frozenset("a")}
    return Standing(**(whole | members), said=said)


def test_it_is_told_at_once_and_then_after_an_hour_four_hours_and_each_day():
    assert decide(standing(None), NOW) == Decision(event="opened")
    for again, wait in enumerate([HOUR, 4 * HOUR, DAY, DAY, DAY]):
        found = standing(again=again)
        assert decide(found, NOW + wait - MINUTE) == Decision(next=NOW + wait)
        assert decide(found, NOW + wait) == Decision(event="again")


def test_a_warning_is_told_of_each_day_and_what_is_only_to_know_once():
    warning = standing(severity="warning", was="warning")
    assert decide(warning, NOW) == Decision(next=NOW + DAY)
    info = standing(severity="info", was="info")
    assert decide(info, NOW + 100 * DAY) == Decision()


def test_that_it_is_worse_is_told_at_once_whatever_people_said_to_it():
    worse = {"severity": "critical", "was": "warning"}
    assert decide(standing(**worse), NOW).event == "worse"
    assert decide(standing(**worse, acknowledged=True), NOW).event == "worse"
    assert decide(standing(**worse, snoozed=NOW + DAY), NOW).event == "worse"
    # Only what is critical breaks a snooze.
    less = standing(severity="warning", was="info", snoozed=NOW + DAY)
    assert decide(less, NOW) == Decision(next=NOW + DAY)


def test_of_what_was_acknowledged_nobody_is_reminded_but_a_new_domain_is_told():
    assert decide(standing(acknowledged=True), NOW + 9 * DAY) == Decision()
    assert decide(standing(acknowledged=True, count=9), NOW + DAY) == Decision()
    new = standing(acknowledged=True, patterns=frozenset("ab"))
    assert decide(new, NOW) == Decision(next=NOW + GROWTH)
    assert decide(new, NOW + GROWTH) == Decision(event="grew")


def test_nothing_is_told_of_what_is_snoozed_until_then():
    snoozed = standing(snoozed=NOW + HOUR, count=9, patterns=frozenset("ab"))
    assert decide(snoozed, NOW + 59 * MINUTE) == Decision(next=NOW + HOUR)
    assert decide(snoozed, NOW + HOUR) == Decision(event="again")
    assert decide(standing(None, snoozed=NOW + HOUR), NOW) == Decision(next=NOW + HOUR)
    info = standing(severity="info", was="info", snoozed=NOW + HOUR)
    assert decide(info, NOW + HOUR) == Decision(event="again")


def test_growth_is_told_once_by_itself_and_new_domains_each_hour_at_most():
    assert decide(standing(count=2), NOW) == Decision(next=NOW + GROWTH)
    assert decide(standing(count=2), NOW + GROWTH) == Decision(event="grew")
    assert decide(standing(count=2, grew=1, again=9), NOW) == Decision(next=NOW + DAY)
    new = standing(grew=1, again=9, patterns=frozenset("ab"))
    assert decide(new, NOW) == Decision(next=NOW + LATER_GROWTH)
    assert decide(new, NOW + LATER_GROWTH) == Decision(event="grew")
    # A reminder tells of growth as well.
    assert decide(new, NOW + DAY) == Decision(event="again")


@pytest.mark.parametrize("severity", ["critical", "warning"])
def test_what_came_back_is_told_soon_for_its_end_was_told(severity):
    back = standing("resolved", severity=severity, was=severity, again=9)
    assert decide(back, NOW) == Decision(next=NOW + GROWTH)
    assert decide(back, NOW + GROWTH) == Decision(event="again")
    info = standing("resolved", severity="info", was="info")
    assert decide(info, NOW + DAY) == Decision()


def test_another_domain_that_breaks_after_its_end_was_told_is_told_at_once_each_day():
    new = standing("resolved", grew=1, patterns=frozenset("b"))
    assert decide(new, NOW) == Decision(event="grew")
    assert decide(replace(new, acknowledged=True), NOW) == Decision(event="grew")
    flaps = replace(new, said=structs.replace(new.said, returned=NOW - HOUR))
    assert decide(flaps, NOW) == Decision(next=NOW + HOUR)


def test_what_comes_back_again_within_a_day_is_told_by_back_off_of_four_hours_at_most():
    def back(since, **members):
        found = standing("resolved", **members)
        return replace(found, said=structs.replace(found.said, returned=NOW - since))

    assert decide(back(HOUR), NOW) == Decision(next=NOW + HOUR)
    long = back(HOUR, again=9)
    assert decide(long, NOW) == Decision(next=NOW + CAME_BACK)
    assert decide(long, NOW + CAME_BACK) == Decision(event="again")
    assert decide(back(HOUR, count=9), NOW) == Decision(next=NOW + HOUR)
    assert decide(back(FLAPS, again=9), NOW) == Decision(next=NOW + GROWTH)


def test_nothing_is_told_of_what_is_in_maintenance_and_its_end_is_waited_for():
    assert decide(standing(None, count=0, covered=NOW + HOUR), NOW) == Decision(next=NOW + HOUR)
    # Of the part that is not, it is; and the part is asked for again when its window ends.
    part = standing(again=9, covered=NOW + HOUR)
    assert decide(part, NOW) == Decision(next=NOW + HOUR)


def test_only_who_was_told_hears_of_its_end_and_once():
    assert decide(standing(None, open=False), NOW) == Decision()
    assert decide(standing("resolved", open=False), NOW) == Decision()
    assert decide(standing(open=False), NOW) == Decision(event="resolved")
    assert decide(standing(open=False, acknowledged=True), NOW) == Decision(event="resolved")
    held = standing(open=False, snoozed=NOW + HOUR, covered=NOW + DAY)
    assert decide(held, NOW) == Decision(next=NOW + DAY)
    assert decide(held, NOW + DAY) == Decision(event="resolved")


@pytest.mark.parametrize("event", ["opened", "again", "grew", "worse", "resolved"])
def test_what_was_told_is_counted(event):
    found = standing(patterns=frozenset("ab"))
    said = after(found.said, structs.replace(NOTICE, event=event, tags=["ops"]), found)
    assert (said.again, said.grew) == (event == "again", event == "grew")
    assert said.patterns == (["a"] if event == "resolved" else ["a", "b"])
    assert (said.tags, said.worst) == (["ops"], "critical")
    assert said.returned is None
    back = structs.replace(found.said, told=structs.replace(NOTICE, event="resolved"))
    assert after(back, NOTICE, found).returned == NOW


def test_the_domains_of_an_incident_that_are_kept_apart_are_bounded():
    many = frozenset(map(str, range(MOST_PATTERNS + 5)))
    found = standing(patterns=many)
    said = after(found.said, NOTICE, found)
    assert len(said.patterns) == MOST_PATTERNS
    assert decide(standing(patterns=many), NOW + GROWTH).event == "grew"
    full = Standing(open=True, severity="critical", count=1, patterns=many, said=said)
    assert decide(full, NOW + GROWTH) == Decision(next=NOW + HOUR)
