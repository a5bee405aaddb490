"""Genuine attestations where they do not belong: of another app, request, time or environment."""

from __future__ import annotations

import datetime as dt

import msgspec
import pytest
from asking import NOW, asked
from livepin_server.attestation.apple import verify_assertion, verify_attestation
from livepin_server.attestation.attested import EvidenceError
from minting_apple import APP, DEVELOPMENT, AppleAuthority, EnclaveKey, evidence

ASKED = asked()


@pytest.fixture(scope="module")
def authority():
    return AppleAuthority()


@pytest.fixture
def attested(authority):
    def one(key, request=ASKED, app=APP):
        found = key.attested(authority, ASKED.nonce)
        return verify_attestation(found, request, app, roots=authority.roots)[1]

    return one


def refused(verify, *arguments):
    with pytest.raises(EvidenceError) as caught:
        verify(*arguments)
    return caught.value.check


@pytest.mark.parametrize(
    "app_id", ["ABCDE12345.com.example.other", "ZZZZZ12345.com.example.app", "com.example.app", ""]
)
def test_of_another_app(attested, app_id):
    """Anybody can publish an app, on a device of their own, and have its keys attested."""
    key = EnclaveKey(app_id=app_id)
    assert refused(attested, key) == "app_id"
    registered = attested(EnclaveKey(key=key.key))
    assert refused(verify_assertion, key.asserted(ASKED.nonce), ASKED, APP, registered) == "app_id"


def test_of_a_request_before_or_of_another_installation(attested):
    assert refused(attested, EnclaveKey(), asked("next")) == "nonce"
    key = EnclaveKey()
    registered, assertion = attested(key), key.asserted(ASKED.nonce)
    assert refused(verify_assertion, assertion, asked("next"), APP, registered) == "signature"


def test_of_a_device_that_is_not_the_one_that_was_registered(attested):
    registered, other = attested(EnclaveKey()), EnclaveKey()
    assert (
        refused(verify_assertion, other.asserted(ASKED.nonce), ASKED, APP, registered) == "key_id"
    )
    claimed = evidence(registered.key_id, assertion=other.assertion(ASKED.nonce))
    assert refused(verify_assertion, claimed, ASKED, APP, registered) == "signature"


def test_of_a_time_long_past(attested):
    for days in (3, 3000):
        late = asked(now=NOW + dt.timedelta(days=days))
        assert refused(attested, EnclaveKey(), late) == "expired"


def test_of_development_in_production(attested):
    """Keys of that environment are made by whoever builds the app from its source."""
    key = EnclaveKey(environment=DEVELOPMENT)
    assert refused(attested, key) == "environment"
    registered = attested(key, app=msgspec.structs.replace(APP, development=True))
    found = key.asserted(ASKED.nonce)
    assert refused(verify_assertion, found, ASKED, APP, registered) == "environment"


def test_replayed(attested):
    key = EnclaveKey()
    registered = attested(key)
    first, second = key.asserted(ASKED.nonce), key.asserted(ASKED.nonce)
    _, after = verify_assertion(second, ASKED, APP, registered)
    assert after.counter == 2
    for again in (second, first):
        assert refused(verify_assertion, again, ASKED, APP, after) == "counter"


def test_replayed_while_the_first_is_being_judged(attested):
    """Both are good against the key as it was read; the one that is written second is not."""
    key = EnclaveKey()
    registered, assertion = attested(key), key.asserted(ASKED.nonce)
    _, one = verify_assertion(assertion, ASKED, APP, registered)
    _, two = verify_assertion(assertion, ASKED, APP, registered)
    stored = registered.advanced(one.counter)
    assert refused(stored.advanced, two.counter) == "counter"
