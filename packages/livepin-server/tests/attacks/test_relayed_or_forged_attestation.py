"""Attestations that do not prove what they are sent for: relayed, forged, or of a changed device.

Who sends them has genuine devices, genuine apps of their own, and keys that were taken out of
devices; but not the hardware of the device that they pretend to be. Refused is each by a check of
its own, whose name the log shows.
"""

from __future__ import annotations

import datetime as dt
import random

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from livepin.jose import PrivateKey
from livepin_server.attestation import android
from livepin_server.attestation.attested import EvidenceError
from livepin_server.attestation.revoked import Revoked
from minted_android import (
    APP,
    NOW,
    PACKAGE,
    REVOKED,
    Device,
    Signing,
    application,
    asked,
    boolean,
    evidence,
    flipped,
    root_of_trust,
    sample,
)

DAY = dt.timedelta(days=1)


def refused(found, check, **told):
    with pytest.raises(EvidenceError) as caught:
        android.verify(found, **sample().told() | told)
    assert caught.value.check == check


def test_what_all_of_these_begin_with_is_taken():
    assert android.verify(sample().evidence(), **sample().told()).level == "hardware_app"


# -- relayed -----------------------------------------------------------------------------------


def test_evidence_of_a_genuine_device_relayed_for_another_installation_is_refused():
    """Its nonce is over the thumbprint of the installation that asked."""
    refused(sample().evidence(), "challenge", asked=asked())


def test_evidence_of_an_earlier_request_is_refused():
    mine = PrivateKey.generate()
    before = sample().device.attest(asked(mine).nonce)
    later = asked(mine, nonce=bytes(32))
    refused(evidence(before), "challenge", asked=later)


def test_the_attestation_of_another_installations_key_is_refused():
    theirs = PrivateKey.generate()
    chain = sample().device.attest(asked(theirs).key_nonce, key=theirs.public.key)
    told = {"asked": asked(theirs)}
    assert android.verify(evidence(chain), **sample().told() | told).level == "hardware_key"
    refused(evidence(chain), "key")


def test_a_key_attested_for_another_app_of_the_account_is_refused():
    mine = PrivateKey.generate()
    chain = sample().device.attest(bytes(32), key=mine.public.key)
    refused(evidence(chain), "challenge", asked=asked(mine))


# -- another app -------------------------------------------------------------------------------


def test_an_app_of_another_name_is_refused():
    named = application([(PACKAGE + ".clone", 42)])
    refused(sample().evidence(software={709: named}), "package")


def test_a_repackaged_app_which_another_certificate_signed_is_refused():
    signed = application(certificates=["cd" * 32])
    refused(sample().evidence(software={709: signed}), "signing_certificate")


def test_a_certificate_beside_the_registered_one_is_refused():
    signed = application(certificates=[*APP.certificates, "cd" * 32])
    refused(sample().evidence(software={709: signed}), "signing_certificate")


# -- another device ----------------------------------------------------------------------------


def test_a_chain_under_a_root_of_the_attackers_with_googles_name_is_refused():
    forged = Device.make()
    assert [each.certificate.subject for each in forged.signers] == [
        each.certificate.subject for each in sample().device.signers
    ]
    refused(evidence(forged.attest(sample().asked.nonce)), "root")


def test_the_true_root_behind_a_forged_chain_is_refused():
    forged = Device.make().attest(sample().asked.nonce)
    refused(evidence([*forged[:-1], sample().device.signers[-1].der]), "chain")


def test_a_software_root_is_refused():
    """The emulator's keys are in everybody's hands."""
    root = Signing.make("Android Keystore Software Attestation Root", None)
    emulator = Device(signers=(Signing.make("Intermediate", root), root))
    refused(evidence(emulator.attest(sample().asked.nonce)), "root")


@pytest.mark.parametrize("level", ["security", "mint_security"])
def test_what_only_software_enforces_is_refused(level):
    refused(sample().evidence(**{level: 0}), "security_level")


def test_an_unlocked_device_is_refused():
    """Its system may be anybody's, and says which app asks."""
    changes = {"hardware": {704: root_of_trust(locked=boolean(False))}}
    refused(sample().evidence(**changes), "unlocked")


def test_a_system_that_its_owner_signed_is_refused():
    """It boots verified by the owner's key, with a locked boot loader, and says what it likes."""
    changes = {"hardware": {704: root_of_trust(boot_state=1)}}
    refused(sample().evidence(**changes), "boot_key")
    other = msgspec.structs.replace(APP, boot_keys=["00" * 32])
    refused(sample().evidence(**changes), "boot_key", app=other)


def test_a_root_of_trust_that_software_added_does_not_count():
    changes = {"software": {704: root_of_trust()}, "hardware": {704: None}}
    refused(sample().evidence(**changes), "boot_state")


# -- keys that left a device -------------------------------------------------------------------


def test_a_key_provisioned_remotely_ends_with_its_certificate():
    late = asked(nonce=sample().asked.nonce, now=NOW + 11 * DAY)
    revoked = Revoked(entries=REVOKED.entries, as_of=late.now)
    refused(sample().evidence(), "expired", asked=late, revoked=revoked)
    early = asked(nonce=sample().asked.nonce, now=NOW - 11 * DAY)
    revoked = Revoked(entries=REVOKED.entries, as_of=early.now)
    refused(sample().evidence(), "expired", asked=early, revoked=revoked)


@pytest.mark.parametrize("place", range(5))
def test_a_revoked_certificate_anywhere_in_the_chain_is_refused(place):
    found = sample().device.attest(sample().asked.nonce)
    serial = x509.load_der_x509_certificate(found[place]).serial_number
    revoked = Revoked(entries={f"{serial:x}": "REVOKED KEY_COMPROMISE"}, as_of=NOW)
    refused(evidence(found), "revoked", revoked=revoked)


def test_without_the_list_a_leaked_key_is_no_better_than_any():
    refused(sample().evidence(), "revocation_list", revoked=None)
    old = Revoked(entries=REVOKED.entries, as_of=NOW - 8 * DAY)
    refused(sample().evidence(), "revocation_list", revoked=old)


def test_a_description_that_an_attested_key_signed_is_refused():
    """Any app may have a key in genuine hardware, and sign a certificate with it."""
    key = ec.generate_private_key(ec.SECP256R1())
    genuine = sample().device.attest(bytes(32), key=key.public_key())
    signer = Signing(certificate=x509.load_der_x509_certificate(genuine[0]), key=key)
    forger = Device(signers=(signer, *sample().device.signers))
    refused(evidence(forger.attest(sample().asked.nonce)), "extension_elsewhere")


def test_a_chain_without_a_description_is_refused():
    attesting = [each.der for each in sample().device.signers]
    refused(evidence(attesting), "extension")


# -- changed bytes -----------------------------------------------------------------------------


def test_one_flipped_bit_at_200_places_is_refused():
    """A signature is over each byte: of a certificate by the next, of the root by itself."""
    chance = random.Random(6)
    chain = sample().device.attest(sample().asked.nonce)
    for _ in range(200):
        with pytest.raises(EvidenceError):
            android.verify(evidence(flipped(chain, chance.randrange)), **sample().told())


def test_300_mutations_are_refused_in_words():
    said = []
    chance = random.Random(6)
    chain = sample().device.attest(sample().asked.nonce)
    for _ in range(300):
        found = evidence(_mutated(chain, chance))
        if chance.random() < 0.1:
            found["chain"][chance.randrange(len(found["chain"]))] = chance.choice(
                [None, 1, "é", []]
            )
        try:
            android.verify(found, **sample().told())
        except EvidenceError as exc:
            said.append(str(exc))
            continue
        assert found == evidence(chain)
    assert len(said) > 250
    assert all(map(str.isprintable, said))


def _mutated(chain, chance):
    """Cut, double, swap and change bytes, and whole certificates."""
    found = [bytearray(each) for each in chain]
    for _ in range(chance.randint(1, 3)):
        each = chance.choice(found)
        at = chance.randrange(len(each) + 1)
        match chance.randrange(6):
            case 0:
                each[at : at + chance.randint(1, 40)] = b""
            case 1:
                each[at:at] = each[at : at + chance.randint(1, 40)]
            case 2:
                each[at : at + 1] = bytes([chance.randrange(256)])
            case 3:
                chance.shuffle(found)
            case 4:
                found.insert(chance.randrange(len(found)), bytearray(each))
            case _:
                each[at:at] = chance.randbytes(chance.randint(1, 8))
    return [bytes(each) for each in found]
