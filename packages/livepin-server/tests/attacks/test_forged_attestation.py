"""An attestation that no device made: another root, another key, a byte changed, or no sense."""

from __future__ import annotations

import random

import pytest
from asking import asked
from livepin_server.attestation.apple import AttestedKey, verify_assertion, verify_attestation
from livepin_server.attestation.attested import EvidenceError
from minting_apple import APP, RECEIPT, AppleAuthority, Certified, EnclaveKey, certify, evidence

ASKED = asked()


@pytest.fixture(scope="module")
def authority():
    return AppleAuthority()


@pytest.fixture(scope="module")
def key():
    return EnclaveKey()


@pytest.fixture
def refused(authority):
    """Give the check that refuses evidence."""

    def one(found):
        with pytest.raises(EvidenceError) as caught:
            verify_attestation(found, ASKED, APP, roots=authority.roots)
        return caught.value.check

    return one


def test_another_root_with_the_names_of_ours(key, refused):
    assert refused(key.attested(AppleAuthority(), ASKED.nonce)) == "root"


def test_an_authority_that_the_root_did_not_sign(authority, key, refused):
    forged = AppleAuthority(root=Certified(authority.root.certificate, certify("x").key))
    assert refused(key.attested(forged, ASKED.nonce)) == "root"


def test_a_leaf_as_an_authority(authority, refused):
    """Whoever has a genuine key would certify others with it."""
    device = EnclaveKey()
    leaf = certify("leaf", authority.root, key=device.key)
    forged = AppleAuthority()
    forged.issuer = leaf
    assert refused(EnclaveKey().attested(forged, ASKED.nonce)) == "chain"


def test_a_longer_chain(authority, key, refused):
    between = certify("between", authority.issuer, ca=True)
    x5c = [certify("leaf", between).der, between.der, authority.issuer.der]
    assert refused(key.attested(authority, ASKED.nonce, x5c=x5c)) == "chain"


def test_the_key_of_somebody_else(authority, key, refused):
    """A software key beside the certificate of a genuine one."""
    other = EnclaveKey()
    genuine = key.attestation(authority, ASKED.nonce)
    assert refused(evidence(other.id, attestation=genuine)) == "key_id"
    for part in ({"cose": other.data()[87:]}, {"credential": other.id}):
        found = key.attested(authority, ASKED.nonce, data=key.data(**part))
        assert refused(found) in {"public_key", "key_id"}


def test_one_changed_byte_is_refused_anywhere_but_in_the_receipt(authority, key, refused):
    """No signature covers the receipt, whose bytes are not looked at."""
    raw, chance = key.attestation(authority, ASKED.nonce), random.Random(6)
    start = raw.index(RECEIPT)
    receipt = range(start, start + len(RECEIPT))
    outside = [at for at in range(len(raw)) if at not in receipt]
    for at in chance.sample(outside, 200):
        assert refused(evidence(key.id, attestation=flipped(raw, at, chance)))
    for at in chance.sample(receipt, 20):
        found = evidence(key.id, attestation=flipped(raw, at, chance))
        verify_attestation(found, ASKED, APP, roots=authority.roots)


def test_one_changed_byte_of_an_assertion_is_refused_anywhere(authority, key):
    attested = verify_attestation(
        key.attested(authority, ASKED.nonce), ASKED, APP, roots=authority.roots
    )[1]
    raw, chance = key.assertion(ASKED.nonce), random.Random(6)
    for at in range(len(raw)):
        with pytest.raises(EvidenceError):
            verify_assertion(
                evidence(key.id, assertion=flipped(raw, at, chance)), ASKED, APP, attested
            )


@pytest.mark.filterwarnings("default")  # of certificates that RFC 5280 forbids
def test_no_sense_at_all_ends_in_a_refusal(authority, key):
    chance = random.Random(6)
    attestation, assertion = key.attestation(authority, ASKED.nonce), key.assertion(ASKED.nonce)
    attested = AttestedKey(key_id=key.id, public_key=ASKED.key)
    for _ in range(150):
        found = evidence(key.id, attestation=mutated(attestation, chance))
        with pytest.raises(EvidenceError):
            verify_attestation(found, asked("other"), APP, roots=authority.roots)
        found = evidence(key.id, assertion=mutated(assertion, chance))
        with pytest.raises(EvidenceError):
            verify_assertion(found, ASKED, APP, attested)


def flipped(raw, at, chance):
    changed = bytearray(raw)
    changed[at] ^= chance.randrange(1, 256)
    return bytes(changed)


def mutated(raw, chance):
    """Return bytes with some changed, cut out, doubled or put in."""
    for _ in range(chance.randint(1, 4)):
        at, size = chance.randrange(len(raw)), chance.randint(1, 40)
        new = chance.choice([b"", raw[at : at + size] * 2, chance.randbytes(size)])
        raw = raw[:at] + new + raw[at + size :] or b"\0"
    return raw
