"""Rate limits per address: on average, at once, and in bounded memory."""

from __future__ import annotations

import pytest
from livepin_server.web import limits
from livepin_server.web.limits import RateLimit, origin


class Monotonic:
    """A monotonic clock that stands still until a test moves it."""

    now = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@pytest.fixture
def monotonic() -> Monotonic:
    """A monotonic clock."""
    return Monotonic()


def taken(limit: RateLimit, key: str, tries: int = 100) -> int:
    """Return how many of many are allowed at once."""
    return sum(limit.allow(key) for _ in range(tries))


def test_a_burst_is_allowed_and_then_the_average(monotonic) -> None:
    limit = RateLimit(2, 10, monotonic=monotonic)
    assert taken(limit, "a") == 10
    monotonic.now += 1
    assert taken(limit, "a") == 2
    monotonic.now += 1000
    assert taken(limit, "a") == 10


def test_addresses_do_not_share(monotonic) -> None:
    limit = RateLimit(1, 3, monotonic=monotonic)
    assert (taken(limit, "a"), taken(limit, "b")) == (3, 3)


def test_who_is_refused_loses_nothing(monotonic) -> None:
    limit = RateLimit(1, 3, monotonic=monotonic)
    assert not limit.allow("a", cost=4)
    assert taken(limit, "a") == 3


def test_a_clock_that_goes_back_gives_nothing(monotonic) -> None:
    limit = RateLimit(1, 3, monotonic=monotonic)
    assert taken(limit, "a") == 3
    monotonic.now -= 100
    assert taken(limit, "a") == 0


@pytest.mark.parametrize(("rate", "pause"), [(0.2, 5), (0.3, 4), (1, 1), (50, 1), (1e9, 1)])
def test_the_pause_is_whole_seconds_until_one_more_is_allowed(monotonic, rate, pause) -> None:
    limit = RateLimit(rate, 1, monotonic=monotonic)
    assert limit.pause == pause
    assert taken(limit, "a") == 1
    monotonic.now += limit.pause
    assert taken(limit, "a", 1) == 1


def test_addresses_that_filled_up_again_are_forgotten_first(monotonic) -> None:
    limit = RateLimit(1, 10, monotonic=monotonic)
    for number in range(limits._MOST_ADDRESSES):
        limit.allow(f"old {number}")
    monotonic.now += 11
    taken(limit, "new")
    assert len(limit._buckets) == 1


def test_an_attacker_with_many_addresses_uses_bounded_memory(monotonic) -> None:
    limit = RateLimit(1, 10, monotonic=monotonic)
    for number in range(3 * limits._MOST_ADDRESSES):
        limit.allow(f"address {number}")
        assert len(limit._buckets) <= limits._MOST_ADDRESSES
    assert taken(limit, f"address {3 * limits._MOST_ADDRESSES - 1}") == 9  # it is still known


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8:0:1::1", "[2001:db8:0:1:ffff:ffff:ffff:ffff]", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        ("[::ffff:192.0.2.1]", "192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("", "", True),
        ("x:y", "x:z", False),
    ],
)
def test_an_ipv6_host_is_one_whatever_address_of_its_network_it_takes(one, other, same) -> None:
    assert (origin(one) == origin(other)) is same
