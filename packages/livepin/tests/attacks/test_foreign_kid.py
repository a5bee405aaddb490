"""A key of the attacker's own: named as it is, under our name, or brought along."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from livepin.jose import PrivateKey
from livepin.jsontext import dump
from livepin.testing import DeliverySimulator

if TYPE_CHECKING:
    from conftest import Account, Device

TYP = "livepin-config+jws"
MALLORY = PrivateKey.generate()


def test_a_config_signed_by_a_stranger_is_refused(device: Device) -> None:
    ours = device.simulator
    device.refuses(ours.sign(ours.document(version=99), key=MALLORY), rule=2)


def test_a_stranger_under_the_kid_of_our_key_is_refused(device: Device, compact) -> None:
    ours = device.simulator
    header = {"alg": "ES256", "kid": ours.keys["config"].public.kid, "typ": TYP}
    device.refuses(compact(header, ours.document(version=99).payload(), MALLORY.sign), rule=3)


@pytest.mark.parametrize("kid", [..., None, "", 0, [], {}, "*", "../config", "\0"])
def test_a_header_without_a_known_kid_is_refused(
    account: Account, compact, refused, kid: Any
) -> None:
    """A single key must not be taken for the one that was meant."""
    header = {"alg": "ES256", "kid": kid, "typ": TYP}
    if kid is ...:
        del header["kid"]
    raw = compact(header, dump(account.config_members(99)), account.keys["config"][0].sign)
    refused(2, account.state().advance_config, raw)


def test_a_kid_that_is_nearly_ours_is_refused(account: Account, compact, refused) -> None:
    key = account.keys["config"][0]
    for kid in (key.public.kid.swapcase(), key.public.kid[:-1], key.public.kid + "="):
        header = {"alg": "ES256", "kid": kid, "typ": TYP}
        raw = compact(header, dump(account.config_members(99)), key.sign)
        refused(2, account.state().advance_config, raw)


@pytest.mark.parametrize(
    "brought",
    [
        {"jwk": MALLORY.public.jwk()},
        {"jku": "https://evil.example/jwks.json"},
        {"x5u": "https://evil.example/chain.pem"},
        {"x5c": ["MIIB"]},
        {"crit": ["exp"], "exp": 0},
        {"crit": []},
        {"crit": ["b64"], "b64": False},
    ],
    ids=lambda brought: next(iter(brought)),
)
@pytest.mark.parametrize("genuine", [False, True], ids=["forged", "genuine"])
def test_a_header_that_brings_its_key_or_changes_what_is_signed_is_refused(
    account: Account, compact, refused, brought: dict[str, Any], genuine: bool
) -> None:
    """Refused whoever signed it: another reader might believe what this one ignores."""
    key = account.keys["config"][0] if genuine else MALLORY
    header = {"alg": "ES256", "kid": key.public.kid, "typ": TYP} | brought
    raw = compact(header, dump(account.config_members(99)), key.sign)
    error = refused(2, account.state().advance_config, raw)
    assert error.reason == f"expected no header parameter {next(iter(brought))}"


def test_a_root_with_the_signature_of_a_stranger_beside_ours_is_refused(
    account: Account, refused
) -> None:
    raw = account.root(2, by=[account.keys["root"][0], MALLORY])
    refused(2, account.state().advance_root, raw)


def test_a_root_of_a_strangers_making_is_refused_on_the_wire(device: Device) -> None:
    theirs = DeliverySimulator(clock=device.clock)  # the same account name, other keys
    root = theirs.publish_root()
    assert json.loads(root)["signatures"]
    device.refuses(theirs.publish(version=99), {2: root}, rule=3)
