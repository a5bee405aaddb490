"""Verdicts of Play Integrity that do not prove what they are sent for: relayed, old, or forged.

Who sends them gets genuine tokens from Google for apps and devices of their own, or may even know
the decryption key of the app; but not the key by which Google signs.
"""

from __future__ import annotations

import base64
import json
import random

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from joserfc import jws
from joserfc.jwk import OctKey
from livepin.jose import PrivateKey, b64url_encode
from livepin_server.attestation import play
from livepin_server.attestation.attested import EvidenceError
from livepin_server.attestation.play_decoders import LocalDecoder
from minted_android import asked
from minted_play import Keys, payload

ASKED = asked()
KEYS = Keys()
APP = KEYS.app()
HERE = LocalDecoder(APP)


def refused(token, check, about=ASKED):
    with pytest.raises(EvidenceError) as caught:
        play.verify({"token": token}, about, APP, HERE)
    assert caught.value.check == check


def token(**changes):
    return KEYS.token(payload(ASKED, **changes))


def test_what_all_of_these_begin_with_is_taken():
    assert play.verify({"token": token()}, ASKED, APP, HERE).level == "hardware_app"


def test_a_verdict_relayed_for_another_installation_is_refused():
    refused(token(), "challenge", asked())


def test_a_verdict_of_an_earlier_request_is_refused():
    mine = PrivateKey.generate()
    before = KEYS.token(payload(asked(mine)))
    refused(before, "challenge", asked(mine, nonce=bytes(32)))


def test_an_app_that_play_does_not_know_is_refused():
    changes = {"appRecognitionVerdict": "UNRECOGNIZED_VERSION"}
    refused(token(appIntegrity=changes), "recognition")


def test_another_app_and_a_repackaged_one_are_refused():
    refused(token(requestDetails={"requestPackageName": "com.example.evil"}), "package")
    refused(token(appIntegrity={"packageName": "com.example.evil"}), "package")
    digest = b64url_encode(bytes(32)).decode()
    refused(token(appIntegrity={"certificateSha256Digest": [digest]}), "signing_certificate")


def test_a_rooted_device_and_an_emulator_are_refused():
    for labels in (["MEETS_BASIC_INTEGRITY"], ["MEETS_VIRTUAL_INTEGRITY"], []):
        refused(token(deviceIntegrity={"deviceRecognitionVerdict": labels}), "device")


def test_a_verdict_signed_by_another_key_or_by_none_is_refused():
    """Who knows the decryption key can seal whatever they like."""
    refused(Keys().token(payload(ASKED)), "signature")
    text = b64url_encode(json.dumps(payload(ASKED)).encode()).decode()
    none = b64url_encode(b'{"alg":"none"}').decode()
    refused(KEYS.sealed(f"{none}.{text}."), "signature")


def test_a_verdict_signed_with_the_public_key_as_a_secret_is_refused():
    public = KEYS.signs.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    for secret in (b"x" * 32, base64.b64encode(public)):
        forged = jws.serialize_compact(
            {"alg": "HS256"}, json.dumps(payload(ASKED)), OctKey.import_key(secret)
        )
        refused(KEYS.sealed(forged), "signature")


def test_one_flipped_bit_at_200_places_is_refused():
    """A token is authenticated whole, its header and the wrapped key too."""
    chance = random.Random(6)
    parts = [*map(_bytes, token().split("."))]
    for _ in range(200):
        changed = [bytearray(each) for each in parts]
        part = chance.choice(changed)
        part[chance.randrange(len(part))] ^= 1 << chance.randrange(8)
        with pytest.raises(EvidenceError):
            play.verify(
                {"token": ".".join(b64url_encode(bytes(each)).decode() for each in changed)},
                ASKED,
                APP,
                HERE,
            )


def test_300_mutations_are_refused_in_words():
    said = []
    chance = random.Random(6)
    good = token()
    for _ in range(300):
        text = [*good]
        for _ in range(chance.randint(1, 3)):
            at = chance.randrange(len(text))
            text[at : at + chance.randint(0, 20)] = chance.choice(["", ".", "A", "é", "{", "\x00"])
        found = "".join(text)
        try:
            play.verify({"token": found}, ASKED, APP, HERE)
        except EvidenceError as exc:
            said.append(str(exc))
            continue
        assert found == good
    assert len(said) > 250
    assert all(map(str.isprintable, said))


def _bytes(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
