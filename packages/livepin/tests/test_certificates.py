"""Certificates: the SPKI as it stands in the DER, for every key type and in hostile bytes."""

from __future__ import annotations

import datetime as dt
import ipaddress
import warnings
from hashlib import sha256
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import (
    dsa,
    ec,
    ed448,
    ed25519,
    rsa,
    x448,
    x25519,
)
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.utils import CryptographyDeprecationWarning
from hypothesis import example, given
from hypothesis import strategies as st
from livepin.certificates import (
    MAX_CERTIFICATE,
    describe,
    pem_to_ders,
    spki,
    spki_fingerprint,
)
from livepin.errors import MalformedError
from livepin.testing import make_authority, make_chain, pin_of

SIGNER = ec.generate_private_key(ec.SECP256R1())
START, END = (dt.datetime(y, 3, 1, 2, 3, 4, tzinfo=dt.timezone.utc) for y in (2026, 2027))
CURVES = [
    ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1(), ec.SECP256K1(), ec.BrainpoolP256R1(),
    ec.BrainpoolP384R1(), ec.BrainpoolP512R1(),
]  # fmt: skip


def certificate(public: Any, *, subject: str = "leaf", san: Any = None) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, subject)])
    issuer = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "issuer")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(0xC0FFEE)
        .not_valid_before(START)
        .not_valid_after(END)
    )
    if san is not None:
        builder = builder.add_extension(x509.SubjectAlternativeName(san), critical=False)
    return builder.sign(SIGNER, hashes.SHA256())


def der_of(found: x509.Certificate) -> bytes:
    return found.public_bytes(Encoding.DER)


def spki_by_cryptography(found: x509.Certificate) -> bytes:
    return found.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def rsa_public(bits: int) -> rsa.RSAPublicKey:
    # Nobody signs with it: any odd modulus of the size makes the same structure.
    return rsa.RSAPublicNumbers(65537, (1 << (bits - 1)) + 0x1234567).public_key()


def public_keys() -> dict[str, Any]:
    found: dict[str, Any] = {f"RSA-{bits}": rsa_public(bits) for bits in (1024, 2048, 3072, 4096)}
    for curve in CURVES:
        found[f"EC {curve.name}"] = ec.generate_private_key(curve).public_key()
    found["DSA"] = dsa.generate_private_key(1024).public_key()
    found["Ed25519"] = ed25519.Ed25519PrivateKey.generate().public_key()
    found["Ed448"] = ed448.Ed448PrivateKey.generate().public_key()
    found["X25519"] = x25519.X25519PrivateKey.generate().public_key()
    found["X448"] = x448.X448PrivateKey.generate().public_key()
    return found


KEYS = public_keys()
LEAF = certificate(KEYS["EC secp256r1"], san=[x509.DNSName("api.example.com")])
DER = der_of(LEAF)


# -- the slice ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KEYS)
def test_the_slice_is_the_spki_that_cryptography_finds(kind: str) -> None:
    found = certificate(KEYS[kind])
    assert spki(der_of(found)) == spki_by_cryptography(found)
    assert spki_fingerprint(der_of(found)) == sha256(spki_by_cryptography(found)).digest()


@pytest.mark.parametrize("kind", KEYS)
def test_the_key_type_is_described(kind: str) -> None:
    assert describe(der_of(certificate(KEYS[kind]))).key_type == kind


@given(st.text(min_size=1, max_size=64).filter(lambda t: len(t.encode("utf-8", "replace")) <= 64))
@example("\0")
def test_the_subject_does_not_move_the_slice(subject: str) -> None:
    if any("\ud800" <= c <= "\udfff" for c in subject):
        return
    found = certificate(KEYS["Ed25519"], subject=subject)
    assert spki(der_of(found)) == spki_by_cryptography(found)


def test_a_key_of_an_algorithm_that_cryptography_does_not_know_has_a_fingerprint() -> None:
    known, unknown = bytes.fromhex("06072a8648ce3d0201"), bytes.fromhex("06072a8648ce3d0209")
    der = DER.replace(known, unknown, 1)
    assert spki(der) == spki(DER).replace(known, unknown, 1) != spki(DER)
    assert describe(der).key_type == "unknown"


def test_a_key_that_cryptography_refuses_has_a_fingerprint() -> None:
    point = spki(DER)[-64:]
    der = DER.replace(point, b"\1" * 64)
    assert spki(der)[-64:] == b"\1" * 64
    assert describe(der).key_type == "unknown"


# -- the structure, written by hand ------------------------------------------------------------


def element(tag: int, *content: bytes, octets: int | None = None) -> bytes:
    """Return a DER element; `octets` is how many the long form of its length has."""
    body = b"".join(content)
    if octets is None and len(body) < 128:
        return bytes([tag, len(body)]) + body
    count = octets or (len(body).bit_length() + 7) // 8
    return bytes([tag, 0x80 | count]) + len(body).to_bytes(count, "big") + body


KEY = element(0x30, element(0x30, b"\6\1\x2a"), element(3, b"\0key"))
VERSION = element(0xA0, element(2, b"\2"))
FIELDS = (element(2, b"\1"), *(element(0x30) for _ in range(4)))
REST = (element(0x30, b"\6\1\x2a"), element(3, b"\0sig"))


def structure(*tbs: bytes, after: bytes = b"", octets: int | None = None) -> bytes:
    return element(0x30, element(0x30, *tbs, octets=octets), *REST, octets=octets) + after


@pytest.mark.parametrize(
    "der",
    [
        structure(VERSION, *FIELDS, KEY),
        structure(*FIELDS, KEY),
        structure(VERSION, *FIELDS, KEY, element(0xA3, element(0x30))),
        structure(VERSION, *FIELDS[:4], element(0x30, b"\0" * 300), KEY),
        structure(VERSION, *FIELDS, KEY, octets=4),
    ],
    ids=["version 3", "version 1", "extensions", "long subject", "four octets of length"],
)
def test_the_key_is_found_by_the_structure_alone(der: bytes) -> None:
    assert spki(der) == KEY


@pytest.mark.parametrize(
    "der",
    [
        b"",
        b"0",
        b"\x30\x80",
        b"\x30\x80\x30\x80\0\0\0\0",
        b"\x30\x85\0\0\0\0\1\0",
        b"\x30\x84\xff\xff\xff\xff",
        b"\x30\x82\1",
        structure(),
        structure(VERSION),
        structure(VERSION, *FIELDS),
        structure(VERSION, *FIELDS[1:], KEY),
        structure(VERSION, *FIELDS, element(0x31, KEY)),
        structure(VERSION, *FIELDS, KEY[:-1]),
        structure(VERSION, *FIELDS, b"\x30\x81"),
        structure(VERSION, *FIELDS, KEY, after=b"\0"),
        structure(VERSION, *FIELDS, KEY, octets=5),
        element(0x31, element(0x30, VERSION, *FIELDS, KEY), *REST),
        element(0x30, element(0x31, VERSION, *FIELDS, KEY), *REST),
        element(0x30, element(0x30, *FIELDS), KEY, *REST),
        element(0x30, element(0x30), VERSION, *FIELDS, KEY),
    ],
)
def test_what_is_no_certificate_is_refused(der: bytes) -> None:
    with pytest.raises(MalformedError):
        spki(der)


@pytest.mark.parametrize("kind", ["EC secp256r1", "RSA-2048"])
def test_a_certificate_cut_off_anywhere_is_refused(kind: str) -> None:
    der = der_of(certificate(KEYS[kind]))
    for end in range(len(der)):
        with pytest.raises(MalformedError):
            spki(der[:end])


def test_a_certificate_over_64_kib_is_refused_before_it_is_read() -> None:
    room = element(0x30, b"\0" * (MAX_CERTIFICATE - 200))
    assert spki(structure(VERSION, *FIELDS, KEY, room)) == KEY
    with pytest.raises(MalformedError, match="64 KiB"):
        spki(structure(VERSION, *FIELDS, KEY, room + b"\0" * 200))


@given(st.binary(max_size=200) | st.binary(max_size=40).map(lambda b: structure(VERSION, b)))
def test_any_bytes_have_an_spki_or_are_refused(der: bytes) -> None:
    try:
        found = spki(der)
    except MalformedError:
        return
    assert found.startswith(b"\x30")
    assert found in der


VALID = {
    kind: der_of(certificate(KEYS[kind], san=[x509.DNSName("a.example")]))
    for kind in ("EC secp256r1", "RSA-2048", "Ed25519")
}


@pytest.mark.parametrize("kind", VALID)
@given(data=st.data())
def test_a_damaged_certificate_is_described_or_refused(
    kind: str, data: st.DataObject, damaged
) -> None:
    der = data.draw(damaged(VALID[kind]))
    with warnings.catch_warnings():
        # Of what it reads and will not read in future: it is read all the same.
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)
        try:
            found = describe(der)
        except MalformedError:
            return
    assert found.fingerprint == spki_fingerprint(der)


# -- PEM ---------------------------------------------------------------------------------------


def pem_of(*found: x509.Certificate) -> str:
    return "".join(each.public_bytes(Encoding.PEM).decode() for each in found)


def test_the_certificates_of_a_pem_text_come_in_order() -> None:
    authority = make_authority()
    chain = make_chain("api.example.com", authority=authority, intermediate=True)
    expected = [der_of(each) for each in (*chain.presented, authority.certificate)]
    text = pem_of(*chain.presented) + "a comment\n" + authority.pem
    assert pem_to_ders(text) == expected
    assert pem_to_ders(text.encode()) == expected
    assert pem_to_ders(text.replace("\n", "\r\n")) == expected


def test_other_blocks_in_a_pem_text_are_passed_over() -> None:
    other = pem_of(LEAF).replace("CERTIFICATE", "X509 CRL")
    assert pem_to_ders(other + pem_of(LEAF)) == [DER]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no PEM",
        b"\xff\xfe",
        "\ud800",
        DER,
        pem_of(LEAF)[:-40],
        pem_of(LEAF).replace("CERTIFICATE", "PRIVATE KEY"),
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        pem_of(LEAF) + "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ],
)
def test_what_holds_no_certificates_is_refused(text: str | bytes) -> None:
    with pytest.raises(MalformedError, match="PEM"):
        pem_to_ders(text)


@given(data=st.data())
def test_damaged_pem_gives_certificates_or_is_refused(data: st.DataObject, damaged) -> None:
    text = data.draw(damaged(pem_of(LEAF, LEAF).encode()) | st.binary())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)
        try:
            found = pem_to_ders(text)
        except MalformedError:
            return
    assert found


# -- what people read --------------------------------------------------------------------------


def test_a_certificate_is_described_as_people_read_it() -> None:
    san = [
        x509.DNSName("api.example.com"),
        x509.IPAddress(ipaddress.ip_address("192.0.2.1")),
        x509.DNSName("*.example.com"),
        x509.RFC822Name("a@example.com"),
    ]
    found = describe(der_of(certificate(KEYS["EC secp256r1"], san=san)))
    assert (found.subject, found.issuer, found.serial) == ("CN=leaf", "CN=issuer", "c0ffee")
    assert (found.not_before, found.not_after) == (START, END)
    assert found.names == ("api.example.com", "*.example.com", "192.0.2.1")
    assert found.fingerprint == spki_fingerprint(DER)


def test_a_certificate_without_alternative_names_has_none() -> None:
    assert describe(der_of(certificate(KEYS["Ed25519"]))).names == ()


def test_what_only_looks_like_a_certificate_is_not_described() -> None:
    der = structure(VERSION, *FIELDS, KEY)
    assert spki(der) == KEY
    with pytest.raises(MalformedError, match="DER certificate"):
        describe(der)


def test_a_certificate_whose_name_is_a_bit_string_is_not_described() -> None:
    text, bits = bytes.fromhex("06035504030c"), bytes.fromhex("060355040303")
    der = DER.replace(text, bits)
    assert spki(der) == spki(DER)
    with pytest.raises(MalformedError):
        describe(der)


def test_the_pin_of_a_certificate_is_its_fingerprint() -> None:
    assert pin_of(LEAF).sha256 == spki_fingerprint(DER)
