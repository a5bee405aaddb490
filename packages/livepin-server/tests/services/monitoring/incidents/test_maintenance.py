"""Maintenance: looking goes on, nobody is told, and what is still wrong at its end is."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from livepin_server.errors import ConflictError, InvalidError, NotFoundError
from livepin_server.services.audit.log import Wanted
from livepin_server.services.model import Intent
from livepin_server.services.monitoring.incidents import maintenance as module
from livepin_server.services.monitoring.model import NewMaintenance

HOST, OTHER = "api.example.com", "b.example.com"
INTENT = Intent(author="bob", reason="rotation")
BOTH = pytest.mark.parametrize("data_folder", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture
def add(watch, add_domain):
    for host in (HOST, OTHER, "*.wild.example.com"):
        add_domain(host)

    def one(pattern=HOST, lasts=3600, **members):
        new = NewMaintenance(pattern=pattern, lasts=lasts, **members)
        return watch.maintenances.add("acme", new, INTENT)

    return one


@BOTH
def test_what_is_still_wrong_at_its_end_is_told_then(watch, wrong, clock, add):
    view = add()
    assert (view.number, view.pattern, view.active) == (1, HOST, True)
    assert (view.starts, view.ends) == (clock(), clock() + timedelta(hours=1))
    assert (view.author, view.reason) == ("bob", "rotation")
    watch.twice({HOST: [wrong()]})
    assert watch.notices == []
    (shown,) = watch.incidents.all("acme")
    assert (shown.state, shown.count, shown.notices) == ("open", 1, 0)
    clock.advance(minutes=59)
    watch.incidents.remind()
    assert watch.notices == []
    clock.advance(minutes=1)
    watch.incidents.remind()
    assert watch.events == ["opened"]
    assert not watch.maintenances.all("acme")[0].active


def test_what_began_and_ended_within_is_never_told(watch, wrong, clock, add):
    add()
    watch.twice({HOST: [wrong()]})
    watch.twice({HOST: []})
    clock.advance(days=1)
    watch.incidents.remind()
    assert watch.notices == []
    (over,) = watch.incidents.all("acme", resolved=True)
    assert over.notice.domain == HOST


def test_what_was_told_before_it_and_ends_within_is_told_at_its_end(watch, wrong, clock, add):
    watch.twice({HOST: [wrong()]})
    add(lasts=7200)
    clock.advance(hours=1)
    watch.incidents.remind()
    watch.twice({HOST: []})
    assert watch.events == ["opened"]
    clock.advance(hours=1)
    watch.incidents.remind()
    assert watch.events == ["opened", "resolved"]
    assert watch.notices[-1].duration == 3600


def test_of_others_in_the_same_incident_people_are_told(watch, wrong, clock, add):
    add()
    watch.twice({HOST: [wrong()], OTHER: [wrong(OTHER)]})
    (told,) = watch.notices
    assert (told.domain, told.endpoints, told.lines) == (OTHER, 1, [])
    clock.advance(hours=1)
    watch.incidents.remind()
    assert watch.events == ["opened", "again"]
    assert watch.notices[-1].endpoints == 2


@pytest.mark.parametrize("pattern", ["", "*.wild.example.com", "a.wild.example.com"])
def test_a_window_covers_all_or_what_its_pattern_covers(watch, wrong, add, pattern):
    add(pattern)
    watch.twice({"a.wild.example.com": [wrong("a.wild.example.com", pattern="*.wild.example.com")]})
    assert watch.notices == []
    if pattern:
        watch.twice({"b.wild.example.com": [wrong("b.wild.example.com", cause="b")]})
        covered = pattern.startswith("*")
        assert len(watch.notices) == (0 if covered else 1)


@BOTH
def test_ended_before_its_time_it_tells_at_the_next_reminder(watch, wrong, clock, add, services):
    add()
    watch.twice({HOST: [wrong()]})
    clock.advance(minutes=5)
    view = watch.maintenances.end("acme", 1, INTENT)
    assert (view.ends, view.active) == (clock(), False)
    watch.incidents.remind()
    assert watch.events == ["opened"]
    log = services.audit.log("acme", Wanted(action="maintenance")).items
    assert [(e.entry.action, e.entry.target) for e in log] == [
        ("maintenance.end", HOST), ("maintenance.add", HOST),
    ]  # fmt: skip
    with pytest.raises(ConflictError, match="over already"):
        watch.maintenances.end("acme", 1, INTENT)
    with pytest.raises(NotFoundError, match="no maintenance window '2'"):
        watch.maintenances.end("acme", 2, INTENT)


def test_one_that_is_planned_begins_by_itself_and_can_be_called_off(watch, wrong, clock, add):
    later = clock() + timedelta(hours=1)
    add(starts=later)
    add("", starts=later)
    watch.twice({HOST: [wrong(kind="unreachable")]})
    watch.maintenances.end("acme", 2, INTENT)
    clock.advance(hours=1)
    assert [each.active for each in watch.maintenances.all("acme")] == [False, True]
    watch.look({HOST: [wrong(kind="unreachable")]})
    assert watch.notices == []
    assert watch.maintenances.end("acme", 1, INTENT).ends == clock()


def test_two_windows_one_after_the_other_are_one_silence(watch, wrong, clock, add):
    add()
    add(starts=clock() + timedelta(minutes=50))
    watch.twice({HOST: [wrong()]})
    for _ in range(10):
        clock.advance(minutes=10)
        watch.incidents.remind()
    assert watch.notices == []
    clock.advance(minutes=10)
    watch.incidents.remind()
    assert watch.events == ["opened"]


def test_a_window_that_covers_nothing_is_refused(add):
    with pytest.raises(NotFoundError) as caught:
        add("apl.example.com")
    assert HOST in caught.value.hint
    with pytest.raises(InvalidError, match="expected a host name"):
        add("https://api.example.com/")


@pytest.mark.parametrize(
    ("starts", "match"),
    [
        (datetime(2026, 11, 23, 12), "with its zone"),  # noqa: DTZ001
        (datetime(2026, 11, 23, 11, tzinfo=timezone.utc), "a time to come"),
        (datetime(2030, 1, 1, tzinfo=timezone.utc), "within a year"),
    ],
)
def test_a_time_that_cannot_be_is_refused(add, starts, match):
    with pytest.raises(InvalidError, match=match):
        add(starts=starts)


def test_there_are_not_too_many(add, watch, monkeypatch):
    monkeypatch.setattr(module, "MOST", 2)
    add()
    add()
    with pytest.raises(ConflictError, match="2 maintenance windows"):
        add()
    assert [each.number for each in watch.maintenances.all("acme", limit=1)] == [2]
