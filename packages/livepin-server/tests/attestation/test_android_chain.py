"""The chain of an attestation: verified from the root down, to its last byte, and looked up."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from livepin.certificates import spki_fingerprint
from livepin.errors import MalformedError
from livepin_server.attestation import android, android_chain
from livepin_server.attestation.android_chain import Certificate
from livepin_server.attestation.attested import EvidenceError
from livepin_server.attestation.revoked import MOST_AGE, Revoked
from minted_android import (
    NOW,
    REVOKED,
    Device,
    Signing,
    asked,
    element,
    evidence,
    number,
    sample,
    sequence,
)


def verify(chain, **told):
    found = evidence(chain) if isinstance(chain, list) else chain
    return android.verify(found, **sample().told() | told)


def refusal(chain, **told):
    with pytest.raises(EvidenceError) as caught:
        verify(chain, **told)
    assert str(caught.value).isprintable()
    return caught.value.check


def attest(**changes):
    return sample().device.attest(sample().asked.nonce, **changes)


# -- what is taken -----------------------------------------------------------------------------


def test_an_attesting_key_of_the_factory_outlives_its_dates():
    """Such keys stay in devices for longer than anybody foresaw."""
    device = Device.make(provisioned=False, until=NOW - dt.timedelta(days=1))
    found = verify(device.attest(sample().asked.nonce), roots=device.roots)
    assert found.said["attesting key"] == "of the factory"


def test_the_certificate_of_an_attesting_key_need_not_be_that_of_a_ca():
    """It is not on some devices; on all others of the chain it is asked for."""
    lower, upper, root = sample().device.signers[1:]
    attesting = Signing.make("TEE", lower, ca=False)
    device = Device(signers=(attesting, lower, upper, root))
    assert verify(device.attest(sample().asked.nonce)).level == "hardware_app"
    for ca in (False, None):
        lower = Signing.make("Droid CA3", upper, ca=ca)
        device = Device(signers=(Signing.make("TEE", lower), lower, upper, root))
        assert refusal(device.attest(sample().asked.nonce)) == "chain"


def test_p384_and_sha384_are_verified():
    upper, root = sample().device.signers[2:]
    lower = Signing.make("Droid CA3", upper, digest=hashes.SHA384())
    attesting = Signing.make("TEE", lower, curve=ec.SECP384R1(), digest=hashes.SHA512())
    device = Device(signers=(attesting, lower, upper, root))
    chain = device.attest(sample().asked.nonce, digest=hashes.SHA384())
    assert verify(chain).level == "hardware_app"


# -- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "found",
    [
        {},
        {"chain": "x"},
        {"chain": []},
        {"chain": ["AA"]},
        {"chain": ["AA"] * 9},
        {"chain": [1, 2]},
        {"chain": ["A=", "AA"]},
        {"chain": ["\u00e4", "AA"]},
        {"chain": ["\ud800", "AA"]},
        {"chain": ["AA", "AA"]},
        {"chain": ["A" * 200_000, "AA"]},
    ],
)
def test_evidence_that_is_no_chain_is_malformed(found):
    assert refusal(found) == "malformed"


def test_a_certificate_that_cannot_be_read_is_malformed():
    chain = attest()
    assert refusal([b"\x30\x00", *chain[1:]]) == "malformed"
    assert refusal([chain[0] + b"\x00", *chain[1:]]) == "malformed"
    assert refusal([b"\x30\x02\x30\x00", *chain[1:]]) == "malformed"


def test_a_chain_whose_links_do_not_fit_is_refused():
    chain = attest()
    assert refusal([chain[0], *chain[2:]]) == "chain"
    assert refusal([chain[0], chain[2], chain[1], *chain[3:]]) == "chain"
    assert refusal([chain[0], chain[-1]]) == "chain"
    assert refusal([*chain, chain[-1]]) == "malformed"


def test_the_one_byte_that_no_signature_covers_is_zero():
    """It tells how many bits of a signature are none, and a library may pass over it."""
    chain = attest()
    while chain[0][-1] & 1:
        chain = attest()
    for bits in range(1, 8):
        leaf = bytearray(chain[0])
        leaf[leaf.rindex(b"\x00\x30", 0, -64)] = bits
        assert refusal([bytes(leaf), *chain[1:]]) == "malformed"


@pytest.mark.parametrize("first", [0x00, 0x80])
def test_a_serial_number_that_is_not_positive_is_malformed(first):
    leaf = bytearray(attest()[0])
    at = leaf.index(b"\xa0\x03\x02\x01\x02\x02\x01\x01") + 7
    leaf[at] = first
    assert refusal([bytes(leaf), *attest()[1:]]) == "malformed"


def test_a_root_that_is_not_signed_by_itself_is_refused():
    """It has the key that is trusted, and else whatever somebody wrote there."""
    root = sample().device.signers[-1]
    other = Signing.make("root", None)
    forged = _issued_with(root.key.public_key(), other)
    assert spki_fingerprint(forged) in sample().device.roots
    chain = attest()
    assert refusal([*chain[:-1], forged]) == "chain"


def _issued_with(public, by):
    builder = x509.CertificateBuilder(
        issuer_name=by.certificate.subject,
        subject_name=by.certificate.subject,
        public_key=public,
        serial_number=5,
        not_valid_before=NOW,
        not_valid_after=NOW,
        extensions=[
            x509.Extension(x509.BasicConstraints.oid, True, x509.BasicConstraints(True, None))
        ],
    )
    return builder.sign(by.key, hashes.SHA256()).public_bytes(Encoding.DER)


def test_a_weak_hash_is_refused():
    assert refusal(attest(digest=hashes.SHA224())) == "chain"


def test_extensions_are_read_and_none_stands_twice():
    by = Signing.make("root", None)
    names = [x509.ObjectIdentifier(f"1.2.3.{each}") for each in (4, 5)]
    both = Signing.make("leaf", by, extensions=[(each, b"x") for each in names]).der
    assert Certificate.parse(both).extensions[b"\x2a\x03\x04"] == b"x"
    twice = both.replace(b"\x06\x03\x2a\x03\x05", b"\x06\x03\x2a\x03\x04")
    unnamed = both.replace(b"\x06\x03\x2a\x03\x05", b"\x04\x03\x2a\x03\x05")
    for each in (twice, unnamed):
        with pytest.raises(EvidenceError, match=r"malformed: .*(twice|parsing)"):
            Certificate.parse(each)
    bare = Certificate.parse(Signing.make("leaf", by, ca=None).der)
    assert (bare.extensions, bare.is_ca()) == ({}, False)


@pytest.mark.parametrize("value", [b"\x30\x00", b"", b"x", b"\x30\x03\x01\x01\x00"])
def test_who_says_nothing_or_nonsense_of_being_a_ca_is_none(value):
    upper = sample().device.signers[1:]
    said = [(x509.BasicConstraints.oid, value)]
    found = Signing.make("leaf", upper[0], ca=None, extensions=said)
    assert not Certificate.parse(found.der).is_ca()


def test_a_certificate_that_does_not_say_its_version_is_malformed():
    """Its serial number stands elsewhere, and would be looked up by another."""
    old = sequence(sequence(number(1), sequence(), sequence()), sequence(), element(0, 3, b"\0"))
    assert refusal([old, *attest()[1:]]) == "malformed"


def test_a_description_elsewhere_or_nowhere_is_refused():
    key = ec.generate_private_key(ec.SECP256R1())
    genuine = sample().device.attest(bytes(32), key=key.public_key())
    signer = Signing(certificate=x509.load_der_x509_certificate(genuine[0]), key=key)
    forger = Device(signers=(signer, *sample().device.signers))
    assert refusal(forger.attest(sample().asked.nonce)) == "extension_elsewhere"
    assert refusal(attest()[1:]) == "extension"


def test_the_dates_of_what_was_provisioned_remotely_count():
    for days, check in ((9, None), (11, "expired"), (-9, None), (-11, "expired")):
        now = NOW + dt.timedelta(days=days)
        told = {
            "asked": asked(nonce=sample().asked.nonce, now=now),
            "revoked": Revoked(entries=REVOKED.entries, as_of=now),
        }
        if check is None:
            verify(attest(), **told)
        else:
            assert refusal(attest(), **told) == check


def test_every_certificate_is_looked_up():
    chain = attest()
    for each in chain:
        serial = x509.load_der_x509_certificate(each).serial_number
        listed = Revoked(entries={f"{serial:x}": "SUSPENDED"}, as_of=NOW)
        assert refusal(chain, revoked=listed) == "revoked"


def test_a_link_that_was_good_is_remembered_and_one_that_was_not_is_tried_again():
    device = Device.make()
    chain = device.attest(sample().asked.nonce)
    before = android_chain._verify_once.cache_info()
    for _ in range(2):
        verify(chain, roots=device.roots)
    after = android_chain._verify_once.cache_info()
    assert (after.misses - before.misses, after.hits - before.hits) == (4, 4)
    forged = Device.make().attest(sample().asked.nonce)
    for _ in range(2):
        assert refusal([*chain[:3], forged[3], chain[4]], roots=device.roots) == "chain"


def test_without_a_list_of_what_is_revoked_or_by_an_old_one_nothing_is_taken():
    assert refusal(attest(), revoked=None) == "revocation_list"
    late = sample().asked
    device = Device.make(until=NOW + 30 * dt.timedelta(days=1))
    chain = device.attest(late.nonce)
    for moment, good in ((NOW + MOST_AGE, True), (NOW + MOST_AGE * 1.01, False)):
        told = {
            "asked": asked(nonce=late.nonce, now=moment),
            "roots": device.roots,
            "revoked": REVOKED,
        }
        if good:
            verify(chain, **told)
        else:
            assert refusal(chain, **told) == "revocation_list"


# -- roots -------------------------------------------------------------------------------------


def test_the_roots_of_the_package_are_the_two_keys_of_google():
    file = Path(android.__file__).with_name("android_roots.json")
    found = [x509.load_pem_x509_certificate(each.encode()) for each in json.loads(file.read_text())]
    assert [each.subject.rfc4514_string() for each in found] == [
        "2.5.4.5=f92009e853b6b045",
        "C=US,O=Google LLC,OU=Android,CN=Key Attestation CA1",
    ]
    assert [each.public_key().key_size for each in found] == [4096, 384]
    assert len(android_chain.shipped_roots()) == 2
    assert refusal(attest(), roots=None) == "root"


def test_roots_are_read_as_google_publishes_them():
    root = sample().device.signers[-1].certificate
    pem = root.public_bytes(Encoding.PEM).decode()
    roots = android_chain.read_roots(json.dumps([pem, pem]).encode())
    assert roots == sample().device.roots
    for text in (b"", b"{}", b"[]", b"[1]", b'["x"]', json.dumps([pem] * 17).encode()):
        with pytest.raises(MalformedError):
            android_chain.read_roots(text)
