"""Evidence of Android apps: certificates, what is in their extension, verdicts, and the list.

A chain is refused before most of that is read; here each part is read by itself.
"""

from __future__ import annotations

import binascii
import json
from collections.abc import Iterator
from datetime import datetime, timezone

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from livepin import jsontext
from livepin.errors import MalformedError
from livepin.jose import PrivateKey, b64url_encode
from livepin.testing import make_chain
from livepin_server.attestation import android, der, play
from livepin_server.attestation.android import AndroidApp
from livepin_server.attestation.android_chain import Certificate
from livepin_server.attestation.attested import Asked, EvidenceError
from livepin_server.attestation.der import DerError
from livepin_server.attestation.key_description import KeyDescription
from livepin_server.attestation.play import PlayApp
from livepin_server.attestation.revoked import Revoked

from vectors.source.keys import private_key

from .target import Target

_NOW = datetime.fromtimestamp(1_800_000_000, timezone.utc)
_DIGEST = "ab" * 32
_PACKAGE = "com.example.bank"
_KEY = PrivateKey(private_key("installation 1")).public
_ASKED = Asked(account="acme", app="bank", key=_KEY, nonce=bytes(32), key_nonce=bytes(31), now=_NOW)
_APP = AndroidApp(package=_PACKAGE, certificates=[_DIGEST])
_PLAY = PlayApp(
    package=_PACKAGE,
    certificates=[_DIGEST],
    decryption_key=binascii.b2a_base64(bytes(32), newline=False).decode(),
    verification_key=binascii.b2a_base64(
        _KEY.key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo), newline=False
    ).decode(),
)
# A key of a trusted environment, as an app with this package and certificate made it.
_DESCRIBED = bytes.fromhex(
    "30820102020201900a0101020201900a010104200000000000000000000000000000000000000000"
    "00000000000000000000000004003051bf853d080206018bcfe56800bf854541043f303d31173015"
    "0410636f6d2e6578616d706c652e62616e6b02012a31220420ababababababababababababababab"
    "ababababababababababababababababab307ba1053103020102a203020103bf8377020500bf853e"
    "03020100bf85404c304a0420000102030405060708090a0b0c0d0e0f101112131415161718191a1b"
    "1c1d1e1f0101ff0a0100042000000000000000000000000000000000000000000000000000000000"
    "00000000bf8541050203027100bf8542050203031772"
)


def _elements(data: bytes) -> None:
    try:
        der.elements(data)
    except DerError:
        return


def _description(data: bytes) -> None:
    try:
        found = KeyDescription.parse(data)
    except MalformedError as exc:
        assert str(exc).isprintable()
        return
    assert 0 <= found.security < 2**64
    assert found.application is None or all(map(str.isascii, found.application.packages))


def _certificate(data: bytes) -> None:
    try:
        found = Certificate.parse(data)
    except EvidenceError as exc:
        assert exc.check == "malformed"
        return
    assert found.serial == found.parsed.serial_number > 0
    found.is_ca()


def _chain(data: bytes) -> None:
    try:
        evidence = json.loads(data)
        found = evidence if isinstance(evidence, dict) else {}
        android.verify(found, _ASKED, _APP, revoked=None)
    except (ValueError, RecursionError):
        return
    except EvidenceError as exc:
        assert str(exc).isprintable()
        return
    raise AssertionError("a chain was taken that nobody signed")


def _verdict(data: bytes) -> None:
    try:
        payload = jsontext.parse_object(data)
    except MalformedError:
        return
    try:
        found = play.appraise(payload, _ASKED, _PLAY)
    except EvidenceError as exc:
        assert str(exc).isprintable()
        return
    assert all(map(str.isprintable, found.said.values()))


def _list(data: bytes) -> None:
    try:
        found = Revoked.parse(data, _NOW)
    except MalformedError:
        return
    assert found.entries
    assert all(map(str.isprintable, found.entries.values()))


def _certificates() -> Iterator[bytes]:
    chain = make_chain("localhost")
    for each in (chain.leaf, chain.authority.certificate):
        yield each.public_bytes(Encoding.DER)


def _chains() -> Iterator[bytes]:
    listed = [b64url_encode(each).decode() for each in _certificates()]
    yield json.dumps({"chain": listed}).encode()


def _verdicts() -> Iterator[bytes]:
    digest = b64url_encode(bytes.fromhex(_DIGEST)).decode()
    yield json.dumps(
        {
            "requestDetails": {
                "requestPackageName": _PACKAGE,
                "nonce": b64url_encode(_ASKED.nonce).decode(),
                "timestampMillis": str(int(_NOW.timestamp() * 1000)),
            },
            "appIntegrity": {
                "appRecognitionVerdict": "PLAY_RECOGNIZED",
                "packageName": _PACKAGE,
                "certificateSha256Digest": [digest],
                "versionCode": "42",
            },
            "deviceIntegrity": {"deviceRecognitionVerdict": ["MEETS_DEVICE_INTEGRITY"]},
            "accountDetails": {"appLicensingVerdict": "LICENSED"},
        }
    ).encode()


def _lists() -> Iterator[bytes]:
    yield b'{"entries":{"c0ffee":{"status":"REVOKED","reason":"KEY_COMPROMISE"}}}'


TARGETS = {
    "der": Target(run=_elements, seeds=lambda: [_DESCRIBED]),
    "key-description": Target(run=_description, seeds=lambda: [_DESCRIBED]),
    "attesting-certificate": Target(run=_certificate, seeds=_certificates),
    "attestation": Target(run=_chain, seeds=_chains, json=True),
    "integrity-verdict": Target(run=_verdict, seeds=_verdicts, json=True),
    "revoked-keys": Target(run=_list, seeds=_lists, json=True),
}
