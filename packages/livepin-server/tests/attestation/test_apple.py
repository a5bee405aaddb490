"""What an attestation and an assertion prove, and which check refuses what is wrong with one."""

from __future__ import annotations

import base64
import datetime as dt
import json
from hashlib import sha256

import msgspec
import pytest
import samples
from asking import NOW, asked
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from livepin.errors import MalformedError
from livepin_server.attestation import apple, cbor
from livepin_server.attestation.apple import (
    AppleApp,
    AttestedKey,
    apple_roots,
    read_key_id,
    read_roots,
    verify_assertion,
    verify_attestation,
)
from livepin_server.attestation.attested import EvidenceError
from minting_apple import (
    APP,
    DEVELOPMENT,
    RECEIPT,
    AppleAuthority,
    EnclaveKey,
    certify,
    evidence,
    new_key,
)

ASKED = asked()


@pytest.fixture(scope="module")
def authority():
    return AppleAuthority()


@pytest.fixture
def key():
    return EnclaveKey()


@pytest.fixture
def verified(authority):
    """Verify an attestation, and keep its key."""

    def one(found, app=APP):
        return verify_attestation(found, ASKED, app, roots=authority.roots)

    return one


@pytest.fixture
def refused(verified):
    def one(check, found, app=APP):
        with pytest.raises(EvidenceError) as caught:
            verified(found, app)
        assert caught.value.check == check

    return one


@pytest.fixture
def registered(authority, key, verified):
    return verified(key.attested(authority, ASKED.nonce))[1]


# -- attestations --------------------------------------------------------------------------------


def test_an_attestation_says_which_app_made_the_key(authority, key, verified):
    attested, found = verified(key.attested(authority, ASKED.nonce))
    assert (attested.format, attested.level, attested.bound) == (
        "apple-app-attest",
        "hardware_app",
        True,
    )
    assert attested.said["app"] == "ABCDE12345.com.example.app"
    assert attested.said["environment"] == "production"
    assert attested.said["by"] == "attestation"
    assert found.key_id == key.id == read_key_id(key.asserted(b""))
    assert found.public_key.key == key.key.public_key()
    assert (found.counter, found.development) == (0, False)


def test_a_key_of_development_is_known_as_one(authority, verified):
    key = EnclaveKey(environment=DEVELOPMENT)
    app = msgspec.structs.replace(APP, development=True)
    attested, found = verified(key.attested(authority, ASKED.nonce), app)
    assert found.development
    assert attested.said["environment"] == "development"
    production = EnclaveKey().attested(authority, ASKED.nonce)
    assert not verified(production, app)[1].development


def test_the_roots_are_those_of_apple_unless_others_are_given(authority, key):
    (root,) = apple_roots()
    assert root.subject.rfc4514_string() == (
        "ST=California,O=Apple Inc.,CN=Apple App Attestation Root CA"
    )
    assert (root.not_valid_before_utc.year, root.not_valid_after_utc.year) == (2020, 2045)
    digest = sha256(root.public_bytes(Encoding.DER)).hexdigest()
    assert digest == "1cb9823ba28ba6ad2d33a006941de2ae4f513ef1d4e831b9f7e0fa7b6242c932"
    with pytest.raises(EvidenceError, match=r"^root: "):
        verify_attestation(key.attested(authority, ASKED.nonce), ASKED, APP)


def test_roots_are_read_from_pem(authority):
    pem = authority.root.certificate.public_bytes(Encoding.PEM)
    assert read_roots(pem * 2) == authority.roots * 2
    with pytest.raises(MalformedError):
        read_roots(b"none")


@pytest.mark.parametrize(
    ("check", "changes"),
    [
        ("format", {"fmt": "packed"}),
        ("malformed", {"fmt": b"apple-appattest", "other": 1}),
        ("malformed", {"attStmt": []}),
        ("malformed", {"attStmt": {"x5c": []}}),
        ("malformed", {"x5c": b""}),
        ("malformed", {"x5c": ["text", "text"]}),
        ("malformed", {"x5c": [b"\x30\x00", b""]}),
        ("chain", {"x5c": []}),
        ("malformed", {"authData": "text"}),
        ("malformed", {"authData": b""}),
        ("nonce", {"extension": b""}),
        ("nonce", {"extension": bytes.fromhex("3024a1220420") + bytes(32)}),
        ("malformed", {"data": EnclaveKey().data(length=b"\x00\x21")}),
        ("public_key", {"data": EnclaveKey().data()}),
    ],
)
def test_what_is_wrong_with_an_attestation_has_a_name(authority, key, refused, check, changes):
    refused(check, key.attested(authority, ASKED.nonce, **changes))


@pytest.mark.parametrize(
    ("check", "parts"),
    [
        ("key_id", {"credential": bytes(32)}),
        ("counter", {"counter": b"\0\0\0\1"}),
        ("environment", {"environment": b"appattestdevelo\0"}),
        ("app_id", {"rp_id": bytes(32)}),
    ],
)
def test_what_is_wrong_with_its_data_has_a_name(authority, key, refused, check, parts):
    refused(check, key.attested(authority, ASKED.nonce, data=key.data(**parts)))


@pytest.mark.parametrize(
    ("check", "changes"),
    [
        ("format", {"format": "play-integrity"}),
        ("malformed", {"key_id": None}),
        ("malformed", {"key_id": "AAAA"}),
        ("malformed", {"key_id": "é" * 43}),
        ("malformed", {"attestation": "A=="}),
        ("malformed", {"attestation": 7}),
        ("size", {"attestation": "A" * (apple.MAX_ATTESTATION * 4 // 3 + 2)}),
        ("malformed", {"attestation": "A" * (apple.MAX_ATTESTATION * 4 // 3 - 1)}),
    ],
)
def test_what_is_wrong_with_the_evidence_has_a_name(authority, key, refused, check, changes):
    refused(check, key.attested(authority, ASKED.nonce) | changes)


def test_the_certificate_of_another_kind_of_key(authority, refused):
    for curve in (ec.SECP384R1(), ec.SECP256K1()):
        key = EnclaveKey(key=new_key(curve))
        data = EnclaveKey().data()
        refused("public_key", key.attested(authority, ASKED.nonce, data=data))


def length_of(content):
    size = len(content)
    return bytes([size]) if size < 128 else b"\x82" + size.to_bytes(2, "big")


def resigned(leaf, authority, old, new):
    """Return a certificate with other bytes, signed by the authority all the same."""
    tbs = leaf.certificate.tbs_certificate_bytes.replace(old, new)
    signature = b"\0" + authority.issuer.key.sign(tbs, ec.ECDSA(hashes.SHA256()))
    body = tbs + bytes.fromhex("300a06082a8648ce3d040302")
    body += b"\x03" + length_of(signature) + signature
    return b"\x30" + length_of(body) + body


def test_a_key_on_a_curve_that_nobody_knows(authority, key, refused):
    nonce = bytes.fromhex("3024a1220420") + sha256(key.data() + ASKED.nonce).digest()
    leaf = certify("leaf", authority.issuer, key=key.key, nonce=nonce)
    p256, unknown = (bytes.fromhex("06082a8648ce3d0301" + each) for each in ("07", "7f"))
    x5c = [resigned(leaf, authority, p256, unknown), authority.issuer.der]
    refused("public_key", key.attested(authority, ASKED.nonce, x5c=x5c))


def test_a_leaf_that_its_issuer_did_not_sign(authority, key, refused):
    x5c = [certify("leaf", AppleAuthority().issuer).der, authority.issuer.der]
    refused("chain", key.attested(authority, ASKED.nonce, x5c=x5c))


def test_a_signature_of_fewer_bits_than_bytes(authority, key, refused):
    # As long as its last bit is zero: otherwise it is no DER at all.
    issuer = next(
        each
        for _ in range(99)
        if not (each := AppleAuthority()).issuer.certificate.signature[-1] & 1
    ).issuer
    whole, signature = issuer.der, issuer.certificate.signature
    cut = whole.removesuffix(b"\0" + signature) + b"\1" + signature
    refused("malformed", key.attested(authority, ASKED.nonce, x5c=[whole, cut]))


def test_a_key_of_development_is_none_of_production(authority, refused):
    key = EnclaveKey(environment=DEVELOPMENT)
    refused("environment", key.attested(authority, ASKED.nonce))


def test_a_certificate_without_a_nonce(authority, key, refused):
    leaf = certify("leaf", authority.issuer, key=key.key)
    x5c = [leaf.der, authority.issuer.der]
    refused("nonce", key.attested(authority, ASKED.nonce, x5c=x5c))


@pytest.mark.parametrize(("first", "last"), [(1, 2), (-2, -1)])
def test_the_time_is_that_of_the_request(authority, key, refused, first, last):
    refused("expired", key.attested(authority, ASKED.nonce, days=(first, last)))


def test_an_issuer_whose_time_is_over(key):
    old = AppleAuthority(days=(-9, -8))
    with pytest.raises(EvidenceError, match=r"expired: .* 2026-11-14 to 2026-11-15"):
        verify_attestation(key.attested(old, ASKED.nonce), ASKED, APP, roots=old.roots)


def overstated(raw, by):
    """Return an attestation whose receipt says that it is longer than it is, or shorter."""
    start = raw.index(RECEIPT)
    return raw[: start - 2] + (len(RECEIPT) + by).to_bytes(2, "big") + raw[start:]


def test_the_receipt_of_apples_own_sample_is_read_as_long_as_it_is(authority, key, verified):
    raw = overstated(key.attestation(authority, ASKED.nonce), by=21)
    assert verified(evidence(key.id, attestation=raw))[1].key_id == key.id


@pytest.mark.parametrize("by", [-1, 1, 20, 22, 175, 30_000])
def test_no_other_length_of_a_receipt_is_put_right(authority, key, refused, by):
    raw = overstated(key.attestation(authority, ASKED.nonce), by=by)
    refused("malformed", evidence(key.id, attestation=raw))


def test_nothing_else_may_be_wrong_with_that_sample(authority, key, refused):
    raw = overstated(key.attestation(authority, ASKED.nonce), by=21)
    refused("malformed", evidence(key.id, attestation=raw + b"\0"))
    refused("malformed", evidence(key.id, attestation=b"\xa4" + raw[1:]))


# -- assertions ----------------------------------------------------------------------------------


def test_an_assertion_is_by_the_key_that_was_attested(key, registered):
    again = asked("next")
    attested, after = verify_assertion(key.asserted(again.nonce), again, APP, registered)
    assert (attested.level, attested.bound) == ("hardware_app", True)
    assert (attested.said["by"], attested.said["counter"]) == ("assertion", "1")
    assert after == registered.advanced(1)
    third = asked("third")
    key.counter = 2**32 - 2
    assert verify_assertion(key.asserted(third.nonce), third, APP, after)[1].counter == 2**32 - 1


def refuses(check, found, key, app=APP):
    with pytest.raises(EvidenceError) as caught:
        verify_assertion(found, ASKED, app, key)
    assert caught.value.check == check


@pytest.mark.parametrize(
    ("check", "members"),
    [
        ("malformed", {"signature": "text"}),
        ("malformed", {"authenticatorData": "text"}),
        ("malformed", {"authenticatorData": bytes(36)}),
        ("malformed", {"other": 1}),
        ("app_id", {"authenticatorData": bytes(37)}),
        ("signature", {"signature": b""}),
        ("signature", {"by": new_key()}),
    ],
)
def test_what_is_wrong_with_an_assertion_has_a_name(key, registered, check, members):
    refuses(check, key.asserted(ASKED.nonce, **members), registered)


def test_evidence_without_an_assertion(key, registered, authority):
    refuses("malformed", key.attested(authority, ASKED.nonce), registered)
    refuses("size", evidence(key.id, assertion=bytes(1025)), registered)
    refuses("key_id", evidence(bytes(32), assertion=key.assertion(ASKED.nonce)), registered)
    refuses("format", {**key.asserted(ASKED.nonce), "format": "signals"}, registered)


def test_the_counter_goes_up_alone():
    key = AttestedKey(key_id=bytes(32), public_key=ASKED.key, counter=5)
    assert key.advanced(6).counter == 6
    for each in (5, 4, 0):
        with pytest.raises(EvidenceError, match=f"counter: expected above 5, found {each}"):
            key.advanced(each)


# -- an app, as it is configured -------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [{"team": "abcde12345"}, {"team": "ABC"}, {"bundle": ""}, {"bundle": "a b"}, {"other": 1}],
)
def test_an_app_has_a_team_and_a_bundle(changes):
    members = {"team": "ABCDE12345", "bundle": "com.example.app"}
    assert msgspec.convert(members, AppleApp) == APP
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(members | changes, AppleApp)


# -- what a device made ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", samples.found("apple/documentation-sample.json"), ids=lambda path: path.stem
)
def test_the_sample_of_apples_documentation(path):
    sample = json.loads(path.read_bytes())
    team, _, bundle = sample["appId"].partition(".")
    app = AppleApp(team=team, bundle=bundle)
    key_id, raw = (base64.b64decode(sample[each]) for each in ("keyId", "attestation"))
    found = evidence(key_id, attestation=raw)
    at = dt.datetime(2024, 4, 18, tzinfo=dt.timezone.utc)
    request = asked(nonce=sample["challenge"].encode(), now=at)
    attested, key = verify_attestation(found, request, app)
    assert attested.said["environment"] == "production"
    assert key.key_id == key_id
    with pytest.raises(MalformedError):
        cbor.parse(raw)
    for check, later, other in [
        ("expired", asked(nonce=request.nonce, now=NOW), app),
        ("nonce", asked(now=at), app),
        ("app_id", request, APP),
    ]:
        with pytest.raises(EvidenceError, match=f"^{check}: "):
            verify_attestation(found, later, other)
