"""What an endpoint is judged by: what apps have been told, hold, and will be told."""

from __future__ import annotations

import datetime as dt

import pytest
from livepin.testing import make_authority
from livepin_server.bus.memory import Announcement, Spent
from livepin_server.services.monitoring.model import MonitorChange
from livepin_server.services.monitoring.settings import MonitoringSettings
from livepin_server.services.monitoring.sources import Sources
from livepin_server.storage.schema import certificate_changes, configs, installations
from msgspec import json, structs
from sqlalchemy import event, insert, update

HOST = "api.example.com"
CORP = make_authority("Corp CA")


@pytest.fixture
def hold(services, clock):
    """Have so many installations hold a version."""

    def one(version, count, *, stream="main", seen=None):
        rows = [
            {
                "account": "acme", "id": f"{stream} {version} {n}", "thumbprint": "", "app": "a",
                "stream": stream, "config_version": version, "first_seen": clock(),
                "last_seen": seen or clock(), "verdict": "pass",
            }
            for n in range(count)
        ]  # fmt: skip
        services.database.write(lambda each: each.execute(insert(installations), rows))

    return one


@pytest.fixture
def add_pin(services, new_pin, intent):
    """Add a pin to the host."""

    def one(number, **how):
        given = structs.replace(intent, how=structs.replace(intent.how, **how))
        services.domains.add_pins("acme", HOST, [new_pin(number)], "main", given)

    return one


def texts(pins):
    return [str(each) for each in pins.pins]


def test_each_stream_that_has_a_host_is_followed(
    sources, add_domain, make_stream, services, clock, intent, pin_text
):
    add_domain(HOST, 1, 2)
    make_stream("canary")
    add_domain("*.example.com", 3, mode="report")
    settings = MonitoringSettings(services.database, clock=clock)
    settings.change("acme", HOST, MonitorChange(lead=7), intent)
    found = sources.judging("acme", HOST, 443)
    assert [(e.stream, e.pattern, e.mode) for e in found.following] == [
        ("canary", HOST, "enforce"), ("main", HOST, "enforce"),
    ]  # fmt: skip
    main = found.following[1]
    assert texts(main.pins) == [each.sha256 for each in main.views] == [pin_text(1), pin_text(2)]
    assert (main.settings.lead, main.apps, main.published) == (7, "apps that follow main", clock())
    (other,) = sources.judging("acme", "b.example.com", 443).following
    assert (other.stream, other.pattern, other.mode) == ("main", "*.example.com", "report")
    assert sources.judging("acme", "example.org", 443).following == []
    assert found.holding == []


@pytest.mark.parametrize("elsewhere", [{"connect": "10.0.0.5:443"}, {"ca": CORP.pem}])
def test_a_stream_that_looks_at_a_host_elsewhere_is_followed_there_alone(
    sources, add_domain, make_stream, seeing, pin_text, clock, elsewhere
):
    """Else each would be said to be wrong by the other's pins, and both for ever."""
    add_domain("other.example.com")
    make_stream("staging")
    add_domain(HOST, 1)
    add_domain(HOST, 2, stream="staging", **elsewhere)
    (main,) = sources.judging("acme", HOST, 443).following
    assert (main.stream, texts(main.pins)) == ("main", [pin_text(1)])
    (staging,) = sources.judging("acme", HOST, 443, **elsewhere).following
    assert (staging.stream, texts(staging.pins)) == ("staging", [pin_text(2)])
    assert sources.judging("acme", HOST, 443, connect="10.0.0.6:443").following == []
    clock.advance(seconds=1)
    for number, where in ((1, {}), (2, elsewhere)):
        keys = [seeing.key(number)]
        assert sources.pinned("acme", HOST, keys, clock(), **where) == (True, keys[0])
    assert sources.pinned("acme", HOST, [seeing.key(2)], clock()) == (False, None)


def test_what_a_part_of_the_fleet_holds_is_told_where_it_differs(
    sources, add_domain, add_pin, hold, pin_text, clock
):
    add_domain("other.example.com")
    add_domain(HOST, 1)  # version 3
    add_pin(2)
    add_pin(3)
    hold(5, 5)
    hold(4, 3)
    hold(3, 2)
    hold(99, 1)
    hold(1, 1)
    hold(3, 40, stream="gone")
    hold(2, 1, seen=clock() - dt.timedelta(days=31))
    found = sources.judging("acme", HOST, 443).holding
    assert [(e.version, e.installations, e.of, texts(e.pins)) for e in found] == [
        (4, 3, 12, [pin_text(1), pin_text(2)]), (3, 2, 12, [pin_text(1)]),
    ]  # fmt: skip
    assert sources.judging("acme", "other.example.com", 443).holding == []


def test_what_is_staged_is_told_and_nothing_of_it_is_kept(
    sources, add_domain, add_pin, services, clock, pin_text, published
):
    add_domain(HOST, 1)
    at = clock() + dt.timedelta(hours=3)
    add_pin(2, stage=True)
    add_pin(3, at=at)
    found = sources.judging("acme", HOST, 443).holding
    assert [(e.version, e.at, texts(e.pins)[1]) for e in found] == [
        (None, None, pin_text(2)), (None, at, pin_text(3)),
    ]  # fmt: skip
    assert len({each.stage for each in found}) == 2
    assert len(services.domains.show("acme", HOST, "main").pins) == 1
    assert len(services.stage.all("acme")) == 2


def test_a_stage_that_does_not_fit_any_more_makes_nothing(
    sources, add_domain, add_pin, services, intent
):
    add_domain(HOST, 1)
    add_domain("other.example.com", 1)
    add_pin(2, stage=True)
    services.domains.remove("acme", HOST, "main", intent)
    assert sources.judging("acme", "other.example.com", 443).holding == []


def test_an_account_is_read_once_a_minute_or_when_something_was_announced(
    sources, add_domain, add_pin, services, clock
):
    add_domain(HOST, 1)
    assert len(sources.judging("acme", HOST, 443).following[0].pins) == 1
    asked = []
    listen = lambda *given: asked.append(given[2])  # noqa: E731
    engine = services.database._engine
    add_pin(2)
    event.listen(engine, "before_cursor_execute", listen)
    sources.announced(Spent(challenges=()))
    assert len(sources.judging("acme", HOST, 443).following[0].pins) == 1
    assert asked == []
    news = Announcement(account="acme", stream="main", root_version=1, version=3)
    sources.announced(news)
    assert len(sources.judging("acme", HOST, 443).following[0].pins) == 2
    add_pin(3)
    clock.advance(seconds=61)
    assert len(sources.judging("acme", HOST, 443).following[0].pins) == 3
    asked.clear()
    clock.advance(seconds=61)
    sources.judging("acme", HOST, 443)
    assert not [each for each in asked if "document" in each or "pins" in each]
    event.remove(engine, "before_cursor_execute", listen)


def test_a_clock_that_was_set_back_makes_nothing_fresh(sources, add_domain, add_pin, clock):
    add_domain(HOST, 1)
    sources.judging("acme", HOST, 443)
    add_pin(2)
    clock.advance(days=-1)
    assert len(sources.judging("acme", HOST, 443).following[0].pins) == 2


def test_a_config_that_cannot_be_read_is_an_error_each_time(sources, add_domain, services):
    add_domain(HOST, 1)
    spoil = update(configs).values(document=b"no config")
    services.database.write(lambda each: each.execute(spoil))
    for _ in range(2):
        with pytest.raises(Exception, match="expected a compact JWS"):
            sources.judging("acme", HOST, 443)


def test_what_was_published_after_it_appeared_was_not_pinned_beforehand(
    sources, add_domain, add_pin, clock, seeing, services
):
    before = clock()
    clock.advance(seconds=5)
    add_domain(HOST, 1)
    first = clock()
    clock.advance(minutes=5)
    add_pin(2)
    keys = [seeing.key(2), seeing.key(100)]
    assert sources.pinned("acme", HOST, keys, clock()) == (True, seeing.key(2))
    assert sources.pinned("acme", HOST, keys, first) == (False, None)
    assert sources.pinned("acme", HOST, keys, before) == (None, None)
    long_ago = before - dt.timedelta(days=1)
    assert sources.pinned("acme", HOST, keys, long_ago) == (None, None)


def test_it_is_known_when_each_key_was_served_last(
    services, sources, add_domain, endpoints, schedule, seeing, clock, all_due
):
    add_domain(HOST, 1)
    endpoints.sync()
    moments = []
    for number in (1, 2):
        all_due()
        chain = [seeing.certificate(number)]
        look = seeing.look(seeing.sight(seeing.observation(number, chain=chain)))
        schedule.complete([(schedule.claim("here", 1, lease=seeing.LEASE)[0], look)])
        moments.append(clock())
    expected = {seeing.key(1): moments[1], seeing.key(2): moments[1]}
    again = Sources(services.database, clock=clock)
    assert again.judging("acme", HOST, 443).served == expected
    served = sources.judging("acme", HOST, 443).served
    assert served == {seeing.key(1): moments[0], seeing.key(2): moments[1]}
    clock.advance(hours=2)
    assert sources.judging("acme", HOST, 443).served == expected
    sources.note("nobody", {seeing.key(3)}, clock())


def test_what_is_served_now_is_known_at_once_without_a_copy_of_all(
    sources, add_domain, seeing, clock
):
    add_domain(HOST, 1)
    served = sources.judging("acme", HOST, 443).served
    sources.note("acme", {seeing.key(3)}, clock())
    assert sources.judging("acme", HOST, 443).served is served
    assert served == {seeing.key(3): clock()}
    sources.forget("acme")  # read again in the hour, it is still known
    assert sources.judging("acme", HOST, 443).served == {seeing.key(3): clock()}


def test_of_the_history_what_is_new_alone_is_read_again(
    services, sources, add_domain, seeing, clock
):
    def change(number, moment, **members):
        row = {
            "account": "acme", "host": HOST, "port": 443, "vantage": "here", "address": "192.0.2.1",
            "algorithm": "ecdsa", "moment": moment,
            "change": json.encode(
                {"left": [seeing.key(number)], "subject": 'CN=\0 \\u0000"\ud7ff', **members}
            ).decode(),
        }  # fmt: skip
        services.database.write(lambda each: each.execute(insert(certificate_changes), row))

    add_domain(HOST, 1)
    start = clock()
    change(1, start - dt.timedelta(days=200))
    change(1, start - dt.timedelta(days=100))
    services.database.write(  # as of before there was anything to keep
        lambda each: each.execute(
            insert(certificate_changes).values(
                account="acme", host=HOST, port=443, vantage="here", address="", algorithm="rsa",
                moment=start, change="{}",
            )
        )
    )  # fmt: skip
    first = {seeing.key(1): start - dt.timedelta(days=100)}
    assert sources.judging("acme", HOST, 443).served == first
    change(2, start - dt.timedelta(days=300))  # before: nobody writes there
    clock.advance(hours=2)
    change(3, start - dt.timedelta(minutes=5))  # by a clock that is a little behind
    change(1, clock())
    expected = {seeing.key(1): clock(), seeing.key(3): start - dt.timedelta(minutes=5)}
    assert sources.judging("acme", HOST, 443).served == expected
    clock.advance(days=-1)  # set back: all is read
    assert seeing.key(2) in sources.judging("acme", HOST, 443).served
