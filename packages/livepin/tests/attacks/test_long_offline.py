"""A device that comes back after 60 days: everything it knows has expired, and it stays pinned."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from livepin import FetchError, StaleConfigError
from livepin.documents import Stale
from livepin.testing import Chain, RecordingServer

if TYPE_CHECKING:
    from conftest import Device

Servers = tuple[RecordingServer, RecordingServer]


@pytest.fixture
def offline(device: Device, servers: Servers, rogue_chain: Chain) -> Device:
    """A device whose store, 60 days old, is newer than its bootstrap; it reaches nobody.

    By the bootstrap, the rogue server would be the right one.
    """
    right = device.simulator.pin_sets["localhost"].pins
    device.simulator.pin("localhost", rogue_chain.pin)
    device.start(device.simulator.bootstrap())
    device.simulator.pin("localhost", *right)
    device.update()
    device.stop()
    device.clock.advance(days=60)
    device.offer(b"")
    return device


def test_an_expired_store_is_enforced_and_stale(offline: Device, servers: Servers) -> None:
    genuine, rogue = servers
    offline.start()
    assert offline.order == (1, offline.simulator.version)
    assert offline.pins.status().stale
    assert offline.pins.status().store_problem is None
    assert not offline.reaches(rogue)
    assert offline.reaches(genuine)


def test_an_expired_bootstrap_is_enforced_and_stale(offline: Device, servers: Servers) -> None:
    """Without a store, as after a reinstallation from an old package."""
    genuine, rogue = servers
    offline.path.unlink()
    offline.start()
    assert offline.pins.status().stale
    assert not offline.reaches(genuine)
    assert offline.reaches(rogue)


def test_it_catches_up_over_roots_and_configs_at_once(offline: Device) -> None:
    for _ in range(5):
        offline.simulator.publish_root()
        offline.simulator.publish()
    offline.start()
    offline.update()
    assert offline.order == (6, offline.simulator.version)
    assert not offline.pins.status().stale


def test_nobody_answers_and_nothing_changes(offline: Device) -> None:
    offline.start()
    before = offline.holds()
    offline.frozen(503)
    with pytest.raises(FetchError):
        offline.pins.refresh()
    assert offline.holds() == before


def test_a_domain_that_refuses_stale_pins_is_refused_and_others_are_not(
    offline: Device, servers: Servers
) -> None:
    genuine, _ = servers
    pins = offline.simulator.pin_sets["localhost"].pins
    offline.simulator.pin("localhost", *pins, stale=Stale.REFUSE)
    offline.update()
    offline.stop()
    offline.clock.advance(days=60)
    offline.frozen(503)
    offline.start()
    with pytest.raises(StaleConfigError):
        offline.reaches(genuine)
    assert offline.pins.domain("api.example.com") is not None
