"""The TLS identity of delivery: a CA whose key is gone, a pinned leaf, a pinned backup."""

import datetime as dt
import ssl
import stat

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from livepin.pins import PinSet
from livepin.testing import pin_of
from livepin_server.custody import tls_identity
from livepin_server.errors import CustodyError

NOW = dt.datetime(2026, 11, 23, 12, tzinfo=dt.timezone.utc)
HOSTS = ["pins.example.com", "192.0.2.7", "2001:db8::7", "localhost"]


@pytest.fixture
def folder(tmp_path):
    tls_identity.create(tmp_path / "tls", HOSTS, now=NOW)
    return tmp_path / "tls"


def certificate(path):
    return x509.load_pem_x509_certificate(path.read_bytes())


def test_the_private_key_of_the_ca_is_not_kept(folder):
    names = {"ca.pem", "server.pem", "server.key", "next.pem", "next.key"}
    assert {each.name for each in folder.iterdir()} == names
    keys = [pin_of(certificate(folder / f"{name}.pem")) for name in ("server", "next")]
    assert pin_of(certificate(folder / "ca.pem")) not in keys


def test_only_the_owner_may_enter_the_folder_and_read_the_keys(folder):
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for name in ("server.key", "next.key"):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600


def test_the_pins_are_those_of_the_leaf_and_of_the_backup(folder):
    found = tls_identity.load(folder)
    assert found.pins == (
        pin_of(certificate(folder / "server.pem")),
        pin_of(certificate(folder / "next.pem")),
    )
    assert found.pins[0] != found.pins[1]
    assert len(PinSet(found.pins)) == 2


def test_each_identity_has_keys_of_its_own(folder, tmp_path):
    other = tls_identity.create(tmp_path / "other", HOSTS, now=NOW)
    assert not set(other.pins) & set(tls_identity.load(folder).pins)
    assert other.ca != tls_identity.load(folder).ca


@pytest.mark.parametrize("name", ["server", "next"])
def test_both_leaves_are_for_the_hosts_and_signed_by_the_ca(folder, name):
    leaf, ca = certificate(folder / f"{name}.pem"), certificate(folder / "ca.pem")
    leaf.verify_directly_issued_by(ca)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["pins.example.com", "localhost"]
    assert [str(each) for each in names.get_values_for_type(x509.IPAddress)] == [
        "192.0.2.7",
        "2001:db8::7",
    ]
    usage = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert not leaf.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign


def test_the_ca_may_sign_leaves_only(folder):
    ca = certificate(folder / "ca.pem")
    constraints = ca.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert constraints.value == x509.BasicConstraints(ca=True, path_length=0)


def test_the_certificates_are_valid_from_yesterday_for_ten_years(folder):
    for name in ("ca", "server", "next"):
        found = certificate(folder / f"{name}.pem")
        assert found.not_valid_before_utc <= NOW - dt.timedelta(days=1)
        assert found.not_valid_after_utc >= NOW + dt.timedelta(days=3649)


def test_a_handshake_with_the_ca_as_anchor_is_verified(folder):
    found = tls_identity.load(folder)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(found.certificate, found.key)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    client.load_verify_locations(cadata=found.ca)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    near = client.wrap_bio(to_client, to_server, server_hostname="pins.example.com")
    far = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(2):
        for side in (near, far):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    assert near.version() == "TLSv1.3"
    assert near.getpeercert()["subject"] == ((("commonName", "pins.example.com"),),)


def test_a_long_host_name_is_whole_in_the_names_and_cut_in_the_subject(tmp_path):
    host = f"{'a' * 60}.{'b' * 60}.example.com"
    found = tls_identity.create(tmp_path / "tls", [host], now=NOW)
    leaf = certificate(found.certificate)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [host]


@pytest.mark.parametrize("name", ["ca.pem", "server.key", "next.key"])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(CustodyError, match=f"cannot read .*{name}"):
        tls_identity.load(folder)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"-----BEGIN PRIVATE KEY-----\nAA\n"])
@pytest.mark.parametrize("name", ["ca.pem", "server.key", "next.key"])
def test_a_file_that_is_not_what_it_should_be_is_named(folder, name, content):
    (folder / name).write_bytes(content)
    with pytest.raises(CustodyError, match=rf"{name} is not a .* in PEM"):
        tls_identity.load(folder)


@pytest.mark.parametrize("name", ["server.key", "next.key"])
def test_a_key_that_others_can_read_is_refused(folder, name):
    (folder / name).chmod(0o644)
    with pytest.raises(CustodyError, match="can be read by others"):
        tls_identity.load(folder)


def test_an_identity_is_not_made_over_another(folder):
    before = (folder / "server.key").read_bytes()
    with pytest.raises(FileExistsError):
        tls_identity.create(folder, HOSTS, now=NOW)
    assert (folder / "server.key").read_bytes() == before
