"""Nobody looks: told once for each account, and over when looks come again."""

from __future__ import annotations

from datetime import timedelta

import pytest
from livepin_server.errors import ConflictError, NotFoundError
from livepin_server.services.audit.log import Wanted
from livepin_server.services.model import Intent
from livepin_server.services.monitoring.incidents.incidents import Incidents
from livepin_server.storage import schema
from livepin_server.storage.schema import beats, schedule
from sqlalchemy import delete, insert

HOST = "api.example.com"
INTENT = Intent(author="bob")
BOTH = pytest.mark.parametrize("data_folder", ["sqlite", "postgresql"], indirect=True)


@BOTH
def test_a_worker_that_is_heard_of_no_more_is_told_and_its_return_too(watch, clock):
    watch.watch(HOST, "b.example.com")
    watch.beat()
    watch.incidents.silence()
    clock.advance(minutes=5)
    watch.incidents.silence()
    assert watch.notices == []
    clock.advance(minutes=1)
    watch.incidents.silence()
    watch.incidents.silence()
    (told,) = watch.notices
    assert (told.kind, told.severity, told.endpoints) == ("monitor_silent", "critical", 1)
    assert told.title == "here: nobody looks from there"
    assert told.sentence.startswith("nobody looks at 2 endpoints from here")
    assert told.command == "livepin serve"
    clock.advance(hours=1)
    watch.incidents.remind()
    watch.beat()
    watch.incidents.silence()
    assert watch.events == ["opened", "again", "resolved"]
    assert watch.notices[-1].duration == 3600


def test_a_server_that_just_started_has_not_been_silent(watch, clock):
    watch.watch(HOST)
    watch.beat()
    clock.advance(days=2)
    again = Incidents(watch.database, clock=clock, put=watch.put)
    again.silence()
    clock.advance(minutes=5)
    again.silence()
    assert watch.notices == []
    clock.advance(minutes=1)
    again.silence()
    assert watch.events == ["opened"]


def test_a_worker_that_beats_and_hands_nothing_back_looks_too_late(watch, clock):
    watch.watch(HOST)
    watch.beat()
    due = schedule.update().values(next_due=clock())
    for _ in range(31):
        clock.advance(minutes=1)
        watch.beat()
        watch.database.write(lambda connection: connection.execute(due))
        watch.incidents.silence()
    (told,) = watch.notices
    assert (told.kind, told.severity) == ("monitor_silent", "critical")
    assert told.title == "here: looks from there are late"
    assert told.sentence.startswith("1 of 1 endpoints are looked at too late from here")
    watch.beat()
    watch.incidents.silence()
    assert watch.events == ["opened", "resolved"]


@BOTH
def test_of_looks_that_are_late_those_accounts_alone_hear(watch, clock, services):
    other = insert(schema.accounts).values(
        name="other", active=True, created=clock(), last_version=0, delivery="{}"
    )
    watch.database.write(lambda connection: connection.execute(other))
    watch.watch(HOST, every=60)
    watch.watch(*(f"h{number}.example.com" for number in range(4)))
    watch.watch("x.example.org", account="other")
    late = schedule.update().where(schedule.c.endpoint == watch.ids[HOST]).values(next_due=clock())
    for minute in range(9):
        if minute == 5:
            assert watch.events == []  # as long as a lease and a slow batch take, it is not late
        clock.advance(minutes=1)
        watch.beat()
        watch.database.write(lambda connection: connection.execute(late))
        watch.incidents.silence()
        watch.incidents.remind()
    (told,) = watch.notices
    assert (told.account, told.severity) == ("acme", "warning")
    assert told.sentence.startswith("1 of 5 endpoints are looked at too late from here")
    every = schedule.update().values(next_due=clock() - timedelta(hours=1))
    clock.advance(minutes=1)
    watch.beat()
    watch.database.write(lambda connection: connection.execute(every))
    watch.incidents.silence()
    assert [(each.account, each.event) for each in watch.notices[1:]] == []
    for _ in range(31):
        clock.advance(minutes=1)
        watch.heard_at(clock(), late=True)
        watch.incidents.silence()
    events = [(each.account, each.event, each.severity) for each in watch.notices[1:]]
    assert events == [("acme", "worse", "critical"), ("other", "opened", "critical")]
    watch.beat()
    watch.incidents.silence()
    assert watch.events[3:] == ["resolved", "resolved"]


def test_what_was_not_done_while_the_database_was_away_is_not_late(watch, clock):
    watch.watch(HOST, every=60)
    watch.beat()
    watch.incidents.silence()
    clock.advance(hours=2)
    for _ in range(6):  # it is swept now, and the job runs again
        watch.heard_at(clock(), late=True)
        watch.incidents.silence()
        clock.advance(minutes=1)
    assert watch.events == []


def test_what_was_not_done_while_no_worker_was_there_is_not_late_at_its_return(watch, clock):
    watch.watch(HOST, every=60)
    watch.beat()
    for _ in range(60):
        clock.advance(minutes=1)
        watch.incidents.silence()
    for _ in range(5):
        watch.heard_at(clock(), late=True)
        watch.incidents.silence()
        clock.advance(minutes=1)
    assert watch.events == ["opened", "resolved"]


def test_a_prober_that_sees_nothing_is_told_as_that_once_and_not_as_silence(watch, wrong, clock):
    hosts = [f"h{number}.example.com" for number in range(5)]
    dark = {host: [wrong(host, kind="unreachable", cause="unreachable:here")] for host in hosts}
    for _ in range(40):
        watch.look(dark)
        watch.beat()
        watch.incidents.silence()
        watch.incidents.remind()
        clock.advance(seconds=40)
    (told,) = watch.notices
    assert (told.kind, told.endpoints) == ("unreachable", 5)
    assert told.lines[0].startswith("nothing at all answers from here: it may be the worker there")


def test_each_vantage_is_apart_and_one_without_endpoints_is_nobodys(watch, clock):
    watch.watch(HOST)
    watch.watch(HOST, vantage="eu west")
    watch.beat("nowhere")
    for _ in range(2):
        clock.advance(minutes=6)
        watch.beat()
        watch.incidents.silence()
    (told,) = watch.notices
    assert "from eu west" in told.sentence
    assert told.command == "livepin monitor worker --vantage 'eu west'"
    assert "livepin monitor forget 'eu west'" in told.sentence


def test_one_that_was_taken_away_on_purpose_is_reminded_of_no_more(watch, clock):
    watch.watch(HOST)
    watch.watch(HOST, vantage="eu-west")
    watch.beat("eu-west")
    for _ in range(20):
        clock.advance(hours=23, minutes=48)
        for _ in range(4):  # the server was not there meanwhile, and hears first who is
            clock.advance(minutes=3)
            watch.beat()
            watch.incidents.silence()
        watch.incidents.remind()
    # Each day until the seventh.
    assert watch.events == ["opened"] + ["again"] * 5
    (view,) = watch.incidents.all("acme")
    assert (view.state, view.acknowledged_by, view.count) == ("acknowledged", "livepin", 1)


@BOTH
def test_a_vantage_is_forgotten_with_all_that_was_found_from_there(watch, wrong, clock, services):
    watch.watch(HOST)
    watch.watch(HOST, vantage="eu-west")
    watch.beat("eu-west")
    watch.twice({HOST: [wrong()]}, "eu-west")
    with pytest.raises(ConflictError, match="somebody looks from eu-west"):
        watch.incidents.forget("eu-west", INTENT)
    clock.advance(minutes=6)
    watch.beat()
    watch.incidents.silence()
    assert watch.events == ["opened", "opened"]
    assert watch.incidents.forget("eu-west", INTENT) == 1
    assert watch.events == ["opened", "opened", "resolved", "resolved"]
    assert watch.rows() == []
    assert [each.vantage for each in watch.rows("schedule")] == ["here"]
    assert [each.vantage for each in watch.rows("beats")] == ["here"]
    with pytest.raises(NotFoundError, match="no vantage 'eu-west'"):
        watch.incidents.forget("eu-west", INTENT)
    log = services.audit.log("", Wanted(action="monitor")).items
    assert [each.entry.target for each in log] == ["eu-west"]


def test_what_was_found_from_where_nobody_looks_any_more_is_over(watch, wrong):
    watch.twice({HOST: [wrong()]})
    watch.database.write(lambda connection: connection.execute(delete(schedule)))
    watch.incidents.silence()
    assert watch.events == ["opened", "resolved"]
    assert "no longer monitored" in watch.notices[-1].sentence


def test_in_a_window_for_everything_silence_is_not_told(watch, clock):
    from livepin_server.services.monitoring.model import NewMaintenance

    watch.watch(HOST)
    watch.beat()
    watch.maintenances.add("acme", NewMaintenance(lasts=3600), INTENT)
    clock.advance(minutes=10)
    watch.incidents.silence()
    assert watch.notices == []
    clock.advance(minutes=50)
    watch.incidents.remind()
    assert watch.events == ["opened"]


def test_a_longer_lease_makes_for_more_patience(watch, clock):
    patient = Incidents(watch.database, clock=clock, put=watch.put, lease=timedelta(minutes=10))
    watch.watch(HOST)
    watch.beat()
    clock.advance(minutes=29)
    patient.silence()
    assert watch.notices == []
    clock.advance(minutes=1)
    patient.silence()
    assert watch.events == ["opened"]


def test_a_vantage_that_never_had_a_worker_is_told(watch, clock):
    watch.watch(HOST)
    watch.database.write(lambda connection: connection.execute(delete(beats)))
    clock.advance(minutes=6)
    watch.incidents.silence()
    assert watch.events == ["opened"]


# -- clocks that are wrong -----------------------------------------------------------------------


def minutes_of_the_job(watch, clock, count, *, beat=False):
    for _ in range(count):
        clock.advance(minutes=1)
        if beat:
            watch.heard_at(clock())
        watch.incidents.silence()


@BOTH
def test_a_clock_that_was_a_year_ahead_stops_no_looks(watch, clock, caplog):
    watch.watch(HOST, "slow.example.com", every=900)
    watch.watch("daily.example.com", every=86400)
    watch.beat()
    watch.incidents.silence()
    clock.advance(days=365)
    watch.incidents.silence()
    watch.beat()
    held = schedule.update().values(lease_until=clock() + timedelta(minutes=2), fence=7)
    watch.database.write(lambda connection: connection.execute(held))
    clock.advance(days=-365)
    told = len(watch.events)
    minutes_of_the_job(watch, clock, 12, beat=True)
    assert {each.next_due <= clock() for each in watch.rows("schedule")} == {True}
    assert {each.lease_until <= clock() for each in watch.rows("schedule")} == {True}
    assert {each.fence for each in watch.rows("schedule")} == {8}
    assert "a clock was ahead" in caplog.text
    assert "opened" not in watch.events[told:]


def test_what_is_due_as_it_can_be_is_left_as_it_is(watch, clock):
    watch.watch(HOST, every=86400)
    later = clock() + timedelta(days=1)
    due = schedule.update().values(next_due=later, lease_until=clock() + timedelta(minutes=2))
    watch.database.write(lambda connection: connection.execute(due))
    watch.incidents.silence()
    (row,) = watch.rows("schedule")
    assert (row.next_due, row.fence) == (later, 0)


def test_a_worker_that_died_with_its_clock_ahead_is_silent(watch, clock):
    watch.watch(HOST)
    watch.heard_at(clock() + timedelta(days=1))
    minutes_of_the_job(watch, clock, 5)
    assert watch.events == []
    minutes_of_the_job(watch, clock, 2)
    assert watch.events == ["opened"]


def test_a_server_whose_clock_is_behind_takes_nobody_for_dead_and_hastens_nothing(watch, clock):
    watch.watch(HOST)
    right = timedelta(days=1)
    due = schedule.update().values(next_due=clock() + right + timedelta(minutes=5))
    watch.database.write(lambda connection: connection.execute(due))
    for _ in range(15):
        clock.advance(minutes=1)
        watch.heard_at(clock() + right)
        watch.incidents.silence()
    assert watch.events == []
    (row,) = watch.rows("schedule")
    assert row.next_due > clock()


def test_one_dead_worker_of_the_future_hides_no_living_one(watch, clock):
    watch.watch(HOST)
    watch.heard_at(clock() + timedelta(days=1), worker="dead")
    minutes_of_the_job(watch, clock, 12, beat=True)
    assert watch.events == []


def test_what_was_told_by_a_clock_that_was_ahead_is_reminded_of(watch, wrong, clock):
    watch.watch(HOST)
    watch.heard_at(clock())
    clock.advance(days=365)
    watch.twice({HOST: [wrong()]})
    clock.advance(days=-365)
    minutes_of_the_job(watch, clock, 12, beat=True)
    clock.advance(hours=1)
    watch.incidents.remind()
    assert watch.events == ["opened", "again"]
    (row,) = watch.rows("incidents")
    assert row.opened < clock()


def test_what_does_not_answer_since_the_future_is_certain_all_the_same(watch, wrong, clock):
    dark = {HOST: [wrong(kind="unreachable")]}
    clock.advance(days=365)
    watch.look(dark)
    clock.advance(days=-365)
    for _ in range(3):
        watch.look(dark)
        clock.advance(seconds=40)
    assert watch.events == ["opened"]
