"""Key files that `livepin pin add` imports: one target for each format."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    pkcs7,
    pkcs12,
)
from livepin.pins import parse_fingerprint
from livepin.testing import Chain, make_authority, make_chain, make_key
from livepin_server.cli.keyfiles import choose, read
from livepin_server.cli.output import CommandError

from vectors.source.keys import private_key

from .target import Target

_PASSPHRASE = "open sesame"
_KEY = private_key("leaf")
_PEM, _DER = Encoding.PEM, Encoding.DER
_ECDSA_SHA256 = bytes.fromhex("300a06082a8648ce3d040302")


@cache
def _chain() -> Chain:
    authority = make_authority("Test CA", key=private_key("ca"))
    between = make_authority("Test Issuer", issuer=authority, key=private_key("issuer"))
    return make_chain("api.example.com", authority=authority, intermediate=between, key=_KEY)


def _read(data: bytes) -> None:
    try:
        found = read(data, "file", passphrase=lambda: _PASSPHRASE)
    except CommandError as exc:
        assert str(exc).isprintable()
        return
    assert found
    for each in found:
        parse_fingerprint(each.pin)
        assert each.what.isprintable()
    for level in (None, "leaf", "intermediate", "root"):
        with suppress(CommandError):
            choose(found, "file", level)


# -- signed, so that more than the signature of a request is tried -------------------------------


def _signed_request(info: bytes) -> None:
    signature = b"\0" + _KEY.sign(info, ec.ECDSA(hashes.SHA256()))
    _read(_tagged(0x30, info + _ECDSA_SHA256 + _tagged(0x03, signature)))


def _tagged(tag: int, body: bytes) -> bytes:
    return bytes([tag, 0x83]) + len(body).to_bytes(3, "big") + body


# -- seeds ---------------------------------------------------------------------------------------


def _pems() -> Iterator[bytes]:
    chain = _chain()
    line = [*chain.presented, chain.authority.certificate]
    yield from (each.public_bytes(_PEM) for each in line)
    yield b"".join(each.public_bytes(_PEM) for each in line)
    yield chain.leaf.public_bytes(_PEM).replace(b"CERTIFICATE", b"X509 CERTIFICATE")


def _ders() -> Iterator[bytes]:
    yield from (each.public_bytes(_DER) for each in _chain().presented)


def _bundles() -> Iterator[bytes]:
    for form in (_PEM, _DER):
        yield pkcs7.serialize_certificates(list(_chain().presented), form)


def _stores() -> Iterator[bytes]:
    leaf, issuer = _chain().presented
    yield pkcs12.serialize_key_and_certificates(b"one", _KEY, leaf, [issuer], NoEncryption())
    box = BestAvailableEncryption(_PASSPHRASE.encode())
    yield pkcs12.serialize_key_and_certificates(b"one", _KEY, leaf, None, box)


def _request() -> x509.CertificateSigningRequest:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "api.example.com")])
    names = x509.SubjectAlternativeName([x509.DNSName("api.example.com")])
    builder = x509.CertificateSigningRequestBuilder().subject_name(name)
    return builder.add_extension(names, critical=False).sign(_KEY, hashes.SHA256())


def _requests() -> Iterator[bytes]:
    for form in (_PEM, _DER):
        yield _request().public_bytes(form)


def _publics() -> Iterator[bytes]:
    for key in (_KEY, make_key("rsa")):
        for form in (_PEM, _DER):
            yield key.public_key().public_bytes(form, PublicFormat.SubjectPublicKeyInfo)


def _privates() -> Iterator[bytes]:
    boxes = NoEncryption(), BestAvailableEncryption(_PASSPHRASE.encode())
    for form in (_PEM, _DER):
        for box in boxes:
            yield _KEY.private_bytes(form, PrivateFormat.PKCS8, box)
        yield _KEY.private_bytes(form, PrivateFormat.TraditionalOpenSSL, boxes[0])


def _target(seeds: Callable[[], Iterator[bytes]]) -> Target:
    return Target(run=_read, seeds=seeds, longest=64 * 1024)


TARGETS = {
    "keyfile_pem": _target(_pems),
    "keyfile_der": _target(_ders),
    "keyfile_pkcs7": _target(_bundles),
    "keyfile_pkcs12": _target(_stores),
    "keyfile_request": _target(_requests),
    "keyfile_public": _target(_publics),
    "keyfile_private": _target(_privates),
    "signed_request": Target(run=_signed_request, seeds=lambda: [_request().tbs_certrequest_bytes]),
}
