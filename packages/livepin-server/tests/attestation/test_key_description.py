"""The description of a key: what decides is read, from where the hardware vouches for it."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from livepin.errors import MalformedError
from livepin_server.attestation.key_description import KeyDescription
from minted_android import (
    BOOT_KEY,
    PACKAGE,
    SIGNED_BY,
    application,
    boolean,
    enumerated,
    explicit,
    key_description,
    number,
    octets,
    root_of_trust,
    sequence,
)

GOOD = key_description(b"challenge")


def test_all_that_decides_is_read():
    found = KeyDescription.parse(key_description(b"challenge", security=2, version=300))
    assert (found.version, found.security, found.mint_security) == (300, 2, 1)
    assert (found.challenge, found.origin, found.patch_level) == (b"challenge", 0, 202610)
    assert found.application.packages == {PACKAGE: 42}
    assert found.application.certificates == {SIGNED_BY}
    root = found.root_of_trust
    assert (root.boot_key, root.locked, root.boot_state) == (BOOT_KEY, True, 0)


def test_what_is_not_said_is_none():
    said = {"software": {709: None}, "hardware": {702: None, 704: None, 706: None}}
    found = KeyDescription.parse(key_description(b"", **said))
    assert found.application is found.root_of_trust is found.origin is found.patch_level is None


def test_a_root_of_trust_of_before_version_3_has_no_hash():
    old = sequence(octets(BOOT_KEY), boolean(False), enumerated(2))
    found = KeyDescription.parse(key_description(b"", hardware={704: old}))
    assert (found.root_of_trust.locked, found.root_of_trust.boot_state) == (False, 2)


def test_a_patch_level_with_a_day_is_read_without():
    found = KeyDescription.parse(key_description(b"", hardware={706: number(20261005)}))
    assert found.patch_level == 202610


def test_what_software_says_of_boot_and_origin_does_not_count():
    software = {702: number(0), 704: root_of_trust(), 706: number(202610)}
    hardware = {702: None, 704: None, 706: None}
    found = KeyDescription.parse(key_description(b"", software=software, hardware=hardware))
    assert found.root_of_trust is found.origin is found.patch_level is None
    moved = {"software": {709: None}, "hardware": {709: application()}}
    assert KeyDescription.parse(key_description(b"", **moved)).application is None


def test_tags_that_nobody_needs_are_not_looked_into():
    unread = {509: b"\x05\x00", 724: octets(bytes(32)), 2**27: octets(b"\xff")}
    assert KeyDescription.parse(key_description(b"", software=unread)).origin == 0


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", "one element, found 0"),
        (GOOD + b"\x05\x00", "one element, found 2"),
        (octets(GOOD), "universal tag 16"),
        (sequence(number(1)), "8 members, found 1"),
        (sequence(*[number(0)] * 8), "universal tag"),
        (key_description(b"", hardware={704: number(1)}), "universal tag 16"),
        (key_description(b"", hardware={704: sequence(octets(b""))}), "3 or 4 members"),
        (
            key_description(b"", hardware={704: root_of_trust(locked=b"\x01\x01\x01")}),
            "FF or 00, found 01",
        ),
        (key_description(b"", software={709: octets(b"\x05\x00")}), "universal tag 16"),
        (key_description(b"", software={709: octets(sequence(octets(b"")))}), "2 members"),
        (
            key_description(
                b"",
                software={709: octets(sequence(sequence(sequence(), tag=17), sequence(tag=17)))},
            ),
            "2 members of a package",
        ),
        (key_description(b"", software={709: application([("\u00e4", 1)])}), "in ASCII"),
        (
            key_description(b"", software={709: application(certificates=[SIGNED_BY] * 33)}),
            "at most 32 packages",
        ),
    ],
)
def test_another_schema_is_refused(value, reason):
    with pytest.raises(MalformedError, match=reason):
        KeyDescription.parse(value)


def test_a_tag_that_stands_twice_is_refused():
    """Two readers may take another one of them."""
    again = explicit(706, number(203001))
    with pytest.raises(MalformedError, match="the tag 706 stands twice"):
        KeyDescription.parse(key_description(b"", end=again))


@given(st.data())
def test_whatever_stands_there_is_read_or_malformed(data):
    raw = bytearray(GOOD)
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(MalformedError):
        KeyDescription.parse(bytes(raw))
