"""Signatures by the key of a leaf: each scheme with its kind of key, and no other."""

from __future__ import annotations

import subprocess

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding
from cryptography.hazmat.primitives.asymmetric import rsa as rsa_keys
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from livepin.testing import make_authority, make_chain
from livepin_server.probing.fast.signatures import Leaf, Leaves
from livepin_server.probing.fast.wire import OddError

CONTENT = b"what was said so far"
HASHES = {"4": hashes.SHA256(), "5": hashes.SHA384(), "6": hashes.SHA512()}
CURVES = {0x0403: ec.SECP256R1(), 0x0503: ec.SECP384R1(), 0x0603: ec.SECP521R1()}


def certified(key) -> bytes:
    """The DER of a leaf with a key."""
    return make_chain("a.test", key=key).leaf.public_bytes(Encoding.DER)


@pytest.fixture(scope="module")
def rsa_key():
    """An RSA key."""
    return rsa_keys.generate_private_key(public_exponent=65537, key_size=2048)


def pss(digest):
    """PSS as TLS has it."""
    return padding.PSS(padding.MGF1(digest), padding.PSS.DIGEST_LENGTH)


@pytest.mark.parametrize("scheme", CURVES)
def test_ecdsa_signs_with_its_own_curve_in_tls_1_3_and_with_any_in_tls_1_2(scheme: int) -> None:
    digest = HASHES[f"{scheme >> 8}"]
    for curve in (*CURVES.values(), ec.SECP256K1()):
        key = ec.generate_private_key(curve)
        if curve.name == "secp256k1":
            with pytest.raises(OddError, match="expected a public key that makes signatures"):
                Leaf(certified(key))
            continue
        leaf, signature = Leaf(certified(key)), key.sign(CONTENT, ec.ECDSA(digest))
        leaf.check("ecdsa", scheme, signature, CONTENT, tls13=False)
        if curve.name == CURVES[scheme].name:
            leaf.check("ecdsa", scheme, signature, CONTENT, tls13=True)
        else:
            with pytest.raises(OddError, match="expected a signature by secp"):
                leaf.check("ecdsa", scheme, signature, CONTENT, tls13=True)


@pytest.mark.parametrize(
    ("scheme", "kind"), [(0x0807, ed25519.Ed25519PrivateKey), (0x0808, ed448.Ed448PrivateKey)]
)
def test_edwards_curves_count_as_ecdsa(scheme: int, kind) -> None:
    key = kind.generate()
    leaf = Leaf(certified(key))
    for tls13 in (True, False):
        leaf.check("ecdsa", scheme, key.sign(CONTENT), CONTENT, tls13=tls13)
        with pytest.raises(OddError, match="by the key of the leaf"):
            leaf.check("ecdsa", scheme, key.sign(CONTENT), CONTENT + b".", tls13=tls13)
        with pytest.raises(OddError, match="expected a signature by secp256r1, found a key of ed"):
            leaf.check("ecdsa", 0x0403, key.sign(CONTENT), CONTENT, tls13=tls13)


@pytest.mark.parametrize("scheme", [0x0804, 0x0805, 0x0806])
def test_rsa_signs_with_pss(rsa_key, scheme: int) -> None:
    digest = HASHES[f"{scheme & 15}"]
    signature = rsa_key.sign(CONTENT, pss(digest), digest)
    leaf = Leaf(certified(rsa_key))
    for tls13 in (True, False):
        leaf.check("rsa", scheme, signature, CONTENT, tls13=tls13)
        with pytest.raises(OddError, match="found a key of rsa"):
            leaf.check("rsa", scheme + 5, signature, CONTENT, tls13=tls13)


@pytest.mark.parametrize("scheme", [0x0401, 0x0501, 0x0601])
def test_rsa_signs_with_pkcs_1_in_tls_1_2_alone(rsa_key, scheme: int) -> None:
    digest = HASHES[f"{scheme >> 8}"]
    signature = rsa_key.sign(CONTENT, padding.PKCS1v15(), digest)
    leaf = Leaf(certified(rsa_key))
    leaf.check("rsa", scheme, signature, CONTENT, tls13=False)
    with pytest.raises(OddError, match="expected no signature of PKCS #1"):
        leaf.check("rsa", scheme, signature, CONTENT, tls13=True)


@pytest.mark.parametrize("scheme", [0x0201, 0x0203, 0x0401, 0x0804, 0x0000, 0xFFFF])
def test_a_scheme_that_was_not_offered_is_odd(scheme: int) -> None:
    leaf = Leaf(certified(ec.generate_private_key(ec.SECP256R1())))
    with pytest.raises(OddError, match="expected a signature scheme that was offered"):
        leaf.check("ecdsa", scheme, b"", CONTENT, tls13=False)


def test_a_key_for_pss_alone_is_told_from_another(tmp_path, openssl) -> None:
    key, der = tmp_path / "key.pem", tmp_path / "leaf.der"
    run = {"check": True, "capture_output": True}
    subprocess.run([openssl, "genpkey", "-algorithm", "RSA-PSS", "-out", key], **run)
    request = ["req", "-x509", "-key", key, "-subj", "/CN=a.test", "-sigopt", "rsa_pss_saltlen:-1"]
    subprocess.run([openssl, *request, "-outform", "DER", "-out", der], **run)
    (tmp_path / "content").write_bytes(CONTENT)
    options = ["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:-1"]
    sign = ["dgst", "-sha256", "-sign", key, *options, tmp_path / "content"]
    signature = subprocess.run([openssl, *sign], **run).stdout
    leaf = Leaf(der.read_bytes())
    leaf.check("rsa", 0x0809, signature, CONTENT, tls13=True)
    with pytest.raises(OddError, match="expected a signature by rsa, found a key of rsa-pss"):
        leaf.check("rsa", 0x0804, signature, CONTENT, tls13=True)


def test_what_holds_no_key_for_signatures_is_odd() -> None:
    authority = make_authority()
    leaf = make_chain("a.test", authority=authority).leaf
    agreeing = (
        x509.CertificateBuilder()
        .subject_name(leaf.subject)
        .issuer_name(leaf.issuer)
        .public_key(X25519PrivateKey.generate().public_key())
        .serial_number(7)
        .not_valid_before(leaf.not_valid_before_utc)
        .not_valid_after(leaf.not_valid_after_utc)
        .sign(authority.key, hashes.SHA256())
    )
    der = leaf.public_bytes(Encoding.DER)
    unknown = der.replace(bytes.fromhex("06072a8648ce3d0201"), bytes.fromhex("06072a8648ce3d0277"))
    for each in (b"", b"no certificate", unknown, agreeing.public_bytes(Encoding.DER)):
        with pytest.raises(OddError):
            Leaf(each)


def test_keys_are_kept_and_the_one_used_longest_ago_goes() -> None:
    leaves = Leaves(most=2)
    ders = [certified(ec.generate_private_key(ec.SECP256R1())) for _ in range(3)]
    one, two = leaves(ders[0]), leaves(ders[1])
    assert leaves(ders[0]) is one
    leaves(ders[2])
    assert len(leaves) == 2
    assert leaves(ders[0]) is one
    assert leaves(ders[1]) is not two
    with pytest.raises(OddError):
        leaves(b"no certificate")
    assert len(leaves) == 2
