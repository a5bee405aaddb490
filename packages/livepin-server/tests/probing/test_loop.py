"""One event loop and its engines, against real servers: what is seen, and within which bounds."""

from __future__ import annotations

import datetime as dt
import socket
import ssl
import threading
import time
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from livepin.testing import make_authority, make_chain, make_key
from livepin_server.probing import verified
from livepin_server.probing.looks import Known, Look, Question
from livepin_server.probing.loop import Loop
from livepin_server.probing.probe import Observation, Target, probe
from livepin_server.probing.resolving import Resolving, addresses_of
from tls_servers import HOST, connect, context

SLOW = 60.0  # seconds: long enough on any machine


@pytest.fixture
def see() -> Callable[..., list[Look]]:
    """Look at endpoints in this thread."""

    def one(
        *questions: Question,
        algorithm="ecdsa",
        patience: float = SLOW,
        seconds: float = SLOW,
        at_once: int = 64,
        resolve: Callable[[str], list[str]] = addresses_of,
        beat: Callable[[], None] = lambda: None,
        tell: Callable[[Look], None] = lambda _: None,
        left: int = 0,
    ) -> list[Look]:
        resolving = Resolving(patience, resolve)
        loop = Loop(algorithm, at_once=at_once, patience=patience, resolving=resolving)
        found: list[Look] = []

        def told(look: Look) -> None:
            found.append(look)
            tell(look)

        try:
            assert loop.run(questions, seconds=seconds, tell=told, beat=beat) == left
        finally:
            loop.close()
            resolving.close()
        assert len(found) == len(questions) - left
        return sorted(found, key=lambda each: each.id)

    return one


@pytest.fixture
def seen(see, authority) -> Callable[..., Observation]:
    """Look at one port, and return what is there."""

    def one(port: int, *, address: str = "127.0.0.1", host: str = HOST, **options) -> Observation:
        where = connect(port, address)
        (look,) = see(Question(id=1, host=host, connect=where, ca=authority.pem), **options)
        (sight,) = look.sights
        assert (sight.engine, sight.address, look.failure) == ("verified", address, None)
        assert sight.observation is not None
        return sight.observation

    return one


def known(port: int, digest: str, **more) -> Question:
    """A question about what is known already."""
    has = Known(address="127.0.0.1", algorithm="ecdsa", digest=digest)
    return Question(id=1, host=HOST, connect=connect(port), known=[has], **more)


@pytest.mark.parametrize("tls12", [False, True])
def test_the_chain_that_was_verified_is_seen_and_the_one_that_was_presented(
    seen, servers, chain, authority, tls12: bool
) -> None:
    port = servers.tls(context(chain, tls12=tls12))
    found = seen(port)
    before = probe(Target(host=HOST, connect=connect(port), ca=authority.pem))
    assert (found.verified, found.failure, found.error) == (True, None, None)
    assert found.tls_version == before.tls_version == ("TLSv1.2" if tls12 else "TLSv1.3")
    assert [each.sha256 for each in found.chain] == [each.sha256 for each in before.chain]
    assert [each.sha256 for each in found.presented] == [e.sha256 for e in before.presented]
    assert found.digest == before.digest
    assert (len(found.chain), len(found.presented)) == (3, 2)
    assert bytes(servers.received) == b""
    assert servers.connections[port] == 2


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("expired", "certificate has expired"),
        ("another name", "Hostname mismatch"),
        ("another CA", "unable to get local issuer certificate"),
        ("no intermediate", "unable to get local issuer certificate"),
        ("self-signed", "self-signed certificate"),
    ],
)
def test_a_chain_that_does_not_verify_is_untrusted_and_shown(
    seen, servers, chain, authority, case: str, said: str
) -> None:
    past = dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc)
    root = make_authority(HOST)
    served = {
        "expired": lambda: make_chain(HOST, authority=authority, not_after=past),
        "another name": lambda: make_chain("other.example.test", authority=authority),
        "another CA": lambda: make_chain(HOST, authority=make_authority("Corp CA")),
        "no intermediate": lambda: chain.__class__(
            key=chain.key, presented=chain.presented[:1], authority=authority
        ),
        "self-signed": lambda: chain.__class__(
            key=root.key, presented=(root.certificate,), authority=root
        ),
    }[case]()
    port = servers.tls(served)
    found = seen(port)
    assert (found.verified, found.failure, found.chain) == (False, "untrusted", [])
    assert said in found.error
    assert len(found.presented) == len(served.presented)
    assert found.digest is not None
    assert servers.connections[port] == 2  # the second look, without verification


@pytest.mark.parametrize("reads", [True, False])
def test_what_was_refused_is_said_also_where_the_second_look_fails(
    seen, servers, reads: bool
) -> None:
    other, first = context(make_chain(HOST)), threading.Event()

    def behave(sock: socket.socket) -> None:
        if not first.is_set():
            first.set()
            other.wrap_socket(sock, server_side=True)
        elif reads:
            sock.recv(4096)

    found = seen(servers.start(behave))
    assert (found.failure, found.presented, found.digest) == ("untrusted", [], None)


@pytest.mark.parametrize("tls12", [False, True])
def test_a_client_certificate_that_is_demanded_does_not_hide_the_chain(
    seen, servers, chain, authority, tls12: bool
) -> None:
    mutual = context(chain, tls12=tls12)
    mutual.verify_mode = ssl.CERT_REQUIRED
    mutual.load_verify_locations(cadata=authority.pem)
    found = seen(servers.tls(mutual))
    assert (found.verified, len(found.chain), found.error) == (True, 3, None)
    assert found.tls_version == ("TLSv1.2" if tls12 else "TLSv1.3")


def test_a_server_with_p_384_alone_is_seen(seen, servers, authority) -> None:
    key = ec.generate_private_key(ec.SECP384R1())
    served = context(make_chain(HOST, authority=authority, key=key))
    served.set_ecdh_curve("secp384r1")
    found = seen(servers.tls(served))
    assert (found.verified, found.chain[0].key_type) == (True, "EC secp384r1")


@pytest.mark.parametrize("algorithm", ["ecdsa", "rsa"])
def test_another_algorithm_alone_is_no_certificate(
    seen, servers, authority, algorithm: str
) -> None:
    kind = "ec" if algorithm == "rsa" else "rsa"
    other = make_chain(HOST, authority=authority, key=make_key(kind))
    found = seen(servers.tls(context(other, tls12=True)), algorithm=algorithm)
    assert (found.failure, found.presented) == ("no_certificate", [])
    assert found.error == f"there is no {algorithm.upper()} certificate"


def test_a_certificate_of_another_algorithm_than_asked_for_is_not_believed(
    seen, servers, authority
) -> None:
    """This process has no configuration of its own, so TLS 1.3 gets what it did not want."""
    other = make_chain(HOST, authority=authority, key=make_key("rsa"))
    found = seen(servers.tls(other))
    assert (found.verified, found.failure) == (False, "tls")
    assert "asked for an ECDSA certificate, found RSA-2048" in found.error


@pytest.mark.parametrize(
    ("kind", "failure"),
    [
        ("resetting", "reset"),
        ("closing", "reset"),
        ("http", "tls"),
        ("garbage", "tls"),
        ("endless_certificate", "tls"),
        ("endless", "tls"),
        ("refusing", "refused"),
    ],
)
def test_who_misbehaves_has_a_failure_in_words(seen, servers, kind: str, failure: str) -> None:
    port = getattr(servers, kind)()
    found = seen(port)
    assert (found.verified, found.failure, found.chain) == (False, failure, [])
    assert found.error.startswith(f"127.0.0.1:{port}")
    assert len(found.error) <= 200


def test_a_handshake_without_an_end_is_ended(seen, servers) -> None:
    assert "more than 262144 bytes" in seen(servers.endless()).error


@pytest.mark.parametrize("kind", ["silent", "stalled"])
def test_who_never_ends_costs_the_patience_and_hides_nobody(
    see, servers, chain, authority, kind: str
) -> None:
    port, good = getattr(servers, kind)(), servers.tls(chain)
    slow, quick = see(
        Question(id=1, host=HOST, connect=connect(port), ca=authority.pem),
        Question(id=2, host=HOST, connect=connect(good), ca=authority.pem),
        patience=3.0,
    )
    assert slow.sights[0].observation.failure == "timeout"
    assert slow.sights[0].observation.error == f"127.0.0.1:{port} did not answer in time"
    assert quick.sights[0].observation.verified


def test_what_there_is_no_time_for_is_not_said_to_be_silent(see, servers) -> None:
    port, beats = servers.silent(), []
    asked = [Question(id=n, host=HOST, connect=connect(port)) for n in range(3)]
    over = threading.Event()
    asked.append(Question(id=3, host="hanging.example"))

    def resolve(_: str) -> list[str]:
        over.wait(SLOW)
        return []

    started = time.monotonic()
    beat = lambda: beats.append(1)  # noqa: E731
    assert see(*asked, at_once=1, seconds=1.5, resolve=resolve, beat=beat, left=4) == []
    over.set()
    assert time.monotonic() - started < 20
    assert beats
    assert servers.connections[port] <= 1


class _EnoughError(Exception):
    """What the test is about was told."""


def test_hosts_that_swallow_packets_at_many_addresses_do_not_take_the_time_of_others(
    see, servers, chain, authority
) -> None:
    addresses = [f"127.0.0.{n}" for n in range(2, 10)]
    tarpit, good = servers.silent(addresses[0]), servers.tls(chain, addresses[0])
    for each in addresses[1:]:
        servers.silent(each, tarpit)
        servers.tls(chain, each, good)

    def resolve(host: str) -> list[str]:
        while host == "late.test" and servers.connections[tarpit] < 2:
            time.sleep(0.01)
        return addresses

    def tell(look: Look) -> None:
        assert look.id == 7
        assert all(each.observation.verified for each in look.sights)
        assert servers.connections[tarpit] <= 4  # of 16
        raise _EnoughError

    asked = [Question(id=n, host=HOST, connect=f"tarpit-{n}.test:{tarpit}") for n in range(2)]
    asked.append(Question(id=7, host=HOST, connect=f"late.test:{good}", ca=authority.pem))
    with pytest.raises(_EnoughError):
        see(*asked, at_once=2, patience=2.0, resolve=resolve, tell=tell)


def test_what_stalls_is_looked_at_to_the_last_address(see, servers) -> None:
    port, told = servers.silent(), []
    servers.silent("127.0.0.2", port)
    asked = [Question(id=n, host=HOST, port=port) for n in range(2)]
    resolve = lambda _: ["127.0.0.1", "127.0.0.2"]  # noqa: E731
    found = see(*asked, at_once=1, patience=0.5, resolve=resolve, tell=told.append)
    for look in found:
        assert [each.observation.failure for each in look.sights] == ["timeout"] * 2
    assert told == found


def test_each_address_of_a_name_is_seen_apart(see, servers, chain, authority) -> None:
    port = servers.tls(chain)
    servers.tls(make_chain("other.example.test", authority=authority), "127.0.0.2", port)
    asked = []

    def resolve(host: str) -> list[str]:
        asked.append(host)
        return ["127.0.0.1", "127.0.0.2", "127.0.0.3"]

    questions = [Question(id=n, host=HOST, port=port, ca=authority.pem) for n in range(2)]
    for look in see(*questions, resolve=resolve):
        found = {each.address: each.observation for each in look.sights}
        assert found["127.0.0.1"].verified
        assert found["127.0.0.2"].failure == "untrusted"
        assert found["127.0.0.3"].failure == "refused"
    assert asked == [HOST]  # each name once


def test_ipv6_is_seen(seen, servers, chain, missing) -> None:
    try:
        port = servers.tls(chain, "::1")
    except OSError:
        missing("there is no IPv6 here")
    assert seen(port, address="::1").verified
    assert seen(port, address="::1", host="::1").verified


@pytest.mark.parametrize("ca", ["", "no PEM", "é"])
def test_anchors_that_are_none_are_not_the_systems(see, servers, chain, ca: str) -> None:
    asked = Question(id=1, host=HOST, connect=connect(servers.tls(chain)), ca=ca)
    (sight,) = see(asked)[0].sights
    assert sight.observation.failure == "untrusted"
    assert sight.observation.error == "the given CA holds no certificate in PEM"


def test_a_host_that_is_none_is_said(see, seen, servers, chain) -> None:
    assert see(Question(id=1, host=HOST, connect="nowhere"))[0].failure == "no_address"
    assert seen(servers.tls(chain), host=".").failure == "tls"


def test_no_route_is_said_in_words(seen) -> None:
    found = seen(9, address="255.255.255.255")
    assert found.failure == "network"
    assert "Errno" not in found.error


# -- fast first, where something is known ---------------------------------------------------------


def test_what_is_as_it_was_is_confirmed_by_fast_alone(see, seen, servers, chain) -> None:
    port = servers.tls(chain)
    digest = seen(port).digest
    (sight,) = see(known(port, digest))[0].sights
    assert (sight.engine, sight.observation) == ("fast", None)
    assert servers.connections[port] == 2


def test_what_was_not_there_and_is_not_is_confirmed_by_fast_alone(see, servers, authority) -> None:
    port = servers.tls(make_chain(HOST, authority=authority, key=make_key("rsa")))
    (sight,) = see(known(port, ""))[0].sights
    assert (sight.engine, sight.observation) == ("fast", None)


def test_what_has_changed_is_verified_at_once(see, servers, chain, authority) -> None:
    port = servers.tls(chain)
    for digest in ("0" * 64, ""):
        (sight,) = see(known(port, digest, ca=authority.pem))[0].sights
        assert (sight.engine, sight.observation.verified) == ("verified", True)
    assert servers.connections[port] == 4


def test_what_is_odd_is_verified_at_once(see, seen, servers, authority) -> None:
    served = context(make_chain(HOST, authority=authority))
    served.set_ecdh_curve("secp384r1")  # asks for another hello
    port = servers.tls(served)
    digest = seen(port).digest
    (sight,) = see(known(port, digest, ca=authority.pem))[0].sights
    assert (sight.engine, sight.observation.digest) == ("verified", digest)


def test_a_certificate_that_is_gone_is_no_confirmation(see, servers, authority) -> None:
    other = make_chain(HOST, authority=authority, key=make_key("rsa"))
    port = servers.tls(context(other, tls12=True))
    (sight,) = see(known(port, "0" * 64, ca=authority.pem))[0].sights
    assert sight.observation.failure == "no_certificate"


@pytest.mark.parametrize("kind", ["resetting", "silent", "refusing"])
def test_what_ends_fast_is_looked_at_by_verified_too(see, servers, kind: str) -> None:
    port = getattr(servers, kind)()
    (sight,) = see(known(port, "0" * 64), patience=1.0)[0].sights
    assert sight.engine == "verified"
    assert sight.observation.failure in ("reset", "timeout", "refused")
    assert servers.connections.get(port, 2) == 2


def test_ed25519_counts_as_ecdsa(seen, servers, authority) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    assert seen(servers.tls(make_chain(HOST, authority=authority, key=key))).verified


def test_anchors_are_loaded_once_for_many_looks(seen, servers, chain) -> None:
    verified._anchored.cache_clear()
    port = servers.tls(chain)
    assert all(seen(port).verified for _ in range(3))
    assert verified._anchored.cache_info().misses == 1
