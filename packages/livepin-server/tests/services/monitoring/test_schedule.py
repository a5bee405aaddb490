"""When it is looked, by whom, and what becomes of it: nothing twice, nothing is lost."""

from __future__ import annotations

import datetime as dt

import pytest
from livepin_server.errors import NotFoundError, UnavailableError
from livepin_server.services.model import NewStream
from livepin_server.services.monitoring.model import ChangeView, MonitorChange
from livepin_server.services.monitoring.schedule import slot_of
from livepin_server.services.monitoring.settings import MonitoringSettings
from livepin_server.storage.schema import certificate_changes, findings, observations
from livepin_server.storage.schema import endpoints as endpoint_table
from livepin_server.storage.schema import schedule as schedule_table
from msgspec import json, structs
from sqlalchemy import event, insert, select, update


@pytest.fixture
def claim(schedule, seeing):
    """Claim what is due here."""
    return lambda most=500, vantage="here": schedule.claim(vantage, most, lease=seeing.LEASE)


@pytest.fixture
def hosts(add_domain, endpoints, all_due):
    """Have so many hosts looked at, all of them due."""

    def one(count=1):
        names = ["api.example.com", *(f"{n}.example.com" for n in range(1, count))]
        for each in names:
            add_domain(each)
        endpoints.sync()
        all_due()
        return names

    return one


@pytest.fixture
def all_rows(services):
    """Return the rows of a table."""

    def one(table):
        with services.database.reading() as connection:
            return connection.execute(select(table).order_by(*table.primary_key)).all()

    return one


@pytest.fixture
def seen(seeing):
    """A healthy look."""
    return seeing.look(seeing.sight(seeing.observation()))


def test_what_is_claimed_nobody_else_gets_until_the_lease_ends(hosts, claim, clock):
    hosts(3)
    first = claim(2)
    assert len(first) == 2
    (second,) = claim()
    assert {each.host for each in [*first, second]} == {
        "api.example.com", "1.example.com", "2.example.com",
    }  # fmt: skip
    assert claim() == []
    assert claim(vantage="elsewhere") == []
    clock.advance(seconds=121)
    again = claim()
    assert len(again) == 3
    assert {each.fence for each in again} == {2}


def test_who_was_too_slow_leaves_nothing_behind(
    hosts, claim, schedule, clock, seeing, all_rows, judge, wrong, incidents
):
    hosts()
    (slow,) = claim()
    clock.advance(seconds=121)
    (other,) = claim()
    judge.says = lambda *_: [wrong()]
    seen = seeing.look(seeing.sight(seeing.observation(2)))
    assert schedule.complete([(slow, seen)]) == 0
    assert incidents.judged == []
    judge.says = lambda *_: []
    assert schedule.complete([(slow, seeing.look(seeing.sight(None)))]) == 0
    for table in (observations, certificate_changes, findings):
        assert all_rows(table) == []
    assert all_rows(schedule_table)[0].looked is None
    assert schedule.complete([(other, seen)]) == 1


def test_a_lease_that_ended_and_nobody_took_is_still_ours(hosts, claim, schedule, clock, seen):
    hosts()
    (claimed,) = claim()
    clock.advance(minutes=10)
    assert schedule.complete([(claimed, seen)]) == 1


def test_what_was_seen_is_held_and_due_at_its_slot(
    hosts, claim, schedule, clock, seen, all_rows, seeing, all_due
):
    hosts()
    (claimed,) = claim()
    assert schedule.complete([(claimed, seen)]) == 1
    (row,) = all_rows(schedule_table)
    assert (row.looked, row.took, row.next_due) == (clock(), 12, slot_of(claimed, clock()))
    assert clock() < row.next_due <= clock() + dt.timedelta(minutes=15)
    (kept,) = all_rows(observations)
    assert (kept.addresses, kept.pins_match) == (1, True)
    assert claim() == []
    all_due()
    (again,) = claim()
    assert [each.observation.digest for each in again.held.sights] == [f"{1:064x}"]
    assert [each.digest for each in again.known] == [f"{1:064x}"]


def test_slots_are_spread_and_stay(services, add_domain, endpoints, all_due, claim, clock, intent):
    add_domain("*.example.com")
    settings = MonitoringSettings(services.database, clock=clock, changed=endpoints.sync)
    change = MonitorChange(hosts=[f"{number}.example.com" for number in range(40)])
    settings.change("acme", "*.example.com", change, intent)
    all_due()
    claims = claim()
    slots = {each.host: slot_of(each, clock()) for each in claims}
    assert len({int((s - clock()).total_seconds() // 60) for s in slots.values()}) > 8
    clock.advance(minutes=3)
    for each in claims:
        later = slot_of(each, clock()) - slots[each.host]
        assert later in (dt.timedelta(), dt.timedelta(minutes=15))
        assert slot_of(each, slots[each.host]) == slots[each.host] + dt.timedelta(minutes=15)


def test_a_healthy_look_writes_the_narrow_row_alone(
    hosts, claim, schedule, seen, all_due, services, incidents, seeing
):
    hosts(5)
    schedule.complete([(each, seen) for each in claim()])
    incidents.judged.clear()
    for look in (seen, seeing.look(seeing.sight(None))):
        all_due()
        written = []
        engine = services.database._engine

        def listen(*given, written=written):
            if given[2].lstrip().split()[0] in ("UPDATE", "INSERT", "DELETE", "WITH"):
                written.append(given[2])

        event.listen(engine, "before_cursor_execute", listen)
        assert schedule.complete([(each, look) for each in claim()]) == 5
        event.remove(engine, "before_cursor_execute", listen)
        assert len(written) == 2
        assert all("schedule" in each for each in written)
    assert incidents.judged == []


def test_what_is_wrong_is_told_until_it_is_not(
    hosts, claim, schedule, seen, all_due, incidents, judge, wrong
):
    hosts()
    judge.says = lambda *_: [wrong()]
    schedule.complete([(claim()[0], seen)])
    judge.says = lambda *_: []
    for expected in ([], None):
        all_due()
        (claimed,) = claim()
        assert claimed.known == ([] if expected == [] else claimed.known)
        incidents.judged.clear()
        schedule.complete([(claimed, seen)])
        assert [each.findings for each in incidents.judged] == ([[]] if expected == [] else [])


def test_fast_confirms_nothing_while_any_vantage_finds_something(
    hosts, claim, schedule, seen, all_due, services, clock, all_rows
):
    hosts()
    schedule.complete([(claim()[0], seen)])
    (row,) = all_rows(endpoint_table)
    services.database.write(
        lambda each: each.execute(
            insert(findings).values(
                endpoint=row.id, vantage="elsewhere", key="k", account="acme", state="suspect",
                since=clock(), seen=clock(), times=1, good=0, finding="{}",
            )
        )
    )  # fmt: skip
    all_due()
    (claimed,) = claim()
    assert (claimed.known, claimed.wrong) == ([], False)


@pytest.mark.parametrize(("kind", "state", "asks"), [
    ("at_risk", "firing", True), ("would_break", "firing", True), ("at_risk", "suspect", False),
    ("unreachable", "firing", False), ("pin_mismatch", "firing", False),
])  # fmt: skip
def test_what_hangs_on_pins_alone_keeps_nobody_from_fast_and_is_told_to_the_room_beside(
    hosts, claim, schedule, seen, all_due, services, clock, all_rows, incidents, kind, state, asks
):
    hosts()
    schedule.complete([(claim()[0], seen)])
    (row,) = all_rows(endpoint_table)
    found = insert(findings).values(
        endpoint=row.id, vantage="here", key="k", account="acme", state=state, kind=kind,
        since=clock(), seen=clock(), times=1, good=0, finding="{}",
    )  # fmt: skip
    services.database.write(lambda each: each.execute(found))
    all_due()
    (claimed,) = claim()
    assert (bool(claimed.known), claimed.wrong) == (asks, True)
    incidents.judged.clear()
    schedule.complete([(claimed, seen)])  # nothing is found any more: that ends it
    assert len(incidents.judged) == 1


def test_suspects_are_due_at_once(hosts, claim, schedule, seen, incidents, clock, judge, wrong):
    hosts()
    judge.says = lambda *_: [wrong()]
    (claimed,) = claim()
    incidents.again = {(claimed.endpoint, "here"): dt.timedelta()}
    schedule.complete([(claimed, seen)])
    assert schedule.next_due("here") == clock() + dt.timedelta(seconds=1)
    clock.advance(seconds=1)
    assert len(claim()) == 1


def test_who_judges_further_is_told_at_which_addresses_the_endpoint_is_now(
    hosts, claim, schedule, seeing, seen, incidents, judge, wrong, all_due
):
    """Else one that left the name's records would count as a look that disagrees."""
    hosts()
    judge.says = lambda *_: [wrong()]
    schedule.complete([(claim()[0], seen)])
    all_due()
    schedule.complete([(claim()[0], seeing.look())])
    assert [each.addresses for each in incidents.judged] == [[seen.sights[0].address], None]
    assert [each.blind for each in incidents.judged] == [False, True]


def test_a_change_is_kept_with_whether_it_was_pinned_beforehand(
    hosts, claim, schedule, all_due, all_rows, seeing
):
    hosts()
    for number in (1, 2):
        chain = [seeing.certificate(number)]
        look = seeing.look(seeing.sight(seeing.observation(number, chain=chain)))
        schedule.complete([(claim()[0], look)])
        all_due()
    rows = all_rows(certificate_changes)
    first, second = (json.decode(row.change, type=ChangeView) for row in rows)
    assert (first.was, first.became, first.pinned, first.pin) == (
        None, seeing.key(1), True, seeing.key(1),
    )  # fmt: skip
    assert (second.was, second.became, second.pinned) == (seeing.key(1), seeing.key(2), False)
    assert second.subject == "CN=leaf 2"


def test_an_endpoint_is_judged_by_the_streams_that_look_there_alone(
    add_domain, endpoints, all_due, claim, schedule, judge, seen, services, intent, all_rows
):
    add_domain("other.example.com")
    services.streams.add("acme", NewStream(name="staging", source="main"), intent)
    add_domain("api.example.com", 1)
    add_domain("api.example.com", 2, stream="staging", connect="10.0.0.5:443")
    endpoints.sync()
    all_due()
    told = {}

    def says(claimed, held, by, now):
        told[claimed.host, claimed.connect] = [each.stream for each in by.following]
        return []

    judge.says = says
    schedule.complete([(each, seen) for each in claim()])
    assert told == {
        ("api.example.com", None): ["main"],
        ("api.example.com", "10.0.0.5:443"): ["staging"],
        ("other.example.com", None): ["main", "staging"],
    }
    rows = [json.decode(row.change, type=ChangeView) for row in all_rows(certificate_changes)]
    found = sorted(each.pinned for each in rows if each.host == "api.example.com")
    assert found == [False, True]  # each by the pins of its own stream


def test_pins_that_match_no_more_are_kept_though_nothing_was_seen_anew(
    hosts, claim, schedule, seen, all_due, services, intent, new_pin, all_rows, sources
):
    hosts()
    schedule.complete([(claim()[0], seen)])
    assert all_rows(observations)[0].pins_match is True
    services.domains.add_pins("acme", "api.example.com", [new_pin(2)], "main", intent)
    force = structs.replace(intent, how=structs.replace(intent.how, force=True))
    services.domains.remove_pin("acme", "api.example.com", new_pin(1).sha256, "main", force)
    all_due()
    schedule.complete([(claim()[0], seen)])
    assert all_rows(observations)[0].pins_match is False


def test_a_fault_in_judging_one_loses_no_other_and_mends_nothing(
    hosts, claim, schedule, seen, all_due, incidents, judge, wrong, caplog, all_rows
):
    names = hosts(3)
    judge.says = lambda claimed, *_: [wrong(host=claimed.host)]
    schedule.complete([(each, seen) for each in claim()])

    def says(claimed, *_):
        if claimed.host == names[0]:
            raise ZeroDivisionError
        return []

    judge.says = says
    incidents.judged.clear()
    all_due()
    assert schedule.complete([(each, seen) for each in claim()]) == 3
    told = {each.host: [f.code for f in each.findings] for each in incidents.judged}
    assert told == {names[0]: ["not_judged", "none"], names[1]: [], names[2]: []}
    assert "api.example.com:443 could not be judged" in caplog.text
    assert claim() == []


def test_a_database_that_is_away_is_no_fault_of_an_endpoint(
    hosts, claim, schedule, seen, judge, all_rows
):
    hosts()

    def says(*_):
        raise UnavailableError("the database is away")

    judge.says = says
    with pytest.raises(UnavailableError):
        schedule.complete([(claim()[0], seen)])
    assert all_rows(findings) == []


def test_a_fault_in_keeping_one_loses_no_other(
    hosts, claim, schedule, seen, incidents, judge, wrong, all_rows, caplog
):
    names = hosts(3)
    judge.says = lambda claimed, *_: [wrong(host=claimed.host)]
    incidents.fault = lambda each: each.host == names[1]
    assert schedule.complete([(each, seen) for each in claim()]) == 3
    assert len(all_rows(findings)) == 2
    assert len(all_rows(observations)) == 2
    assert claim() == []  # not at once again
    assert "could not be kept" in caplog.text


def test_what_cannot_be_read_is_seen_anew(hosts, claim, schedule, seen, all_due, services):
    hosts()
    schedule.complete([(claim()[0], seen)])
    services.database.write(lambda each: each.execute(update(observations).values(state="?")))
    all_due()
    (claimed,) = claim()
    assert (claimed.held.sights, claimed.known) == ([], [])


def test_others_are_what_other_vantages_hold_and_when_they_looked(
    hosts, claim, schedule, seen, endpoints, all_due, services, clock
):
    hosts()
    endpoints.ensure_vantage("eu-west")
    endpoints.ensure_vantage("us-east")
    services.beats.beat("us-east", "w", 0)
    schedule.complete([(claim()[0], seen)])
    looked = clock()
    clock.advance(minutes=2, seconds=59)
    (far,) = claim(vantage="eu-west")
    assert far.held.sights == []
    assert [each.address for each in far.others["here"].held.sights] == ["192.0.2.1"]
    here, never = far.others["here"], far.others["us-east"]
    assert (here.looked, here.alive) == (looked - dt.timedelta(milliseconds=12), False)
    assert (never.looked, never.alive, never.held.sights) == (None, True, [])
    all_due()
    schedule.complete([(claim()[0], seen)])  # as it was: nothing is written but that it looked
    clock.advance(minutes=2)
    (far,) = claim(vantage="eu-west")
    assert far.others["here"].looked > looked + dt.timedelta(minutes=10)
    assert not far.others["us-east"].alive


def test_who_is_waited_for_looks_now_unless_it_just_did(
    hosts, claim, schedule, seen, endpoints, incidents, clock, judge, wrong
):
    hosts()
    endpoints.ensure_vantage("eu-west")
    clock.advance(seconds=31)
    (claimed,) = claim()
    schedule.complete([(claim(vantage="eu-west")[0], seen)])
    judge.says = lambda *_: [structs.replace(wrong(), awaits=["eu-west"])]
    incidents.again = {(claimed.endpoint, "here"): dt.timedelta()}
    clock.advance(seconds=4)
    schedule.complete([(claimed, seen)])
    assert schedule.next_due("eu-west") > clock()
    clock.advance(seconds=1)
    incidents.again, (claimed,) = {}, claim()
    schedule.complete([(claimed, seen)])
    assert schedule.next_due("eu-west") > clock()  # it is certain: nobody is waited for
    incidents.again = {(claimed.endpoint, "here"): dt.timedelta()}
    clock.advance(minutes=1)
    schedule.look_now("acme")
    (claimed,) = claim()
    (far,) = claim(vantage="eu-west")
    schedule.complete([(far, seen)])
    assert schedule.next_due("eu-west") > clock()
    clock.advance(seconds=5)
    schedule.complete([(claimed, seen)])
    assert schedule.next_due("eu-west") == clock()


def test_what_is_given_back_is_due_as_it_was(hosts, claim, schedule):
    hosts(2)
    claims = claim()
    schedule.give_back([])
    schedule.give_back(claims[:1])
    (again,) = claim()
    assert (again.host, again.fence) == (claims[0].host, 2)


def test_endpoints_can_be_looked_at_now(hosts, claim, schedule, seen, clock):
    hosts(3)
    schedule.complete([(each, seen) for each in claim()])
    assert schedule.look_now("acme", "1.EXAMPLE.com") == 1
    assert [each.host for each in claim()] == ["1.example.com"]
    assert schedule.look_now("acme", "*.example.com") == 3
    assert schedule.look_now("acme") == 3
    assert len(claim()) == 2  # one is under a lease
    with pytest.raises(NotFoundError):
        schedule.look_now("nobody")


def test_the_next_time_is_known_also_of_what_is_leased(hosts, claim, schedule, clock, seen):
    assert schedule.next_due("here") is None
    hosts()
    assert schedule.next_due("here") <= clock()
    (claimed,) = claim()
    assert schedule.next_due("here") == clock() + dt.timedelta(minutes=2)
    schedule.complete([(claimed, seen)])
    assert schedule.next_due("here") == slot_of(claimed, clock())


def test_an_endpoint_that_is_gone_meanwhile_is_dropped(
    hosts, claim, schedule, seen, services, endpoints, intent, all_rows
):
    hosts(2)
    claims = claim()
    services.domains.remove("acme", "1.example.com", "main", intent)
    endpoints.sync()
    assert schedule.complete([(each, seen) for each in claims]) == 1
    assert len(all_rows(observations)) == 1
