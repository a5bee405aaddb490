"""A server in the place of the true one, that wants monitoring to go on saying that all is well.

It has the chain of the true server, which anybody may have, but not its key. Or it makes monitoring
look away: by refusing one algorithm, by demanding a certificate, by never coming to an end.
"""

from __future__ import annotations

import socket
import ssl

import pytest
from livepin.testing import make_authority, make_chain, make_key
from livepin_server.probing.looks import Known, Question
from livepin_server.probing.loop import Loop
from livepin_server.probing.resolving import Resolving
from tls_servers import HOST, Servers, connect, context

SLOW = 60.0


@pytest.fixture
def servers():
    """Servers of the attacker."""
    with Servers() as found:
        yield found


@pytest.fixture(scope="module")
def authority():
    """The true server's CA."""
    return make_authority("Corp CA")


def seen(port: int, authority, *, digest: str | None = None):
    """What monitoring sees at a port, of a certificate that may be known."""
    known = []
    if digest is not None:
        known = [Known(address="127.0.0.1", algorithm="ecdsa", digest=digest)]
    where = connect(port)
    asked = Question(id=1, host=HOST, connect=where, ca=authority.pem, known=known)
    found, resolving = [], Resolving(SLOW)
    loop = Loop("ecdsa", at_once=4, patience=SLOW, resolving=resolving)
    loop.run([asked], seconds=SLOW, tell=found.append)
    loop.close()
    resolving.close()
    return found[0].sights[0]


def test_the_true_chain_without_its_key_confirms_nothing(servers, authority) -> None:
    """Cut off after the certificate: what was presented is as known, and nothing was proven."""
    true = make_chain(HOST, authority=authority)
    port = servers.tls(context(true, tls12=True))
    digest = seen(port, authority).observation.digest

    def behave(sock: socket.socket) -> None:
        hello = sock.recv(4096)
        with socket.create_connection(("127.0.0.1", port)) as way:
            way.sendall(hello)
            answer = way.recv(65536)
        for size in _records(answer)[:2]:  # ServerHello and Certificate
            sock.sendall(answer[:size])
            answer = answer[size:]
        sock.sendall(b"\x15\x03\x03\x00\x02\x02\x28")  # handshake_failure

    sight = seen(servers.start(behave), authority, digest=digest)
    assert sight.observation is not None
    assert (sight.observation.verified, sight.observation.chain) == (False, [])
    assert sight.observation.failure == "tls"  # and not that there is no certificate


def _records(data: bytes) -> list[int]:
    """The sizes of the records in some bytes."""
    sizes = []
    while data:
        sizes.append(5 + int.from_bytes(data[3:5], "big"))
        data = data[sizes[-1] :]
    return sizes


def test_a_chain_of_his_own_is_told_also_where_he_demands_a_certificate(servers, authority) -> None:
    own = make_authority("Corp CA")
    mutual = context(make_chain(HOST, authority=own), tls12=True)
    mutual.verify_mode = ssl.CERT_REQUIRED
    mutual.load_verify_locations(cadata=own.pem)
    found = seen(servers.tls(mutual), authority).observation
    assert (found.verified, found.failure, found.chain) == (False, "untrusted", [])


def test_an_rsa_key_is_never_taken_for_the_ecdsa_one(servers, authority) -> None:
    port = servers.tls(make_chain(HOST, authority=authority, key=make_key("rsa")))
    found = seen(port, authority).observation
    assert (found.verified, found.chain) == (False, [])


def test_a_flood_is_cut_off(servers, authority) -> None:
    for port in (servers.endless(), servers.endless_certificate()):
        assert seen(port, authority, digest="0" * 64).observation.failure == "tls"
