"""Google's list of revoked keys: what it says of a serial number, and how old it may be."""

from __future__ import annotations

import datetime as dt
import json

import pytest
from livepin.errors import MalformedError
from livepin_server.attestation.revoked import MOST_AGE, MOST_BYTES, Revoked
from minted_android import NOW


def parse(entries):
    return Revoked.parse(json.dumps({"entries": entries}).encode(), NOW)


def test_a_serial_number_is_looked_up_in_hexadecimal():
    found = parse(
        {
            "00C0FFEE": {"status": "REVOKED", "reason": "KEY_COMPROMISE", "expires": "2040-01-01"},
            "6681152659205225093": {"status": "SUSPENDED"},
        }
    )
    assert found.reason(0xC0FFEE) == "REVOKED KEY_COMPROMISE"
    assert found.reason(0x6681152659205225093) == "SUSPENDED"
    assert found.reason(6681152659205225093) is None
    assert found.reason(1) is None


def test_what_is_listed_with_a_status_of_tomorrow_is_not_trusted():
    assert parse({"1f": {"status": "PAUSED"}}).reason(0x1F) == "PAUSED"
    assert parse({"1f": {"status": "\n"}}).reason(0x1F) is not None
    assert parse({"1f": {"status": "\u0430"}}).reason(0x1F) == "listed"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b'{"entries": []}',
        b'{"entries": {"1f": {}}}',
        b'{"entries": {"1f": {"status": 1}}}',
        b'{"entries": {}}',  # it would let everything pass
        b"[" * 100_000,
    ],
)
def test_what_is_no_list_is_refused(body):
    with pytest.raises(MalformedError, match="expected a status list"):
        Revoked.parse(body, NOW)


def test_a_list_over_its_bound_is_refused_before_it_is_read():
    with pytest.raises(MalformedError, match="at most 8388608 bytes"):
        Revoked.parse(b" " * (MOST_BYTES + 1), NOW)


def test_a_list_is_too_old_after_a_week_and_when_it_is_of_the_future():
    found = parse({"1f": {"status": "REVOKED"}})
    moment = dt.timedelta(seconds=1)
    assert not found.is_too_old(NOW + MOST_AGE)
    assert found.is_too_old(NOW + MOST_AGE + moment)
    assert not found.is_too_old(NOW - MOST_AGE)
    assert found.is_too_old(NOW - MOST_AGE - moment)  # a wrong clock fetched it
