"""What people say to an incident, what hangs on time, and what ends with its endpoints."""

from __future__ import annotations

from datetime import timedelta

import pytest
from livepin_server.errors import ConflictError, InvalidError, NotFoundError
from livepin_server.services.audit.log import Wanted
from livepin_server.services.model import Intent
from livepin_server.services.monitoring.incidents import incidents as module
from livepin_server.services.monitoring.incidents.incidents import Incidents
from livepin_server.services.monitoring.model import NewMaintenance
from livepin_server.storage.schema import incidents as table

HOST, OTHER = "api.example.com", "b.example.com"
INTENT = Intent(author="bob")
BOTH = pytest.mark.parametrize("data_folder", ["sqlite", "postgresql"], indirect=True)


def entries(services, action):
    return [each.entry for each in services.audit.log("acme", Wanted(action=action)).items]


@BOTH
def test_an_incident_is_shown_as_it_stands(watch, wrong, clock):
    watch.twice({HOST: [wrong()], OTHER: [wrong(OTHER)]})
    (view,) = watch.incidents.all("acme")
    assert view == watch.incidents.show("acme", 1)
    assert (view.number, view.kind, view.severity, view.state) == (
        1, "pin_mismatch", "critical", "open",
    )  # fmt: skip
    assert (view.opened, view.seen, view.resolved) == (clock(), clock(), None)
    assert (view.endpoints, view.count) == ([f"{HOST}:443", "b.example.com:443"], 2)
    assert (view.notices, view.next_notice) == (1, clock() + timedelta(hours=1))
    assert view.notice.event == "again"
    clock.advance(hours=1)
    watch.twice({HOST: [], OTHER: []})
    assert watch.incidents.all("acme") == []
    (over,) = watch.incidents.all("acme", resolved=True)
    assert (over.state, over.resolved, over.notice.duration) == ("resolved", clock(), 3600)
    assert (over.next_notice, over.count, len(over.endpoints)) == (None, 2, 2)


def test_what_is_not_there_is_not_found(watch, wrong):
    with pytest.raises(NotFoundError, match="no account"):
        watch.incidents.all("nobody")
    with pytest.raises(NotFoundError, match="there is no incident '1'"):
        watch.incidents.show("acme", 1)
    watch.twice({HOST: [wrong()]})
    with pytest.raises(NotFoundError) as caught:
        watch.incidents.acknowledge("acme", 2, INTENT)
    assert "1" in caught.value.hint


@BOTH
def test_of_what_is_acknowledged_nobody_is_reminded_but_all_else_is_told(
    watch, wrong, clock, services
):
    watch.twice({HOST: [wrong(severity="warning")]})
    view = watch.incidents.acknowledge("acme", 1, INTENT)
    assert (view.state, view.acknowledged, view.acknowledged_by) == ("acknowledged", clock(), "bob")
    assert view.next_notice is None
    assert watch.incidents.acknowledge("acme", 1, Intent(author="eve")) == view
    (entry,) = entries(services, "incident")
    assert (entry.action, entry.target, entry.author) == ("incident.acknowledge", "1", "bob")
    clock.advance(days=9)
    watch.incidents.remind()
    assert watch.events == ["opened"]
    watch.look({HOST: [wrong()]})
    watch.twice({HOST: []})
    assert watch.events == ["opened", "worse", "resolved"]
    with pytest.raises(ConflictError, match="the incident 1 is over since"):
        watch.incidents.acknowledge("acme", 1, INTENT)


def test_what_comes_back_is_acknowledged_no_more(watch, wrong, clock):
    watch.twice({HOST: [wrong()]})
    watch.incidents.acknowledge("acme", 1, INTENT)
    watch.twice({HOST: []})
    watch.twice({HOST: [wrong()]})
    assert watch.incidents.show("acme", 1).state == "open"
    clock.advance(hours=1)
    watch.incidents.remind()
    assert watch.events == ["opened", "resolved", "again"]


def test_what_is_snoozed_is_told_again_when_that_ends(watch, wrong, clock, services):
    watch.twice({HOST: [wrong()]})
    view = watch.incidents.snooze("acme", 1, 8 * 3600, INTENT)
    assert (view.state, view.snoozed_until) == ("snoozed", clock() + timedelta(hours=8))
    assert entries(services, "incident.snooze")[0].target == "1"
    for _ in range(8):
        watch.incidents.remind()
        clock.advance(hours=1)
    assert watch.events == ["opened"]
    watch.incidents.remind()
    assert watch.events == ["opened", "again"]
    assert watch.incidents.show("acme", 1).state == "open"


def test_what_ends_while_it_is_snoozed_is_told_afterwards(watch, wrong, clock):
    watch.twice({HOST: [wrong()]})
    watch.incidents.snooze("acme", 1, 3600, INTENT)
    clock.advance(minutes=10)
    watch.twice({HOST: []})
    assert watch.events == ["opened"]
    clock.advance(minutes=50)
    watch.incidents.remind()
    assert watch.events == ["opened", "resolved"]
    assert watch.notices[1].duration == 600


def test_a_snooze_is_broken_by_what_becomes_critical(watch, wrong, clock):
    watch.twice({HOST: [wrong(severity="warning")]})
    watch.incidents.snooze("acme", 1, 3600, INTENT)
    watch.look({HOST: [wrong()]})
    assert watch.events == ["opened", "worse"]
    assert watch.incidents.show("acme", 1).snoozed_until is None
    clock.advance(hours=1)
    watch.incidents.remind()
    assert watch.events == ["opened", "worse", "again"]


@pytest.mark.parametrize("seconds", [-1, 0, 59, 30 * 86400 + 1, 10**18])
def test_a_snooze_is_a_minute_to_thirty_days(watch, wrong, seconds):
    watch.twice({HOST: [wrong()]})
    with pytest.raises(InvalidError, match="expected 60 to 2592000 seconds"):
        watch.incidents.snooze("acme", 1, seconds, INTENT)


@BOTH
def test_endpoints_that_are_no_longer_monitored_end_their_incident(watch, wrong, clock):
    watch.twice({HOST: [wrong()], OTHER: [wrong(OTHER)]})
    clock.advance(hours=1)

    def go(host):
        watch.database.write(lambda c: watch.incidents.gone(c, [watch.ids[host], 10**6], clock()))

    go(HOST)
    assert watch.events == ["opened"]
    go("b.example.com")
    assert watch.events == ["opened", "resolved"]
    assert "it is no longer monitored" in watch.notices[-1].sentence
    assert watch.rows() == []


def test_a_reminder_that_fails_for_one_does_not_keep_others_from_being_told(watch, wrong, clock):
    seen = {HOST: [wrong()], "b.example.com": [wrong("b.example.com", cause="b")]}
    watch.twice(seen)
    broken = table.update().where(table.c.number == 1).values(said="{")
    watch.database.write(lambda connection: connection.execute(broken))
    clock.advance(hours=1)
    watch.incidents.remind()
    assert [(each.event, each.incident) for each in watch.notices[2:]] == [("again", 2)]


def test_more_that_is_due_than_one_transaction_takes_is_told(watch, wrong, clock, monkeypatch):
    monkeypatch.setattr(module, "_AT_A_TIME", 2)
    hosts = [f"h{number}.example.com" for number in range(5)]
    watch.twice({host: [wrong(host, cause=host)] for host in hosts})
    clock.advance(hours=1)
    watch.incidents.remind()
    assert watch.events == ["opened"] * 5 + ["again"] * 5


def test_incidents_are_listed_the_newest_first_and_some_at_a_time(watch, wrong):
    hosts = [f"h{number}.example.com" for number in range(4)]
    watch.twice({host: [wrong(host, cause=host)] for host in hosts})
    assert [each.number for each in watch.incidents.all("acme", limit=3)] == [4, 3, 2]
    assert len(watch.incidents.all("acme", limit=0)) == 1


def test_without_a_word_the_real_outbox_is_used(services, clock):
    from livepin_server.services.monitoring.outbox import put

    assert Incidents(services.database, clock=clock)._put is put


@BOTH
def test_what_was_over_long_ago_is_forgotten_and_its_number_is_not_given_out_again(
    watch, wrong, clock
):
    causes = ["a", "b", "c"]
    for cause in causes:
        watch.twice({HOST: [wrong(cause=cause, key=cause)]})
        watch.maintenances.add("acme", NewMaintenance(lasts=60), INTENT)
        clock.advance(minutes=2)
        watch.twice({HOST: []})
    watch.look({HOST: []})
    clock.advance(days=1)
    watch.incidents.forget_past(clock() - timedelta(days=2))
    assert [each.number for each in watch.rows("incidents")] == [1, 2, 3]
    watch.incidents.forget_past(clock())
    assert [each.number for each in watch.rows("incidents")] == [3]
    assert [each.number for each in watch.rows("maintenance")] == [3]
    watch.twice({HOST: [wrong(cause="d", key="d")]})
    watch.incidents.forget_past(clock() + timedelta(days=1))
    assert [each.number for each in watch.rows("incidents")] == [4]


def test_the_newest_incident_of_a_cause_is_found_by_an_index(watch):
    with watch.database.reading() as connection:
        plan = connection.exec_driver_sql(
            "EXPLAIN QUERY PLAN SELECT * FROM incidents WHERE account = 'acme' AND cause = 'a' "
            "ORDER BY number DESC LIMIT 1"
        ).all()
    assert "ix_incidents_cause" in plan[0][-1]
    assert len(plan) == 1  # nothing is sorted


def test_a_domain_that_breaks_just_after_another_was_mended_is_told_at_once(watch, wrong, clock):
    """Of one cause it is one incident; but people were told that all is well."""
    watch.twice({HOST: [wrong()]})
    clock.advance(minutes=5)
    watch.twice({HOST: []})
    assert watch.events == ["opened", "resolved"]
    clock.advance(minutes=1)
    watch.twice({OTHER: [wrong(OTHER)]})
    assert watch.events == ["opened", "resolved", "grew"]
    assert watch.notices[-1].domain == OTHER
    watch.twice({OTHER: []})
    clock.advance(minutes=1)
    watch.twice({"c.example.com": [wrong("c.example.com")]})
    assert watch.events[3:] == ["resolved"]
    clock.advance(hours=1)
    watch.incidents.remind()
    assert watch.events[3:] == ["resolved", "again"]
