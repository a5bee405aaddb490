"""Expired roots on the way: whoever held them back would have locked a device out for ever."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import pytest
from livepin.jose import PrivateKey

if TYPE_CHECKING:
    from conftest import Account, Device


def test_an_expired_root_in_the_middle_does_not_stop_the_walk(device: Device, ago) -> None:
    ours = device.simulator
    ours.keys["config"] = PrivateKey.generate()
    with ago(days=5 * 365):
        ours.publish_root()  # it expired two years ago
    ours.publish_root()
    ours.publish()
    device.update()
    assert device.order == (3, ours.version)
    assert not device.pins.status().stale
    device.start()
    assert device.order == (3, ours.version)


def test_roots_that_all_expired_do_not_stop_the_walk(device: Device, ago) -> None:
    """Pins under an expired root are better than the older ones that the device holds."""
    ours = device.simulator
    with ago(days=5 * 365):
        for _ in range(3):
            ours.publish_root()
    ours.publish()
    device.update()
    assert device.order == (4, ours.version)


def test_an_expired_root_may_be_the_newest_for_a_while(device: Device, ago) -> None:
    ours = device.simulator
    with ago(days=5 * 365):
        ours.publish_root()
        ours.publish()
    device.update()
    assert device.order == (2, ours.version)
    ours.publish_root()
    ours.publish()
    device.update()
    assert device.order == (3, ours.version)


@pytest.mark.parametrize("year", [2027, 2030, 2050, 9999])
def test_a_walk_does_not_depend_on_the_clock(device: Device, year: int) -> None:
    ours = device.simulator
    for _ in range(2):
        ours.publish_root()
    ours.publish()
    device.clock.now = dt.datetime(year, 1, 1, tzinfo=dt.timezone.utc)
    device.update()
    assert device.order == (3, ours.version)


def test_a_root_that_expired_before_it_was_issued_is_only_a_step(account: Account) -> None:
    state = account.state().advance_root(account.root(2, expires=account.at(days=-9)))
    state = state.advance_root(account.root(3)).advance_config(account.config(1, root_version=3))
    assert state.order == (3, 1)
