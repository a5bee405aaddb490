"""Trust stores: only roots that can issue now, each once; what is left out is said."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from livepin.pins import fingerprint_text
from livepin.testing import make_authority, make_chain, make_key, pin_of
from livepin_server.cli.output import CommandError
from livepin_server.cli.trust_store import read_roots

NOW = dt.datetime.now(dt.timezone.utc)
BROKEN = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"


def pem_of(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()


def pin_text(certificate: x509.Certificate) -> str:
    return fingerprint_text(pin_of(certificate).sha256)


def self_issued(
    name: str, key=None, *, ca: bool | None = True, days: int = 90, start: int = -1
) -> x509.Certificate:
    """A certificate that issued itself, as a CA or not, from and until some days from now."""
    key = key or make_key()
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW + dt.timedelta(days=start))
        .not_valid_after(NOW + dt.timedelta(days=days))
    )
    if ca is not None:
        builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=None), True)
    return builder.sign(key, SHA256())


def test_only_roots_that_can_issue_now_are_taken(tmp_path: Path) -> None:
    root = make_authority("Root CA")
    later = self_issued("Later CA", start=1)
    expired = self_issued("Old CA", days=-1, start=-10)
    intermediate = make_authority("Issuing CA", issuer=root).certificate
    leaf, no_ca = make_chain("a.test", authority=root).leaf, self_issued("No CA", ca=False)
    version_1 = self_issued("Without constraints", ca=None)
    file = tmp_path / "bundle.pem"
    every = [root.certificate, later, expired, intermediate, leaf, no_ca, version_1]
    file.write_text("# a comment\n" + BROKEN + "".join(map(pem_of, every)))
    found = read_roots(file)
    assert list(found.roots) == [pin_text(root.certificate)]
    taken = found.roots[pin_text(root.certificate)]
    assert (taken.subject, taken.expires) == (
        "CN=Root CA", root.certificate.not_valid_after_utc,
    )  # fmt: skip
    assert found.left_out == {
        pin_text(later): "not yet valid",
        pin_text(expired): f"expired on {expired.not_valid_after_utc:%Y-%m-%d}",
        pin_text(intermediate): "issued by another CA",
        pin_text(leaf): "no CA",
        pin_text(no_ca): "no CA",
        pin_text(version_1): "no CA",
    }
    assert found.summary() == (
        f"1 root from {file}; left out: 1 cannot be read, 1 expired, 1 issued by another CA, "
        "3 no CA, 1 not yet valid"
    )


def test_a_key_in_several_roots_is_one_pin_that_is_named_by_the_last_to_expire(
    tmp_path: Path,
) -> None:
    key = make_key()
    first, last, old = (
        self_issued("First", key, days=10),
        self_issued("Last", key, days=20),
        self_issued("Old", key, days=-1, start=-9),
    )
    file = tmp_path / "bundle.pem"
    for order in ((first, last, old), (old, last, first)):
        file.write_text("".join(map(pem_of, order)))
        found = read_roots(file)
        (root,) = found.roots.values()
        assert (root.subject, found.left_out) == ("CN=Last", {})
        assert found.summary() == f"1 root from {file}"


def test_a_certificate_that_is_cut_off_takes_no_other_one_along(tmp_path: Path) -> None:
    file = tmp_path / "bundle.pem"
    cut = pem_of(self_issued("Cut off"))[:200]
    file.write_text(f"{cut}\n{pem_of(self_issued('Whole'))}{cut}")
    found = read_roots(file)
    assert [each.subject for each in found.roots.values()] == ["CN=Whole"]
    assert found.summary() == f"1 root from {file}; left out: 2 cannot be read"


def test_a_bundle_of_nothing_but_beginnings_is_read_in_one_pass(tmp_path: Path) -> None:
    """Read to the end from each of them, a megabyte would keep the command busy for long."""
    (tmp_path / "bundle.pem").write_text("-----BEGIN CERTIFICATE-----" * 38_000)
    with pytest.raises(CommandError, match="holds no CA certificate"):
        read_roots(tmp_path / "bundle.pem")


def test_what_a_subject_says_cannot_rewrite_the_terminal(tmp_path: Path) -> None:
    file = tmp_path / "bundle.pem"
    file.write_text(pem_of(self_issued("\x1b[2Jowned" + "x" * 50)))
    (root,) = read_roots(file).roots.values()
    assert "\x1b" not in root.subject
    assert len(root.subject) <= 120


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "holds no CA certificate that issued itself and is valid now"),
        (BROKEN, "holds no CA certificate that issued itself and is valid now"),
        ("x" * (1024 * 1024 + 1), "holds more than 1024 KiB"),
        (None, "No such file or directory"),
    ],
)
def test_a_file_without_roots_is_refused(tmp_path: Path, text, error) -> None:
    file = tmp_path / "bundle.pem"
    if text is not None:
        file.write_text(text)
    with pytest.raises(CommandError, match=error):
        read_roots(file)


# -- the trust store of this machine -------------------------------------------------------------


def test_the_file_that_openssl_reads_is_the_trust_store(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "store.pem").write_text(make_authority("Root CA").pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "store.pem"))
    found = read_roots(None)
    assert found.origin == f"{tmp_path}/store.pem, the trust store of this machine"
    assert [each.subject for each in found.roots.values()] == ["CN=Root CA"]


def test_without_such_a_file_its_folder_is(tmp_path: Path, monkeypatch) -> None:
    folder = tmp_path / "certs"
    folder.mkdir()
    (folder / "01234567.0").write_text(make_authority("First CA").pem)
    (folder / "89abcdef.1").write_text(make_authority("Second CA").pem)
    (folder / "bundle.pem").write_text(make_authority("Not read").pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "nowhere.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(folder))
    found = read_roots(None)
    assert found.origin == f"{folder}, the trust store of this machine"
    assert [each.subject for each in found.roots.values()] == ["CN=First CA", "CN=Second CA"]


@pytest.mark.parametrize("there", [True, False])
def test_without_either_a_file_has_to_be_named(tmp_path: Path, monkeypatch, there) -> None:
    folder = tmp_path / "certs"
    if there:
        folder.mkdir()
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "nowhere.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(folder))
    with pytest.raises(CommandError, match="this machine has no trust store") as caught:
        read_roots(None)
    assert caught.value.hint == "name one: --roots FILE"
