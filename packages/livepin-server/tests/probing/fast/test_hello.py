"""The hello of the client: what is offered, and how long a key pair is used."""

from __future__ import annotations

import forging
import pytest
from forging import Heard
from livepin_server.probing.fast import FastConversation
from livepin_server.probing.fast.hello import Shares, make_hello


def hello(host="api.example.test", algorithm="ecdsa"):
    """What is said for a host."""
    return Heard.of(FastConversation(host, algorithm, "").outgoing)


def numbers(data: bytes) -> list[int]:
    """Values of two bytes."""
    return [int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2)]


def test_a_host_is_named() -> None:
    assert hello().extensions[0] == b"\x00\x13\x00\x00\x10api.example.test"


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "2001:db8::7"])
def test_an_address_is_not_named(address: str) -> None:
    assert 0 not in hello(address).extensions


def test_signatures_of_the_wanted_algorithm_alone_are_offered() -> None:
    ecdsa = numbers(hello(algorithm="ecdsa").extensions[13])[1:]
    rsa = numbers(hello(algorithm="rsa").extensions[13])[1:]
    assert ecdsa == [0x0403, 0x0503, 0x0603, 0x0807, 0x0808]
    assert rsa == [0x0804, 0x0805, 0x0806, 0x0809, 0x080A, 0x080B, 0x0401, 0x0501, 0x0601]


@pytest.mark.parametrize("algorithm", ["ecdsa", "rsa"])
def test_chains_may_be_signed_with_all(algorithm: str) -> None:
    schemes = numbers(hello(algorithm=algorithm).extensions[50])[1:]
    assert {0x0403, 0x0807, 0x0804, 0x0401} < set(schemes)
    assert not {0x0201, 0x0203} & set(schemes)  # SHA-1


def test_no_protocol_and_no_session_is_offered() -> None:
    assert hello().extensions.keys() == {0, 10, 11, 23, 0xFF01, 13, 50, 43, 51}
    assert hello().extensions[43] == b"\x04\x03\x04\x03\x03"


def test_random_and_session_id_are_new_each_time() -> None:
    said = [hello() for _ in range(3)]
    assert len({each.random for each in said} | {each.session for each in said}) == 6
    assert all(len(each.random) == len(each.session) == 32 for each in said)


def test_chance_is_a_parameter() -> None:
    share = Shares()()
    one, two = (
        make_hello("a.test", "rsa", share=share, draw=lambda size: b"7" * size) for _ in "12"
    )
    assert one.record == two.record
    assert Heard.of(one.record).share == share.public


def test_a_key_pair_is_used_for_so_many_looks() -> None:
    shares = Shares(looks=3)
    publics = [shares().public for _ in range(7)]
    assert [publics.index(each) for each in publics] == [0, 0, 0, 3, 3, 3, 6]


@pytest.mark.parametrize("group", ["prime256v1", "secp384r1", "secp521r1", "X448"])
def test_who_has_another_group_asks_for_another_hello_and_refuses_nothing(
    served, group: str, openssl_server
) -> None:
    """Else it would seem to have no certificate of this algorithm."""
    port = openssl_server(served.chain, "-tls1_3", "-groups", group)
    assert forging.talk(served.ask(), port) == "odd"
