"""The server's clock jumps: versions rise, apps go on, and signing again goes on."""

import datetime as dt

import pytest
from livepin.documents import Config
from livepin.documents.config import TYP
from livepin.jose import parse_compact
from livepin.trust import TrustedState
from livepin_server.services import expiry
from livepin_server.services.model import NewStream

DAY = dt.timedelta(days=1)
JUMPS = [
    *(dt.timedelta(hours=hours) for hours in (-1, 0, 1)),
    *(dt.timedelta(days=days) for days in (365, -365, -366, 8, -40)),
    dt.timedelta(minutes=4),
]


@pytest.fixture
def publish(publisher, intent):
    return lambda: publisher.republish("acme", "main", intent)


@pytest.fixture
def newest(published):
    return lambda: published.version("acme", "main")[1]


def parsed(raw):
    return Config.parse(parse_compact(raw, typ=TYP).payload)


def warnings(published, clock):
    return expiry.warnings(published.expiries(), clock())


def test_a_config_of_the_future_is_signed_again_at_once_and_once(
    publisher, published, publish, clock
):
    clock.advance(days=365)
    publish()
    clock.advance(days=-365)
    assert warnings(published, clock) == [
        "config 2 of acme/main was issued at 2027-11-23 12:00, which is in the future"
    ]
    (found,) = publisher.resign_due()
    assert found.reason == "re-signed because its time of issue is in the future"
    assert found.issued == clock()
    assert publisher.resign_due() == []
    clock.advance(days=7)  # and again in its time, not in half a year
    assert [each.version for each in publisher.resign_due()] == [4]


def test_a_clock_that_is_a_little_behind_signs_nothing_again(publisher, publish, clock):
    clock.advance(minutes=5)
    publish()
    clock.advance(minutes=-5)
    assert publisher.resign_due() == []


def test_an_app_that_took_a_config_of_the_future_finds_the_next_one_fresh(
    published, publish, newest, clock
):
    """Its trusted now is the latest time of issue (rule 8); `stale: refuse` would shut it out."""
    early = TrustedState.from_bootstrap(published.bootstrap("acme", "main"))
    clock.advance(days=365)
    publish()
    misled = early.advance_config(newest())
    clock.advance(days=-365)
    publish()
    for state in (early, misled):
        after = state.advance_config(newest())
        assert not after.is_stale(now=clock())
        assert after.config.issued == clock()
    assert misled.clock_is_wrong(now=clock())  # all that it can know
    assert not early.advance_config(newest()).clock_is_wrong(now=clock())
    assert warnings(published, clock) == [
        "the clock of a server was ahead once: apps go by that time until there is a new root, "
        "so config 3 of acme/main expires only on 2027-12-07"
    ]


def test_a_new_root_ends_it(services, publisher, published, beta, clock, intent):
    clock.advance(days=365)
    publisher.republish("beta", "main", intent)
    clock.advance(days=-365)
    beta.add_root()
    found = publisher.republish("beta", "main", intent)
    assert found.expires == clock() + expiry.LIFETIME
    assert not [each for each in warnings(published, clock) if "beta" in each]


def test_other_streams_are_not_bound_by_it(services, publisher, publish, clock, intent):
    services.streams.add("acme", NewStream(name="canary"), intent)
    clock.advance(days=365)
    publish()
    clock.advance(days=-365)
    found = publisher.republish("acme", "canary", intent)
    assert found.expires == clock() + expiry.LIFETIME


def test_a_root_signed_by_a_clock_that_was_ahead_counts_too(published, publish, clock, newest):
    clock.advance(days=-3)  # root 1 is of three days later
    publish()
    state = TrustedState.from_bootstrap(published.bootstrap("acme", "main"))
    assert parsed(newest()).expires == clock() + 17 * DAY
    assert not state.is_stale(now=clock() + 13 * DAY)


@pytest.mark.torture
@pytest.mark.timeout(3600)
def test_whatever_the_clock_does_versions_rise_and_apps_go_on(
    publisher, published, publish, newest, clock, torture
):
    chance, right = torture.chance, clock()
    oldest = TrustedState.from_bootstrap(published.bootstrap("acme", "main"))
    states, version = [oldest], 1
    for _ in range(20 * torture.kills):
        clock.now = right if chance.random() < 0.3 else clock() + chance.choice(JUMPS)
        clock.now = min(max(clock.now, right - 3000 * DAY), right + 3000 * DAY)
        if chance.random() < 0.5:
            publish()
            version += 1
        else:
            version += len(publisher.resign_due())
            assert publisher.resign_due() == []
        found, raw = published.version("acme", "main")
        assert found.version == version
        some = chance.sample(states, min(len(states), 9))
        states = [each.advance_config(raw) for each in (oldest, *some)]
        if found.issued == clock():
            assert not any(each.is_stale(now=clock()) for each in states)
            assert not any(each.is_stale(now=clock() + 6 * DAY) for each in states)
    clock.now = right
    publisher.resign_due()
    for _ in range(10):
        clock.advance(days=7)
        assert len(publisher.resign_due()) == 1
    torture.count("publications", version)
