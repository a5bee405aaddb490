"""Certificates put together by hand: the rare forms that libraries do not make, too.

Issuer and signer of each is the key `ca`; a certificate comes out the same each time.
"""

from __future__ import annotations

import base64
import hashlib

from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from .keys import private_key, sign

_RSA = bytes.fromhex("2a864886f70d010101")
_RSA_PSS = bytes.fromhex("2a864886f70d01010a")
_EC = bytes.fromhex("2a8648ce3d0201")
_P256 = bytes.fromhex("2a8648ce3d030107")
_ECDSA_SHA256 = bytes.fromhex("2a8648ce3d040302")
_ED25519 = bytes.fromhex("2b6570")
_COMMON_NAME = bytes.fromhex("550403")
_BASIC_CONSTRAINTS = bytes.fromhex("551d13")
NULL = b"\x05\x00"


def element(tag: int, *content: bytes) -> bytes:
    """Return a DER element."""
    data = b"".join(content)
    if len(data) < 128:
        return bytes([tag, len(data)]) + data
    length = len(data).to_bytes((len(data).bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + data


def sequence(*content: bytes) -> bytes:
    """Return a SEQUENCE."""
    return element(0x30, *content)


def integer(number: int) -> bytes:
    """Return a positive INTEGER."""
    return element(0x02, number.to_bytes(number.bit_length() // 8 + 1, "big"))


def oid(value: bytes) -> bytes:
    """Return an OBJECT IDENTIFIER of these content bytes."""
    return element(0x06, value)


def bits(data: bytes) -> bytes:
    """Return a BIT STRING of whole bytes."""
    return element(0x03, b"\0", data)


# -- SubjectPublicKeyInfo ------------------------------------------------------------------------


def ec_spki(name: str, *, compressed: bool = False) -> bytes:
    """Return the SPKI of the P-256 key of a name."""
    kind = PublicFormat.CompressedPoint if compressed else PublicFormat.UncompressedPoint
    point = private_key(name).public_key().public_bytes(Encoding.X962, kind)
    return sequence(sequence(oid(_EC), oid(_P256)), bits(point))


def rsa_spki(name: str, *, algorithm: bytes = _RSA, parameters: bytes = NULL) -> bytes:
    """Return an SPKI of RSA-2048 whose modulus is made of hashes; nobody has the private key."""
    parts = [hashlib.sha256(f"livepin test key: {name} {n}".encode()).digest() for n in range(8)]
    modulus = int.from_bytes(b"".join(parts), "big") | 1 << 2047 | 1
    key = sequence(integer(modulus), integer(65537))
    return sequence(sequence(oid(algorithm), parameters), bits(key))


def rsa_pss_spki(name: str) -> bytes:
    """Return an SPKI of RSA-2048 that is for RSASSA-PSS alone."""
    return rsa_spki(name, algorithm=_RSA_PSS, parameters=b"")


def ed25519_spki(name: str) -> bytes:
    """Return the SPKI of the Ed25519 key of a name."""
    seed = hashlib.sha256(f"livepin test key: {name}".encode()).digest()
    public = ed25519.Ed25519PrivateKey.from_private_bytes(seed).public_key()
    return sequence(sequence(oid(_ED25519)), bits(public.public_bytes_raw()))


def unknown_spki(name: str) -> bytes:
    """Return the SPKI of a key whose algorithm nobody knows (2.25.1)."""
    key = hashlib.sha512(f"livepin test key: {name}".encode()).digest()
    return sequence(sequence(oid(bytes.fromhex("6901"))), bits(key))


# -- certificate ---------------------------------------------------------------------------------


def certificate(
    spki: bytes, *, subject: str = "api.example.com", v1: bool = False, serial: int = 7
) -> bytes:
    """Return a DER certificate for a key."""
    algorithm = sequence(oid(_ECDSA_SHA256))
    validity = sequence(element(0x17, b"261123120000Z"), element(0x17, b"271123120000Z"))
    constraints = sequence(oid(_BASIC_CONSTRAINTS), element(0x04, sequence()))
    tbs = [integer(serial), algorithm, _name("Test CA"), validity, _name(subject), spki]
    if not v1:
        tbs = [element(0xA0, integer(2)), *tbs, element(0xA3, sequence(constraints))]
    body = sequence(*tbs)
    value = sign("ca", body)
    r, s = (int.from_bytes(half, "big") for half in (value[:32], value[32:]))
    return sequence(body, algorithm, bits(encode_dss_signature(r, s)))


def pem(der: bytes) -> str:
    """Return a certificate as PEM (RFC 7468)."""
    text = base64.b64encode(der).decode()
    lines = [text[at : at + 64] for at in range(0, len(text), 64)]
    return "\n".join(["-----BEGIN CERTIFICATE-----", *lines, "-----END CERTIFICATE-----", ""])


def _name(text: str) -> bytes:
    value = sequence(oid(_COMMON_NAME), element(0x0C, text.encode()))
    return sequence(element(0x31, value))
