"""All that misbehaves, in one batch of a prober: each is called what it is, and hides no other."""

from __future__ import annotations

import datetime as dt
import socket
import ssl
import time
from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from forging import Forger, ders
from livepin.testing import make_authority, make_chain, make_key
from livepin_server.probing.looks import Known, Look, Question
from livepin_server.probing.prober import Prober
from tls_servers import HOST, connect, context

PATIENCE = 5.0  # seconds: stalls cost it, and no more
PAST = dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc)
FAILURES = {
    "resetting": "reset", "closing": "reset", "silent": "timeout", "stalled": "timeout",
    "http": "tls", "garbage": "tls", "endless_certificate": "tls", "endless": "tls",
    "refusing": "refused",
}  # fmt: skip


@pytest.fixture(scope="module")
def prober() -> Iterator[Prober]:
    """A prober that waits for nobody for long."""
    found = Prober(processes=1, patience=PATIENCE)
    yield found
    found.close()


@pytest.fixture
def look(prober, authority):
    """Look at ports in one batch; return what was seen of each by algorithm."""

    def one(ports: dict[str, int], **members) -> dict[str, dict]:
        names = list(ports)
        asked = [
            Question(id=n, host=HOST, connect=connect(ports[name]), ca=authority.pem, **members)
            for n, name in enumerate(names)
        ]
        looks: list[Look] = [*prober.look(asked)]
        assert sorted(each.id for each in looks) == list(range(len(names)))
        return {
            names[each.id]: {sight.algorithm: sight.observation for sight in each.sights}
            for each in looks
        }

    return one


def wrong_certificate_verify(servers, chain) -> int:
    """A server that presents a chain whose key it does not have, as it signs something else."""

    def behave(sock: socket.socket) -> None:
        forger = Forger(ders(chain), chain.key, signed=lambda content: content + b"!")
        sock.sendall(b"".join(forger.flight_13(sock.recv(16384))))
        while sock.recv(4096):
            pass

    return servers.start(behave)


def test_who_misbehaves_is_told_apart_and_holds_up_nobody(look, servers, chain) -> None:
    ports = {kind: getattr(servers, kind)() for kind in FAILURES}
    started = time.monotonic()
    found = look({**ports, "good": servers.tls(chain)})
    assert time.monotonic() - started < 8 * PATIENCE
    assert found.pop("good")["ecdsa"].verified
    for kind, seen in found.items():
        assert {each.failure for each in seen.values()} == {FAILURES[kind]}, kind
        assert not any(each.verified or each.chain for each in seen.values()), kind


def test_chains_that_do_not_verify_are_untrusted_and_shown(look, servers, chain, authority) -> None:
    root = make_authority(HOST)
    alone = chain.__class__(key=chain.key, presented=chain.presented[:1], authority=authority)
    own = chain.__class__(key=root.key, presented=(root.certificate,), authority=root)
    served = {
        "certificate has expired": make_chain(HOST, authority=authority, not_after=PAST),
        "Hostname mismatch": make_chain("other.example.test", authority=authority),
        "unable to get local issuer certificate": alone,
        "self-signed certificate": own,
    }
    found = look({said: servers.tls(each) for said, each in served.items()})
    for said, seen in found.items():
        ecdsa = seen["ecdsa"]
        assert (ecdsa.verified, ecdsa.failure, ecdsa.chain) == (False, "untrusted", [])
        assert said in ecdsa.error
        assert len(ecdsa.presented) == len(served[said].presented)
        assert seen["rsa"].failure == "no_certificate"


def test_servers_that_are_only_unusual_are_seen_whole(look, servers, chain, authority) -> None:
    p384 = make_chain(HOST, authority=authority, key=ec.generate_private_key(ec.SECP384R1()))
    narrow = context(p384)
    narrow.set_ecdh_curve("secp384r1")
    rsa = make_chain(HOST, authority=authority, key=make_key("rsa"))
    ports = {"P-384": servers.tls(narrow), "both": servers.tls(context(chain, rsa))}
    for name, tls12 in (("mutual 1.2", True), ("mutual 1.3", False)):
        mutual = context(chain, tls12=tls12)
        mutual.verify_mode = ssl.CERT_REQUIRED
        mutual.load_verify_locations(cadata=authority.pem)
        ports[name] = servers.tls(mutual)
    found = look(ports)
    kinds = {
        name: {kind: each.chain[0].key_type for kind, each in seen.items() if each.verified}
        for name, seen in found.items()
    }
    assert kinds == {
        "P-384": {"ecdsa": "EC secp384r1"},
        "both": {"ecdsa": "EC secp256r1", "rsa": "RSA-2048"},
        "mutual 1.2": {"ecdsa": "EC secp256r1"},
        "mutual 1.3": {"ecdsa": "EC secp256r1"},
    }


def test_a_chain_whose_key_is_not_there_is_not_believed_also_where_it_is_known(
    look, servers, authority
) -> None:
    """Whoever sits between has the certificate, which is public, and not its key."""
    chain = make_chain(HOST, authority=authority)
    real = look({"real": servers.tls(chain)})["real"]["ecdsa"]
    known = Known(address="127.0.0.1", algorithm="ecdsa", digest=real.digest)
    for members in ({}, {"known": [known]}):
        seen = look({"forged": wrong_certificate_verify(servers, chain)}, **members)["forged"]
        assert (seen["ecdsa"].verified, seen["ecdsa"].failure) == (False, "tls")
        assert "BAD_SIGNATURE" in seen["ecdsa"].error
        assert not seen["rsa"].verified
