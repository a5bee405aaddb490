"""nginx with many names, two addresses and both algorithms: what operators run."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from livepin.testing import Chain, make_chain, make_key
from livepin_server.listener import available_port
from livepin_server.probing.looks import Known, Look, Question
from livepin_server.probing.prober import Prober
from tls_servers import connect

_NAMES = 12
_CONFIG = """
worker_processes 1;
daemon off;
error_log {folder}/error.log;
pid {folder}/nginx.pid;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
    uwsgi_temp_path {folder}; scgi_temp_path {folder};
    ssl_protocols TLSv1.2 TLSv1.3;
{servers}}}
"""
_SERVER = """    server {{
        listen 127.0.0.1:{port} ssl; listen 127.0.0.2:{port} ssl; server_name {name};
{files}    }}
"""
_FILES = "        ssl_certificate {path}.pem; ssl_certificate_key {path}.key;\n"


def name(number: int) -> str:
    """One of the names that are served."""
    return f"api-{number}.example.test"


@pytest.fixture
def nginx(
    counterpart: Callable[[str], str], tmp_path: Path, authority, until: Callable[..., None]
) -> Iterator[int]:
    """nginx that serves each name with a certificate of each algorithm."""
    program, port = counterpart("nginx"), available_port("127.0.0.1", 0)
    servers, rsa = "", make_key("rsa")
    for number in range(_NAMES):
        files = ""
        for kind, key in (("ecdsa", make_key()), ("rsa", rsa)):
            chain = make_chain(name(number), authority=authority, intermediate=True, key=key)
            path = tmp_path / f"{number}-{kind}"
            _write(path, chain)
            files += _FILES.format(path=path)
        servers += _SERVER.format(port=port, name=name(number), files=files)
    (tmp_path / "nginx.conf").write_text(_CONFIG.format(folder=tmp_path, servers=servers))
    command = [program, "-c", f"{tmp_path}/nginx.conf", "-e", f"{tmp_path}/error.log"]
    process = subprocess.Popen(command)

    def answers() -> bool:
        assert process.poll() is None, (tmp_path / "error.log").read_text()
        try:
            socket.create_connection(("127.0.0.2", port), timeout=1).close()
        except OSError:
            return False
        return True

    try:
        until(answers)
        yield port
    finally:
        process.terminate()
        process.wait(30)


def _write(path: Path, chain: Chain) -> None:
    pem = b"".join(each.public_bytes(Encoding.PEM) for each in chain.presented)
    path.with_suffix(".pem").write_bytes(pem)
    key = chain.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.with_suffix(".key").write_bytes(key)


def test_every_name_address_and_algorithm_is_seen_apart_and_then_confirmed(
    nginx: int, authority
) -> None:
    asked = [
        Question(
            id=2 * number + at, host=name(number), connect=connect(nginx, address), ca=authority.pem
        )
        for number in range(_NAMES)
        for at, address in enumerate(("127.0.0.1", "127.0.0.2"))
    ]
    prober = Prober(processes=1)
    try:
        first = {look.id: look for look in prober.look(asked)}
        again = [*prober.look([_known(each, first[each.id]) for each in asked])]
    finally:
        prober.close()
    assert sorted(first) == [each.id for each in asked]
    digests = set()
    for look in first.values():
        ecdsa, rsa = (each.observation for each in look.sights)
        assert (ecdsa.verified, ecdsa.chain[0].key_type) == (True, "EC secp256r1")
        assert (rsa.verified, rsa.chain[0].key_type) == (True, "RSA-2048")
        assert (len(ecdsa.chain), len(rsa.presented)) == (3, 2)
        digests |= {ecdsa.digest, rsa.digest}
    assert len(digests) == 2 * _NAMES  # each name has chains of its own, at both addresses
    assert {each.engine for look in again for each in look.sights} == {"fast"}
    assert {each.observation for look in again for each in look.sights} == {None}


def _known(question: Question, look: Look) -> Question:
    known = [
        Known(address=each.address, algorithm=each.algorithm, digest=each.observation.digest or "")
        for each in look.sights
    ]
    return Question(id=question.id, host=question.host, connect=question.connect, known=known)
