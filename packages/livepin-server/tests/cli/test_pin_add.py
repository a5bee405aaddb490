"""livepin pin add: from key files of every kind, standard input, and the live endpoint."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
import termios
import time
from datetime import datetime, timedelta, timezone
from hashlib import sha256
from ipaddress import ip_address
from pathlib import Path

import pytest
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
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from livepin.certificates import spki_fingerprint
from livepin.pins import fingerprint_text
from livepin.testing import Chain, make_authority, make_chain, make_key
from livepin_server.cli import keyfiles
from livepin_server.cli.output import CommandError

from .conftest import no_backup

PIN = "sha256/" + "A" * 43 + "="
NEXT = "sha256/" + "B" * 42 + "A="
PASSWORD = "open sesame"
KEY = make_key()
RSA = make_key("rsa")
CHAIN = make_chain("a.test", key=KEY, intermediate=True)
INTERMEDIATE = CHAIN.intermediate.certificate
ROOT = CHAIN.authority.certificate
EXPECTED = fingerprint_text(CHAIN.pin.sha256)


def pin_of_key(key) -> str:
    spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return fingerprint_text(sha256(spki).digest())


def pin_of_certificate(certificate) -> str:
    return fingerprint_text(spki_fingerprint(certificate.public_bytes(Encoding.DER)))


def request(key, form) -> bytes:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a.test")])
    builder = x509.CertificateSigningRequestBuilder().subject_name(name)
    return builder.sign(key, hashes.SHA256()).public_bytes(form)


def private(key, form, shape, password=None) -> bytes:
    box = NoEncryption() if password is None else BestAvailableEncryption(password.encode())
    return key.private_bytes(form, shape, box)


def store(*others, key=KEY, certificate=CHAIN.leaf, password=PASSWORD) -> bytes:
    box = NoEncryption() if password is None else BestAvailableEncryption(password.encode())
    return pkcs12.serialize_key_and_certificates(b"name", key, certificate, list(others), box)


PKCS8, OLD = PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL
PEM, DER = Encoding.PEM, Encoding.DER
LEAF_PEM = CHAIN.leaf.public_bytes(PEM)
SPKI = PublicFormat.SubjectPublicKeyInfo
# What is in the file, the pin it stands for, whether it takes the passphrase.
KINDS = {
    "pem": (LEAF_PEM, EXPECTED, False),
    "pem with text around": (b"Subject: a.test\n" + LEAF_PEM + b"\nbye\n", EXPECTED, False),
    "pem of Windows": (LEAF_PEM.replace(b"\n", b"\r\n"), EXPECTED, False),
    "pem with its key": (private(KEY, PEM, PKCS8) + LEAF_PEM, EXPECTED, False),
    "der": (CHAIN.leaf.public_bytes(DER), EXPECTED, False),
    "pkcs7 pem": (pkcs7.serialize_certificates([CHAIN.leaf], PEM), EXPECTED, False),
    "pkcs7 der": (pkcs7.serialize_certificates([CHAIN.leaf], DER), EXPECTED, False),
    "pkcs12": (store(), EXPECTED, True),
    "pkcs12 open": (store(password=None), EXPECTED, False),
    "pkcs12 of a key": (store(certificate=None), EXPECTED, True),
    "request pem": (request(KEY, PEM), EXPECTED, False),
    "request der": (request(KEY, DER), EXPECTED, False),
    "request of RSA": (request(RSA, PEM), pin_of_key(RSA), False),
    "public pem": (KEY.public_key().public_bytes(PEM, SPKI), EXPECTED, False),
    "public der": (KEY.public_key().public_bytes(DER, SPKI), EXPECTED, False),
    "public of RSA": (RSA.public_key().public_bytes(DER, SPKI), pin_of_key(RSA), False),
    "key pkcs8 pem": (private(KEY, PEM, PKCS8), EXPECTED, False),
    "key pkcs8 der": (private(KEY, DER, PKCS8), EXPECTED, False),
    "key old pem": (private(KEY, PEM, OLD), EXPECTED, False),
    "key old der": (private(KEY, DER, OLD), EXPECTED, False),
    "key RSA old pem": (private(RSA, PEM, OLD), pin_of_key(RSA), False),
    "key RSA old der": (private(RSA, DER, OLD), pin_of_key(RSA), False),
    "key encrypted pem": (private(KEY, PEM, PKCS8, PASSWORD), EXPECTED, True),
    "key encrypted der": (private(KEY, DER, PKCS8, PASSWORD), EXPECTED, True),
    "key encrypted old": (private(RSA, PEM, OLD, PASSWORD), pin_of_key(RSA), True),
}
BUNDLE = b"".join(each.public_bytes(PEM) for each in (INTERMEDIATE, ROOT, CHAIN.leaf))


@pytest.fixture
def domain(run, data) -> str:
    """A domain with one pin."""
    run("domain", "add", "a.test", "--pin", PIN)
    return "a.test"


def pins(run) -> list[str]:
    return [each["sha256"] for each in run("pin", "list", "a.test", "--json").json]


def added(run, *arguments) -> dict[str, object]:
    done = run("pin", "add", "a.test", *arguments, "--json")
    assert done.code == 0, done.err
    return done.json["domain"]["pins"][-1]


# -- kinds of files ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_is_found_in_every_kind_of_file(kind) -> None:
    data, expected, encrypted = KINDS[kind]
    asked = []
    found = keyfiles.read(data, kind, passphrase=lambda: asked.append(1) or PASSWORD)
    assert [each.pin for each in found] == [expected]
    assert bool(asked) == encrypted


@pytest.mark.parametrize("kind", [kind for kind, (_, _, encrypted) in KINDS.items() if encrypted])
@pytest.mark.parametrize("word", [None, "", "wrong"])
def test_an_encrypted_file_without_its_passphrase_is_refused(kind, word) -> None:
    message = "does not open with this passphrase" if word else "there is no passphrase"
    with pytest.raises(CommandError, match=message):
        keyfiles.read(KINDS[kind][0], "file", passphrase=lambda: word)


def test_a_wrong_passphrase_that_seems_to_open_an_old_key_is_refused_alike() -> None:
    """One in 256 does: its rubbish ends as padding does."""
    data = KINDS["key encrypted old"][0]
    for number in range(1_000):
        with pytest.raises(CommandError, match="does not open with this passphrase"):
            keyfiles.read(data, "file", passphrase=lambda number=number: f"wrong {number}")


WRONG = [
    (b"", "file is empty"),
    (b" \n\n", "file is empty"),
    (b"hello, world\n", "file holds no certificate, request or key"),
    (b"\x30\x03\x02\x01\x03", "file holds a PKCS#12 store that cannot be read|no passphrase"),
    (b"\x30\x80\x00\x00", "file holds no certificate, request or key"),
    (b"\x30\x84\xff\xff\xff\xff", "file holds no certificate, request or key"),
    (CHAIN.leaf.public_bytes(DER)[:-1], "file holds no certificate, request or key"),
    (CHAIN.leaf.public_bytes(DER) + b"\x00", "file holds no certificate, request or key"),
    (LEAF_PEM.replace(b"MII", b"XXX"), "file holds a certificate that cannot be read"),
    (LEAF_PEM[:200], "file holds nothing in PEM that can be read"),
    (pkcs7.serialize_certificates([CHAIN.leaf], DER)[:40], "file holds no certificate"),
    (request(KEY, DER)[:-1] + b"\x00", "signature is wrong|cannot be read"),
    (
        b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n",
        "file holds a X509 CRL$",
    ),
    (
        private(KEY, PEM, PrivateFormat.OpenSSH),
        "file holds a OPENSSH PRIVATE KEY$",
    ),
    (b"x" * (keyfiles.MOST + 1), "file holds more than 1024 KiB"),
    (
        b"-----BEGIN PUBLIC KEY-----\n!!!!\n-----END PUBLIC KEY-----\n",
        "file holds a PUBLIC KEY that cannot be read",
    ),
    (
        b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
        "file holds a public key that cannot be read",
    ),
    (
        b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        "file holds a private key that cannot be read",
    ),
    (
        b"-----BEGIN PKCS7-----\nAAAA\n-----END PKCS7-----\n",
        "file is a PKCS#7 bundle that cannot be read",
    ),
]


@pytest.mark.parametrize(("data", "message"), WRONG, ids=[each for _, each in WRONG])
def test_a_file_of_the_wrong_kind_is_refused_in_words(data, message) -> None:
    with pytest.raises(CommandError, match=message):
        keyfiles.read(data, "file", passphrase=lambda: None)


def test_a_bundle_with_a_certificate_that_cannot_be_read_is_refused_in_words() -> None:
    data = pkcs7.serialize_certificates([CHAIN.leaf], DER)
    constraints, nothing = bytes.fromhex("0101ff04023000"), bytes.fromhex("0101ff04020500")
    data = data.replace(constraints, nothing)
    with pytest.raises(CommandError, match="file holds a certificate that cannot be read"):
        keyfiles.read(data, "file", passphrase=lambda: None)


def test_a_signed_request_whose_subject_cannot_be_read_is_refused_in_words() -> None:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a.test")])
    builder = x509.CertificateSigningRequestBuilder().subject_name(name)
    info = builder.sign(KEY, hashes.SHA256()).tbs_certrequest_bytes
    text, bits = bytes.fromhex("06035504030c"), bytes.fromhex("060355040303")
    info = info.replace(text, bits)
    signature = KEY.sign(info, ec.ECDSA(hashes.SHA256()))
    algorithm, length = bytes.fromhex("300a06082a8648ce3d040302"), len(signature) + 1
    data = info + algorithm + bytes([3, length, 0]) + signature
    data = b"\x30\x81" + bytes([len(data)]) + data
    with pytest.raises(CommandError, match="file holds a request that cannot be read"):
        keyfiles.read(data, "file", passphrase=lambda: None)


def test_a_file_of_nothing_but_beginnings_is_read_in_one_pass() -> None:
    data = b"".join(b"-----BEGIN A%d-----\n" % n for n in range(45_000))
    start = time.process_time()
    with pytest.raises(CommandError, match="nothing in PEM that can be read"):
        keyfiles.read(data + b"-----END B-----\n", "file", passphrase=lambda: None)
    assert time.process_time() - start < 10  # looked through from each beginning, it is minutes


def test_an_empty_bundle_and_an_rsa_pss_key_are_refused(tmp_path) -> None:
    empty, pss = tmp_path / "empty.p7b", tmp_path / "pss.pem"
    subprocess.run(["openssl", "crl2pkcs7", "-nocrl", "-out", empty], check=True)
    with pytest.raises(CommandError, match="PKCS#7 bundle without certificates"):
        keyfiles.read(empty.read_bytes(), "file", passphrase=lambda: None)
    make = ["openssl", "genpkey", "-algorithm", "rsa-pss", "-out", pss]
    subprocess.run(make, check=True, capture_output=True)
    with pytest.raises(CommandError, match="RSA-PSS"):
        keyfiles.read(pss.read_bytes(), "file", passphrase=lambda: None)


def test_the_key_of_a_request_is_hashed_as_it_stands(tmp_path) -> None:
    key, csr = tmp_path / "pss.pem", tmp_path / "pss.csr"
    make = ["openssl", "genpkey", "-algorithm", "rsa-pss", "-out", key]
    subprocess.run(make, check=True, capture_output=True)
    ask = ["openssl", "req", "-new", "-key", key, "-subj", "/CN=a.test", "-out", csr]
    subprocess.run(ask, check=True, capture_output=True)
    spki = subprocess.run(
        ["openssl", "pkey", "-in", key, "-pubout", "-outform", "DER"],
        check=True,
        capture_output=True,
    ).stdout
    (found,) = keyfiles.read(csr.read_bytes(), "file", passphrase=lambda: None)
    assert found.pin == fingerprint_text(sha256(spki).digest())


@given(st.sampled_from(sorted(KINDS)), st.data())
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
def test_a_damaged_file_is_read_or_refused_but_never_fails(kind, data) -> None:
    raw = bytearray(KINDS[kind][0])
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= data.draw(st.integers(1, 255))
    del raw[data.draw(st.integers(at, len(raw))) :]
    try:
        found = keyfiles.read(bytes(raw), "file", passphrase=lambda: PASSWORD)
    except CommandError as refusal:
        words = str(refusal)
    else:
        words = " ".join(each.pin for each in found)
    assert words
    assert "\n" not in words


# -- which key of several ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("level", "certificate"),
    [("leaf", CHAIN.leaf), ("intermediate", INTERMEDIATE), ("root", ROOT)],
)
def test_a_bundle_needs_a_level_and_is_put_in_order(run, domain, level, certificate) -> None:
    Path("chain.pem").write_bytes(BUNDLE)
    done = run("pin", "add", domain, "chain.pem")
    assert done.code == 2
    assert done.err.splitlines() == [
        "error: chain.pem holds 3 keys: CN=Test Intermediate CA, CN=Test Root CA, CN=a.test",
        "hint:  say which: --pin-level leaf, intermediate or root",
    ]
    found = added(run, "chain.pem", "--pin-level", level, "--backup")
    assert (found["sha256"], found["level"]) == (pin_of_certificate(certificate), level)


def test_a_certificate_that_no_chain_reaches_is_refused(run, domain) -> None:
    stray = make_authority("Stray CA").pem.encode()
    Path("chain.pem").write_bytes(BUNDLE + stray)
    done = run("pin", "add", domain, "chain.pem", "--pin-level", "root")
    assert done.code == 2
    assert "chain.pem is not one chain: no other certificate in it leads to" in done.err
    assert pins(run) == [PIN]


def test_a_level_that_a_file_does_not_hold_is_refused(run, domain) -> None:
    Path("leaf.pem").write_bytes(LEAF_PEM)
    done = run("pin", "add", domain, "leaf.pem", "--pin-level", "root")
    assert done.err.splitlines() == [
        "error: leaf.pem holds no root; it holds CN=a.test (leaf)",
        "hint:  name a level that is there, or another file",
    ]


@pytest.mark.parametrize(
    ("source", "arguments", "level"),
    [
        ("leaf.pem", (), "leaf"),
        ("next.csr", (), "leaf"),
        ("next.key", (), "leaf"),
        ("next.key", ("--pin-level", "intermediate"), "intermediate"),
        ("next.pub", (), None),
        ("next.pub", ("--pin-level", "root"), "root"),
        (NEXT, (), None),
        (NEXT, ("--pin-level", "leaf"), "leaf"),
    ],
)
def test_the_level_is_kept_where_it_is_known(run, domain, source, arguments, level) -> None:
    Path("leaf.pem").write_bytes(LEAF_PEM)
    Path("next.csr").write_bytes(request(KEY, PEM))
    Path("next.key").write_bytes(private(KEY, PEM, PKCS8))
    Path("next.pub").write_bytes(KEY.public_key().public_bytes(PEM, SPKI))
    assert added(run, source, *arguments)["level"] == level


# -- does it fit the host ------------------------------------------------------------------------


def test_a_certificate_of_another_host_is_refused_unless_told_so(run, domain) -> None:
    other = make_chain("b.test")
    Path("b.pem").write_bytes(other.leaf.public_bytes(PEM))
    done = run("pin", "add", domain, "b.pem")
    assert done.err.splitlines() == [
        "error: the certificate CN=b.test is for b.test, not a.test",
        "hint:  is it the right file? to pin its key all the same: --unchecked",
    ]
    assert pins(run) == [PIN]
    assert added(run, "b.pem", "--unchecked")["sha256"] == fingerprint_text(other.pin.sha256)


@pytest.mark.parametrize(
    ("pattern", "names", "fits"),
    [
        ("www.a.test", ("*.a.test",), True),
        ("a.test", ("*.a.test",), False),
        ("*.a.test", ("*.a.test",), True),
        ("*.a.test", ("www.a.test",), True),
        ("*.a.test", ("a.test",), False),
        ("192.0.2.7", ("192.0.2.7",), True),
        ("192.0.2.7", ("192.0.2.8",), False),
    ],
)
def test_the_names_of_a_certificate_are_compared(run, data, pattern, names, fits) -> None:
    run("domain", "add", pattern, "--pin", PIN)
    Path("leaf.pem").write_bytes(make_chain(*names).leaf.public_bytes(PEM))
    assert run("pin", "add", pattern, "leaf.pem").code == (0 if fits else 2)


@pytest.fixture
def live(run, data, api, ca) -> str:
    """A domain that a real endpoint serves, with a pin of another key and a backup."""
    forced = ("--force", "--reason", "its key is pinned next")
    run("domain", "add", "localhost", "--pin", PIN, "--ca", ca, "--port", api.port, *forced)
    assert run("pin", "add", "localhost", NEXT, "--backup", *forced).code == 0
    return "localhost"


def test_the_key_of_a_ca_that_the_chain_reaches_is_pinned(run, live, ca, authority) -> None:
    done = run("pin", "add", live, ca)
    assert (done.code, done.err) == (0, "")
    assert done.out == (
        f"{fingerprint_text(authority.pin.sha256)} of CN=Corp CA is pinned for localhost, "
        "in config version 4.\n"
    )


def test_the_key_of_a_ca_that_the_chain_does_not_reach_is_refused(run, live) -> None:
    Path("other.pem").write_text(make_authority("Other CA").pem)
    done = run("pin", "add", live, "other.pem")
    assert done.code == 1
    assert done.err.splitlines() == [
        "error: the chain of localhost does not reach CN=Other CA",
        "hint:  for the chain of a later certificate: --backup; all the same: --unchecked",
    ]
    planned = ("--backup", "--force", "--reason", "the certificate comes tonight")
    assert run("pin", "add", live, "other.pem", *planned).code == 0


def test_where_the_host_does_not_answer_nobody_can_tell_and_nothing_is_pinned(run, domain) -> None:
    Path("ca.pem").write_text(CHAIN.authority.pem)
    done = run("pin", "add", domain, "ca.pem")
    assert (done.code, done.out) == (4, "")
    assert done.err.splitlines() == [
        "error: whether the chain of a.test reaches CN=Test Root CA is not known: a.test does not "
        "resolve to an address",
        "hint:  for the chain of a later certificate: --backup; all the same: --unchecked",
    ]
    assert pins(run) == [PIN]
    assert run("pin", "add", domain, "ca.pem", "--unchecked").code == 0


def signed_by_itself(name: str, *, ca: bool) -> bytes:
    """Return a certificate as `openssl req -x509` makes it, which is a CA unless told otherwise."""
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(timezone.utc)
    building = (
        x509.CertificateBuilder(subject, subject, KEY.public_key(), x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    return building.sign(KEY, hashes.SHA256()).public_bytes(PEM)


def test_a_certificate_that_no_chain_reaches_is_refused_unless_told_so(run, domain) -> None:
    Path("self.pem").write_bytes(signed_by_itself("a.test", ca=False))
    done = run("pin", "add", domain, "self.pem", "--backup")
    assert (done.code, done.out) == (2, "")
    assert done.err.splitlines() == [
        "error: the certificate CN=a.test is signed by itself: no chain of a.test reaches a CA",
        "hint:  is it the right file? if all devices trust it: --unchecked",
    ]
    assert pins(run) == [PIN]
    assert added(run, "self.pem", "--unchecked")["level"] == "leaf"


def test_a_certificate_that_signed_itself_may_be_the_private_ca_of_the_domain(run, data) -> None:
    Path("self.pem").write_bytes(signed_by_itself("a.test", ca=False))
    run("domain", "add", "a.test", "--pin", PIN, "--ca", "self.pem")
    assert run("pin", "add", "a.test", "self.pem").code == 0


def test_a_certificate_of_another_host_is_refused_also_where_it_is_a_ca(run, domain) -> None:
    Path("b.pem").write_bytes(signed_by_itself("b.test", ca=True))
    for options in ((), ("--backup",)):
        done = run("pin", "add", domain, "b.pem", *options)
        assert (done.code, done.out) == (2, "")
        assert done.err.startswith("error: the certificate CN=b.test is for b.test, not a.test\n")
    assert pins(run) == [PIN]


@pytest.mark.parametrize(
    ("names", "fits"),
    [
        ([x509.DNSName("a.test")], True),
        ([x509.DNSName("b.test"), x509.IPAddress(ip_address("192.0.2.7"))], False),
        ([], True),
    ],
)
def test_a_request_for_another_host_is_refused_unless_told_so(run, domain, names, fits) -> None:
    building = x509.CertificateSigningRequestBuilder(x509.Name([]))
    if names:
        building = building.add_extension(x509.SubjectAlternativeName(names), critical=False)
    Path("next.csr").write_bytes(building.sign(KEY, hashes.SHA256()).public_bytes(PEM))
    done = run("pin", "add", domain, "next.csr")
    assert done.code == (0 if fits else 2)
    if not fits:
        assert done.err.splitlines() == [
            "error: the request is for b.test, 192.0.2.7, not a.test",
            "hint:  is it the right file? to pin its key all the same: --unchecked",
        ]
        assert run("pin", "add", domain, "next.csr", "--unchecked").code == 0


def test_an_expired_certificate_gets_a_warning(run, domain) -> None:
    past = datetime.now(timezone.utc) - timedelta(days=2)
    Path("old.pem").write_bytes(make_chain("a.test", not_after=past).leaf.public_bytes(PEM))
    done = run("pin", "add", domain, "old.pem")
    assert done.code == 0
    expired = f"warning: the certificate CN=a.test expired on {past:%Y-%m-%d}\n"
    assert done.err == expired + no_backup(domain)


# -- the live endpoint ---------------------------------------------------------------------------


@pytest.mark.parametrize("level", [None, "leaf", "intermediate", "root"])
def test_what_the_host_serves_is_pinned(run, live, chain: Chain, authority, level) -> None:
    done = run("pin", "add", live, "--live", *(("--pin-level", level) if level else ()))
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("leaf          CN=localhost\n")
    certificates = {
        "intermediate": chain.intermediate.certificate,
        "root": authority.certificate,
    }
    expected = pin_of_certificate(certificates.get(level or "leaf", chain.leaf))
    kept = run("pin", "list", live, "--json").json[-1]
    assert (kept["sha256"], kept["level"]) == (expected, level or "leaf")


def test_a_live_look_that_fails_changes_nothing(run, data, live, nobody) -> None:
    done = run("pin", "add", live, "--live", "--port", nobody)
    assert done.code == 4
    assert f"localhost:{nobody} refused the connection" in done.err
    run("domain", "add", "nowhere.invalid", "--pin", PIN)
    done = run("pin", "add", "nowhere.invalid", "--live")
    assert done.code == 4
    assert done.err.splitlines() == [
        "error: nowhere.invalid does not resolve to an address",
        "hint:  is the name right? --connect HOST:PORT goes to another address",
    ]
    assert len(run("pin", "list", "nowhere.invalid", "--json").json) == 1


@pytest.fixture
def nobody() -> int:
    """A port on which nobody listens."""
    import socket

    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


# -- passphrases, standard input, times ----------------------------------------------------------


def test_the_passphrase_comes_from_a_file_or_the_environment(run, domain, monkeypatch) -> None:
    Path("next.key").write_bytes(private(KEY, PEM, PKCS8, PASSWORD))
    Path("next.p12").write_bytes(store(key=RSA, certificate=None))
    Path("word").write_text(PASSWORD + "\n")
    assert added(run, "next.key", "--passphrase-file", "word")["sha256"] == EXPECTED
    monkeypatch.setenv("LIVEPIN_KEY_PASSPHRASE", PASSWORD)
    assert added(run, "next.p12")["sha256"] == pin_of_key(RSA)


def test_the_passphrase_is_asked_for_on_a_terminal(run, domain, data) -> None:
    Path("next.key").write_bytes(private(KEY, PEM, PKCS8, PASSWORD))
    here, there = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "livepin", "pin", "add", domain, "next.key"],
        stdin=there,
        stdout=subprocess.PIPE,
        stderr=there,
        start_new_session=True,
        env=dict(os.environ),
    )
    prompt = b""
    try:
        while not prompt.endswith(b"key file: "):
            prompt += os.read(here, 1024)
        # getpass turns the echo off before it asks.
        assert not termios.tcgetattr(there)[3] & termios.ECHO
        os.write(here, PASSWORD.encode() + b"\n")
        out, _ = process.communicate(timeout=60)
    finally:
        os.close(here)
        os.close(there)
    assert process.returncode == 0
    assert EXPECTED.encode() in out


def test_without_a_passphrase_one_line_says_where_it_comes_from(run, domain) -> None:
    Path("next.key").write_bytes(private(KEY, PEM, PKCS8, PASSWORD))
    done = run("pin", "add", domain, "next.key")
    assert (done.code, done.out) == (2, "")
    assert done.err.splitlines() == [
        "error: next.key holds an encrypted key, and there is no passphrase",
        "hint:  --passphrase-file FILE, or the variable LIVEPIN_KEY_PASSPHRASE",
    ]
    assert pins(run) == [PIN]


def test_standard_input_is_read_to_its_bound(run, domain, monkeypatch) -> None:
    class Input:
        buffer = io.BytesIO(LEAF_PEM)

    monkeypatch.setattr(sys, "stdin", Input())
    assert added(run, "-")["sha256"] == EXPECTED
    Input.buffer = io.BytesIO(b"x" * (keyfiles.MOST * 2))
    done = run("pin", "add", domain, "-")
    assert done.err.splitlines()[0] == "error: standard input holds more than 1024 KiB"
    assert Input.buffer.tell() == keyfiles.MOST + 1
    assert run("pin", "add", domain, "-", "-").err.splitlines() == [
        "error: standard input can be read once",
        "hint:  give - once, and files by name",
    ]


def test_nothing_of_a_private_key_is_sent_or_shown(run, domain) -> None:
    Path("next.key").write_bytes(private(KEY, PEM, PKCS8))
    done = run("pin", "add", domain, "next.key")
    assert done.out == (f"{EXPECTED} of a private key is pinned for a.test, in config version 3.\n")
    secret = private(KEY, PEM, PKCS8).splitlines()[1].decode()
    assert secret not in done.out + run("config", "show", "--json").out


def test_several_sources_are_one_version(run, domain) -> None:
    Path("next.key").write_bytes(private(KEY, PEM, PKCS8))
    other = pin_of_key(RSA)
    done = run("pin", "add", domain, "next.key", other, other, "--label", "two")
    assert len(done.out.splitlines()) == 2
    assert pins(run) == [PIN, EXPECTED, other]
    assert run("config", "log", "--json").json[0]["version"] == 3


def test_a_pin_may_have_limits_in_time(run, domain) -> None:
    found = added(
        run, EXPECTED, "--not-before", "2030-01-31", "--not-after", "2031-01-31T12:00:00+02:00"
    )
    assert (found["not_before"], found["not_after"]) == (
        "2030-01-31T00:00:00Z",
        "2031-01-31T10:00:00Z",
    )


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (
            (NEXT, "--not-before", "soon"),
            "--not-before: expected a day or a time with its zone, found 'soon'",
        ),
        (
            (NEXT, "--not-after", "2031-01-31T12:00:00"),
            "--not-after: expected a day or a time with its zone, found '2031-01-31T12:00:00'",
        ),
        (
            (NEXT, "--not-after", "2020-01-31"),
            "--not-after: 2020-01-31T00:00:00Z is past, so the pin would match nothing",
        ),
        (
            (NEXT, "--not-before", "2032-01-01", "--not-after", "2031-01-01"),
            f"{NEXT}: expected not_before to be earlier than not_after",
        ),
        ((NEXT, "--port", "1"), "--port, --connect, --ca and --look-at go with --live"),
        (("--live", "--look-at", "b.test"), "--look-at goes with *.host, and a.test is a host"),
        (("--lvie",), "Unknown option: --lvie."),
        (("--live", "--port", "0"), 'Invalid value "0" for --port. Must be >= 1.'),
        ((".",), "cannot read .: Is a directory"),
        (("sha256/short",), "expected base64 of 32 bytes, found 'short'"),
    ],
)
def test_a_mistake_changes_nothing(run, domain, arguments, error) -> None:
    done = run("pin", "add", domain, *arguments)
    said, hint = done.err.splitlines()
    assert (done.code, done.out, said) == (2, "", f"error: {error}")
    assert hint.startswith("hint:  ")
    assert pins(run) == [PIN]
