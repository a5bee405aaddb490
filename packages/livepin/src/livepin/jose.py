"""JWS with one algorithm, ES256: keys, thumbprints, signing, and parsing without trust.

What is implemented of RFC 7515, 7517, 7518 and 7638, and nothing else: compact and general JSON
serialisation, protected headers only, P-256 keys. Each use names the `typ` it expects (RFC 8725,
section 3.11). Which keys are trusted is decided in `trust`.
"""

from __future__ import annotations

import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Any, Protocol

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
)

from . import jsontext
from .errors import MalformedError

_ES256 = ec.ECDSA(hashes.SHA256())
_P256, _UNCOMPRESSED = ec.SECP256R1(), b"\x04"  # SEC 1, section 2.3.3
_COORDINATE = 32
_MAX_HEADER = 1024  # characters; ours take about 100
_MAX_SIGNATURES = 32
_BASE64URL = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_TO_URL, _FROM_URL = bytes.maketrans(b"+/", b"-_"), bytes.maketrans(b"-_", b"+/")
# What the last of two or three characters may be: the bits that no byte has are zero.
_LAST = {2: _BASE64URL[::16], 3: _BASE64URL[::4]}
# Parameters that bring their own key, or change what is signed (RFC 7515, 4.1; RFC 8725, 3.10).
_REFUSED_PARAMETERS = frozenset({"crit", "jwk", "jku", "x5u", "x5c"})


def b64url_encode(data: bytes) -> bytes:
    """Return base64url without padding (RFC 7515, section 2)."""
    return binascii.b2a_base64(data, newline=False).translate(_TO_URL).rstrip(b"=")


def b64url_decode(data: bytes) -> bytes:
    """Return the bytes of canonical base64url without padding.

    Raises:
        MalformedError: padding, another alphabet, or bits left over (RFC 4648, section 3.5).
    """
    rest = len(data) % 4
    if rest == 1 or data.translate(None, _BASE64URL):
        raise MalformedError("expected base64url without padding")
    if rest and data[-1] not in _LAST[rest]:
        raise MalformedError("expected canonical base64url")
    return binascii.a2b_base64(data.translate(_FROM_URL) + b"=" * (-rest % 4))


@dataclass(frozen=True)
class PublicKey:
    """A P-256 public key that knows its JWK and its thumbprint."""

    key: ec.EllipticCurvePublicKey

    @classmethod
    def from_jwk(cls, jwk: dict[str, Any]) -> PublicKey:
        """Return the key of an EC JWK (RFC 7518, section 6.2); members not needed are ignored.

        Raises:
            MalformedError: another type or curve, or a point that is not on the curve.
        """
        if jwk.get("kty") != "EC" or jwk.get("crv") != "P-256":
            raise MalformedError("expected a JWK with kty EC and crv P-256")
        point = _UNCOMPRESSED + _coordinate(jwk, "x") + _coordinate(jwk, "y")
        try:
            found = cls(ec.EllipticCurvePublicKey.from_encoded_point(_P256, point))
        except ValueError as exc:
            raise MalformedError("expected a point on P-256") from exc
        found.__dict__["kid"] = _thumbprint(jwk["x"], jwk["y"])  # there is one way to write these
        return found

    def jwk(self) -> dict[str, str]:
        """Return the required members of the JWK, in the order of RFC 7638, section 3."""
        point = self.key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        return {
            "crv": "P-256",
            "kty": "EC",
            "x": b64url_encode(point[1 : 1 + _COORDINATE]).decode(),
            "y": b64url_encode(point[1 + _COORDINATE :]).decode(),
        }

    @cached_property
    def kid(self) -> str:
        """The RFC 7638 thumbprint, 43 characters of base64url."""
        jwk = self.jwk()
        return _thumbprint(jwk["x"], jwk["y"])

    def verifies(self, signature: bytes, data: bytes) -> bool:
        """Tell whether `signature`, 64 bytes r||s (RFC 7518, 3.4), is this key's on `data`."""
        if len(signature) != 2 * _COORDINATE:
            return False
        r = int.from_bytes(signature[:_COORDINATE], "big")
        s = int.from_bytes(signature[_COORDINATE:], "big")
        try:
            self.key.verify(encode_dss_signature(r, s), data, _ES256)
        except InvalidSignature:
            return False
        return True


def _thumbprint(x: str, y: str) -> str:
    members = f'{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}'
    return b64url_encode(sha256(members.encode()).digest()).decode()


def _coordinate(jwk: dict[str, Any], name: str) -> bytes:
    text = jwk.get(name)
    if not isinstance(text, str) or not text.isascii():
        raise MalformedError(f"expected a JWK with the member {name}")
    value = b64url_decode(text.encode())
    if len(value) != _COORDINATE:
        raise MalformedError(f"expected {name} of {_COORDINATE} bytes, found {len(value)}")
    return value


class Signer(Protocol):
    """Whoever signs for a key without showing it: a sealed key, a token, or a key in memory."""

    @property
    def public(self) -> PublicKey:
        """The public half."""

    def sign(self, data: bytes) -> bytes:
        """Return the ES256 signature on `data`, 64 bytes r||s."""


@dataclass(frozen=True)
class PrivateKey:
    """A P-256 private key in memory; a `Signer`. It never prints itself."""

    key: ec.EllipticCurvePrivateKey

    @classmethod
    def generate(cls) -> PrivateKey:
        """Return a new key from the system's random source."""
        return cls(ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def from_pkcs8(cls, der: bytes) -> PrivateKey:
        """Return the key of an unencrypted PKCS#8 DER structure.

        Raises:
            MalformedError: not a P-256 private key.
        """
        try:
            key = load_der_private_key(der, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as exc:
            raise MalformedError("expected a P-256 private key in PKCS#8") from exc
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != "secp256r1":
            raise MalformedError("expected a P-256 private key in PKCS#8")
        return cls(key)

    def pkcs8(self) -> bytes:
        """Return the key as unencrypted PKCS#8 DER."""
        return self.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())

    @cached_property
    def public(self) -> PublicKey:
        """The public half."""
        return PublicKey(self.key.public_key())

    def sign(self, data: bytes) -> bytes:
        """Return the ES256 signature on `data`, 64 bytes r||s."""
        r, s = decode_dss_signature(self.key.sign(data, _ES256))
        return r.to_bytes(_COORDINATE, "big") + s.to_bytes(_COORDINATE, "big")

    def __repr__(self) -> str:
        return f"PrivateKey({self.public.kid})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """One signature of a JWS, its header checked, its value not."""

    kid: str
    signing_input: bytes
    value: bytes

    def verified_by(self, key: PublicKey) -> bool:
        """Tell whether this is the signature of `key`."""
        return key.kid == self.kid and key.verifies(self.value, self.signing_input)


@dataclass(frozen=True, slots=True)
class Jws:
    """A parsed JWS. Nothing of it may be trusted before its signatures are verified."""

    payload: bytes
    signatures: tuple[Signature, ...]


def sign_compact(payload: bytes, *, typ: str, signer: Signer) -> bytes:
    """Return `payload` as compact JWS (RFC 7515, section 7.1)."""
    signing_input = _header(typ, signer) + b"." + b64url_encode(payload)
    return signing_input + b"." + b64url_encode(signer.sign(signing_input))


def sign_general(payload: bytes, *, typ: str, signers: Sequence[Signer]) -> bytes:
    """Return `payload` as general JSON JWS (RFC 7515, section 7.2.1), one signature a signer."""
    encoded = b64url_encode(payload)
    signatures = []
    for signer in signers:
        header = _header(typ, signer)
        value = b64url_encode(signer.sign(header + b"." + encoded))
        signatures.append({"protected": header.decode(), "signature": value.decode()})
    return jsontext.dump({"payload": encoded.decode(), "signatures": signatures})


def parse_compact(raw: bytes, *, typ: str) -> Jws:
    """Return the parts of a compact JWS whose header is as expected.

    Raises:
        MalformedError: not three parts of base64url, or a header that rule 2 refuses.
    """
    parts = raw.split(b".", 3)
    if len(parts) != 3:
        raise MalformedError("expected a compact JWS of three parts")
    protected, payload, value = parts
    signature = _signature(protected, payload, value, typ)
    return Jws(b64url_decode(payload), (signature,))


def parse_general(raw: bytes, *, typ: str) -> Jws:
    """Return the parts of a general JSON JWS whose headers are all as expected.

    Raises:
        MalformedError: another shape, unprotected headers, or a header that rule 2 refuses.
    """
    jsontext.check_depth(raw)
    members = jsontext.parse_object(raw)
    payload, listed = members.get("payload"), members.get("signatures")
    if members.keys() != {"payload", "signatures"} or not isinstance(listed, list):
        raise MalformedError("expected a general JSON JWS with the members payload and signatures")
    if not 1 <= len(listed) <= _MAX_SIGNATURES:
        raise MalformedError(f"expected 1 to {_MAX_SIGNATURES} signatures, found {len(listed)}")
    encoded = _ascii(payload, "payload")
    signatures = []
    for each in listed:
        # A member "header" would be an unprotected header: anybody could have written it.
        if not isinstance(each, dict) or each.keys() != {"protected", "signature"}:
            raise MalformedError("expected signatures with the members protected and signature")
        protected = _ascii(each["protected"], "protected")
        value = _ascii(each["signature"], "signature")
        signatures.append(_signature(protected, encoded, value, typ))
    return Jws(b64url_decode(encoded), tuple(signatures))


def _header(typ: str, signer: Signer) -> bytes:
    return b64url_encode(jsontext.dump({"alg": "ES256", "kid": signer.public.kid, "typ": typ}))


def _signature(protected: bytes, payload: bytes, value: bytes, typ: str) -> Signature:
    if len(protected) > _MAX_HEADER:
        raise MalformedError(f"expected a header of at most {_MAX_HEADER} characters")
    header_bytes = b64url_decode(protected)
    jsontext.check_depth(header_bytes)
    header = jsontext.parse_object(header_bytes)
    refused = _REFUSED_PARAMETERS & header.keys()
    if refused:
        raise MalformedError(f"expected no header parameter {sorted(refused)[0]}")
    if header.get("alg") != "ES256":
        raise MalformedError(f"expected alg ES256, found {str(header.get('alg'))[:40]!r}")
    if header.get("typ") != typ:
        raise MalformedError(f"expected typ {typ}, found {str(header.get('typ'))[:80]!r}")
    kid = header.get("kid")
    if not isinstance(kid, str):
        raise MalformedError("expected a kid in the header")
    return Signature(kid=kid, signing_input=protected + b"." + payload, value=b64url_decode(value))


def _ascii(value: object, name: str) -> bytes:
    if not isinstance(value, str) or not value.isascii():
        raise MalformedError(f"expected the member {name} in base64url")
    return value.encode("ascii")
