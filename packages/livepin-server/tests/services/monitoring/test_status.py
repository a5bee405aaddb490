"""How monitoring fares, as people and metrics see it, and the history of certificates."""

from __future__ import annotations

import datetime as dt

import pytest
from livepin_server.errors import NotFoundError
from livepin_server.services.monitoring.beats import Beats
from livepin_server.services.monitoring.model import MonitorChange
from livepin_server.services.monitoring.settings import MonitoringSettings
from livepin_server.services.monitoring.status import MOST_LISTED, Watching
from livepin_server.storage.schema import certificate_changes, channels, outbox
from livepin_server.storage.schema import endpoints as endpoint_rows
from livepin_server.storage.schema import schedule as schedule_rows
from sqlalchemy import func, insert, select

HOST = "api.example.com"


@pytest.fixture
def watching(services, clock):
    """How monitoring fares."""
    return Watching(services.database, clock=clock)


@pytest.fixture
def beats(services, clock):
    """The workers."""
    return Beats(services.database, clock=clock)


@pytest.fixture
def look(schedule, seeing, all_due):
    """Have everything that is due looked at, with the certificate of a number."""

    def one(number=1):
        all_due()
        seen = seeing.look(seeing.sight(seeing.observation(number)))
        claims = schedule.claim("here", 500, lease=seeing.LEASE)
        assert schedule.complete([(each, seen) for each in claims]) == len(claims)

    return one


def test_an_endpoint_is_unseen_then_ok_then_firing(
    watching, endpoints, add_domain, look, judge, wrong, clock
):
    add_domain(HOST)
    endpoints.sync()
    (view,) = watching.endpoints()
    assert (view.state, view.pins_match, view.expires, view.looked) == ("unseen", None, None, None)
    assert (view.domain, view.stream, view.vantage, view.every) == (HOST, "main", "here", 900)
    look()
    (view,) = watching.endpoints("acme")
    assert (view.state, view.pins_match, view.addresses, view.took) == ("ok", True, 1, 12)
    assert (view.looked, view.expires.year) == (clock(), 2027)
    assert view.looked < view.next_due
    judge.says = lambda *_: [wrong()]
    look()
    (view,) = watching.endpoints()
    assert (view.state, view.findings) == ("firing", ["no pin matches"])
    assert watching.endpoints("nobody") == []


def test_status_lists_what_is_wrong_first_and_what_nobody_looks_at(
    watching, endpoints, add_domain, look, judge, wrong, services, clock, intent
):
    for name in ("a.example.com", "b.example.com", "*.example.com", "*.example.net"):
        add_domain(name)
    endpoints.sync()
    change = MonitorChange(hosts=["c.example.com"])
    settings = MonitoringSettings(services.database, clock=clock, changed=endpoints.sync)
    settings.change("acme", "*.example.com", change, intent)
    judge.says = lambda claimed, *_: [wrong()] if claimed.host == "c.example.com" else []
    look()
    status = watching.status("acme")
    assert [each.host[0] for each in status.endpoints] == ["c", "a", "b"]
    assert (status.count, status.unwatched) == (3, ["*.example.net"])
    assert status.warnings == [
        "nobody looks at *.example.net: it names no hosts: "
        "livepin monitor set '*.example.net' --host HOST",
        "nobody looks: no worker of the monitor was heard of for five minutes",
    ]
    assert [e.host for e in watching.status("acme", "*.EXAMPLE.com").endpoints] == [
        "c.example.com", "a.example.com", "b.example.com",
    ]  # fmt: skip
    assert watching.status("acme", "a.example.com").count == 1
    assert watching.status("acme", "*.example.net").unwatched == ["*.example.net"]
    with pytest.raises(NotFoundError):
        watching.status("acme", "example.org")
    with pytest.raises(NotFoundError):
        watching.status("nobody")


def test_all_endpoints_count_also_those_that_are_not_listed(
    watching, endpoints, add_domain, look, services, clock
):
    add_domain(HOST)
    endpoints.sync()
    look()
    since = clock()
    more = [
        {"id": 10_000 + n, "account": "acme", "domain": HOST, "stream": "main",
         "host": f"h{n}.example.com", "port": 443, "connect": "", "ca": None, "every": 900,
         "created": since}
        for n in range(MOST_LISTED + 1)
    ]  # fmt: skip
    rows = [
        {"endpoint": each["id"], "vantage": "here", "next_due": since, "lease_until": since,
         "fence": 0, "looked": since if n % 2 else None}
        for n, each in enumerate(more)
    ]  # fmt: skip
    services.database.write(
        lambda c: (c.execute(insert(endpoint_rows), more), c.execute(insert(schedule_rows), rows))
    )
    status = watching.status("acme", since=since)
    assert (len(status.endpoints), status.count) == (MOST_LISTED, MOST_LISTED + 2)
    assert (status.mismatched, status.unknown) == (0, MOST_LISTED + 1)
    assert status.late == {"here": MOST_LISTED // 2 + 1}
    clock.advance(seconds=1)
    assert watching.status("acme", since=clock()).late == {"here": MOST_LISTED + 2}
    assert watching.status("acme").late == {}


def test_channels_and_what_nobody_gets_are_counted(
    watching, services, clock, add_domain, beats, endpoints
):
    add_domain(HOST)
    endpoints.sync()
    beats.beat("here", "one", 3)

    def fill(connection):
        connection.execute(
            insert(channels).values(
                account="acme", name="ops", kind="email", settings="{}", severity="info", tags="",
                created=clock(), author="bob",
            )
        )  # fmt: skip
        connection.execute(
            insert(outbox).values(
                account="acme", channel="ops", key="k", body="{}", created=clock(), due=clock(),
                lease_until=clock(), dead=clock(),
            )
        )  # fmt: skip

    services.database.write(fill)
    status = watching.status("acme")
    assert (status.channels, status.dead) == (1, 1)
    assert status.warnings == ["1 notices of acme were given up: livepin channel list"]


def test_the_history_tells_of_each_change_the_newest_first(
    watching, endpoints, add_domain, look, clock, seeing
):
    for name in (HOST, "b.example.com", "xexample.com"):
        add_domain(name)
    endpoints.sync()
    for number in (1, 1, 2):
        look(number)
    found = watching.history("acme", HOST)
    assert [(e.was, e.became) for e in found] == [
        (seeing.key(1), seeing.key(2)), (None, seeing.key(1)),
    ]  # fmt: skip
    assert {e.host for e in watching.history("acme", "*.example.com")} == {HOST, "b.example.com"}
    assert len(watching.history("acme", "*.example.com", limit=3)) == 3
    with pytest.raises(NotFoundError):
        watching.history("nobody", HOST)


def test_history_is_forgotten_by_age(watching, endpoints, add_domain, look, clock, services):
    add_domain(HOST)
    endpoints.sync()
    look(1)
    clock.advance(days=300)
    look(2)
    assert watching.forget(clock() - dt.timedelta(days=400)) == 0
    clock.advance(days=101)
    assert watching.forget(clock() - dt.timedelta(days=400)) == 1
    with services.database.reading() as connection:
        assert connection.scalar(select(func.count()).select_from(certificate_changes)) == 1


def test_workers_that_are_no_more_are_forgotten_but_the_last_of_each_vantage(beats, clock):
    for worker in ("one", "two"):  # each restart has a name of its own
        beats.beat("here", worker, 1)
        beats.beat("eu-west", worker, 1)
        clock.advance(days=1)
    beats.beat("here", "three", 1)
    beats.forget(clock())
    assert [(each.vantage, each.worker) for each in beats.all()] == [
        ("eu-west", "two"), ("here", "three"),
    ]  # fmt: skip


def test_a_worker_beats_and_falls_silent(beats, clock):
    start = clock()
    beats.beat("here", "one", 3)
    clock.advance(minutes=1)
    beats.beat("here", "one", 9)
    beats.beat("eu-west", "w" * 80, 1)
    far, near = beats.all()
    assert (far.vantage, len(far.worker), far.silent) == ("eu-west", 63, False)
    assert (near.started, near.beat, near.looks) == (start, clock(), 9)
    clock.advance(minutes=6)
    assert [each.silent for each in beats.all()] == [True, True]
    beats.beat("here", "one", 0)
    assert [(e.vantage, e.silent, e.started == clock()) for e in beats.all()] == [
        ("eu-west", True, False), ("here", False, True),
    ]  # fmt: skip
