"""Someone between alters, cuts, or drags out what a genuine server answers."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import forging
import pytest
from forging import Heard, message, record, vector
from hypothesis import example, given, settings
from hypothesis import strategies as st
from livepin.testing import make_chain, make_key, server_context
from livepin_server.probing.fast import FastConversation, digest_of
from livepin_server.probing.fast.hello import Shares

HOST = "api.example.test"
SHARE = Shares()()
CHANCE = bytes(range(64))
RANDOM_END = 5 + 4 + 2 + 32  # of the server, in its first record
KINDS = [(algorithm, tls12) for algorithm in ("ecdsa", "rsa") for tls12 in (False, True)]


class Captured(NamedTuple):
    """What OpenSSL answered to a hello that can be said again; `end` is where the proof ends."""

    algorithm: Any
    known: str
    flight: bytes
    end: int

    def look(self) -> FastConversation:
        """The same hello again."""
        known, share = self.known, SHARE
        return FastConversation(
            HOST, self.algorithm, known, draw=lambda _size: CHANCE, shares=lambda: share
        )


@cache
def captured(algorithm: str, tls12: bool) -> Captured:
    """A genuine flight, of which what follows the proof is cut off."""
    chain = make_chain(HOST, key=make_key("rsa" if algorithm == "rsa" else "ec"))
    found = Captured(algorithm, digest_of(forging.ders(chain)), b"", 0)
    flight = forging.real_flight(server_context(chain, tls12=tls12), found.look().outgoing)
    look = found.look()
    end = next(at + 1 for at in range(len(flight)) if look.receive(flight[at : at + 1]))
    assert look.receive(b"") == "unchanged"
    return found._replace(flight=flight, end=end)


def irrelevant(flight: bytes, tls12: bool) -> range:
    """Bytes that nothing secures, and that say nothing of chain and key.

    In TLS 1.2 these are session id, cipher suite and extensions of the hello: the message that
    secures them comes after the client has spoken. In TLS 1.3 there are none.
    """
    return range(RANDOM_END, 5 + int.from_bytes(flight[3:5], "big")) if tls12 else range(0)


@pytest.mark.parametrize(("algorithm", "tls12"), KINDS)
def test_a_flight_that_is_cut_at_any_byte_proves_nothing(algorithm: str, tls12: bool) -> None:
    genuine = captured(algorithm, tls12)
    look = genuine.look()
    for at in range(genuine.end - 1):
        assert look.receive(genuine.flight[at : at + 1]) is None
    assert look.receive(b"") == "odd"


@pytest.mark.parametrize(("algorithm", "tls12"), KINDS)
@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_no_byte_can_be_changed(algorithm: str, tls12: bool, data: st.DataObject) -> None:
    genuine = captured(algorithm, tls12)
    at = data.draw(st.integers(0, genuine.end - 1))
    other = data.draw(st.integers(1, 255))
    flight = bytearray(genuine.flight)
    flight[at] ^= other
    answer = genuine.look().receive(bytes(flight))
    if answer == "unchanged":
        assert at in irrelevant(genuine.flight, tls12)


@pytest.mark.parametrize(("algorithm", "tls12"), KINDS)
@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_nothing_can_be_cut_out_put_in_or_moved(
    algorithm: str, tls12: bool, data: st.DataObject
) -> None:
    genuine = captured(algorithm, tls12)
    start, stop = sorted(data.draw(st.tuples(*[st.integers(0, genuine.end)] * 2)))
    put = data.draw(st.binary(max_size=40) | st.just(genuine.flight[start:stop] * 2))
    flight = genuine.flight[:start] + put + genuine.flight[stop:]
    if genuine.look().receive(flight) != "unchanged":
        return
    if tls12:
        hello = 5 + int.from_bytes(genuine.flight[3:5], "big")
        assert flight[:RANDOM_END] == genuine.flight[:RANDOM_END]
        assert genuine.flight[hello : genuine.end] in flight
    else:
        proof = genuine.flight[: genuine.end].replace(forging.CHANGE_CIPHER_SPEC, b"")
        assert flight.replace(forging.CHANGE_CIPHER_SPEC, b"").startswith(proof)


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=300))
@example(b"")
@example(b"\x15\x03\x03\x00\x02\x02\x28")
def test_garbage_proves_nothing(data: bytes) -> None:
    for known in ("", "0" * 64):
        look = FastConversation(HOST, "ecdsa", known)
        assert look.receive(data) in (None, "odd", "none")


@settings(max_examples=100, deadline=None)
@given(messages=st.lists(st.tuples(st.integers(0, 25), st.binary(max_size=60)), max_size=6))
def test_sealed_garbage_proves_nothing(messages: list[tuple[int, bytes]]) -> None:
    genuine = captured("ecdsa", False)
    look = genuine.look()
    heard = Heard.of(look.outgoing)
    forger = forging.Forger([b"leaf"], make_key())
    hello = forger.hello_13(heard)
    seal = forging.Sealer(heard, hello, forger.shared)
    flight = [record(22, hello), *(seal(22, message(kind, body)) for kind, body in messages)]
    assert forging.told(look, [*flight, b""]) in ("odd", "changed")


@pytest.mark.parametrize("tls12", [False, True])
def test_a_certificate_without_end_ends(tls12: bool) -> None:
    look = FastConversation(HOST, "ecdsa", "0" * 64)
    forger = forging.Forger([], make_key())
    heard = Heard.of(look.outgoing)
    hello = forger.flight_12(look.outgoing)[0][5:] if tls12 else forger.hello_13(heard)
    seal: Any = record if tls12 else forging.Sealer(heard, hello, forger.shared)
    start = b"\x0b\x01\xff\x00"  # of nearly 128 KiB, so that its length is not refused at once
    said = [start] if tls12 else [forger.encrypted_extensions, start]
    assert forging.told(look, [record(22, hello), *(seal(22, each) for each in said)]) is None
    for _ in range(128 * 1024 // 16_000):
        assert look.receive(seal(22, bytes(16_000))) is None
    assert look.receive(seal(22, bytes(16_000))) == "odd"


def test_certificates_without_end_end() -> None:
    many = vector(3, b"\x00\x00\x01a\x00\x00" * 20_000)
    look = FastConversation(HOST, "ecdsa", "0" * 64)
    forger = forging.Forger([], make_key(), certificate=message(11, b"\x00" + many))
    heard = Heard.of(look.outgoing)
    hello = forger.hello_13(heard)
    seal = forging.Sealer(heard, hello, forger.shared)
    said = b"".join(forger.messages_13(heard.message + hello))
    cut = [said[at : at + 16_000] for at in range(0, len(said), 16_000)]
    assert forging.told(look, [record(22, hello), *(seal(22, each) for each in cut)]) == "odd"


def test_empty_messages_and_warnings_without_end_end() -> None:
    for endless in (forging.CHANGE_CIPHER_SPEC, b"\x15\x03\x03\x00\x02\x01\x5a", record(22, b"")):
        look = FastConversation(HOST, "ecdsa", "")
        forger = forging.Forger([], make_key())
        assert look.receive(record(22, forger.hello_13(Heard.of(look.outgoing)))) is None
        assert forging.told(look, [endless] * 64) == "odd"
