"""Play Integrity: what a verdict proves, and the name of the check that refuses all else."""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import json

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from livepin.jose import b64url_encode
from livepin_server.attestation import play
from livepin_server.attestation.attested import EvidenceError
from livepin_server.attestation.play import PlayApp, ServiceAccount
from minted_android import NOW, PACKAGE, SIGNED_BY, asked
from minted_play import Google, Keys, payload

ASKED = asked()
APP = Keys().app()
GOOGLE = Google()


def appraise(**changes):
    return play.appraise(payload(ASKED, **changes), ASKED, APP)


def refusal(**changes):
    with pytest.raises(EvidenceError) as caught:
        appraise(**changes)
    assert str(caught.value).isprintable()
    return caught.value.check


class Opened:
    """A decoder whose tokens are their payloads."""

    def decode(self, token):
        return json.loads(token)


# -- what is taken -----------------------------------------------------------------------------


def test_strong_integrity_of_the_recognised_app_is_hardware():
    evidence = {"token": json.dumps(payload(ASKED))}
    found = play.verify(evidence, ASKED, APP, Opened())
    assert (found.format, found.level, found.bound) == ("play-integrity", "hardware_app", True)
    assert found.said == {
        "device": "MEETS_STRONG_INTEGRITY",
        "package version": "42",
        "license": "LICENSED",
        "Play Protect": "not said",
    }


def test_device_integrity_is_the_platforms_word():
    labels = ["MEETS_BASIC_INTEGRITY", "MEETS_DEVICE_INTEGRITY"]
    found = appraise(deviceIntegrity={"deviceRecognitionVerdict": labels})
    assert found.level == "platform"


def test_a_standard_request_carries_the_nonce_as_its_hash():
    nonce = b64url_encode(ASKED.nonce).decode()
    assert appraise(requestDetails={"nonce": None, "requestHash": nonce}).bound
    assert appraise(requestDetails={"nonce": nonce + "="}).bound


def test_numbers_may_be_numbers():
    moment = int(NOW.timestamp() * 1000)
    assert appraise(requestDetails={"timestampMillis": moment}, appIntegrity={"versionCode": 7})


# -- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "check"),
    [
        ({"requestPackageName": "com.example.other"}, "package"),
        ({"requestPackageName": None}, "malformed"),
        ({"nonce": None}, "challenge"),
        ({"nonce": b64url_encode(bytes(32)).decode()}, "challenge"),
        ({"nonce": 1}, "challenge"),
        ({"requestHash": b64url_encode(ASKED.nonce).decode()}, "challenge"),  # both
        ({"timestampMillis": None}, "malformed"),
        ({"timestampMillis": "-1"}, "malformed"),
        ({"timestampMillis": "1.5"}, "malformed"),
        ({"timestampMillis": "\u0661"}, "malformed"),
        ({"timestampMillis": "9" * 16}, "malformed"),
        ({"timestampMillis": "9" * 15}, "expired"),
        ({"timestampMillis": "0"}, "expired"),
    ],
)
def test_another_request_is_refused(changes, check):
    assert refusal(requestDetails=changes) == check


@pytest.mark.parametrize(
    ("seconds", "good"), [(-121, False), (-120, True), (120, True), (121, False)]
)
def test_a_verdict_is_of_this_moment_within_two_minutes(seconds, good):
    at = NOW + dt.timedelta(seconds=seconds)
    changes = {"timestampMillis": str(int(at.timestamp() * 1000))}
    if good:
        assert appraise(requestDetails=changes)
    else:
        assert refusal(requestDetails=changes) == "expired"


@pytest.mark.parametrize(
    ("changes", "check"),
    [
        ({"appRecognitionVerdict": "UNRECOGNIZED_VERSION"}, "recognition"),
        ({"appRecognitionVerdict": "UNEVALUATED"}, "recognition"),
        ({"appRecognitionVerdict": ["PLAY_RECOGNIZED"]}, "malformed"),
        ({"packageName": "com.example.other"}, "package"),
        ({"packageName": None}, "malformed"),
        ({"certificateSha256Digest": None}, "malformed"),
        ({"certificateSha256Digest": ["\ud800"]}, "malformed"),
        ({"certificateSha256Digest": []}, "signing_certificate"),
        ({"certificateSha256Digest": [b64url_encode(bytes(32)).decode()]}, "signing_certificate"),
    ],
)
def test_another_app_is_refused(changes, check):
    assert refusal(appIntegrity=changes) == check


@pytest.mark.parametrize(
    ("labels", "check"),
    [
        ([], "device"),
        (None, "device"),
        (["MEETS_BASIC_INTEGRITY"], "device"),
        (["MEETS_VIRTUAL_INTEGRITY"], "device"),
        (["\u0430"], "device"),
        ("MEETS_STRONG_INTEGRITY", "malformed"),
    ],
)
def test_a_device_that_google_does_not_vouch_for_is_refused(labels, check):
    assert refusal(deviceIntegrity={"deviceRecognitionVerdict": labels}) == check


@pytest.mark.parametrize("member", ["requestDetails", "appIntegrity", "deviceIntegrity"])
def test_a_payload_without_what_decides_is_malformed(member):
    found = payload(ASKED)
    for value in (None, [], "x"):
        with pytest.raises(EvidenceError, match=f"malformed: expected an object {member}"):
            play.appraise(found | {member: value}, ASKED, APP)


@pytest.mark.parametrize(
    "evidence", [{}, {"token": 1}, {"token": ""}, {"token": "\u00e4"}, {"token": "x" * 16385}]
)
def test_evidence_without_a_token_is_malformed(evidence):
    with pytest.raises(EvidenceError, match="malformed: expected a token"):
        play.verify(evidence, ASKED, APP, Opened())


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=4,
)


@settings(max_examples=50)
@given(st.sampled_from([*payload(ASKED)]), st.data())
def test_any_payload_is_judged_or_refused(where, data):
    found = payload(ASKED)
    member = data.draw(st.sampled_from([*found[where]]))
    found[where][member] = data.draw(_JSON)
    with contextlib.suppress(EvidenceError):
        play.appraise(found, ASKED, APP)


# -- how an app is registered ------------------------------------------------------------------


def _members(app):
    return json.loads(msgspec.json.encode(app))


def _spki(key):
    return base64.b64encode(
        key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    ).decode()


def test_an_app_is_kept_whole_and_shown_without_its_keys():
    for app, opened, account in (
        (APP, "here", None),
        (GOOGLE.app(), "by Google", GOOGLE.account().client_email),
    ):
        assert msgspec.convert(_members(app), PlayApp) == app
        assert msgspec.to_builtins(app.public()) == {
            "package": PACKAGE,
            "certificates": [SIGNED_BY],
            "opened": opened,
            "service_account": account,
        }


def test_the_file_of_a_service_account_is_taken_as_it_is():
    """What else stands in it is ignored, and where Google is asked does not come from there."""
    file = _members(GOOGLE.account()) | {"token_uri": "https://evil.example", "type": "x"}
    assert msgspec.json.decode(json.dumps(file), type=ServiceAccount) == GOOGLE.account()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"decryption_key": None}, "both keys"),
        ({"verification_key": None}, "both keys"),
        ({"decryption_key": None, "verification_key": None}, "both keys"),
        ({"service_account": _members(GOOGLE.account())}, "both keys"),
        ({"decryption_key": "SECRET!"}, "base64"),
        ({"decryption_key": "\u00e4\ud800"}, "base64|surrogates"),
        ({"decryption_key": "U0VDUkVU"}, "32 bytes"),
        ({"verification_key": "U0VDUkVU"}, "P-256"),
        ({"verification_key": _spki(ec.generate_private_key(ec.SECP384R1()))}, "P-256"),
        ({"verification_key": _spki(ed25519.Ed25519PrivateKey.generate())}, "P-256"),
        ({"certificates": []}, "length"),
        ({"other": "SECRET"}, "unknown field"),
    ],
)
def test_an_app_is_checked_when_it_is_registered_and_no_refusal_quotes_a_key(changes, reason):
    with pytest.raises(msgspec.ValidationError, match=reason) as caught:
        msgspec.convert(_members(APP) | changes, PlayApp)
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize(
    "key",
    [
        "SECRET",
        "\ud800",
        ed25519.Ed25519PrivateKey.generate()
        .private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        .decode(),
    ],
)
def test_a_service_account_without_an_rsa_key_is_refused_without_quoting_it(key):
    with pytest.raises(msgspec.ValidationError, match=r"in PEM|an RSA key") as caught:
        msgspec.convert(_members(GOOGLE.account()) | {"private_key": key}, ServiceAccount)
    assert "SECRET" not in str(caught.value)


def test_no_key_is_shown_by_accident():
    from rich.pretty import pretty_repr

    secrets = [APP.decryption_key, APP.verification_key, GOOGLE.account().private_key[40:80]]
    for app in (APP, GOOGLE.app(), GOOGLE.account()):
        for text in (repr(app), str(app), f"{[app]}", pretty_repr(app), repr(app.__rich_repr__())):
            assert not any(each in text for each in secrets)
    assert repr(APP) == f"PlayApp('{PACKAGE}')"
