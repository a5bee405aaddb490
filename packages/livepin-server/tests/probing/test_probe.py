"""Probes of real endpoints: what is seen, what is said where there is nothing, in bounded time."""

from __future__ import annotations

import datetime as dt
import socket
import ssl
import tempfile
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from livepin.pins import fingerprint_text
from livepin.testing import make_authority, make_chain, make_key, pin_of, server_context
from livepin_server.probing.probe import Target, probe, split_address


def text_of(certificate) -> str:
    """The pin of a certificate as text."""
    return fingerprint_text(pin_of(certificate).sha256)


def test_a_good_endpoint_shows_its_verified_and_its_presented_chain(
    tls_endpoint, chain, authority
) -> None:
    served = tls_endpoint(chain)
    seen = probe(served.target(ca=authority.pem))
    assert (seen.verified, seen.error, seen.address) == (True, None, "127.0.0.1")
    assert seen.tls_version == "TLSv1.3"
    assert [each.sha256 for each in seen.chain] == [
        text_of(each) for each in (*chain.presented, authority.certificate)
    ]
    assert [each.sha256 for each in seen.presented] == [text_of(e) for e in chain.presented]
    assert seen.chain[0].names == ["api.example.test", "127.0.0.1", "::1"]
    assert seen.chain[0].key_type == "EC secp256r1"
    assert seen.chain[0].issuer == seen.chain[1].subject == "CN=Test Intermediate CA"
    assert 0 < seen.elapsed_ms < 10_000


def test_a_probe_sends_nothing_and_connects_once(tls_endpoint, chain, authority) -> None:
    served = tls_endpoint(chain)
    assert probe(served.target(ca=authority.pem)).verified
    assert (bytes(served.received), served.connections) == (b"", 1)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_addresses_are_hosts_too(tls_endpoint, chain, authority, address: str) -> None:
    served = tls_endpoint(chain, address)
    direct = Target(host=address, port=served.port, ca=authority.pem).checked()
    assert probe(direct).verified
    by_name = probe(served.target(ca=authority.pem))
    assert (by_name.verified, by_name.address) == (True, address)


def test_tls_1_2_is_seen_as_that(tls_endpoint, chain, authority) -> None:
    seen = probe(tls_endpoint(server_context(chain, tls12=True)).target(ca=authority.pem))
    assert (seen.verified, seen.tls_version) == (True, "TLSv1.2")


def test_an_rsa_key_is_seen_as_that(tls_endpoint, authority) -> None:
    chain = make_chain("api.example.test", authority=authority, key=make_key("rsa"))
    seen = probe(tls_endpoint(chain).target(ca=authority.pem))
    assert seen.chain[0].key_type == "RSA-2048"


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("expired", "certificate has expired"),
        ("another name", "Hostname mismatch, certificate is not valid for 'api.example.test'"),
        ("another CA", "unable to get local issuer certificate"),
        ("no intermediate", "unable to get local issuer certificate"),
        ("self-signed", "self-signed certificate"),
    ],
)
def test_a_chain_that_is_not_valid_is_shown_but_not_believed(
    tls_endpoint, authority, chain, case: str, said: str
) -> None:
    name = "api.example.test"
    past = dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc)
    served = {
        "expired": lambda: make_chain(name, authority=authority, not_after=past),
        "another name": lambda: make_chain("other.example.test", authority=authority),
        "another CA": lambda: make_chain(name, authority=make_authority("Corp CA")),
        "no intermediate": lambda: chain.__class__(
            key=chain.key, presented=chain.presented[:1], authority=authority
        ),
        "self-signed": lambda: _self_signed(name),
    }[case]()
    seen = probe(tls_endpoint(served).target(ca=authority.pem))
    assert (seen.verified, seen.chain) == (False, [])
    assert said in seen.error
    assert f"not valid for {name} by the given CA" in seen.error
    assert [each.sha256 for each in seen.presented] == [text_of(e) for e in served.presented]


def _self_signed(name: str):
    root = make_authority(name)
    chain = make_chain(name, authority=root)
    return chain.__class__(key=root.key, presented=(root.certificate,), authority=root)


def test_without_a_ca_the_systems_own_are_asked(tls_endpoint, chain) -> None:
    seen = probe(tls_endpoint(chain).target())
    assert "by the system's CAs" in seen.error
    assert len(seen.presented) == 2


@pytest.mark.parametrize(
    "ca",
    ["", "no PEM", "é", "\0", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"],
)
def test_a_ca_that_is_none_is_refused(ca: str) -> None:
    with pytest.raises(ValueError, match="the given CA holds no certificate in PEM"):
        Target(host="api.example.test", ca=ca).checked()


@pytest.mark.parametrize("tls12", [False, True])
def test_a_client_certificate_that_is_demanded_does_not_hide_the_chain(
    tls_endpoint, chain, authority, tls12: bool
) -> None:
    context = server_context(chain, tls12=tls12)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=authority.pem)
    seen = probe(tls_endpoint(context).target(ca=authority.pem))
    if tls12:  # there the server refuses before the handshake is done
        assert (seen.verified, seen.chain) == (False, [])
        assert "does not speak TLS as expected" in seen.error
    else:
        assert len(seen.chain) == 3


@pytest.mark.parametrize(
    "words", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-2.0-OpenSSH_9\r\n", b"\0" * 100, b""]
)
def test_what_speaks_no_tls_is_said(endpoint, words: bytes) -> None:
    def behave(sock: socket.socket) -> None:
        sock.recv(4096)
        sock.sendall(words)
        sock.shutdown(socket.SHUT_RDWR)

    served = endpoint(behave)
    seen = probe(served.target())
    assert not seen.verified
    where = f"127.0.0.1:{served.port}"
    assert seen.error.startswith((f"{where} does not speak TLS as expected: ", f"{where}: "))


def test_an_address_without_a_way_to_it_is_said_in_words() -> None:
    seen = probe(Target(host="255.255.255.255", port=9), timeout=5)
    assert not seen.verified
    assert seen.error.startswith("255.255.255.255:9: ")
    assert "Errno" not in seen.error


def test_a_connection_that_is_reset_is_said(endpoint) -> None:
    def behave(sock: socket.socket) -> None:
        sock.recv(4096)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        sock.close()

    served = endpoint(behave)
    error = probe(served.target()).error
    assert error.startswith(f"127.0.0.1:{served.port}: ")


def test_nobody_at_home_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    seen = probe(Target(host="api.example.test", connect=f"127.0.0.1:{port}").checked())
    assert seen.error == f"127.0.0.1:{port} refused the connection"


def test_a_name_that_is_none_is_said() -> None:
    seen = probe(Target(host="nobody.invalid").checked())
    assert seen.error == "nobody.invalid does not resolve to an address"


def test_who_never_answers_costs_the_timeout_and_no_more(endpoint) -> None:
    served = endpoint(lambda sock: sock.recv(1 << 20) and sock.recv(1 << 20))
    started = time.monotonic()
    seen = probe(served.target(), timeout=0.2)
    assert time.monotonic() - started < 5
    assert seen.error == f"127.0.0.1:{served.port} did not answer in time"


def test_who_answers_a_byte_at_a_time_costs_no_more_either(endpoint) -> None:
    def behave(sock: socket.socket) -> None:
        sock.recv(4096)
        for _ in range(200):
            sock.sendall(b"\x16" if _ == 0 else b"\x03")
            time.sleep(0.05)

    started = time.monotonic()
    seen = probe(endpoint(behave).target(), timeout=0.3)
    assert time.monotonic() - started < 5
    assert not seen.verified


def test_a_huge_chain_is_cut_to_what_people_can_read(tls_endpoint, authority, chain) -> None:
    extra = [make_authority(f"CA {number}", key=authority.key).certificate for number in range(60)]
    seen = probe(tls_endpoint(chain.also_presenting(*extra)).target(ca=authority.pem))
    assert seen.verified
    assert (len(seen.chain), len(seen.presented)) == (3, 16)


def test_a_chain_beyond_all_bounds_is_refused(tls_endpoint, authority, chain) -> None:
    one = make_authority("CA", key=authority.key).certificate
    seen = probe(tls_endpoint(chain.also_presenting(*[one] * 300)).target(ca=authority.pem))
    assert not seen.verified
    assert "does not speak TLS as expected" in seen.error


# What OpenSSL reads and other libraries refuse: a certificate of a version that does not exist.
VERSION_3, VERSION_8 = b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x07"


def context_of(chain, *ders: bytes) -> ssl.SSLContext:
    """A server's context that presents these certificates, with the key of a chain."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:
        pem, key = Path(folder, "chain.pem"), Path(folder, "key.pem")
        pem.write_text("".join(ssl.DER_cert_to_PEM_cert(each) for each in ders))
        key.write_bytes(chain.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        context.load_cert_chain(pem, key)
    return context


def test_a_presented_certificate_that_cannot_be_read_hides_nothing(
    tls_endpoint, authority, chain
) -> None:
    ders = [each.public_bytes(Encoding.DER) for each in chain.presented]
    served = tls_endpoint(context_of(chain, *ders, ders[0].replace(VERSION_3, VERSION_8)))
    seen = probe(served.target(ca=authority.pem))
    assert (seen.verified, len(seen.presented)) == (True, 2)
    assert len(probe(served.target()).presented) == 2


def test_a_leaf_that_cannot_be_read_is_an_error_and_not_the_end(tls_endpoint, authority) -> None:
    chain = make_chain("api.example.test", authority=authority)
    body = chain.leaf.tbs_certificate_bytes.replace(VERSION_3, VERSION_8)
    signature = b"\0" + authority.key.sign(body, ec.ECDSA(hashes.SHA256()))
    ecdsa_with_sha256 = bytes.fromhex("300a06082a8648ce3d040302")
    inner = body + ecdsa_with_sha256 + bytes([0x03, len(signature)]) + signature
    odd = b"\x30\x82" + len(inner).to_bytes(2, "big") + inner
    seen = probe(tls_endpoint(context_of(chain, odd)).target(ca=authority.pem))
    assert (seen.verified, seen.chain) == (False, [])
    assert seen.error


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("127.0.0.1:443", ("127.0.0.1", 443)), ("[::1]:8443", ("::1", 8443)),
        ("API.example.com:1", ("api.example.com", 1)), ("a.example.:65535", ("a.example", 65535)),
    ],
)  # fmt: skip
def test_host_and_port_are_read(text: str, found: tuple[str, int]) -> None:
    assert split_address(text) == found


@pytest.mark.parametrize(
    "text",
    ["", "host", "host:", ":443", "host:0", "host:65536", "host:x", "host:٣", "h ost:1", "host:-1",
     "host:1:", "https://host:1"],
)  # fmt: skip
def test_what_is_no_host_and_port_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected HOST:PORT, found"):
        split_address(text)
    with pytest.raises(ValueError, match="expected HOST:PORT"):
        Target(host="api.example.com", connect=text).checked()


@pytest.mark.parametrize("host", ["", "a b", "-", "a..b", "*.example.com", "a" * 300])
def test_what_is_no_host_is_refused(host: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        Target(host=host).checked()
