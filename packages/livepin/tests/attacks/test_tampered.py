"""A document that was changed on its way: a pin, a host, a time, a signature, any byte."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from livepin import VerificationError
from livepin.jose import b64url_decode, b64url_encode
from livepin.jsontext import dump

if TYPE_CHECKING:
    from conftest import Account, Device

Change = Callable[[dict[str, Any]], object]

CHANGES: dict[str, Change] = {
    "a pin": lambda found: found["pin_sets"].update(
        {"api.example.com": [{"sha256": "A" * 43 + "="}]}
    ),
    "a host left out": lambda found: found.update(domains=[]),
    "pinning turned off": lambda found: found["domains"][0].update(mode="off"),
    "a later end": lambda found: found.update(expires=253402300799),
    "a higher version": lambda found: found.update(version=found["version"] + 7),
    "another delivery URL": lambda found: found["delivery"].update(urls=["https://evil.example"]),
    "a member more": lambda found: found.update(x=1),
}


def changed(raw: bytes, change: Change) -> bytes:
    """Return a compact JWS whose payload is changed, and whose signature is not."""
    header, payload, signature = raw.split(b".")
    members = json.loads(b64url_decode(payload))
    change(members)
    return b".".join([header, b64url_encode(dump(members)), signature])


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_config_with_a_changed_member_is_refused(device: Device, change: Change) -> None:
    tampered = changed(device.simulator.publish(), change)
    device.refuses(tampered, rule=3)


def test_a_root_with_a_changed_member_is_refused(device: Device) -> None:
    genuine = json.loads(device.simulator.publish_root())
    payload = json.loads(b64url_decode(genuine["payload"].encode()))
    payload["expires"] += 1
    genuine["payload"] = b64url_encode(dump(payload)).decode()
    device.refuses(device.simulator.publish(), {2: dump(genuine)}, rule=3)


def test_a_flipped_bit_anywhere_is_refused(account: Account) -> None:
    state, raw = account.state(), account.config(2)
    for at in range(len(raw)):
        damaged = raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]
        with pytest.raises(VerificationError) as caught:
            state.advance_config(damaged)
        assert caught.value.rule in (2, 3), at


def test_the_signature_of_another_genuine_config_is_refused(device: Device) -> None:
    one, other = device.simulator.publish(), device.simulator.publish()
    header, payload, _ = other.split(b".")
    device.refuses(b".".join([header, payload, one.split(b".")[2]]), rule=3)


@pytest.mark.parametrize("size", [0, 1, 63, 65, 128])
def test_a_signature_of_another_length_is_refused(account: Account, refused, size: int) -> None:
    header, payload, _ = account.config(2).split(b".")
    shortened = b".".join([header, payload, b64url_encode(b"\1" * size)])
    refused(3, account.state().advance_config, shortened)


def test_the_same_numbers_in_a_longer_signature_are_refused(account: Account, refused) -> None:
    """A zero before s changes no number, and would make another signature of the same document."""
    header, payload, value = account.config(2).split(b".")
    numbers = b64url_decode(value)
    padded = b64url_encode(numbers[:32] + b"\0" + numbers[32:])
    refused(3, account.state().advance_config, b".".join([header, payload, padded]))


@pytest.mark.parametrize("value", [b"\0" * 64, b"\0" * 31 + b"\1" + b"\0" * 32, b"\xff" * 64])
def test_a_signature_of_zeros_or_beyond_the_curve_is_refused(
    account: Account, refused, value: bytes
) -> None:
    header, payload, _ = account.config(2).split(b".")
    psychic = b".".join([header, payload, b64url_encode(value)])
    refused(3, account.state().advance_config, psychic)


def test_an_override_with_a_changed_member_is_refused(account: Account, refused) -> None:
    widened = changed(account.override(), lambda found: found.update(expires=account.at(days=6)))
    refused(
        3,
        account.state().advance_override,
        widened,
        thumbprint=account.thumbprint,
        now=account.now,
    )


def test_a_stored_config_that_was_changed_is_replaced_by_the_bootstrap(device: Device) -> None:
    genuine = device.simulator.publish()
    device.update()
    tampered = changed(genuine, CHANGES["pinning turned off"])
    stored = device.path.read_bytes()
    assert genuine in stored
    device.path.write_bytes(stored.replace(genuine, tampered))
    device.start()
    assert "rule 3" in (device.pins.status().store_problem or "")
    assert device.order == (1, device.simulator.version - 1)
    device.update()
