"""An override that would reach further: other hosts, the delivery service, another signer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from livepin.client import Client
from livepin.documents import Domain, Mode
from livepin.errors import VerificationError
from livepin.jose import PrivateKey, sign_compact
from livepin.pins import Pin, PinSet

if TYPE_CHECKING:
    from conftest import Pentest

HOST = "localhost"


def override(pentest: Pentest, pins: Client, *patterns: str, **changes: Any) -> Any:
    """Return an override that is off for some patterns, unsigned."""
    held = PinSet((Pin(b"\0" * 32),))
    domains = tuple(
        Domain(pattern=each, pin_set="own", pins=held, mode=Mode.OFF) for each in patterns
    )
    return pentest.simulator.override_document(
        pins.installation_thumbprint,
        **{"version": 9, "pin_sets": {"own": held}, "domains": domains} | changes,
    )


@pytest.mark.parametrize(
    "patterns",
    [
        ("elsewhere.example.com",),
        ("*.example.com",),
        (HOST, "elsewhere.example.com"),
        ("127.0.0.1",),
        (HOST, "127.0.0.1"),
    ],
    ids=["another host", "a wildcard", "one too many", "delivery", "delivery too"],
)
def test_hosts_beyond_the_config_and_delivery_are_refused(
    pentest: Pentest, patterns: tuple[str, ...]
) -> None:
    pentest.simulator.pin("127.0.0.1", Pin(b"\1" * 32))  # even where an operator lists it
    pins = pentest.start()
    raw = pentest.simulator.sign_override(override(pentest, pins, *patterns))
    pentest.refuses(pins, raw, rule=9)


@pytest.mark.parametrize("role", ["config", "root"])
def test_the_key_of_another_role_signs_none(pentest: Pentest, role: str) -> None:
    """Who has stolen the config key can publish pins, which all see, and unpin nobody quietly."""
    pins, key = pentest.start(), pentest.simulator.keys[role]
    raw = pentest.simulator.sign_override(override(pentest, pins, HOST), key=key)
    pentest.refuses(pins, raw, rule=2)


def test_a_key_that_no_root_names_signs_none(pentest: Pentest) -> None:
    pins, key = pentest.start(), PrivateKey.generate()
    pentest.refuses(
        pins, pentest.simulator.sign_override(override(pentest, pins, HOST), key=key), rule=2
    )


def test_one_byte_of_it_is_enough(pentest: Pentest) -> None:
    pins = pentest.start()
    raw = bytearray(pentest.simulator.sign_override(override(pentest, pins, HOST)))
    raw[-10] = ord("A") if raw[-10] != ord("A") else ord("B")
    pentest.refuses(pins, bytes(raw), rule=3)


def test_a_config_in_its_place_is_none(pentest: Pentest) -> None:
    pins = pentest.start()
    pentest.refuses(pins, pentest.simulator.config, rule=2)


def test_an_override_in_the_place_of_a_config_is_none(pentest: Pentest) -> None:
    """What unpins one device must not unpin all."""
    pins, key = pentest.start(), pentest.simulator.keys["override"]
    payload = override(pentest, pins, HOST).payload()
    pentest.simulator.config = sign_compact(payload, typ="livepin-config+jws", signer=key)
    pentest.simulator.version += 1
    with pytest.raises(VerificationError) as caught:
        pins.refresh()
    assert caught.value.rule == 2
    assert not pentest.reaches(pins, pentest.rogue)


def test_nothing_else_is_unpinned_with_it(pentest: Pentest) -> None:
    pentest.simulator.pin("api.example.com", Pin(b"\1" * 32))
    pins = pentest.start()
    pentest.unpin(pins)
    found = pins.domain("api.example.com")
    assert found is not None
    assert found.mode is Mode.ENFORCE
