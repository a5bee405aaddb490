"""A genuine key used beyond its role: an online key must never act as another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Account, Device


@pytest.mark.parametrize("role", ["root", "override"])
def test_a_config_signed_by_a_key_of_another_role_is_refused(device: Device, role: str) -> None:
    ours = device.simulator
    device.refuses(ours.sign(ours.document(version=99), key=ours.keys[role]), rule=2)


@pytest.mark.parametrize("role", ["config", "override"])
def test_a_root_signed_by_an_online_key_is_refused(device: Device, role: str) -> None:
    ours = device.simulator
    root = ours.publish_root(signers=[ours.keys[role]])
    device.refuses(ours.publish(), {2: root}, rule=3)


def test_an_online_key_cannot_make_itself_a_root_key(device: Device) -> None:
    """What a thief of the config key would want most: it signs for its own promotion."""
    ours = device.simulator
    config = ours.keys["config"]
    ours.keys = {"root": config, "config": ours.keys["root"], "override": ours.keys["override"]}
    root = ours.publish_root(signers=[config])
    device.refuses(ours.publish(), {2: root}, rule=3)


@pytest.mark.parametrize("role", ["root", "config"])
def test_an_override_signed_by_a_key_of_another_role_is_refused(
    account: Account, refused, role: str
) -> None:
    raw = account.override(by=account.keys[role][0])
    give = account.state().advance_override
    refused(2, give, raw, thumbprint=account.thumbprint, now=account.now)


@pytest.mark.parametrize(
    ("one", "other"), [("root", "config"), ("config", "override"), ("root", "override")]
)
def test_a_root_that_gives_one_key_two_roles_is_refused(
    account: Account, refused, one: str, other: str
) -> None:
    roles = account.root_members()["roles"]
    roles[other] = account.role(account.keys[one][0])
    refused(4, account.state().advance_root, account.root(2, roles=roles))


def test_an_online_signature_beside_the_root_keys_spoils_a_root(account: Account, refused) -> None:
    raw = account.root(2, by=[account.keys["root"][0], account.keys["config"][0]])
    refused(2, account.state().advance_root, raw)
