"""A stolen root key: the thief owns every device, until an app release brings a new bootstrap."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from livepin import Bootstrap
from livepin.jose import PrivateKey
from livepin.pins import PinSet
from livepin.testing import Chain, DeliverySimulator, RecordingServer

if TYPE_CHECKING:
    from conftest import Device


class Thief:
    """Signs roots with the stolen key, and configs with keys of his own under them."""

    def __init__(self, device: Device) -> None:
        self.forger = DeliverySimulator(clock=device.clock)
        self.forger.keys = {role: PrivateKey.generate() for role in self.forger.keys}
        self.forger.roots = dict(device.simulator.roots)
        self.forger.urls = device.simulator.urls
        self.forger.delivery_pins = device.simulator.delivery_pins
        self.forger.ca = device.simulator.ca
        self.forger.recovery_urls = device.simulator.recovery_urls
        self.forger.domains = dict(device.simulator.domains)
        self.forger.pin_sets = dict(device.simulator.pin_sets)
        keys = self.forger.keys["root"]
        self.root = self.forger.publish_root(signers=[device.simulator.keys["root"], keys])

    def config(self, chain: Chain) -> bytes:
        """Return a config that pins the API to the thief's chain."""
        return self.forger.publish(
            pin_sets=self.forger.pin_sets | {"localhost": PinSet((chain.pin,))}
        )


def release(device: Device) -> Bootstrap:
    """Return what the owner puts into the next app release: other keys, the same account."""
    ours = device.simulator
    ours.keys = {role: PrivateKey.generate() for role in ours.keys}
    ours.roots.clear()
    ours.publish_root()
    return ours.bootstrap()


@pytest.mark.parametrize(
    ("steps", "rule"), [(0, 3), (1, 2)], ids=["from version 1", "from the thief's version"]
)
def test_a_new_bootstrap_takes_the_device_back(
    device: Device,
    servers: tuple[RecordingServer, RecordingServer],
    rogue_chain: Chain,
    steps: int,
    rule: int,
) -> None:
    """The thief's root 2 is no root of ours, though ours may have the same version."""
    genuine, rogue = servers
    thief = Thief(device)
    malicious = thief.config(rogue_chain)
    device.takes(malicious, {2: thief.root})
    assert device.reaches(rogue)
    device.start()
    assert device.reaches(rogue)  # nothing but the app itself can cure this

    release(device)
    for _ in range(steps):
        device.simulator.publish_root()
    device.simulator.publish()
    device.start(device.simulator.bootstrap())
    assert device.order == (1 + steps, device.simulator.version)
    assert "do not contain the root" in (device.pins.status().store_problem or "")
    device.offer(malicious, {2: thief.root})
    assert not device.reaches(rogue)
    assert device.reaches(genuine)
    device.simulator.publish()
    device.update()
    device.refuses(malicious, {2: thief.root}, rule=rule)
    device.start()
    assert not device.reaches(rogue)


def test_what_the_thief_stored_is_kept_for_whoever_wants_to_know(
    device: Device, rogue_chain: Chain
) -> None:
    thief = Thief(device)
    malicious = thief.config(rogue_chain)
    device.takes(malicious, {2: thief.root})
    stored = device.path.read_bytes()
    release(device)
    device.simulator.publish()
    device.start(device.simulator.bootstrap())
    assert device.path.with_name("state.json.corrupt").read_bytes() == stored
    assert malicious in stored
    device.simulator.publish()
    device.update()
    assert malicious not in device.path.read_bytes()


def test_a_threshold_of_two_makes_one_stolen_key_worthless(account, refused) -> None:
    one, two = account.keys["root"][:2]
    mallory = PrivateKey.generate()
    roles = account.root_members()["roles"] | {"root": account.role(one, two, threshold=2)}
    guarded = account.state().advance_root(account.root(2, by=[one, two], roles=roles))
    theirs = roles | {"root": account.role(mallory)}
    refused(3, guarded.advance_root, account.root(3, by=[one, mallory], roles=theirs))
