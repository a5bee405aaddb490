"""A header that talks the verifier into another algorithm, or into none."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from livepin.jose import PublicKey, b64url_decode, b64url_encode
from livepin.jsontext import dump

if TYPE_CHECKING:
    from conftest import Account, Device

TYP = "livepin-config+jws"
Sign = Callable[[bytes], bytes]


def unsigned(_: bytes) -> bytes:
    return b""


def hmac_keyed_by(secret: bytes) -> Sign:
    return lambda data: hmac.new(secret, data, hashlib.sha256).digest()


def public_forms(key: PublicKey) -> dict[str, bytes]:
    """Return what an attacker may take for the shared secret: all of it is public."""
    form = PublicFormat.SubjectPublicKeyInfo
    return {
        "pem": key.key.public_bytes(Encoding.PEM, form),
        "der": key.key.public_bytes(Encoding.DER, form),
        "point": key.key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint),
        "jwk": dump(key.jwk()),
        "kid": key.kid.encode(),
        "nothing": b"",
    }


@pytest.mark.parametrize("alg", ["none", "None", "NONE", "nOnE", "", None, ["none"], 0])
def test_alg_none_is_refused(device: Device, compact, alg: Any) -> None:
    ours = device.simulator
    header = {"alg": alg, "kid": ours.keys["config"].public.kid, "typ": TYP}
    device.refuses(compact(header, ours.document(version=99).payload(), unsigned), rule=2)


def test_a_header_without_alg_is_refused(device: Device, compact) -> None:
    ours = device.simulator
    header = {"kid": ours.keys["config"].public.kid, "typ": TYP}
    payload = ours.document(version=99).payload()
    device.refuses(compact(header, payload, ours.keys["config"].sign), rule=2)


def test_es256_without_a_signature_is_refused(device: Device, compact) -> None:
    ours = device.simulator
    header = {"alg": "ES256", "kid": ours.keys["config"].public.kid, "typ": TYP}
    device.refuses(compact(header, ours.document(version=99).payload(), unsigned), rule=3)


@pytest.mark.parametrize("form", ["pem", "der", "point", "jwk", "kid", "nothing"])
def test_hs256_keyed_by_what_is_public_is_refused(account: Account, compact, refused, form) -> None:
    key = account.keys["config"][0].public
    header = {"alg": "HS256", "kid": key.kid, "typ": TYP}
    payload = dump(account.config_members(99))
    raw = compact(header, payload, hmac_keyed_by(public_forms(key)[form]))
    refused(2, account.state().advance_config, raw)


@pytest.mark.parametrize("alg", ["RS256", "PS256"])
def test_rsa_under_the_kid_of_our_key_is_refused(account: Account, compact, refused, alg) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    scheme: Any = padding.PKCS1v15()
    if alg == "PS256":
        scheme = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
    header = {"alg": alg, "kid": account.keys["config"][0].public.kid, "typ": TYP}
    sign: Sign = lambda data: key.sign(data, scheme, hashes.SHA256())  # noqa: E731
    raw = compact(header, dump(account.config_members(99)), sign)
    refused(2, account.state().advance_config, raw)


@pytest.mark.parametrize("alg", ["ES384", "ES512", "ES256K", "EdDSA", "Ed25519", "es256", "ES256 "])
def test_another_alg_is_refused_even_with_a_valid_signature(
    account: Account, compact, refused, alg: str
) -> None:
    key = account.keys["config"][0]
    raw = compact(
        {"alg": alg, "kid": key.public.kid, "typ": TYP},
        dump(account.config_members(99)),
        key.sign,
    )
    refused(2, account.state().advance_config, raw)


def test_a_signature_in_der_is_refused(account: Account, compact, refused) -> None:
    key = account.keys["config"][0]
    header = {"alg": "ES256", "kid": key.public.kid, "typ": TYP}
    sign: Sign = lambda data: key.key.sign(data, ec.ECDSA(hashes.SHA256()))  # noqa: E731
    raw = compact(header, dump(account.config_members(99)), sign)
    refused(3, account.state().advance_config, raw)


def test_one_signature_of_a_root_with_alg_none_spoils_it(account: Account, refused) -> None:
    genuine = account.root(2, by=account.keys["root"][:2])
    es256, none = b64_header(genuine, 1), b64_header(genuine, 1, alg="none")
    assert es256 in genuine
    refused(2, account.state().advance_root, genuine.replace(es256, none))


def b64_header(root: bytes, which: int, **changes: str) -> bytes:
    """Return the protected header of one signature of a root, changed."""
    header = json.loads(root)["signatures"][which]["protected"].encode()
    return b64url_encode(dump(json.loads(b64url_decode(header)) | changes))
