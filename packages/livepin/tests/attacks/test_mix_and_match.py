"""Genuine parts that never belonged together: a root of today, a config of yesterday."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from livepin import Bootstrap, FetchError, VerificationError
from livepin.jose import PrivateKey
from livepin.testing import DeliverySimulator
from livepin.trust import TrustedState

if TYPE_CHECKING:
    from conftest import Account, Device


def rotate(device: Device) -> tuple[PrivateKey, PrivateKey]:
    """Publish root 2 with another config key; return the old key and the new."""
    ours = device.simulator
    old = ours.keys["config"]
    ours.keys["config"] = PrivateKey.generate()
    ours.publish_root()
    return old, ours.keys["config"]


def test_a_config_under_the_old_root_is_refused_once_there_is_a_new_one(device: Device) -> None:
    old, _ = rotate(device)
    ours = device.simulator
    ours.publish()
    device.update()
    for version in (1, ours.version, 999):
        raw = ours.sign(ours.document(root_version=1, version=version), key=old)
        device.refuses(raw, rule=7)


def test_a_config_that_names_the_new_root_needs_its_key(device: Device) -> None:
    old, _ = rotate(device)
    ours = device.simulator
    ours.publish()
    device.update()
    raw = ours.sign(ours.document(root_version=2, version=999), key=old)
    device.refuses(raw, rule=2)


def test_a_config_that_names_the_old_root_needs_its_key(account: Account, refused) -> None:
    """The new key under the old root: the root that a config names must have given the role."""
    new = account.keys["config"][1]
    roles = account.root_members()["roles"] | {"config": account.role(new)}
    state = account.state().advance_root(account.root(2, roles=roles))
    refused(2, state.advance_config, account.config(99, by=new, root_version=1))


def test_a_config_is_not_believed_before_its_root_is_there(device: Device) -> None:
    """The new config with the old root alone, the new root being withheld."""
    rotate(device)
    before = device.holds()
    device.offer(device.simulator.publish())
    with pytest.raises(FetchError):
        device.pins.refresh()
    assert device.holds() == before
    device.update()


def test_a_new_config_with_the_root_of_another_account_is_refused(device: Device) -> None:
    rotate(device)
    other = DeliverySimulator(account="mallory", clock=device.clock)
    device.refuses(device.simulator.publish(), {2: other.publish_root()}, rule=3)


def test_a_config_under_a_root_to_come_is_refused_with_the_key_of_today(
    account: Account, refused
) -> None:
    """Signed today, to be played when root 2 is there."""
    early = account.config(1, root_version=2)
    refused(6, account.state().advance_config, early)
    roles = account.root_members()["roles"]
    roles["config"] = account.role(account.keys["config"][1])
    refused(2, account.state().advance_root(account.root(2, roles=roles)).advance_config, early)


def test_a_bootstrap_of_parts_that_do_not_belong_together_is_refused(
    account: Account, refused
) -> None:
    first, second = account.root(1), account.root(2)
    under_first, under_second = account.config(1), account.config(1, root_version=2)
    for root, config in ((first, under_second), (second, under_first)):
        refused(6, TrustedState.from_bootstrap, Bootstrap(root=root, config=config))
    other = Bootstrap(root=first, config=account.config(1, account="mallory"))
    refused(5, TrustedState.from_bootstrap, other)


def test_an_override_under_the_old_root_is_refused(account: Account, refused) -> None:
    state = account.state().advance_root(account.root(2))
    give = {"thumbprint": account.thumbprint, "now": account.now}
    refused(6, state.advance_override, account.override(9), **give)


def test_a_store_with_the_roots_of_one_and_the_config_of_another_is_not_used(
    account: Account, refused
) -> None:
    """The chain parts after root 1: the thief's root 2 beside our config under our root 2."""
    one, two = account.keys["config"][:2]
    roles = account.root_members()["roles"]
    theirs = account.root(2, roles=roles | {"config": account.role(two)})
    state = account.state().advance_root(theirs)
    ours = account.config(5, root_version=2, by=one)
    mixed = state.dump().replace(state.trusted_config.raw, ours)
    assert mixed != state.dump()
    refused(2, TrustedState.load, mixed, account.bootstrap(), now=account.now)


def test_the_roots_of_two_answers_do_not_make_one_walk(device: Device) -> None:
    """Root 2 of ours, root 3 of somebody who forked the chain after root 1."""
    ours = device.simulator
    stolen = ours.keys["root"]
    ours.keys["root"] = PrivateKey.generate()
    second = ours.publish_root(signers=[stolen, ours.keys["root"]])
    fork = DeliverySimulator(clock=device.clock)
    fork.keys["root"] = stolen
    fork.publish_root()
    third = fork.publish_root()
    device.offer(fork.publish(), {2: second, 3: third})
    with pytest.raises(VerificationError, match="rule 3"):
        device.pins.refresh()
    assert device.order[0] == 2
