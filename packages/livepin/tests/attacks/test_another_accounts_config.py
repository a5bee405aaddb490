"""A genuine document of somebody else: another account, or another stream of ours."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from livepin.testing import DeliverySimulator

if TYPE_CHECKING:
    from conftest import Account, Device


@pytest.fixture
def neighbour(device: Device) -> DeliverySimulator:
    """Another account of the same service, further on than ours."""
    found = DeliverySimulator(account="mallory", clock=device.clock)
    found.version = device.simulator.version + 10
    found.publish()
    return found


def test_a_config_of_another_account_is_refused(
    device: Device, neighbour: DeliverySimulator
) -> None:
    device.refuses(neighbour.config, rule=2)


def test_a_config_of_another_account_that_says_it_is_ours_is_refused(
    device: Device, neighbour: DeliverySimulator
) -> None:
    posing = neighbour.sign(neighbour.document(account=device.simulator.account))
    device.refuses(posing, rule=2)


def test_a_config_of_another_account_that_shares_our_key_is_refused(device: Device) -> None:
    ours = device.simulator
    device.refuses(ours.sign(ours.document(account="mallory", version=99)), rule=5)


def test_a_root_of_another_account_is_refused(device: Device, neighbour: DeliverySimulator) -> None:
    theirs = neighbour.publish_root()
    device.refuses(neighbour.publish(), {2: theirs}, rule=3)


def test_a_root_of_another_account_that_shares_our_root_key_is_refused(
    account: Account, refused
) -> None:
    refused(5, account.state().advance_root, account.root(2, account="mallory"))


def test_a_config_of_another_stream_is_refused(device: Device) -> None:
    canary = device.simulator.document(stream="canary", version=99)
    device.refuses(device.simulator.sign(canary), rule=5)


def test_an_override_of_another_account_that_shares_our_key_is_refused(
    account: Account, refused
) -> None:
    theirs = account.override(account="mallory")
    give = account.state().advance_override
    refused(5, give, theirs, thumbprint=account.thumbprint, now=account.now)


def test_a_store_copied_from_an_app_of_another_account_is_not_used(
    device: Device, neighbour: DeliverySimulator
) -> None:
    held = device.order
    device.stop()
    neighbour.client(store=device.path).close()
    with neighbour.client(store=device.path) as theirs:
        neighbour.publish()
        theirs.refresh()
    assert b"livepin-state" in device.path.read_bytes()
    device.start()
    assert device.order == held
    assert device.pins.status().account == device.simulator.account
    assert "do not contain the root" in (device.pins.status().store_problem or "")
