"""Clocks that are wrong, by neglect or by an attacker: an emergency config gets through anyway."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from livepin import Pin
from livepin.testing import Chain, RecordingServer

if TYPE_CHECKING:
    from conftest import Account, Device

CLOCKS = {
    "a year slow": {"days": -365},
    "a day slow": {"days": -1},
    "six minutes slow": {"minutes": -6},
    "right": {},
    "20 days fast": {"days": 20},
    "ten years fast": {"days": 3650},
}


@pytest.mark.parametrize("clock", CLOCKS.values(), ids=CLOCKS)
def test_an_emergency_config_is_taken_and_enforced(
    device: Device,
    servers: tuple[RecordingServer, RecordingServer],
    rogue_chain: Chain,
    clock: dict[str, float],
) -> None:
    """The key has leaked: what the device pins by its bootstrap is what the attacker holds."""
    genuine, rogue = servers
    emergency = device.simulator.pin_sets["localhost"].pins
    device.simulator.pin("localhost", rogue_chain.pin)
    device.start(device.simulator.bootstrap())
    device.simulator.pin("localhost", *emergency)  # signed when it is needed, by a right clock
    device.clock.advance(**clock)
    device.update()
    assert not device.reaches(rogue)
    assert device.reaches(genuine)
    slow = sum(clock.values()) < 0
    status = device.pins.status()
    assert status.clock_wrong is slow
    assert status.stale is ("days" in clock and not slow)
    device.start()
    assert device.order == (1, device.simulator.version)
    assert not device.reaches(rogue)


@pytest.mark.parametrize("clock", [CLOCKS["a year slow"], CLOCKS["six minutes slow"]])
def test_a_pin_that_starts_with_the_emergency_holds_on_a_slow_device(
    device: Device, servers: tuple[RecordingServer, RecordingServer], clock: dict[str, float]
) -> None:
    """Trusted now is the time of issue, where the clock is behind it."""
    genuine, _ = servers
    (pin,) = device.simulator.pin_sets["localhost"].pins
    device.start()
    device.simulator.pin("localhost", Pin(pin.sha256, not_before=device.clock()))
    device.clock.advance(**clock)
    device.update()
    assert device.reaches(genuine)


@pytest.mark.parametrize("clock", [CLOCKS["a year slow"], CLOCKS["six minutes slow"]])
def test_a_pin_that_is_over_does_not_come_back_on_a_slow_device(
    device: Device,
    servers: tuple[RecordingServer, RecordingServer],
    rogue_chain: Chain,
    clock: dict[str, float],
) -> None:
    _, rogue = servers
    pins = device.simulator.pin_sets["localhost"].pins
    over = Pin(rogue_chain.pin.sha256, not_after=device.clock())
    device.start()
    device.simulator.pin("localhost", *pins, over)
    device.clock.advance(**clock)
    device.update()
    assert not device.reaches(rogue)


@pytest.mark.parametrize("minutes", [0, 4, 5, 6])
def test_a_clock_up_to_five_minutes_slow_is_not_called_wrong(
    account: Account, minutes: int
) -> None:
    state = account.state().advance_config(account.config(2, issued=account.at(minutes=minutes)))
    assert state.clock_is_wrong(now=account.now) is (minutes > 5)


def test_a_root_from_the_future_is_taken(device: Device) -> None:
    device.simulator.publish_root()
    device.simulator.publish()
    device.clock.advance(days=-365)
    device.update()
    assert device.order == (2, device.simulator.version)


def test_a_config_that_expired_on_its_way_is_taken(device: Device) -> None:
    """The older pins that it replaces are worse."""
    device.simulator.publish()
    device.clock.advance(days=15)
    device.update()
    assert device.pins.status().stale
