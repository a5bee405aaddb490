"""Two contents under one version: one for this device, another for that."""

from __future__ import annotations

from typing import TYPE_CHECKING

from livepin import Pin
from livepin.jsontext import dump
from livepin.pins import PinSet

if TYPE_CHECKING:
    from conftest import Account, Device


def test_the_same_version_with_other_pins_is_refused(device: Device) -> None:
    ours = device.simulator
    ours.publish()
    device.update()
    other = ours.document(pin_sets={"api.example.com": PinSet((Pin(b"\7" * 32),))})
    device.refuses(ours.sign(other), rule=7)


def test_the_same_version_with_a_later_end_is_refused(device: Device) -> None:
    """Whoever signs an old config anew, to keep it alive, needs a new version for it."""
    ours = device.simulator
    device.clock.advance(days=7)
    device.refuses(ours.sign(ours.document()), rule=7)


def test_the_same_version_with_other_white_space_is_refused(account: Account, refused) -> None:
    """The bytes are compared, not what a parser makes of them."""
    state = account.state().advance_config(account.sign(dump(account.config_members(2)), "config"))
    spaced = dump(account.config_members(2)).replace(b",", b", ", 1)
    refused(7, state.advance_config, account.sign(spaced, "config"))


def test_the_same_version_signed_by_another_config_key_is_the_same(account: Account) -> None:
    """It is the content that counts: a second key may sign the same bytes."""
    one, two = account.keys["config"][:2]
    roles = account.root_members()["roles"] | {"config": account.role(one, two)}
    state = account.state().advance_root(account.root(2, roles=roles))
    payload = dump(account.config_members(2, root_version=2))
    state = state.advance_config(account.sign(payload, "config", by=one))
    assert state.advance_config(account.sign(payload, "config", by=two)) is state


def test_the_same_version_of_an_override_with_other_content_is_refused(
    account: Account, refused
) -> None:
    give = {"thumbprint": account.thumbprint, "now": account.now}
    state = account.state().advance_override(account.override(5), **give)
    longer = account.override(5, expires=account.at(days=6))
    refused(7, state.advance_override, longer, **give)


def test_a_second_root_of_the_same_version_is_refused(account: Account, refused) -> None:
    state = account.state().advance_root(account.root(2))
    refused(6, state.advance_root, account.root(2, expires=account.at(days=99)))
