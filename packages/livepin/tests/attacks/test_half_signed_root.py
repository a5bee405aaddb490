"""Root N+1 that only one side vouches for: the keys that go, or the keys that come."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from livepin.jose import PrivateKey

if TYPE_CHECKING:
    from conftest import Account, Device


def test_a_root_signed_by_the_new_key_alone_is_refused(device: Device) -> None:
    """Anybody can make a key and sign a root that names it."""
    ours = device.simulator
    ours.keys["root"] = PrivateKey.generate()
    root = ours.publish_root(signers=[ours.keys["root"]])
    device.refuses(ours.publish(), {2: root}, rule=3)


def test_a_root_signed_by_the_old_key_alone_is_refused(device: Device) -> None:
    """The new key must show that it exists: else the account could be locked out of its root."""
    ours = device.simulator
    old = ours.keys["root"]
    ours.keys["root"] = PrivateKey.generate()
    root = ours.publish_root(signers=[old])
    device.refuses(ours.publish(), {2: root}, rule=3)


def test_a_root_signed_by_both_is_taken(device: Device) -> None:
    ours = device.simulator
    old = ours.keys["root"]
    ours.keys["root"] = PrivateKey.generate()
    ours.publish_root(signers=[old, ours.keys["root"]])
    ours.publish()
    device.update()
    ours.publish_root()
    ours.publish()
    device.update()
    assert device.order[0] == 3


@pytest.mark.parametrize(
    ("signers", "taken"),
    [
        ("old-1 old-2 new-1 new-2", True),
        ("old-1 old-2 new-1", False),
        ("old-1 new-1 new-2", False),
        ("old-1 old-2", False),
        ("new-1 new-2", False),
        ("old-1 old-2 old-3", False),
        ("old-1 new-1", False),
    ],
)
def test_both_thresholds_of_two_must_be_met(
    account: Account, refused, signers: str, taken: bool
) -> None:
    old = account.keys["root"]
    new = [PrivateKey.generate() for _ in range(2)]
    named = {f"old-{n}": key for n, key in enumerate(old, 1)}
    named |= {f"new-{n}": key for n, key in enumerate(new, 1)}
    roles = account.root_members()["roles"]
    guarded = roles | {"root": account.role(*old, threshold=2)}
    following = roles | {"root": account.role(*new, threshold=2)}
    state = account.state().advance_root(account.root(2, by=old[:2], roles=guarded))
    raw = account.root(3, by=[named[name] for name in signers.split()], roles=following)
    if taken:
        assert state.advance_root(raw).root.version == 3
    else:
        refused(3, state.advance_root, raw)


def test_an_unsigned_root_is_refused(account: Account, refused) -> None:
    refused(2, account.state().advance_root, account.root(2, by=[]))
