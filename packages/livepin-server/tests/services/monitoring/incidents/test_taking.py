"""Looks become findings, incidents and notices: one for a cause, once, and none is lost."""

from __future__ import annotations

import itertools
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from livepin_server.errors import UnavailableError
from livepin_server.services.model import Intent
from livepin_server.services.monitoring.incidents import rows
from livepin_server.services.monitoring.incidents.states import AT_ONCE, PATIENCE
from livepin_server.services.monitoring.incidents.taking import take
from livepin_server.services.monitoring.model import Judged
from livepin_server.storage.schema import channels, findings
from sqlalchemy import create_engine, event, text
from sqlalchemy.exc import OperationalError

INTENT = Intent(author="bob")
HOST = "api.example.com"
BOTH = pytest.mark.parametrize("data_folder", ["sqlite", "postgresql"], indirect=True)
HOSTS = [f"h{number}.example.com" for number in range(500)]


@BOTH
def test_a_wrong_key_is_confirmed_by_a_second_look_and_told_once(watch, wrong, clock):
    assert watch.look({HOST: [wrong()]}) == {HOST: AT_ONCE}
    assert watch.notices == []
    clock.advance(seconds=1)
    assert watch.look({HOST: [wrong()]}) == {}
    (told,) = watch.notices
    assert (told.event, told.kind, told.severity, told.incident) == (
        "opened", "pin_mismatch", "critical", 1,
    )  # fmt: skip
    assert told.title == f"{HOST}: its certificate is not pinned"
    assert told.sentence == f"{HOST}:443 serves a key that is not pinned"
    assert (told.domain, told.apps, told.stream) == (HOST, "apps that follow main", "main")
    assert told.command == f"livepin pin add {HOST} sha256/AAA"
    assert (told.addresses, told.fingerprints, told.pinned) == (
        ["192.0.2.1"], ["sha256/AAA"], ["sha256/BBB"],
    )  # fmt: skip
    assert told.since == clock() - timedelta(seconds=1)
    for _ in range(3):
        clock.advance(minutes=15)
        watch.look({HOST: [wrong()]})
    assert watch.events == ["opened"]
    (row,) = watch.rows("incidents")
    assert (row.seen, row.notices, row.resolved) == (clock(), 1, None)


@BOTH
def test_a_roll_out_across_500_endpoints_is_one_incident_and_one_notice(watch, wrong, clock):
    watch.twice({host: [wrong(host)] for host in HOSTS})
    (told,) = watch.notices
    assert (told.event, told.endpoints) == ("opened", 500)
    assert told.title.startswith("h0.example.com and 499 more")
    assert told.lines[-1] == "and 494 more"
    assert len(told.lines) == 7
    assert told.command.count("\n") == 19
    assert {each.incident for each in watch.rows()} == {1}
    clock.advance(minutes=15)
    watch.twice({host: [] for host in HOSTS})
    assert watch.events == ["opened", "resolved"]
    assert watch.notices[-1].duration == 15 * 60
    assert watch.rows() == []


def test_a_mass_outage_that_comes_in_batches_is_told_of_once_with_its_growth(watch, wrong, clock):
    hosts = HOSTS[:100]
    dark = {host: [wrong(host, kind="unreachable", cause="unreachable:here")] for host in hosts}
    watch.watch(*hosts)
    for start in range(0, 100, 20):
        some = {host: dark[host] for host in hosts[start : start + 20]}
        assert watch.look(some) == dict.fromkeys(some, PATIENCE)
        clock.advance(seconds=30)
        watch.look(some)
        clock.advance(seconds=30)
        watch.look(some)
        watch.incidents.remind()
    assert watch.events == ["opened"]
    assert watch.notices[0].endpoints == 20
    clock.advance(minutes=10)
    watch.incidents.remind()
    assert watch.events == ["opened", "grew"]
    assert watch.notices[1].endpoints == 100
    assert watch.notices[1].lines[0].startswith("nothing at all answers from here")
    for _ in range(3):
        clock.advance(minutes=15)
        watch.look(dark)
        watch.incidents.remind()
    assert watch.events == ["opened", "grew"]


def test_one_good_endpoint_does_not_silence_the_others(watch, wrong, clock):
    watch.twice({"a.example.com": [wrong("a.example.com")], HOST: [wrong()]})
    for _ in range(3):
        clock.advance(minutes=1)
        watch.look({"a.example.com": [], HOST: [wrong()]})
    assert watch.events == ["opened"]
    (view,) = watch.incidents.all("acme")
    assert (view.state, view.endpoints, view.count) == ("open", [f"{HOST}:443"], 1)


def test_a_flap_opens_one_incident_and_is_no_flood(watch, wrong, clock):
    for _ in range(24):
        watch.look({HOST: [wrong(kind="at_risk")]})
        watch.incidents.remind()
        clock.advance(minutes=25)
        watch.twice({HOST: []})
        clock.advance(minutes=25)
    assert [each.number for each in watch.rows("incidents")] == [1]
    # A day of it: by back-off alone, each time with the end that follows.
    assert watch.events == ["opened", "resolved"] + ["again", "resolved"] * 4


def test_what_comes_back_within_half_an_hour_is_the_same_incident(watch, wrong, clock):
    watch.twice({HOST: [wrong()]})
    watch.twice({HOST: []})
    clock.advance(minutes=5)
    watch.twice({HOST: [wrong()]})
    assert watch.events == ["opened", "resolved"]
    (view,) = watch.incidents.all("acme")
    assert (view.number, view.state) == (1, "open")
    clock.advance(minutes=5)
    watch.incidents.remind()  # the last that people read was that it is over
    assert watch.events == ["opened", "resolved", "again"]
    watch.twice({HOST: []})
    clock.advance(minutes=29)
    watch.twice({HOST: [wrong()]})
    watch.incidents.remind()
    assert watch.events == ["opened", "resolved", "again", "resolved"]
    clock.advance(hours=4)
    watch.incidents.remind()
    watch.twice({HOST: []})
    clock.advance(minutes=30)
    watch.twice({HOST: [wrong()]})
    assert watch.events[4:] == ["again", "resolved", "opened"]
    assert [each.incident for each in watch.notices] == [1] * 6 + [2]


def test_what_comes_back_worse_is_told_at_once(watch, wrong, clock):
    watch.twice({HOST: [wrong(severity="warning")]})
    watch.twice({HOST: []})
    clock.advance(minutes=5)
    watch.twice({HOST: [wrong()]})
    assert watch.events == ["opened", "resolved", "worse"]


def test_that_it_is_worse_is_told_at_once_and_once(watch, wrong, clock):
    due = {HOST: [wrong(kind="at_risk", severity="warning")]}
    watch.look(due)
    for severity in ("critical", "warning", "critical", "critical"):
        clock.advance(minutes=15)
        watch.look({HOST: [wrong(kind="at_risk", severity=severity)]})
        watch.incidents.remind()
    assert watch.events == ["opened", "worse"]
    assert watch.notices[1].title == f"worse: {HOST}: apps may soon be shut out"


def test_all_who_were_told_that_it_was_critical_hear_that_it_is_over(watch, wrong, clock):
    watch.look({HOST: [wrong(kind="at_risk", tags=["payments"])]})
    clock.advance(days=2)
    watch.look({HOST: [wrong(kind="at_risk", severity="warning")]})
    watch.incidents.remind()
    watch.twice({HOST: []})
    assert [each.severity for each in watch.notices] == ["critical", "warning", "critical"]
    assert watch.notices[-1].tags == ["payments"]
    assert watch.notices[-1].sentence.startswith("over after 2 d, it is not so any more: ")


def test_a_partial_outage_of_pins_that_spreads_is_no_second_incident(watch, wrong, clock):
    watch.twice({HOST: [wrong(kind="partial")]})
    for _ in range(3):
        clock.advance(minutes=1)
        watch.look({HOST: [wrong()]})
        watch.incidents.remind()
    (view,) = watch.incidents.all("acme")
    assert (view.number, view.kind, watch.events) == (1, "pin_mismatch", ["opened"])


def test_unrelated_causes_are_incidents_of_their_own(watch, wrong):
    seen = {HOST: [wrong()], "b.example.com": [wrong("b.example.com", cause="keys:b")]}
    watch.twice(seen)
    assert [(each.incident, each.domain) for each in watch.notices] == [
        (1, HOST), (2, "b.example.com"),
    ]  # fmt: skip


# -- growth --------------------------------------------------------------------------------------


def test_a_new_domain_that_breaks_later_is_told_of_and_bounded(watch, wrong, clock):
    seen = {HOST: [wrong()]}
    watch.twice(seen)
    moments = []
    for number in range(24):
        clock.advance(minutes=10)
        host = f"h{number}.example.com"
        seen[host] = [wrong(host)]
        watch.twice(seen)
        before = len(watch.notices)
        watch.incidents.acknowledge("acme", 1, INTENT) if not number else None
        watch.incidents.remind()
        moments += [clock()] * (len(watch.notices) - before)
    assert set(watch.events[1:]) == {"grew"}
    assert all(b - a >= timedelta(hours=1) for a, b in itertools.pairwise(moments))
    assert 3 <= len(moments) <= 5
    clock.advance(hours=1)
    watch.incidents.remind()
    assert watch.notices[-1].endpoints == 25


def test_more_hosts_of_one_domain_are_told_of_once_then_with_reminders(watch, wrong, clock):
    def at(host):
        return [wrong(host, pattern="*.example.com", severity="warning")]

    seen = {HOST: at(HOST)}
    watch.twice(seen)
    for number in range(20):
        clock.advance(minutes=30)
        seen[f"h{number}.example.com"] = at(f"h{number}.example.com")
        watch.twice(seen)
        watch.incidents.remind()
    assert watch.events == ["opened", "grew"]
    clock.advance(days=1)
    watch.incidents.remind()
    assert (watch.events[-1], watch.notices[-1].endpoints) == ("again", 21)


@BOTH
def test_what_is_worse_and_which_domain_is_new_is_told_among_more_than_are_read(
    watch, wrong, clock, monkeypatch
):
    monkeypatch.setattr(rows, "MOST_LOADED", 5)

    def down(host, severity):
        return [wrong(host, kind="at_risk", cause="unreachable:here", severity=severity)]

    watch.look({f"h{n}.example.com": down(f"h{n}.example.com", "warning") for n in range(9)})
    clock.advance(minutes=1)
    watch.look({HOST: down(HOST, "critical")})
    assert watch.events == ["opened", "worse"]
    assert watch.notices[-1].domain == HOST
    assert [each.severity for each in watch.incidents.all("acme")] == ["critical"]
    for _ in range(2):
        clock.advance(minutes=15)
        watch.look({HOST: down(HOST, "critical")})
        watch.incidents.remind()
    assert watch.events == ["opened", "worse"]
    clock.advance(minutes=1)
    watch.incidents.acknowledge("acme", 1, INTENT)
    watch.look({"z.example.com": down("z.example.com", "info")})
    clock.advance(minutes=10)
    watch.incidents.remind()
    assert watch.events == ["opened", "worse", "grew"]
    clock.advance(days=1)
    watch.incidents.remind()
    assert watch.events == ["opened", "worse", "grew"]  # no domain is new once more


# -- what is healthy costs nothing ---------------------------------------------------------------


def test_of_healthy_endpoints_one_question_is_asked_and_nothing_is_written(watch):
    watch.watch(*HOSTS)
    judged = [watch.judged(host, []) for host in HOSTS]
    statements = []

    def change(connection):
        event.listen(connection, "before_cursor_execute", lambda *a: statements.append(a[2]))
        return take(connection, judged, watch.clock(), put=watch.put)

    assert watch.database.write(change) == {}
    assert len(statements) == 1
    assert statements[0].startswith("SELECT")


# -- faults --------------------------------------------------------------------------------------


@BOTH
def test_of_what_hangs_on_pins_alone_nothing_is_written_for_hours(watch, wrong, clock):
    seen = {HOST: [wrong(kind="at_risk", severity="info")]}
    watch.look(seen)
    noted = watch.rows(), watch.rows("incidents")
    for _ in range(3):
        clock.advance(minutes=15)
        watch.look(seen)
    assert (watch.rows(), watch.rows("incidents")) == noted
    clock.advance(minutes=15)
    watch.look(seen)
    (row,), (incident,) = watch.rows(), watch.rows("incidents")
    assert row.seen == incident.seen == clock()
    watch.look({HOST: [wrong(kind="at_risk", severity="info", sentence="and worse soon")]})
    assert "and worse soon" in watch.rows()[0].finding
    watch.twice({HOST: []})
    assert watch.events == ["opened", "resolved"]


@pytest.mark.parametrize("kind", [["sha256"], None, {}])
def test_an_endpoint_that_brings_nonsense_does_not_lose_the_others(watch, wrong, kind):
    watch.watch(HOST, "b.example.com")
    for _ in range(2):
        watch.look({HOST: [wrong(key=kind)], "b.example.com": [wrong("b.example.com")]})
    assert [each.domain for each in watch.notices] == ["b.example.com"]


@BOTH
def test_an_endpoint_that_is_no_more_does_not_lose_the_others(watch, wrong):
    watch.watch("b.example.com")
    watch.ids[HOST] = 10**6  # its row went meanwhile
    for _ in range(2):
        watch.look({HOST: [wrong()], "b.example.com": [wrong("b.example.com")]})
    assert [each.domain for each in watch.notices] == ["b.example.com"]
    assert len(watch.rows()) == 1


@BOTH
def test_what_the_outbox_does_not_take_is_told_a_little_later(watch, wrong, clock):
    watch.fault = ValueError("a channel whose settings nobody can read")
    watch.twice({HOST: [wrong()]})
    (row,) = watch.rows("incidents")
    assert (row.notices, watch.notices) == (0, [])
    watch.incidents.remind()
    watch.fault = None
    clock.advance(minutes=1)
    watch.incidents.remind()
    assert watch.events == ["opened"]


def test_a_row_that_nobody_can_read_does_not_lose_the_others(watch, wrong):
    watch.twice({HOST: [wrong()], "b.example.com": [wrong("b.example.com")]})
    broken = findings.update().where(findings.c.endpoint == watch.ids[HOST])
    watch.database.write(lambda connection: connection.execute(broken.values(finding="{")))
    watch.look({HOST: [wrong()], "c.example.com": [wrong("c.example.com", kind="at_risk")]})
    assert {each.endpoint for each in watch.rows()} == set(watch.ids.values())


def test_a_finding_whose_incident_is_lost_finds_another(watch, wrong):
    watch.twice({HOST: [wrong()]})
    watch.database.write(lambda c: c.execute(findings.update().values(incident=77)))
    watch.twice({HOST: [wrong()]})
    assert [each.incident for each in watch.rows()] == [1]


def test_a_cause_and_a_key_of_any_length_are_kept(watch, wrong):
    watch.twice({HOST: [wrong(cause="c" * 5000, key="k\x00" * 5000)]})
    assert watch.events == ["opened"]


def test_a_database_that_cannot_write_now_is_no_fault_of_an_incident(watch, wrong):
    """The whole transaction is tried again: nothing of it may be taken for kept."""
    watch.fault = OperationalError("INSERT", {}, sqlite3.OperationalError("disk I/O error"))
    watch.look({HOST: [wrong()]})
    with pytest.raises(UnavailableError):
        watch.look({HOST: [wrong()]})
    assert [each.state for each in watch.rows()] == ["suspect"]


def test_what_could_not_be_judged_is_an_incident_like_any_other(watch, wrong):
    watch.twice({HOST: [wrong(kind="monitor_silent", cause="monitor_silent not_judged")]})
    watch.incidents.silence()
    assert watch.events == ["opened"]
    assert watch.notices[0].title == f"{HOST}: what was seen of it could not be judged"
    assert watch.incidents.show("acme", 1).count == 1


# -- notices of a transaction that is tried again ------------------------------------------------


def test_a_transaction_that_is_tried_again_makes_the_same_keys(watch, wrong):
    watch.look({HOST: [wrong()]})
    judged = [watch.judged(HOST, [wrong()])]
    for _ in range(2):
        watch.database.try_out(lambda c: take(c, judged, watch.clock(), put=watch.put))
    watch.look({HOST: [wrong()]})
    assert len(watch.keys) == 3
    assert len({*watch.keys}) == 1
    watch.twice({HOST: []})
    assert len({*watch.keys}) == 2


def test_two_vantages_are_two_findings_of_one_incident(watch, wrong):
    watch.watch(HOST)
    watch.watch(HOST, vantage="eu-west")
    watch.twice({HOST: [wrong()]})
    watch.twice({HOST: [wrong()]}, "eu-west")
    watch.twice({HOST: []})
    assert watch.events == ["opened"]
    (view,) = watch.incidents.all("acme")
    assert (view.count, view.state) == (1, "open")


def test_looks_that_disagree_across_a_roll_out_are_one_incident(watch, wrong):
    hosts = HOSTS[:20]
    for _ in range(2):
        watch.look({host: [wrong(host)] for host in hosts})
        watch.look({host: [] for host in hosts})
    (told,) = watch.notices
    assert (told.kind, told.severity, told.endpoints) == ("interception_suspected", "warning", 20)


@pytest.mark.parametrize("data_folder", ["postgresql"], indirect=True)
def test_two_workers_that_hand_back_at_once_open_one_incident(watch, wrong):
    """Who hands looks back need not hold the lock of writers: see `rows.one_at_a_time`."""
    seen = {HOST: [wrong()], "b.example.com": [wrong("b.example.com")]}
    watch.look(seen)
    waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")

    def hand_back(connection, host):
        take(connection, [watch.judged(host, seen[host])], watch.clock(), put=watch.put)

    def second():
        with engine.begin() as connection:
            hand_back(connection, "b.example.com")

    engine = create_engine(watch.database.url)
    with ThreadPoolExecutor(1) as pool, engine.begin() as first:
        hand_back(first, HOST)
        pending = pool.submit(second)
        while not pending.done() and not first.scalar(waiting):
            pass
        first.commit()
        pending.result()
    engine.dispose()
    assert watch.events == ["opened"]
    assert [each.incident for each in watch.rows()] == [1, 1]


def test_accounts_are_apart(watch, wrong):
    watch.watch(HOST)
    other = Judged(account="other", endpoint=watch.ids[HOST], vantage="x", host=HOST, port=443,
                   findings=[wrong(kind="at_risk")])  # fmt: skip
    watch.database.write(lambda c: take(c, [other], watch.clock(), put=watch.put))
    assert watch.incidents.all("acme") == []


@BOTH
def test_a_notice_is_in_the_outbox_with_the_incident_or_neither_is(watch, wrong, services):
    row = {
        "account": "acme", "name": "ops", "kind": "email", "settings": "{}", "severity": "info",
        "tags": "", "created": watch.clock(), "author": "bob",
    }  # fmt: skip
    watch.database.write(lambda c: c.execute(channels.insert().values(**row)))
    watch.look({HOST: [wrong()]})
    judged = [watch.judged(HOST, [wrong()])]

    def give_up(connection):
        take(connection, judged, watch.clock())
        raise ConnectionError

    with pytest.raises(ConnectionError):
        watch.database.write(give_up)
    assert watch.rows("incidents") == watch.rows("outbox") == []
    watch.database.write(lambda connection: take(connection, judged, watch.clock()))
    (posted,) = watch.rows("outbox")
    assert (posted.channel, posted.incident, len(watch.rows("incidents"))) == ("ops", 1, 1)


def test_a_domain_that_was_well_and_breaks_again_in_an_open_incident_is_told(watch, wrong, clock):
    def dark(*hosts):
        return {each: [wrong(each, kind="at_risk", cause="unreachable:here")] for each in hosts}

    watch.look(dark("old.example.com"))
    watch.incidents.acknowledge("acme", 1, INTENT)
    for _ in range(3):
        clock.advance(days=7)
        told = len(watch.events)
        watch.look(dark("old.example.com", HOST))
        watch.incidents.remind()
        clock.advance(minutes=20)
        watch.twice({HOST: []})
        watch.incidents.remind()
        watch.look(dark(HOST))  # soon: it is the same trouble
        watch.incidents.remind()
        clock.advance(hours=2)
        watch.incidents.remind()
        assert watch.events[told:] == ["grew"]
        watch.twice({HOST: []})
        watch.incidents.remind()


def test_a_domain_whose_endpoint_left_for_a_while_is_told_when_it_breaks_again(watch, wrong, clock):
    watch.twice({"old.example.com": [wrong("old.example.com")], HOST: [wrong()]})
    watch.incidents.acknowledge("acme", 1, INTENT)
    ids = [watch.ids[HOST]]
    watch.database.write(lambda each: watch.incidents.gone(each, ids, clock()))
    watch.incidents.remind()
    clock.advance(hours=2)
    watch.twice({HOST: [wrong()]})
    watch.incidents.remind()
    assert watch.events == ["opened", "grew"]
