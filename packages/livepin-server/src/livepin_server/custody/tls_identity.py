"""The TLS identity of delivery: a CA of its own, a leaf whose key is pinned, and a backup key.

The clients pin the leaf's and the backup's key, and take the CA as anchor for delivery hosts
alone, so no public CA and no renewal is involved.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from livepin.hostnames import is_address, normalise
from livepin.pins import Pin

from livepin_server.errors import CustodyError

from .files import read_secret, write_secret

_LIFETIME = timedelta(days=10 * 365)  # the pins are what limits trust, not these dates
_Key = ec.EllipticCurvePrivateKey


@dataclass(frozen=True, slots=True, kw_only=True)
class TLSIdentity:
    """Where the files of an identity are, what clients need of it, and until when."""

    certificate: Path
    key: Path
    ca: str
    pins: tuple[Pin, Pin]
    expires: datetime


def create(folder: Path, hosts: list[str], *, now: datetime) -> TLSIdentity:
    """Write a CA, a leaf for `hosts` and a backup key into `folder`.

    The CA's private key is not kept: the backup key is signed into a second leaf at once, so
    nothing on the server can issue more certificates.
    """
    folder.mkdir(mode=0o700, parents=True)
    ca_key, key, next_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
    ca = _authority(ca_key, now)
    for name, each in (("server", key), ("next", next_key)):
        leaf = _leaf(ca, ca_key, each, hosts, now)
        (folder / f"{name}.pem").write_bytes(leaf.public_bytes(Encoding.PEM))
        write_secret(folder / f"{name}.key", _pem(each))
    (folder / "ca.pem").write_bytes(ca.public_bytes(Encoding.PEM))
    return load(folder)


def load(folder: Path) -> TLSIdentity:
    """Return the identity in `folder`.

    Raises:
        CustodyError: a file is missing, open to others, or not what it should be.
    """
    try:
        ca = (folder / "ca.pem").read_text("ascii")
    except OSError as exc:
        raise CustodyError(f"cannot read {folder / 'ca.pem'}: {exc.strerror}") from exc
    except ValueError as exc:
        raise CustodyError(f"{folder / 'ca.pem'} is not a certificate in PEM") from exc
    expires = min(_expires(folder / "ca.pem"), _expires(folder / "server.pem"))
    pins = _pin(folder / "server.key"), _pin(folder / "next.key")
    return TLSIdentity(
        certificate=folder / "server.pem",
        key=folder / "server.key",
        ca=ca,
        pins=pins,
        expires=expires,
    )


def _expires(path: Path) -> datetime:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc
    except OSError as exc:
        raise CustodyError(f"cannot read {path}: {exc.strerror}") from exc
    except ValueError as exc:
        raise CustodyError(f"{path} is not a certificate in PEM") from exc


def _pin(path: Path) -> Pin:
    try:
        key = load_pem_private_key(read_secret(path, limit=16 * 1024), password=None)
    except (ValueError, TypeError) as exc:
        raise CustodyError(f"{path} is not a private key in PEM") from exc
    spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    digest = hashes.Hash(hashes.SHA256())
    digest.update(spki)
    return Pin(digest.finalize())


def _pem(key: _Key) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _authority(key: _Key, now: datetime) -> x509.Certificate:
    builder = _builder("Livepin delivery CA", "Livepin delivery CA", key, now)
    return (
        builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(ca=True), critical=True)
        .sign(key, hashes.SHA256())
    )


def _leaf(
    ca: x509.Certificate, ca_key: _Key, key: _Key, hosts: list[str], now: datetime
) -> x509.Certificate:
    names = [_general_name(host) for host in hosts]
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
    return (
        _builder(hosts[0][:64], "Livepin delivery CA", key, now)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(ca=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(issuer, critical=False)
        .sign(ca_key, hashes.SHA256())
    )


def _builder(subject: str, issuer: str, key: _Key, now: datetime) -> x509.CertificateBuilder:
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    return (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + _LIFETIME)
        .add_extension(identifier, critical=False)
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _general_name(host: str) -> x509.GeneralName:
    name = normalise(host)
    if is_address(name):
        return x509.IPAddress(ipaddress.ip_address(name))
    return x509.DNSName(name)


def _usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )
