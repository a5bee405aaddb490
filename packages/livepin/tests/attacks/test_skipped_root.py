"""A root that jumps: the one between may have taken the key away that vouches for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from livepin import FetchError, VerificationError
from livepin.jose import PrivateKey
from livepin.jsontext import dump, parse_object

if TYPE_CHECKING:
    from conftest import Account, Device


@pytest.mark.parametrize("version", [1, 3, 4, 33, 2**53 - 1])
def test_a_root_that_is_not_the_next_is_refused(account: Account, refused, version: int) -> None:
    refused(6, account.state().advance_root, account.root(version))


def test_root_3_in_the_place_of_root_2_is_refused(device: Device) -> None:
    ours = device.simulator
    ours.publish_root()
    third = ours.publish_root()
    device.refuses(ours.publish(), {2: third, 3: third}, rule=6)


def test_a_key_that_root_2_took_away_cannot_sign_past_it(device: Device) -> None:
    """The stolen key of root 1 signs a root 3 of the thief's."""
    ours = device.simulator
    stolen = ours.keys["root"]
    ours.keys["root"] = PrivateKey.generate()
    second = ours.publish_root(signers=[stolen, ours.keys["root"]])
    ours.keys["root"] = PrivateKey.generate()
    forged = ours.publish_root(signers=[stolen, ours.keys["root"]])
    config = ours.publish()
    device.refuses(config, {2: forged}, rule=6)
    device.offer(config, {2: second, 3: forged})
    with pytest.raises(VerificationError, match="rule 3"):
        device.pins.refresh()
    assert device.order[0] == 2


def test_a_withheld_root_ends_the_walk_and_keeps_what_was_reached(device: Device) -> None:
    ours = device.simulator
    for _ in range(3):
        ours.publish_root()
    config = ours.publish()
    device.offer(config, {2: ours.roots[2], 4: ours.roots[4]})
    with pytest.raises(FetchError):
        device.pins.refresh()
    assert device.order[0] == 2
    assert device.pins.pins() != {}
    device.start()
    device.update()
    assert device.order[0] == 4


def test_a_store_with_a_gap_in_its_roots_is_not_used(device: Device) -> None:
    ours = device.simulator
    second = ours.publish_root()
    ours.publish_root()
    ours.publish()
    device.update()
    device.stop()
    stored = device.path.read_bytes()
    members = parse_object(stored)
    members["roots"].remove(second.decode())
    device.path.write_bytes(dump(members))
    device.start()
    assert device.order[0] == 1
    assert "rule 6" in (device.pins.status().store_problem or "")
    device.update()
