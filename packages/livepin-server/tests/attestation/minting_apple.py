"""Attestations and assertions as a device makes them, under an authority of our own."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from typing import Any

import cbor2
from asking import NOW
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID
from livepin.jose import b64url_encode
from livepin_server.attestation.apple import FORMAT, AppleApp

APP = AppleApp(team="ABCDE12345", bundle="com.example.app")
PRODUCTION, DEVELOPMENT = b"appattest" + bytes(7), b"appattestdevelop"
RECEIPT = bytes(range(256)) * 4
_NONCE = x509.ObjectIdentifier("1.2.840.113635.100.8.2")


def new_key(curve: ec.EllipticCurve | None = None) -> ec.EllipticCurvePrivateKey:
    """Return a new key, P-256 unless another curve is said."""
    return ec.generate_private_key(curve or ec.SECP256R1())


def evidence(key_id: bytes, **members: bytes) -> dict[str, Any]:
    """Return evidence as it stands in a token request."""
    members["key_id"] = key_id
    return {"format": FORMAT, **{k: b64url_encode(v).decode() for k, v in members.items()}}


@dataclass
class Certified:
    """A key, and what an issuer says of it."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def der(self) -> bytes:
        """The certificate."""
        return self.certificate.public_bytes(Encoding.DER)


def certify(
    name: str,
    issuer: Certified | None = None,
    *,
    key: ec.EllipticCurvePrivateKey | None = None,
    ca: bool = False,
    days: tuple[int, int] = (-1, 300),
    nonce: bytes | None = None,
) -> Certified:
    """Return a certificate that is valid for these days around now; its own without an issuer."""
    key = key or new_key(ec.SECP384R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW + dt.timedelta(days=days[0]))
        .not_valid_after(NOW + dt.timedelta(days=days[1]))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    if nonce is not None:
        builder = builder.add_extension(x509.UnrecognizedExtension(_NONCE, nonce), critical=False)
    return Certified(builder.sign(issuer.key if issuer else key, hashes.SHA256()), key)


@dataclass
class AppleAuthority:
    """What stands for Apple: a root, and the authority below it that certifies keys."""

    root: Certified = field(default_factory=lambda: certify("Root", ca=True))
    days: tuple[int, int] = (-1, 300)

    @cached_property
    def issuer(self) -> Certified:
        """The authority that certifies keys."""
        return certify("Attestation CA 1", self.root, ca=True, days=self.days)

    @property
    def roots(self) -> tuple[x509.Certificate, ...]:
        """What a verifier is to trust."""
        return (self.root.certificate,)


@dataclass
class EnclaveKey:
    """A key in a device's Secure Enclave, for one app."""

    app_id: str = APP.id
    environment: bytes = PRODUCTION
    counter: int = 0
    key: ec.EllipticCurvePrivateKey = field(default_factory=new_key)

    @cached_property
    def point(self) -> bytes:
        """The public key as X9.62 writes it."""
        return self.key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)

    @property
    def id(self) -> bytes:
        """What Apple calls the key identifier."""
        return sha256(self.point).digest()

    def data(self, **changes: Any) -> bytes:
        """Return the authenticator data of an attestation, with other parts if they are said."""
        x, y = self.point[1:33], self.point[33:]
        parts = {
            "rp_id": sha256(self.app_id.encode()).digest(),
            "flags": b"\x40",
            "counter": bytes(4),
            "environment": self.environment,
            "length": b"\x00\x20",
            "credential": self.id,
            "cose": cbor2.dumps({1: 2, 3: -7, -1: 1, -2: x, -3: y}),
        }
        return b"".join((parts | changes).values())

    def attestation(
        self,
        authority: AppleAuthority,
        nonce: bytes,
        *,
        data: bytes | None = None,
        extension: bytes | None = None,
        days: tuple[int, int] = (-1, 2),
        **members: Any,
    ) -> bytes:
        """Return an attestation; `members` are of its map or its statement, in place of its own."""
        data = self.data() if data is None else data
        if extension is None:
            extension = bytes.fromhex("3024a1220420") + sha256(data + nonce).digest()
        leaf = certify("leaf", authority.issuer, key=self.key, days=days, nonce=extension)
        statement = {"x5c": [leaf.der, authority.issuer.der], "receipt": RECEIPT}
        found = {"fmt": "apple-appattest", "attStmt": statement, "authData": data}
        for name, value in members.items():
            (statement if name in statement else found)[name] = value
        return cbor2.dumps(found)

    def attested(self, authority: AppleAuthority, nonce: bytes, **changes: Any) -> dict[str, Any]:
        """Return an attestation as evidence."""
        return evidence(self.id, attestation=self.attestation(authority, nonce, **changes))

    def assertion(
        self, nonce: bytes, *, by: ec.EllipticCurvePrivateKey | None = None, **members: Any
    ) -> bytes:
        """Return an assertion, with a counter that is one higher than before."""
        self.counter += 1
        data = sha256(self.app_id.encode()).digest() + b"\x40" + self.counter.to_bytes(4, "big")
        over = sha256(data + nonce).digest()
        signature = (by or self.key).sign(over, ec.ECDSA(hashes.SHA256()))
        return cbor2.dumps({"signature": signature, "authenticatorData": data, **members})

    def asserted(self, nonce: bytes, **changes: Any) -> dict[str, Any]:
        """Return an assertion as evidence."""
        return evidence(self.id, assertion=self.assertion(nonce, **changes))
