"""Someone shows a genuine chain, which anybody may copy, but has not its key."""

from __future__ import annotations

from typing import Any

import forging
import pytest
from forging import Forger, message, record, told, vector
from livepin.testing import make_chain, make_key, server_context
from livepin_server.probing.fast import FastConversation, digest_of

HOST = "api.example.test"
KEYS = {"ecdsa": make_key("ec"), "rsa": make_key("rsa")}
CHAINS = {each: make_chain(HOST, key=key, intermediate=True) for each, key in KEYS.items()}
WAYS = ["flight_13", "flight_12"]


@pytest.fixture(params=["ecdsa", "rsa"])
def algorithm(request: pytest.FixtureRequest) -> str:
    """Of the chain that is copied."""
    return str(request.param)


def ask(algorithm: Any, **chance: Any) -> FastConversation:
    """A look by who knows the chain."""
    return FastConversation(HOST, algorithm, digest_of(forging.ders(CHAINS[algorithm])), **chance)


def flight(way: str, outgoing: bytes, algorithm: str, **said: Any) -> list[bytes]:
    """What a server with this chain answers, where it says nothing else."""
    key = said.pop("key", KEYS[algorithm])
    found: list[bytes] = getattr(Forger(forging.ders(CHAINS[algorithm]), key, **said), way)(
        outgoing
    )
    return found


@pytest.mark.parametrize("way", WAYS)
def test_the_owner_of_the_key_is_believed(way: str, algorithm: str) -> None:
    look = ask(algorithm)
    assert told(look, flight(way, look.outgoing, algorithm)) == "unchanged"


@pytest.mark.parametrize("way", WAYS)
def test_another_key_of_the_same_kind_proves_nothing(way: str, algorithm: str) -> None:
    look = ask(algorithm)
    other = make_key("rsa" if algorithm == "rsa" else "ec")
    assert told(look, flight(way, look.outgoing, algorithm, key=other)) == "odd"


@pytest.mark.parametrize("way", WAYS)
def test_a_key_of_the_other_kind_proves_nothing(way: str, algorithm: str) -> None:
    look = ask(algorithm)
    other = KEYS["ecdsa" if algorithm == "rsa" else "rsa"]
    suite = {} if way == "flight_13" else {"suite": 0xC02F if algorithm == "rsa" else 0xC02B}
    assert told(look, flight(way, look.outgoing, algorithm, key=other, **suite)) == "odd"


@pytest.mark.parametrize("way", WAYS)
def test_a_key_of_another_certificate_of_the_chain_proves_nothing(way: str) -> None:
    look = ask("ecdsa")
    issuer = CHAINS["ecdsa"].intermediate
    assert issuer is not None
    assert told(look, flight(way, look.outgoing, "ecdsa", key=issuer.key)) == "odd"


@pytest.mark.parametrize("way", WAYS)
def test_what_the_owner_has_signed_before_proves_nothing(way: str, algorithm: str) -> None:
    earlier, look = ask(algorithm), ask(algorithm)
    recorded = flight(way, earlier.outgoing, algorithm)
    assert told(earlier, recorded) == "unchanged"
    assert told(look, recorded) == "odd"


def test_a_signature_of_before_proves_nothing_in_a_flight_that_opens(algorithm: str) -> None:
    """The forger has asked the owner, and seals what he said for another hello."""
    earlier, look = ask(algorithm), ask(algorithm)
    forger = Forger(forging.ders(CHAINS[algorithm]), KEYS[algorithm])
    heard = forging.Heard.of(earlier.outgoing)
    *_, verify = forger.messages_13(heard.message + forger.hello_13(heard))
    assert told(look, flight("flight_13", look.outgoing, algorithm, verify=verify)) == "odd"


def test_a_key_exchange_of_before_proves_nothing(algorithm: str) -> None:
    earlier, look = ask(algorithm), ask(algorithm)
    _, _, exchange, _ = flight("flight_12", earlier.outgoing, algorithm)
    said = {"verify": exchange[5:]}
    assert told(earlier, flight("flight_12", earlier.outgoing, algorithm, **said)) == "unchanged"
    assert told(look, flight("flight_12", look.outgoing, algorithm, **said)) == "odd"


def test_a_signature_over_other_content_proves_nothing(algorithm: str) -> None:
    """As a client signs, as another protocol does, or over other random bytes or parameters."""
    changes_13 = [
        lambda content: content[64:],
        lambda content: content.replace(b"server", b"client"),
        lambda content: content[:-1] + bytes([content[-1] ^ 1]),
        lambda content: content[:-32],
    ]
    changes_12 = [
        lambda content: bytes(32) + content[32:],  # the random bytes of the client
        lambda content: content[:32] + bytes(32) + content[64:],  # those of the server
        lambda content: content[:-1] + bytes([content[-1] ^ 1]),
        lambda content: content[64:],
    ]
    for way, changes in (("flight_13", changes_13), ("flight_12", changes_12)):
        for signed in changes:
            look = ask(algorithm)
            assert told(look, flight(way, look.outgoing, algorithm, signed=signed)) == "odd"


def test_the_certificate_of_the_owner_in_a_transcript_of_ones_own_proves_nothing() -> None:
    """The forger shows his own chain to be signed for, and the genuine one to be compared."""
    own, look = make_chain(HOST), ask("ecdsa")
    forger = Forger(forging.ders(own), own.key)
    heard = forging.Heard.of(look.outgoing)
    hello = forger.hello_13(heard)
    seal = forging.Sealer(heard, hello, forger.shared)
    extensions, certificate, verify = forger.messages_13(heard.message + hello)
    genuine = b"".join(vector(3, each) + b"\x00\x00" for each in forging.ders(CHAINS["ecdsa"]))
    first = message(11, b"\x00" + vector(3, genuine))
    for order in ([first, certificate], [certificate, first], [first]):
        look = ask("ecdsa", draw=lambda _size, same=heard: same.random + same.session)
        seal = forging.Sealer(heard, hello, forger.shared)
        sealed = [seal(22, each) for each in (extensions, *order, verify)]
        assert told(look, [record(22, hello), *sealed]) != "unchanged"


def test_nothing_is_proven_by_silence(algorithm: str) -> None:
    """A flight that ends before the signature, or has another message in its place."""
    for way, kept in (("flight_13", 4), ("flight_12", 2)):
        look = ask(algorithm)
        records = flight(way, look.outgoing, algorithm)[:kept]
        assert told(look, records) is None
        assert look.receive(b"") == "odd"
    look = ask(algorithm)
    assert (
        told(look, flight("flight_13", look.outgoing, algorithm, verify=message(20, b""))) == "odd"
    )
    look = ask(algorithm)
    assert (
        told(look, flight("flight_12", look.outgoing, algorithm, verify=message(14, b""))) == "odd"
    )


def test_to_speak_older_tls_than_one_can_is_found_out(algorithm: str) -> None:
    """Someone between has cut TLS 1.3 out of the hello; the server's random bytes tell."""
    for random in (b"r" * 24 + b"DOWNGRD\x01", b"r" * 24 + b"DOWNGRD\x00"):
        look = ask(algorithm)
        assert told(look, flight("flight_12", look.outgoing, algorithm, random=random)) == "odd"


def test_a_real_server_tells_that_too(algorithm: str) -> None:
    hello = ask(algorithm).outgoing
    only_12 = hello.replace(
        b"\x00\x2b\x00\x05\x04\x03\x04\x03\x03", b"\x00\x2b\x00\x05\x04\x03\x03\x03\x03"
    )
    assert only_12 != hello
    heard = forging.Heard.of(hello)
    look = ask(algorithm, draw=lambda _size: heard.random + heard.session)
    answered = forging.real_flight(server_context(CHAINS[algorithm]), only_12)
    assert b"DOWNGRD\x01" in answered[:60]
    assert look.receive(answered) == "odd"
