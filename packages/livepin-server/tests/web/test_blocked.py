"""The log is told of addresses that guess keys, and cannot be flooded by them."""

from __future__ import annotations

import pytest
from livepin_server.errors import UnavailableError
from livepin_server.web.blocked import BlockedAddresses


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


@pytest.fixture
def told() -> list[str]:
    """What was told."""
    return []


@pytest.fixture
def blocked(told, monotonic) -> BlockedAddresses:
    """Addresses that are blocked."""
    return BlockedAddresses(told.append, monotonic=monotonic)


def test_an_address_is_told_of_once_a_minute(blocked, told, monotonic) -> None:
    for _ in range(50):
        blocked.blocked("192.0.2.7")
    assert told == ["192.0.2.7"]
    monotonic.now += 59
    blocked.blocked("192.0.2.7")
    monotonic.now += 1
    blocked.blocked("192.0.2.7")
    assert told == ["192.0.2.7"] * 2


def test_the_addresses_of_one_network_are_one(blocked, told) -> None:
    for number in range(50):
        blocked.blocked(f"2001:db8::{number:x}")
    assert told == ["2001:db8::0"]


def test_any_number_of_addresses_is_told_of_a_hundred_times_and_then_once_a_minute(
    blocked, told, monotonic
) -> None:
    addresses = [f"10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}" for n in range(5000)]
    for each in addresses:
        blocked.blocked(each)
    assert len(told) == 100
    for _ in range(10):
        monotonic.now += 60
        for each in addresses[:200]:
            blocked.blocked(each)
    assert len(told) == 110


def test_a_log_that_cannot_be_told_keeps_nobody_from_being_blocked(monotonic, caplog) -> None:
    def fail(_: str) -> None:
        raise UnavailableError("the database is locked by another process")

    BlockedAddresses(fail, monotonic=monotonic).blocked("192.0.2.7")
    assert "cannot be told of 192.0.2.7: the database is locked" in caplog.text
