"""Each address of each endpoint, once: a load balancer may serve another chain at each."""

from __future__ import annotations

import threading
import time

import pytest
from livepin.pins import fingerprint_text
from livepin.testing import make_chain
from livepin_server.probing import addresses
from livepin_server.probing.addresses import AT_ONCE, MOST_ADDRESSES, look_at_each, resolved
from livepin_server.probing.probe import Target

HOST = "api.example.test"


def silent(sock) -> None:
    """Take what comes, and say nothing."""
    while sock.recv(4096):
        pass


def threads() -> int:
    """How many look, or still do."""
    return sum(each.name.endswith("(_work)") for each in threading.enumerate())


def until_threads(left: int) -> None:
    """Wait until no more than that look."""
    deadline = time.monotonic() + 30
    while threads() > left:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def seen_of(targets, seconds=30.0, **more):
    """What is seen of each target."""
    found = [[] for _ in targets]
    for at, observation in look_at_each(targets, seconds=seconds, **more):
        found[at].append(observation)
    return found


@pytest.mark.parametrize("second", ["127.0.0.2", "::1"])
def test_each_address_of_a_host_is_looked_at_once(tls_endpoint, authority, chain, second) -> None:
    other = make_chain(HOST, authority=authority)
    first = tls_endpoint(chain)
    fellow = tls_endpoint(other, second, first.port)
    both = [f"{each.address}:{each.port}" for each in (first, fellow)]
    target = Target(host=HOST, ca=authority.pem)
    (found,) = seen_of([target], resolve=lambda _: both)
    by_address = {each.address: each for each in found}
    assert by_address.keys() == {"127.0.0.1", second}
    leaves = [by_address[each].chain[0].sha256 for each in ("127.0.0.1", second)]
    assert leaves == [fingerprint_text(each.pin.sha256) for each in (chain, other)]
    assert (first.connections, fellow.connections) == (1, 1)
    assert (bytes(first.received), bytes(fellow.received)) == (b"", b"")


def test_targets_are_told_apart(tls_endpoint, authority, chain) -> None:
    served = tls_endpoint(chain)
    right, wrong = served.target(ca=authority.pem), served.target("other.example", authority.pem)
    (one,), (other,) = seen_of([right, wrong])
    assert (one.host, one.verified, len(one.chain)) == (HOST, True, 3)
    assert (other.host, other.verified, other.chain) == ("other.example", False, [])
    assert "not valid for other.example by the given CA" in other.error
    assert other.address == "127.0.0.1"


def test_only_what_a_verdict_needs_is_kept(tls_endpoint, authority, chain) -> None:
    ((seen,),) = seen_of([tls_endpoint(chain).target(ca=authority.pem)])
    assert seen.presented == []
    assert all(each.names == [] and each.sha256 for each in seen.chain)
    ((refused,),) = seen_of([tls_endpoint(chain).target("other.example", authority.pem)])
    assert [each.sha256 for each in refused.presented] == [seen.chain[0].sha256]
    assert refused.presented[0].names == []


def test_an_address_that_nobody_listens_at_is_named(endpoint) -> None:
    closed = endpoint(silent, "::1")
    closed.close()
    ((seen,),) = seen_of([closed.target()])
    assert (seen.address, seen.verified) == ("::1", False)
    assert seen.error == f"::1:{closed.port} refused the connection"


def test_a_host_without_an_address_is_said_to_have_none() -> None:
    target = Target(host="nowhere.invalid")
    ((seen,),) = seen_of([target], resolve=lambda _: [])
    assert (seen.verified, seen.address) == (False, None)
    assert seen.error == "nowhere.invalid does not resolve to an address"
    assert list(look_at_each([], seconds=30)) == []


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (Target(host="127.0.0.1", port=8443), ["127.0.0.1:8443"]),
        (Target(host="::1"), ["[::1]:443"]),
        (Target(host=HOST, connect="[::1]:8443"), ["[::1]:8443"]),
        (Target(host="fe80::1%lo"), ["[fe80::1]:443"]),
        (Target(host="x" * 64 + ".example"), []),
    ],
)
def test_addresses_are_resolved_to_themselves(target: Target, expected: list[str]) -> None:
    assert resolved(target) == expected


def test_a_name_is_resolved_to_each_of_its_addresses_once() -> None:
    found = resolved(Target(host="localhost", port=8443))
    assert set(found) <= {"127.0.0.1:8443", "[::1]:8443"}
    assert 1 <= len(found) == len(set(found)) <= MOST_ADDRESSES


# -- bounded --------------------------------------------------------------------------------------


def test_an_endpoint_that_hangs_does_not_hold_up_the_others(
    endpoint, tls_endpoint, authority, chain
) -> None:
    hanging, good = endpoint(silent), tls_endpoint(chain)
    started = time.monotonic()
    targets = [hanging.target(), good.target(ca=authority.pem)]
    first, second = seen_of(targets, seconds=1.0)
    assert (first, [each.verified for each in second]) == ([], [True])
    assert time.monotonic() - started < 20


def test_a_name_server_that_hangs_does_not_hold_up_the_others(
    tls_endpoint, authority, chain
) -> None:
    good, over = tls_endpoint(chain), threading.Event()
    targets = [Target(host="hanging.example"), good.target(ca=authority.pem)]

    def resolve(target: Target) -> list[str]:
        if target.connect is None:
            over.wait(60)
        return resolved(target)

    first, second = seen_of(targets, seconds=1.0, resolve=resolve)
    over.set()
    assert (first, [each.verified for each in second]) == ([], [True])


def test_few_connections_are_open_at_once_however_many_addresses_there_are(
    endpoint, authority
) -> None:
    while True:  # a busy machine may have taken none within a second, and takes it later
        hanging = endpoint(silent)
        # With a CA of their own: to read the system's for each takes longer than this look.
        hosts = [f"host-{number}.example" for number in range(2 * AT_ONCE)]
        targets = [hanging.target(each, ca=authority.pem) for each in hosts]
        assert not any(seen_of(targets, seconds=1.0))
        if hanging.connections:
            break
    assert hanging.connections <= AT_ONCE
    until_threads(0)  # else the endpoint ends what they are about to secure


def test_no_thread_is_left_when_all_was_seen(tls_endpoint, authority, chain) -> None:
    served, before = tls_endpoint(chain), threads()
    assert seen_of([served.target(ca=authority.pem)])[0][0].verified
    until_threads(before)
    assert addresses.AT_ONCE == 32
