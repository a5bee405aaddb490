"""Apple App Attest: which app made a key in a device's Secure Enclave, and that it asks now.

The steps are those of Apple's "Validating apps that connect to your server". What Apple calls
clientDataHash is the nonce of the request itself. An attestation registers a key; assertions by
that key come after it, each with a higher counter.

Of an attestation no signature covers the bytes of the receipt, and nothing of it is looked at: it
is for asking Apple how many keys a device has made, which Livepin does not do. Every other byte is
either covered or has to be what it is.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from hashlib import sha256
from importlib import resources
from typing import Annotated, Any

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from livepin.errors import MalformedError
from livepin.jose import PublicKey, b64url_decode, b64url_encode

from . import cbor
from .attested import Asked, Attested, EvidenceError

FORMAT = "apple-app-attest"
MAX_ATTESTATION = 16 * 1024  # bytes; a device's has about 5,500
MAX_ASSERTION = 1024  # bytes; a device's has about 150
KEY_ID = 32  # bytes of a SHA-256

_AUTHENTICATOR_DATA = struct.Struct(">32sxI16sH32s77s")  # WebAuthn, section 6.1
_ASSERTED_DATA = struct.Struct(">32sxI")  # without a key
_PRODUCTION, _DEVELOPMENT = b"appattest".ljust(16, b"\0"), b"appattestdevelop"
_NONCE = x509.ObjectIdentifier("1.2.840.113635.100.8.2")
_NONCE_DER = bytes.fromhex("3024a1220420")  # SEQUENCE { [1] { OCTET STRING of 32 bytes } }
_COSE_X, _COSE_Y = bytes.fromhex("a5010203262001215820"), bytes.fromhex("225820")  # ES256, P-256
_ES256 = ec.ECDSA(hashes.SHA256())
_RECEIPT, _AFTER_RECEIPT = b"\x67receipt\x59", b"\x68authData\x58\xa4"
_OVERSTATED = 21  # bytes
_UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
    Warning,  # of what RFC 5280 forbids, where the process makes errors of warnings
)


class AppleApp(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An app as Apple names it. With `development`, keys of that environment are taken, too."""

    team: Annotated[str, msgspec.Meta(pattern=r"^[A-Z0-9]+$", min_length=10, max_length=10)]
    bundle: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9.-]+$", max_length=155)]
    development: bool = False

    @property
    def id(self) -> str:
        """The App ID."""
        return f"{self.team}.{self.bundle}"


@dataclass(frozen=True, slots=True, kw_only=True)
class AttestedKey:
    """A key that an attestation has shown to be one of an app's, on one device.

    Assertions do not say of which environment their key is, so `development` is kept with it.
    """

    key_id: bytes
    public_key: PublicKey
    counter: int = 0
    development: bool = False

    def advanced(self, counter: int) -> AttestedKey:
        """Return the key after an assertion with this counter.

        Who keeps keys reads and writes the counter as one: of two requests that carry the same
        assertion, or two of which the older comes last, one alone may pass.

        Raises:
            EvidenceError: check `counter`: it is not above the one before.
        """
        if counter <= self.counter:
            raise EvidenceError("counter", f"expected above {self.counter}, found {counter}")
        return replace(self, counter=counter)


def read_key_id(evidence: Mapping[str, Any]) -> bytes:
    """Return the id of the key that evidence is of, to look it up. Nothing is verified.

    Raises:
        EvidenceError: check `malformed` or `size`.
    """
    key_id = _member(evidence, "key_id", KEY_ID)
    if len(key_id) != KEY_ID:
        raise _malformed(f"expected a key_id of {KEY_ID} bytes, found {len(key_id)}")
    return key_id


def verify_attestation(
    evidence: Mapping[str, Any],
    asked: Asked,
    app: AppleApp,
    *,
    roots: Sequence[x509.Certificate] | None = None,
) -> tuple[Attested, AttestedKey]:
    """Return what an attestation proves, and the key that it registers.

    `roots` are the trust anchors, Apple's own unless others are given. Certificates are judged at
    the time of the request: those of devices live from three days to eleven months.

    Raises:
        EvidenceError: check `format`, `size`, `malformed`, `chain`, `root`, `expired`, `nonce`,
            `public_key`, `key_id`, `app_id`, `counter` or `environment`.
    """
    key_id = read_key_id(evidence)
    chain, data = _attestation(_member(evidence, "attestation", MAX_ATTESTATION))
    rp_id, counter, environment, length, credential, cose = _unpacked(_AUTHENTICATOR_DATA, data)
    if length != KEY_ID:
        raise _malformed(f"expected a credential id of {KEY_ID} bytes, found {length}")
    leaf = _verified(chain, apple_roots() if roots is None else roots, asked.now)  # step 1
    _check_nonce(leaf, sha256(data + asked.nonce).digest())  # steps 2 to 4
    public_key, point = _key_of(leaf)
    if cose != _COSE_X + point[1:33] + _COSE_Y + point[33:]:
        raise EvidenceError("public_key", "expected the certificate's key in the authData")
    if not key_id == credential == sha256(point).digest():  # steps 5 and 9
        raise EvidenceError("key_id", "expected the SHA-256 of the certificate's key")
    _check_app(rp_id, app)  # step 6
    if counter != 0:  # step 7
        raise EvidenceError("counter", f"expected 0 in an attestation, found {counter}")
    key = AttestedKey(
        key_id=key_id,
        public_key=public_key,
        development=_is_development(environment),  # step 8
    )
    _check_environment(key, app)
    return _attested(app, key, "attestation"), key


def verify_assertion(
    evidence: Mapping[str, Any], asked: Asked, app: AppleApp, key: AttestedKey
) -> tuple[Attested, AttestedKey]:
    """Return what an assertion by `key` proves, and the key with its counter from now on.

    What is proved holds once that counter is kept, see `AttestedKey.advanced`.

    Raises:
        EvidenceError: check `format`, `size`, `malformed`, `key_id`, `app_id`, `environment`,
            `signature` or `counter`.
    """
    if read_key_id(evidence) != key.key_id:
        raise EvidenceError("key_id", "expected an assertion by the key that was attested")
    found = _map(_member(evidence, "assertion", MAX_ASSERTION), "signature", "authenticatorData")
    signature, data = _bytes(found, "signature"), _bytes(found, "authenticatorData")
    rp_id, counter = _unpacked(_ASSERTED_DATA, data)
    _check_app(rp_id, app)
    _check_environment(key, app)
    try:
        key.public_key.key.verify(signature, sha256(data + asked.nonce).digest(), _ES256)
    except InvalidSignature as exc:
        raise EvidenceError("signature", "expected one by the key over this request") from exc
    advanced = key.advanced(counter)
    return _attested(app, advanced, "assertion"), advanced


@cache
def apple_roots() -> tuple[x509.Certificate, ...]:
    """Return Apple's own trust anchors: the Apple App Attestation Root CA, 2020 to 2045."""
    return read_roots(resources.files(__package__).joinpath("apple_root.pem").read_bytes())


def read_roots(pem: bytes) -> tuple[x509.Certificate, ...]:
    """Return trust anchors from PEM.

    Raises:
        MalformedError: no certificate, or one that cannot be read.
    """
    try:
        return tuple(x509.load_pem_x509_certificates(pem))
    except _UNREADABLE as exc:
        raise MalformedError("expected PEM certificates") from exc


# -- reading -------------------------------------------------------------------------------------


def _member(evidence: Mapping[str, Any], name: str, limit: int) -> bytes:
    if evidence.get("format") != FORMAT:
        raise EvidenceError("format", f"expected {FORMAT}")
    text = evidence.get(name)
    if not isinstance(text, str) or not text.isascii():
        raise _malformed(f"expected the member {name} in base64url")
    if len(text) > limit * 4 // 3 + 1:
        raise EvidenceError("size", f"expected {name} of at most {limit} bytes")
    try:
        return b64url_decode(text.encode())
    except MalformedError as exc:
        raise _malformed(f"{name}: {exc}") from exc


def _attestation(raw: bytes) -> tuple[list[x509.Certificate], bytes]:
    """Return the certificates and the authenticator data of an attestation."""
    found = _map(_reframed(raw), "fmt", "attStmt", "authData")
    if found["fmt"] != "apple-appattest":
        raise EvidenceError("format", "expected an attestation with fmt apple-appattest")
    statement = found["attStmt"]
    if not isinstance(statement, dict) or statement.keys() != {"x5c", "receipt"}:
        raise _malformed("expected attStmt with x5c and receipt")
    listed = statement["x5c"]
    if not isinstance(listed, list) or not all(isinstance(each, bytes) for each in listed):
        raise _malformed("expected x5c to be a list of certificates")
    if len(listed) != 2:
        raise EvidenceError("chain", f"expected a leaf and its issuer, found {len(listed)}")
    return [_certificate(each) for each in listed], _bytes(found, "authData")


def _certificate(der: bytes) -> x509.Certificate:
    try:
        found = x509.load_der_x509_certificate(der)
    except _UNREADABLE as exc:
        raise _malformed("expected DER certificates in x5c") from exc
    # No bit of the signature's own wrapping is left open either: it has none that is unused.
    if not der.endswith(b"\0" + found.signature):
        raise _malformed("expected signatures of whole bytes in x5c")
    return found


def _reframed(raw: bytes) -> bytes:
    """Return the sample of Apple's documentation with its receipt as long as it is.

    That sample says that its receipt has 21 bytes more than it has, so that it is no CBOR, and
    people try servers with it. Whatever has not exactly this flaw is returned as it came.
    """
    with suppress(MalformedError):
        cbor.parse(raw)
        return raw
    start = raw.find(_RECEIPT) + len(_RECEIPT) + 2
    end = len(raw) - len(_AFTER_RECEIPT) - _AUTHENTICATOR_DATA.size
    says = int.from_bytes(raw[start - 2 : start], "big")
    if not raw.startswith(_AFTER_RECEIPT, end) or says != end - start + _OVERSTATED:
        return raw
    return raw[: start - 2] + (end - start).to_bytes(2, "big") + raw[start:]


def _map(raw: bytes, *members: str) -> dict[str, Any]:
    try:
        found = cbor.parse(raw)
    except MalformedError as exc:
        raise _malformed(str(exc)) from exc
    if found.keys() != set(members):
        raise _malformed(f"expected a map of {', '.join(members)}")
    return found


def _bytes(found: Mapping[str, Any], name: str) -> bytes:
    value = found[name]
    if not isinstance(value, bytes):
        raise _malformed(f"expected {name} to be bytes")
    return value


def _unpacked(form: struct.Struct, data: bytes) -> tuple[Any, ...]:
    if len(data) != form.size:
        raise _malformed(f"expected authenticator data of {form.size} bytes, found {len(data)}")
    return form.unpack(data)


def _malformed(message: str) -> EvidenceError:
    return EvidenceError("malformed", message)


# -- checks --------------------------------------------------------------------------------------


def _verified(
    chain: list[x509.Certificate], roots: Sequence[x509.Certificate], now: datetime
) -> x509.Certificate:
    """Return the leaf of a chain that ends in one of `roots`."""
    leaf, issuer = chain
    if not _issued(issuer, leaf):
        raise EvidenceError("chain", "expected a leaf that its issuer signed")
    root = next((each for each in roots if _issued(each, issuer)), None)
    if root is None:
        raise EvidenceError("root", "expected an issuer that a trusted root signed")
    for each in (leaf, issuer, root):
        if not each.not_valid_before_utc <= now <= each.not_valid_after_utc:
            raise EvidenceError(
                "expired",
                f"expected certificates that are valid at {now:%Y-%m-%dT%H:%M:%SZ}, found one from "
                f"{each.not_valid_before_utc:%Y-%m-%d} to {each.not_valid_after_utc:%Y-%m-%d}",
            )
    return leaf


def _issued(issuer: x509.Certificate, certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
        return issuer.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (InvalidSignature, x509.ExtensionNotFound, *_UNREADABLE):
        return False


def _check_nonce(leaf: x509.Certificate, nonce: bytes) -> None:
    try:
        found = leaf.extensions.get_extension_for_oid(_NONCE).value
    except (x509.ExtensionNotFound, *_UNREADABLE) as exc:
        raise EvidenceError("nonce", "expected a certificate that holds a nonce") from exc
    if found.public_bytes() != _NONCE_DER + nonce:
        raise EvidenceError("nonce", "expected an attestation made for this request")


def _key_of(leaf: x509.Certificate) -> tuple[PublicKey, bytes]:
    """Return the key of a certificate, and its point as X9.62 writes it."""
    try:
        key = leaf.public_key()
    except _UNREADABLE as exc:
        raise EvidenceError("public_key", "expected a certificate with a P-256 key") from exc
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp256r1":
        raise EvidenceError("public_key", "expected a certificate with a P-256 key")
    return PublicKey(key), key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def _check_app(rp_id: bytes, app: AppleApp) -> None:
    if rp_id != sha256(app.id.encode()).digest():
        raise EvidenceError("app_id", f"expected the app {app.id}")


def _is_development(environment: bytes) -> bool:
    if environment not in (_PRODUCTION, _DEVELOPMENT):
        raise EvidenceError("environment", "expected the aaguid of App Attest")
    return environment == _DEVELOPMENT


def _check_environment(key: AttestedKey, app: AppleApp) -> None:
    if key.development and not app.development:
        raise EvidenceError("environment", "expected a key of production, found development")


def _attested(app: AppleApp, key: AttestedKey, by: str) -> Attested:
    return Attested(
        format=FORMAT,
        level="hardware_app",
        said={
            "app": app.id,
            "environment": "development" if key.development else "production",
            "key_id": b64url_encode(key.key_id).decode(),
            "by": by,
            "counter": str(key.counter),
        },
    )
