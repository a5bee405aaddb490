"""Certificates: from DER or PEM to the SPKI fingerprint, and to what people want to read.

The fingerprint is taken over the SubjectPublicKeyInfo bytes as they stand in the certificate.
Re-encoding the parsed key would differ for rare encodings and fail for unknown algorithms.
Nothing is verified here: chains come verified from the TLS stack.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from .errors import MalformedError

MAX_CERTIFICATE = 64 * 1024  # bytes; OpenSSL itself stops at 100 KiB for a whole chain

_SEQUENCE = 0x30
_EXPLICIT_VERSION = 0xA0
_UNREADABLE = (
    ValueError,
    TypeError,  # a name that is written as a bit string
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)


def spki_fingerprint(der: bytes) -> bytes:
    """Return the 32-byte SHA-256 over the SubjectPublicKeyInfo of a DER certificate.

    The source of the rule is RFC 7469, section 2.4; the structure is RFC 5280, section 4.1.

    Raises:
        MalformedError: not a DER certificate.
    """
    return sha256(spki(der)).digest()


def spki(der: bytes) -> bytes:
    """Return the SubjectPublicKeyInfo of a DER certificate, byte for byte.

    Raises:
        MalformedError: not a DER certificate, or over 64 KiB.
    """
    if len(der) > MAX_CERTIFICATE:
        raise MalformedError(f"expected a certificate of at most 64 KiB, found {len(der)} bytes")
    try:
        at, end = _enter(der, 0, len(der))  # Certificate
        if end != len(der):
            raise IndexError
        at, end = _enter(der, at, end)  # TBSCertificate
        if der[at] == _EXPLICIT_VERSION:
            at = _skip(der, at, end)
        for _ in range(5):  # serialNumber, signature, issuer, validity, subject
            at = _skip(der, at, end)
        if der[at] != _SEQUENCE:
            raise IndexError
        return der[at : _skip(der, at, end)]
    except IndexError as exc:
        raise MalformedError("expected a DER certificate") from exc


def _header(der: bytes, at: int, end: int) -> tuple[int, int]:
    """Return where the content of the element at `at` starts and stops, within `end`."""
    length = der[at + 1]
    start = at + 2
    if length & 0x80:
        count = length & 0x7F
        if not 1 <= count <= 4:
            raise IndexError
        length = int.from_bytes(der[start : start + count], "big")
        start += count
    if start + length > end:
        raise IndexError
    return start, start + length


def _enter(der: bytes, at: int, end: int) -> tuple[int, int]:
    if der[at] != _SEQUENCE:
        raise IndexError
    return _header(der, at, end)


def _skip(der: bytes, at: int, end: int) -> int:
    return _header(der, at, end)[1]


def pem_to_ders(text: str | bytes) -> list[bytes]:
    """Return the certificates of a PEM text as DER, in order.

    Raises:
        MalformedError: no certificate, or one that cannot be read.
    """
    try:
        data = text.encode() if isinstance(text, str) else text
        found = x509.load_pem_x509_certificates(data)
    except _UNREADABLE as exc:
        raise MalformedError("expected PEM certificates") from exc
    return [certificate.public_bytes(Encoding.DER) for certificate in found]


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateInfo:
    """What people want to see of a certificate. `fingerprint` is the 32-byte SPKI fingerprint."""

    subject: str
    issuer: str
    serial: str
    not_before: datetime
    not_after: datetime
    names: tuple[str, ...]
    key_type: str
    fingerprint: bytes


def describe(der: bytes) -> CertificateInfo:
    """Return what people want to see of a DER certificate.

    Raises:
        MalformedError: not a DER certificate.
    """
    fingerprint = spki_fingerprint(der)
    try:
        certificate = x509.load_der_x509_certificate(der)
        return CertificateInfo(
            subject=certificate.subject.rfc4514_string(),
            issuer=certificate.issuer.rfc4514_string(),
            serial=f"{certificate.serial_number:x}",
            not_before=certificate.not_valid_before_utc,
            not_after=certificate.not_valid_after_utc,
            names=_names(certificate),
            key_type=_key_type(certificate),
            fingerprint=fingerprint,
        )
    except _UNREADABLE as exc:
        raise MalformedError("expected a DER certificate") from exc


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        san = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    addresses = san.get_values_for_type(x509.IPAddress)
    return (*san.get_values_for_type(x509.DNSName), *(str(a) for a in addresses))


def _key_type(certificate: x509.Certificate) -> str:
    try:
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return "unknown"
    if isinstance(key, rsa.RSAPublicKey):
        return f"RSA-{key.key_size}"
    if isinstance(key, ec.EllipticCurvePublicKey):
        return f"EC {key.curve.name}"
    return type(key).__name__.strip("_").removesuffix("PublicKey")
