"""A thief publishes as version V; so does the owner, under the root that cures the theft."""

from __future__ import annotations

from typing import Any

from livepin.jose import PrivateKey
from livepin.pins import Pin


def test_who_holds_the_thiefs_version_is_not_told_that_nothing_is_new(device: Any) -> None:
    """The numbers meet when both count on from the last good version."""
    last_good = device.simulator.version
    device.simulator.pin("api.example.com", Pin(b"\6" * 32))
    device.update()
    assert device.order == (1, last_good + 1)

    device.simulator.version = last_good  # what the thief signed is not in the owner's books
    device.simulator.keys["config"] = PrivateKey.generate()
    device.simulator.publish_root()
    device.simulator.pin("api.example.com", Pin(b"\1" * 32))
    assert device.simulator.version == last_good + 1

    device.update()
    assert device.order == (2, last_good + 1)
    assert device.pins.domain("api.example.com").pins.pins == (Pin(b"\1" * 32),)
