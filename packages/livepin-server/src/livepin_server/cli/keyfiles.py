"""Key files: what is in them, and the SPKI fingerprints of it.

Read are certificates, bundles of them, requests, public keys and private keys. Of a private key
only the public half is used, and nothing of it leaves this module.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_private_key,
    load_der_public_key,
    load_pem_private_key,
    pkcs7,
    pkcs12,
)
from livepin.certificates import describe, pem_to_ders
from livepin.errors import MalformedError
from livepin.pins import fingerprint_text

from .looking import Level
from .output import CommandError, counted, plain

MOST = 1024 * 1024  # bytes of a file
MOST_CERTIFICATES = 100

_MARK = re.compile(rb"-----(BEGIN|END) ([A-Z0-9 ]{1,40})-----")
_CERTIFICATES = {b"CERTIFICATE", b"X509 CERTIFICATE"}
_BUNDLES = {b"PKCS7", b"CMS"}
_REQUESTS = {b"CERTIFICATE REQUEST", b"NEW CERTIFICATE REQUEST"}
_KEYS = {b"PRIVATE KEY", b"ENCRYPTED PRIVATE KEY", b"RSA PRIVATE KEY", b"EC PRIVATE KEY"}
_UNENCRYPTED = b"-----BEGIN PRIVATE KEY-----"
_PARAMETERS = {b"EC PARAMETERS", b"DH PARAMETERS"}

_PKCS7_OID = bytes.fromhex("06092a864886f70d0107")  # 1.2.840.113549.1.7
_PSS = bytes.fromhex("06092a864886f70d01010a")  # 1.2.840.113549.1.1.10

_UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    MalformedError,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
_TAKES = (
    "it takes a certificate, PKCS#7, PKCS#12, a request or a key, in PEM or DER; "
    "or name sha256/BASE64"
)
_DAMAGED = "was the file damaged?"
_OPENS = "--passphrase-file FILE, or the variable LIVEPIN_KEY_PASSPHRASE"

Passphrase = Callable[[], str | None]
_K = TypeVar("_K")


@dataclass(frozen=True, slots=True)
class Found:
    """A public key that was found, and in what. `der` is its certificate, where it was in one.

    `names` are the hosts that a request is for.
    """

    pin: str
    what: str
    level: Level | None = None
    der: bytes | None = None
    names: tuple[str, ...] = ()


def read(data: bytes, name: str, *, passphrase: Passphrase) -> list[Found]:
    """Return the public keys in a file, each once. `passphrase` is asked only where needed.

    Raises:
        CommandError: nothing of use in it, or it does not open.
    """
    if not data.strip():
        raise CommandError(f"{name} is empty", hint=_TAKES)
    if len(data) > MOST:
        raise CommandError(f"{name} holds more than {MOST // 1024} KiB", hint=_TAKES)
    found = _of_pem(data, name, passphrase) if b"-----BEGIN " in data else None
    if found is None:
        found = _of_der(data, name, passphrase)
    by_pin: dict[str, Found] = {}
    for each in found:
        # A certificate says more of a key than the key does.
        if each.pin not in by_pin or by_pin[each.pin].der is None:
            by_pin[each.pin] = each
    if len(by_pin) > MOST_CERTIFICATES:
        raise CommandError(
            f"{name} holds {len(by_pin)} keys", hint="give a file with the one that is meant"
        )
    return list(by_pin.values())


def choose(found: Sequence[Found], name: str, level: Level | None) -> Found:
    """Return the one key that is meant; a file with several needs a `level`.

    Raises:
        CommandError: it is not clear which, or there is none of that level.
    """
    if level is None:
        if len(found) == 1:
            return found[0]
        listed = ", ".join(each.what for each in found[:4])
        more = ", ..." if len(found) > 4 else ""
        raise CommandError(
            f"{name} holds {counted(len(found), 'key')}: {listed}{more}",
            hint="say which: --pin-level leaf, intermediate or root",
        )
    if len(found) == 1 and found[0].der is None:
        return replace(found[0], level=level)
    line = _line(found, name)
    chosen = [each for each in line if each.level == level]
    if not chosen:
        held = ", ".join(f"{each.what} ({each.level})" for each in line or found[:4])
        raise CommandError(
            f"{name} holds no {level}; it holds {held}",
            hint="name a level that is there, or another file",
        )
    return chosen[0]


def _line(found: Sequence[Found], name: str) -> list[Found]:
    """Return the certificates of a file as the one chain that they are, leaf first.

    Raises:
        CommandError: they are not one chain.
    """
    left = {each: x509.load_der_x509_certificate(each.der) for each in found if each.der}
    ends = [each for each, its in left.items() if not any(_issued(o, its) for o in left.values())]
    line, at = [], next(iter(ends), None)
    while at is not None:
        line.append(at)
        last = left.pop(at)
        at = next((each for each, its in left.items() if _issued(last, its)), None)
    if left:
        raise CommandError(
            f"{name} is not one chain: no other certificate in it leads to {next(iter(left)).what}",
            hint="give a file with the one that is meant",
        )
    return line


def _issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Tell whether `issuer`, which is another one, signed a certificate."""
    if certificate == issuer:
        return False
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


# -- PEM -----------------------------------------------------------------------------------------


def _of_pem(data: bytes, name: str, passphrase: Passphrase) -> list[Found]:
    found: list[Found] = []
    strange = None
    for label, text in blocks(data):
        what = label.decode()
        if label in _CERTIFICATES:
            text = text.replace(b" X509 ", b" ", 2)
            found += _certificates(pem_to_ders, text, name)
        elif label in _BUNDLES:
            text = text.replace(label, b"PKCS7")
            found += _bundle(pkcs7.load_pem_pkcs7_certificates, text, name)
        elif label in _REQUESTS:
            text = text.replace(label, b"CERTIFICATE REQUEST")
            found.append(_request(_from_pem(text, name, what), name))
        elif label == b"PUBLIC KEY":
            found.append(_public(_from_pem(text, name, what), name))
        elif label in _KEYS:
            found.append(_private(text, name, passphrase, pem=True))
        elif label not in _PARAMETERS:
            strange = strange or what
    if not found:
        held = f"a {strange}" if strange else "nothing in PEM that can be read"
        raise CommandError(f"{name} holds {held}", hint=_TAKES)
    return found


def blocks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Give label and text of each block, in one pass: a file may be nothing but beginnings."""
    begin = None
    for mark in _MARK.finditer(data):
        if mark[1] == b"BEGIN":
            begin = mark
        elif begin is not None and begin[2] == mark[2]:
            yield mark[2], data[begin.start() : mark.end()] + b"\n"
            begin = None


def _from_pem(text: bytes, name: str, what: str) -> bytes:
    body = b"".join(text.strip().splitlines()[1:-1])
    try:
        return base64.b64decode(body.translate(None, b" \t\r"), validate=True)
    except binascii.Error as exc:
        raise CommandError(f"{name} holds a {what} that cannot be read", hint=_DAMAGED) from exc


# -- DER -----------------------------------------------------------------------------------------


def _of_der(data: bytes, name: str, passphrase: Passphrase) -> list[Found]:
    """Tell the kinds apart by how they begin, so that a broken file is told what is broken."""
    try:
        inner, end = _content(data, 0)
        if end != len(data):
            raise IndexError
        if data[inner] == 0x06:
            if not data[inner:].startswith(_PKCS7_OID):
                raise IndexError
            return _bundle(pkcs7.load_der_pkcs7_certificates, data, name)
        if data[inner] == 0x02:
            if data[inner : inner + 3] == b"\x02\x01\x03":
                return _pkcs12(data, name, passphrase)
            return [_private(data, name, passphrase, pem=False)]
        second, after = _content(data, inner)
        if data[second] == 0x06:  # an algorithm comes first
            if data[after] == 0x04:
                return [_private(data, name, passphrase, pem=False)]
            return [_public(data, name)]
        return _certificate_or_request(data, name)
    except IndexError:
        raise CommandError(f"{name} holds no certificate, request or key", hint=_TAKES) from None


def _certificate_or_request(data: bytes, name: str) -> list[Found]:
    try:
        x509.load_der_x509_csr(data)
    except _UNREADABLE:
        return _certificates(lambda der: [der], data, name)
    return [_request(data, name)]


def _content(data: bytes, at: int) -> tuple[int, int]:
    """Return where the content of the SEQUENCE at `at` starts and stops."""
    if data[at] != 0x30:
        raise IndexError
    return _bounds(data, at)


def _bounds(data: bytes, at: int) -> tuple[int, int]:
    length, start = data[at + 1], at + 2
    if length & 0x80:
        count = length & 0x7F
        if not 1 <= count <= 4:
            raise IndexError
        length = int.from_bytes(data[start : start + count], "big")
        start += count
    if start + length > len(data):
        raise IndexError
    return start, start + length


# -- what is in them -----------------------------------------------------------------------------


def _certificates(load: Callable[[bytes], list[bytes]], data: bytes, name: str) -> list[Found]:
    try:
        return [_certificate(der) for der in load(data)]
    except _UNREADABLE as exc:
        raise CommandError(
            f"{name} holds a certificate that cannot be read", hint=_DAMAGED
        ) from exc


def _bundle(load: Callable[[bytes], list[x509.Certificate]], data: bytes, name: str) -> list[Found]:
    try:
        found = load(data)
    except _UNREADABLE as exc:
        if "no certificate" not in str(exc):
            raise CommandError(
                f"{name} is a PKCS#7 bundle that cannot be read", hint=_DAMAGED
            ) from exc
        found = []
    if not found:
        raise CommandError(f"{name} is a PKCS#7 bundle without certificates", hint=_TAKES)
    ders = [each.public_bytes(Encoding.DER) for each in found]
    return _certificates(lambda _: ders, data, name)


def _certificate(der: bytes) -> Found:
    info = describe(der)
    certificate = x509.load_der_x509_certificate(der)
    try:
        ca = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        ca = False
    level: Level = "leaf"
    if ca:
        level = "root" if certificate.issuer == certificate.subject else "intermediate"
    what = plain(info.subject)[:120] or "a certificate without a subject"
    return Found(fingerprint_text(info.fingerprint), what, level, der)


def _request(der: bytes, name: str) -> Found:
    """Take the key as it stands in a request: read and written again, a rare one would differ."""
    try:
        request = x509.load_der_x509_csr(der)
        signed = request.is_signature_valid
        at, _ = _content(der, _content(der, 0)[0])
        for _ in range(2):  # version, subject
            at = _bounds(der, at)[1]
        key = der[at : _bounds(der, at)[1]]
        subject = plain(request.subject.rfc4514_string())[:120]
    except UnsupportedAlgorithm as exc:
        raise CommandError(
            f"{name} holds a request with a key of an unknown kind",
            hint="name its key: sha256/BASE64",
        ) from exc
    except (*_UNREADABLE, IndexError) as exc:
        raise CommandError(f"{name} holds a request that cannot be read", hint=_DAMAGED) from exc
    if not signed:
        raise CommandError(f"{name} holds a request whose signature is wrong", hint=_DAMAGED)
    what = f"the request of {subject}" if subject else "the request"
    return Found(_pin(key), what, "leaf", names=_hosts(request))


def _hosts(request: x509.CertificateSigningRequest) -> tuple[str, ...]:
    """Return the hosts that a request is for; none where its CA is to say."""
    try:
        found = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, *_UNREADABLE):
        return ()
    addresses = found.get_values_for_type(x509.IPAddress)
    return (*found.get_values_for_type(x509.DNSName), *(str(each) for each in addresses))


def _public(der: bytes, name: str) -> Found:
    try:
        load_der_public_key(der)
    except _UNREADABLE as exc:
        raise CommandError(f"{name} holds a public key that cannot be read", hint=_DAMAGED) from exc
    return Found(_pin(der), "a public key")


def _private(data: bytes, name: str, passphrase: Passphrase, *, pem: bool) -> Found:
    load = load_pem_private_key if pem else load_der_private_key
    try:
        try:
            key = load(data, None)
        except TypeError:  # how an encrypted key says so
            word = _needed(passphrase, f"{name} holds an encrypted key")
            key = _decrypted(lambda: load(data, word.encode()), name)
        if _PSS in (_from_pem(data, name, "key") if data.startswith(_UNENCRYPTED) else data):
            raise CommandError(
                f"{name} holds an RSA-PSS key, whose certificates may name it in two ways",
                hint="give the certificate, or its request",
            )
        public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except _UNREADABLE as exc:
        raise _unopened(exc, name, "a private key") from exc
    return Found(_pin(public), "a private key", "leaf")


def _pkcs12(data: bytes, name: str, passphrase: Passphrase) -> list[Found]:
    try:
        try:
            store = pkcs12.load_pkcs12(data, None)
        except ValueError:
            text = _needed(passphrase, f"{name} is encrypted")
            store = pkcs12.load_pkcs12(data, text.encode())
        held = [store.cert, *store.additional_certs]
        ders = [each.certificate.public_bytes(Encoding.DER) for each in held if each is not None]
        keys = [] if store.key is None else [store.key.public_key()]
        form = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
        spkis = [each.public_bytes(*form) for each in keys]
    except _UNREADABLE as exc:
        raise _unopened(exc, name, "a PKCS#12 store") from exc
    found = _certificates(lambda _: ders, data, name)
    found += [Found(_pin(each), "a private key", "leaf") for each in spkis if not ders]
    if not found:
        raise CommandError(f"{name} is a PKCS#12 store without certificates and keys", hint=_TAKES)
    return found


def _needed(passphrase: Passphrase, why: str) -> str:
    found = passphrase()
    if not found:
        raise CommandError(f"{why}, and there is no passphrase", hint=_OPENS)
    return found


def _decrypted(load: Callable[[], _K], name: str) -> _K:
    """Return a key that a passphrase opens; a wrong one may also seem to, and give rubbish."""
    try:
        return load()
    except ValueError as exc:
        raise _closed(name) from exc


def _unopened(exc: Exception, name: str, what: str) -> CommandError:
    text = str(exc).lower()
    if "password" in text or "decrypt" in text:
        return _closed(name)
    return CommandError(f"{name} holds {what} that cannot be read", hint=_DAMAGED)


def _closed(name: str) -> CommandError:
    return CommandError(
        f"{name} does not open with this passphrase", hint=f"give its own: {_OPENS}"
    )


def _pin(spki_der: bytes) -> str:
    return fingerprint_text(sha256(spki_der).digest())


def read_bounded(path: Path) -> bytes:
    """Return the bytes of a file, at most one more than may be in it.

    Raises:
        CommandError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(MOST + 1)
    except OSError as exc:
        raise CommandError(
            f"cannot read {path}: {exc.strerror}",
            hint="expected a file, - for standard input, or sha256/BASE64",
        ) from exc
