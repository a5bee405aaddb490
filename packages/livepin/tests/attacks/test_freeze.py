"""A device that is shown the same old config for ever: it is true, and it ages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from livepin import StaleConfigError
from livepin.documents import Stale
from livepin.testing import RecordingServer

if TYPE_CHECKING:
    from conftest import Device


def replay(device: Device) -> None:
    """Let the attacker show the config that the device has, and let the device ask."""
    before = device.holds()
    device.takes(device.simulator.config)
    assert device.holds() == before


def test_a_frozen_config_is_the_same_version_until_it_is_stale(
    device: Device, servers: tuple[RecordingServer, RecordingServer]
) -> None:
    genuine, rogue = servers
    for day in range(1, 15):
        device.clock.advance(days=1)
        replay(device)
        assert device.pins.status().stale is (day == 14)
    assert device.pins.status().last_error is None
    assert not device.reaches(rogue)
    assert device.reaches(genuine)


def test_a_stale_config_is_enforced_for_as_long_as_it_takes(
    device: Device, servers: tuple[RecordingServer, RecordingServer]
) -> None:
    """Time never unpins: else whoever can wait, or set clocks, would need no key."""
    genuine, rogue = servers
    for days in (14, 365, 3650):
        device.clock.advance(days=days)
        replay(device)
        device.start()
        assert device.pins.status().stale
        assert not device.reaches(rogue)
        assert device.reaches(genuine)


def test_a_domain_that_refuses_stale_pins_is_refused_after_its_grace(
    device: Device, servers: tuple[RecordingServer, RecordingServer]
) -> None:
    genuine, _ = servers
    pins = device.simulator.pin_sets["localhost"].pins
    device.simulator.pin("localhost", *pins, stale=Stale.REFUSE)
    device.update()
    device.clock.advance(days=14 + 7, seconds=-1)
    replay(device)
    assert device.reaches(genuine)
    device.clock.advance(seconds=1)
    replay(device)
    received = len(genuine.received)
    with pytest.raises(StaleConfigError):
        device.reaches(genuine)
    genuine.wait_closed()
    assert len(genuine.received) == received


def test_a_clock_set_back_does_not_make_a_frozen_config_fresh(device: Device) -> None:
    """Trusted now is at least the latest time of issue that the device has accepted."""
    device.simulator.lifetime *= 0
    device.simulator.publish()
    device.update()
    device.clock.advance(days=-300)
    replay(device)
    assert device.pins.status().stale
    device.start()
    assert device.pins.status().stale


def test_not_modified_for_ever_is_a_freeze_too(device: Device) -> None:
    """The cheapest replay of all."""
    before = device.holds()
    device.clock.advance(days=15)
    device.frozen()
    device.pins.refresh()
    assert device.holds() == before
    assert device.pins.status().stale


def test_a_frozen_device_catches_up_as_soon_as_it_is_let_go(device: Device) -> None:
    device.clock.advance(days=60)
    replay(device)
    device.simulator.publish_root()
    device.simulator.publish()
    device.update()
    assert not device.pins.status().stale
