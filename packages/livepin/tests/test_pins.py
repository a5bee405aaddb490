"""Pins: their text form, their limits in time, and which one a chain matches."""

from __future__ import annotations

import base64
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from livepin.errors import MalformedError
from livepin.pins import Pin, PinSet, fingerprint_text, parse_fingerprint, parse_sha256

NOW = datetime(2026, 11, 23, 12, tzinfo=timezone.utc)
HOUR = timedelta(hours=1)
A, B, C = (bytes([n]) * 32 for n in (1, 2, 3))
TEXT = base64.b64encode(A).decode()


@given(st.binary(min_size=32, max_size=32))
def test_a_fingerprint_survives_its_text_form(fingerprint: bytes) -> None:
    text = fingerprint_text(fingerprint)
    assert text == "sha256/" + base64.b64encode(fingerprint).decode()
    assert parse_fingerprint(text) == fingerprint
    assert str(Pin.parse(text)) == text
    assert Pin.parse(text) == Pin(fingerprint)


@pytest.mark.parametrize(
    "text",
    [
        "",
        TEXT,
        "sha256/",
        "SHA256/" + TEXT,
        "sha1/" + TEXT,
        "sha256:" + TEXT,
        " sha256/" + TEXT,
        "sha256/ " + TEXT,
        "sha256/" + TEXT + "\n",
        "sha256/" + TEXT.rstrip("="),
        "sha256/" + TEXT + "=",
        "sha256/" + base64.b64encode(A[:31]).decode(),
        "sha256/" + base64.b64encode(A + b"\1").decode(),
        "sha256/" + base64.urlsafe_b64encode(b"\xff" * 32).decode(),
        "sha256/" + TEXT[:-2] + "F=",  # bits left over
        "sha256/" + TEXT[:20] + "\n" + TEXT[20:],
        "sha256/" + TEXT[:20] + "!" + TEXT[20:],
        "sha256/" + TEXT[:-2] + "\u00e4=",
        "sha256/" + "\ud800" * 44,
    ],
)
def test_what_is_no_canonical_fingerprint_is_refused(text: str) -> None:
    with pytest.raises(MalformedError):
        Pin.parse(text)


@given(st.text() | st.text(alphabet="ABZaz09+/=-_\n ", min_size=40, max_size=46))
def test_any_text_either_is_a_fingerprint_or_is_refused(text: str) -> None:
    for candidate in (text, "sha256/" + text):
        try:
            found = parse_fingerprint(candidate)
        except MalformedError:
            continue
        assert fingerprint_text(found) == candidate


@given(data=st.data())
def test_a_damaged_fingerprint_is_refused_or_another_one(data: st.DataObject, damaged) -> None:
    text = data.draw(damaged(TEXT.encode())).decode("latin-1")
    try:
        found = parse_sha256(text)
    except MalformedError:
        return
    assert (found == A) == (text == TEXT)


@pytest.mark.parametrize(
    ("not_before", "not_after", "expected"),
    [
        (None, None, True),
        (NOW, None, True),
        (NOW + HOUR, None, False),
        (None, NOW, False),
        (None, NOW + HOUR, True),
        (NOW - HOUR, NOW + HOUR, True),
        (NOW - HOUR, NOW - HOUR, False),
        (NOW + HOUR, NOW - HOUR, False),
        (NOW + timedelta(microseconds=1), None, False),
        (None, NOW + timedelta(microseconds=1), True),
    ],
)
def test_a_pin_is_in_force_from_its_start_until_before_its_end(
    not_before: datetime | None, not_after: datetime | None, expected: bool
) -> None:
    pin = Pin(A, not_before, not_after)
    assert pin.in_force(now=NOW) is expected
    assert (PinSet((pin,)).match([A], now=NOW) is pin) is expected
    assert PinSet((pin,)).texts(now=NOW) == ((str(pin),) if expected else ())


def test_a_match_follows_the_order_of_the_chain() -> None:
    pins = PinSet((Pin(B), Pin(A)))
    assert pins.match([C, A, B], now=NOW) == Pin(A)
    assert pins.match(iter([B, A]), now=NOW) == Pin(B)


def test_nothing_matches_a_chain_without_a_pinned_key() -> None:
    assert PinSet((Pin(A), Pin(B))).match([C], now=NOW) is None
    assert PinSet((Pin(A),)).match([], now=NOW) is None
    assert PinSet(()).match([A], now=NOW) is None


def test_a_key_pinned_twice_matches_by_the_pin_that_is_in_force() -> None:
    past, coming = Pin(A, None, NOW), Pin(A, NOW, None)
    pins = PinSet((past, coming))
    assert pins.match([A], now=NOW) is coming
    assert pins.match([A], now=NOW - HOUR) is past


def test_a_pin_out_of_force_does_not_hide_the_next_certificate_of_the_chain() -> None:
    pins = PinSet((Pin(A, None, NOW), Pin(B)))
    assert pins.match([A, B], now=NOW) == Pin(B)


def test_a_pin_of_an_unknown_algorithm_is_kept_and_never_matches() -> None:
    pin = Pin(None)
    pins = PinSet((pin,))
    assert len(pins) == 1
    assert pins.match([A, b""], now=NOW) is None
    assert pins.texts(now=NOW) == ()
    assert str(pin) == "(unknown algorithm)"


@given(
    st.lists(st.sampled_from([A, B, C, None]), max_size=6),
    st.lists(st.sampled_from([A, B, C]), max_size=4),
)
def test_a_set_matches_exactly_when_a_key_of_the_chain_is_pinned(
    pinned: list[bytes | None], chain: list[bytes]
) -> None:
    found = PinSet(tuple(Pin(p) for p in pinned)).match(chain, now=NOW)
    first = next((c for c in chain if c in pinned), None)
    assert (found.sha256 if found else None) == first


@pytest.mark.parametrize("not_before", [None, NOW, NOW - HOUR])
@pytest.mark.parametrize("not_after", [None, NOW, NOW + HOUR])
def test_only_a_pin_without_any_limit_is_unlimited(
    not_before: datetime | None, not_after: datetime | None
) -> None:
    pins = PinSet((Pin(A, not_before, not_after), Pin(B, None, NOW), Pin(None)))
    assert pins.unlimited == ({A} if (not_before, not_after) == (None, None) else set())
    assert not pins.timeless


def test_a_key_pinned_with_and_without_limits_is_unlimited() -> None:
    pins = PinSet((Pin(A, None, NOW), Pin(A)))
    assert pins.unlimited == {A}
    assert pins.timeless
