"""Names, fingerprints and certificates: what configs and handshakes bring."""

from __future__ import annotations

import base64
from collections.abc import Iterator

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
)
from livepin.certificates import describe, pem_to_ders, spki, spki_fingerprint
from livepin.documents.config import check_url
from livepin.errors import MalformedError
from livepin.hostnames import candidates, normalise, parse_pattern, pattern_covers
from livepin.pins import fingerprint_text, parse_fingerprint

from .target import Target, of_table

_SPKI = Encoding.DER, PublicFormat.SubjectPublicKeyInfo


def _host(data: bytes) -> None:
    text = data.decode(errors="surrogateescape")
    try:
        host = normalise(text)
    except MalformedError:
        return
    assert normalise(host) == host
    assert host.isascii()
    assert all(pattern_covers(pattern, host) for pattern in candidates(host))
    assert all(parse_pattern(pattern) == pattern for pattern in candidates(host))


def _pattern(data: bytes) -> None:
    try:
        pattern = parse_pattern(data.decode(errors="surrogateescape"))
    except MalformedError:
        return
    assert parse_pattern(pattern) == pattern


def _url(data: bytes) -> None:
    text = data.decode(errors="surrogateescape")
    try:
        host = check_url(text, schemes=("https", "http"))
    except MalformedError:
        return
    assert normalise(host) == host
    assert text.isprintable() or not text.isascii()


def _pin(data: bytes) -> None:
    text = data.decode(errors="surrogateescape")
    try:
        found = parse_fingerprint(text)
    except MalformedError:
        return
    assert fingerprint_text(found) == text


def _certificate(der: bytes) -> None:
    try:
        found = spki(der)
        info = describe(der)
    except MalformedError:
        return
    assert found in der
    assert info.fingerprint == spki_fingerprint(der)
    try:
        key = x509.load_der_x509_certificate(der).public_key()
    except (ValueError, UnsupportedAlgorithm):
        return
    # What is hashed is the key that the TLS stack takes from the certificate, and no other.
    assert load_der_public_key(found).public_bytes(*_SPKI) == key.public_bytes(*_SPKI)


def _pem(data: bytes) -> None:
    try:
        found = pem_to_ders(data)
    except MalformedError:
        return
    assert found


def _ders() -> Iterator[bytes]:
    for kind in ("ordinary", "rare", "refused"):
        for text in of_table(f"certificates/{kind}", "der"):
            yield base64.b64decode(text)


def _pems() -> Iterator[bytes]:
    for der in _ders():
        yield b"-----BEGIN CERTIFICATE-----\n%b-----END CERTIFICATE-----\n" % (
            base64.encodebytes(der)
        )


TARGETS = {
    "host": Target(run=_host, seeds=lambda: of_table("hostnames/normalise", "host"), longest=2048),
    "pattern": Target(
        run=_pattern, seeds=lambda: of_table("hostnames/patterns", "pattern"), longest=2048
    ),
    "url": Target(
        run=_url,
        seeds=lambda: [b"https://pins.example.com:8443/a", b"http://[2001:db8::1]:80"],
        longest=4096,
    ),
    "pin": Target(run=_pin, seeds=lambda: of_table("pins/text", "text"), longest=256),
    "certificate": Target(run=_certificate, seeds=_ders),
    "pem": Target(run=_pem, seeds=_pems),
}
