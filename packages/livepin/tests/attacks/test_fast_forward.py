"""The highest of all versions, signed with a stolen key: nothing newer can follow, but a root."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from livepin import FetchError, VerificationError
from livepin.jose import PrivateKey

if TYPE_CHECKING:
    from conftest import Account, Device

HIGHEST = 2**53 - 1
END_OF_TIME = 253402300799  # 9999-12-31T23:59:59Z


def test_root_n_plus_1_cures_the_highest_version(device: Device) -> None:
    ours = device.simulator
    stolen = ours.keys["config"]
    device.takes(ours.sign(ours.document(version=HIGHEST)))
    assert device.order == (1, HIGHEST)
    device.start()
    device.refuses(ours.publish(), rule=7)  # what the owner can do without a root: nothing
    ours.keys["config"] = PrivateKey.generate()
    ours.publish_root()
    ours.publish()
    device.update()
    assert device.order == (2, ours.version)
    device.start()
    device.refuses(ours.sign(ours.document(version=HIGHEST), key=stolen), rule=2)
    device.refuses(ours.sign(ours.document(version=HIGHEST, root_version=1), key=stolen), rule=7)


def test_after_the_cure_the_count_goes_on_from_any_version(account: Account) -> None:
    state = account.state().advance_config(account.config(HIGHEST))
    state = state.advance_root(account.root(2)).advance_config(account.config(1, root_version=2))
    assert state.order == (2, 1)


@pytest.mark.parametrize("version", [2**53, 2**63, 10**40, 0, -1, True, 2.0, "3", None])
def test_there_is_no_version_beyond_the_highest(account: Account, refused, version: object) -> None:
    """Such a number would not be the same for every JSON reader."""
    refused(4, account.state().advance_config, account.config(version))  # type: ignore[arg-type]
    refused(4, account.state().advance_root, account.root(version))  # type: ignore[arg-type]


def test_a_config_that_names_the_highest_root_costs_at_most_32_fetches(
    device: Device, account: Account
) -> None:
    """It may name any root, whoever signed it; nothing of that stays."""
    far = account.config(2, root_version=HIGHEST, by=PrivateKey.generate())
    assert account.state().missing_roots(far) == range(2, 34)
    ours = device.simulator
    before = device.holds()
    device.offer(ours.sign(ours.document(root_version=HIGHEST)))
    with pytest.raises(FetchError):
        device.pins.refresh()
    assert device.holds() == before


def test_endless_roots_move_a_device_by_32_an_update(device: Device) -> None:
    """Whoever has the root key cannot keep the device walking."""
    ours = device.simulator
    for _ in range(35):
        ours.publish_root()
    device.offer(ours.publish(), ours.roots)
    with pytest.raises(VerificationError, match="expected a config under root 33"):
        device.pins.refresh(timeout=60)
    assert device.order[0] == 33
    device.update()


def test_root_n_plus_1_cures_a_time_of_issue_in_the_far_future(account: Account) -> None:
    """Trusted now would be the year 9999 for ever: every config would be stale, every pin over."""
    forward = account.config(2, issued=END_OF_TIME, expires=END_OF_TIME)
    state = account.state().advance_config(forward)
    assert state.trusted_now(now=account.now).year == 9999
    state = state.advance_config(account.config(3))
    assert state.is_stale(now=account.now)
    state = state.advance_root(account.root(2)).advance_config(account.config(1, root_version=2))
    assert state.trusted_now(now=account.now) == account.now
    assert not state.is_stale(now=account.now)


def test_root_n_plus_1_cures_the_highest_version_of_an_override(account: Account, refused) -> None:
    give = {"thumbprint": account.thumbprint, "now": account.now}
    state = account.state().advance_override(account.override(HIGHEST, domains=[]), **give)
    refused(7, state.advance_override, account.override(6), **give)
    state = state.advance_root(account.root(2))
    state = state.advance_override(account.override(6, root_version=2), **give)
    assert state.trusted_override is not None
