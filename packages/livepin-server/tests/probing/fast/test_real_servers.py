"""Real servers on loopback: OpenSSL's, nginx with two certificates, Python's."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519
from forging import ders, talk
from livepin.testing import make_chain, server_context
from livepin_server.probing.fast import FastConversation, digest_of

HOST = "api.example.test"
LEAVES = {
    "P-256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "P-384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "P-521": lambda: ec.generate_private_key(ec.SECP521R1()),
    "Ed25519": ed25519.Ed25519PrivateKey.generate,
    "Ed448": ed448.Ed448PrivateKey.generate,
}


@pytest.mark.parametrize("kind", LEAVES)
@pytest.mark.parametrize("version", ["-tls1_3", "-tls1_2"])
def test_openssl_serves_each_kind_of_key_that_counts_as_ecdsa(
    openssl_server, kind: str, version: str
) -> None:
    chain = make_chain(HOST, key=LEAVES[kind](), intermediate=True)
    known = digest_of(ders(chain))
    port = openssl_server(chain, version)
    assert talk(FastConversation(HOST, "ecdsa", known), port) == "unchanged"
    assert talk(FastConversation(HOST, "rsa", ""), port) == "none"


@pytest.mark.parametrize("version", ["-tls1_3", "-tls1_2"])
def test_openssl_serves_rsa(openssl_server, rsa, version: str) -> None:
    port = openssl_server(rsa.chain, version)
    for size in (1, 100, 65536):
        assert talk(rsa.ask(), port, size=size) == "unchanged"
    assert talk(FastConversation(HOST, "ecdsa", ""), port) == "none"


@pytest.mark.parametrize(
    ("options", "answer"),
    [
        (["-tls1_3", "-num_tickets", "9"], "unchanged"),
        (["-tls1_3", "-Verify", "2"], "unchanged"),  # demands a certificate
        (["-tls1_2", "-Verify", "2"], "unchanged"),
        (["-tls1_3", "-ciphersuites", "TLS_AES_256_GCM_SHA384"], "unchanged"),
        (["-tls1_3", "-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"], "unchanged"),
        (["-tls1_3", "-record_padding", "512"], "unchanged"),
        (["-tls1_3", "-split_send_frag", "512", "-max_send_frag", "512"], "unchanged"),
        (["-tls1_2", "-split_send_frag", "512", "-max_send_frag", "512"], "unchanged"),
        (["-tls1_2", "-groups", "P-384"], "unchanged"),
        (["-tls1_3", "-groups", "P-384"], "odd"),  # asks for another hello
        (["-tls1_2", "-groups", "ffdhe2048"], "none"),
        (["-tls1_2", "-cipher", "AES128-SHA"], "none"),  # no suite in common
        (["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"], "odd"),
    ],
)
def test_openssl_with_other_settings(openssl_server, ecdsa, options, answer: str) -> None:
    assert talk(ecdsa.ask(), openssl_server(ecdsa.chain, *options)) == answer


def test_keys_that_are_agreed_on_without_curves_are_odd(openssl_server, rsa) -> None:
    assert talk(rsa.ask(), openssl_server(rsa.chain, "-tls1_2", "-cipher", "DHE")) == "odd"


def test_a_server_of_another_name_is_not_looked_into(openssl_server, ecdsa) -> None:
    """The name was checked by whoever verified this chain."""
    conversation = FastConversation("127.0.0.1", "ecdsa", ecdsa.digest)
    assert talk(conversation, openssl_server(ecdsa.chain)) == "unchanged"


@pytest.fixture
def nginx(tmp_path, counterpart, pem_files, until):
    """Start nginx with the certificates of some chains; give the port."""
    with contextlib.ExitStack() as stack:

        def one(protocols, *served):
            with socket.socket() as sock:
                sock.bind(("127.0.0.1", 0))
                port = sock.getsockname()[1]
            files = [pem_files(each.chain) for each in served]
            lines = "".join(f"ssl_certificate {a}; ssl_certificate_key {b};" for a, b in files)
            temporary = "".join(
                f"{each}_temp_path {tmp_path};"
                for each in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
            )
            configuration = tmp_path / "nginx.conf"
            configuration.write_text(
                f"worker_processes 1; daemon off; pid {tmp_path}/pid; error_log {tmp_path}/error;"
                f"events {{}} http {{ access_log off; {temporary} server {{"
                f"listen 127.0.0.1:{port} ssl; ssl_protocols {protocols}; {lines} }} }}"
            )
            command = [counterpart("nginx"), "-c", str(configuration), "-e", f"{tmp_path}/e"]
            process = subprocess.Popen(command)
            stack.callback(process.wait, 30)
            stack.callback(process.terminate)

            def answers():
                assert process.poll() is None, (tmp_path / "error").read_text()
                with contextlib.suppress(OSError):
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
                    return True
                return False

            until(answers)
            return port

        yield one


@pytest.mark.parametrize("protocols", ["TLSv1.3", "TLSv1.2", "TLSv1.2 TLSv1.3"])
def test_nginx_serves_both_algorithms(nginx, ecdsa, rsa, protocols: str) -> None:
    port = nginx(protocols, rsa, ecdsa)
    for each in (ecdsa, rsa):
        assert talk(each.ask(), port) == "unchanged"
        assert talk(FastConversation(HOST, each.algorithm, ""), port) == "changed"


@pytest.mark.parametrize("tls12", [False, True])
def test_python_serves_over_a_socket(tls_endpoint, served, tls12: bool) -> None:
    endpoint = tls_endpoint(server_context(served.chain, tls12=tls12))
    assert talk(served.ask(), endpoint.port) == "unchanged"
    assert bytes(endpoint.received) == b""


def test_a_server_hears_one_hello_and_nothing_else(endpoint, ecdsa) -> None:
    heard, over = bytearray(), threading.Event()
    conversation = ecdsa.ask()

    def behave(sock: socket.socket) -> None:
        heard.extend(sock.recv(65536))
        sock.sendall(b"".join(ecdsa.forger().flight_13(bytes(heard))))
        while more := sock.recv(65536):
            heard.extend(more)
        over.set()

    assert talk(conversation, endpoint(behave).port) == "unchanged"
    assert over.wait(30)
    assert bytes(heard) == conversation.outgoing
