"""Whole conversations in memory, with OpenSSL as the server, and with one that is made of parts."""

from __future__ import annotations

import ssl

import pytest
from forging import REFUSAL, real_flight, told
from livepin.testing import load_chain, make_authority, server_context
from livepin_server.probing.fast import FastConversation
from livepin_server.probing.fast.signatures import Leaves


def context_of(*served, tls12=False) -> ssl.SSLContext:
    """OpenSSL as a server that has some chains."""
    context = server_context(served[0].chain, tls12=tls12)
    for each in served[1:]:
        load_chain(context, each.chain)
    return context


@pytest.mark.parametrize("tls12", [False, True])
def test_a_known_chain_whose_key_is_in_use_is_unchanged(served, tls12: bool) -> None:
    conversation = served.ask()
    flight = real_flight(context_of(served, tls12=tls12), conversation.outgoing)
    assert conversation.receive(flight) == "unchanged"


@pytest.mark.parametrize("tls12", [False, True])
def test_both_algorithms_of_one_server_are_seen_apart(ecdsa, rsa, tls12: bool) -> None:
    context = context_of(ecdsa, rsa, tls12=tls12)
    for each in (ecdsa, rsa):
        conversation = each.ask()
        assert conversation.receive(real_flight(context, conversation.outgoing)) == "unchanged"


@pytest.mark.parametrize("tls12", [False, True])
def test_an_ecdsa_leaf_of_an_rsa_ca_is_seen(mixed, rsa, tls12: bool) -> None:
    for context in (context_of(mixed, tls12=tls12), context_of(rsa, mixed, tls12=tls12)):
        conversation = mixed.ask()
        assert conversation.receive(real_flight(context, conversation.outgoing)) == "unchanged"


@pytest.mark.parametrize("tls12", [False, True])
def test_a_server_without_the_algorithm_has_none(ecdsa, rsa, tls12: bool) -> None:
    for one, other in ((ecdsa, rsa), (rsa, ecdsa)):
        for known in ("", one.digest):
            conversation = FastConversation("api.example.test", one.algorithm, known)
            flight = real_flight(context_of(other, tls12=tls12), conversation.outgoing)
            assert conversation.receive(flight) == "none"


@pytest.mark.parametrize("tls12", [False, True])
def test_a_chain_where_none_or_another_was_known_is_changed(served, tls12: bool) -> None:
    for known in ("", "0" * 64, served.digest[:-1], served.digest.upper()):
        conversation = FastConversation("api.example.test", served.algorithm, known)
        flight = real_flight(context_of(served, tls12=tls12), conversation.outgoing)
        assert conversation.receive(flight) == "changed"


def test_another_chain_is_told_before_any_signature_is_checked(ecdsa) -> None:
    conversation = FastConversation("api.example.test", "ecdsa", "0" * 64)
    *flight, _ = ecdsa.forger().flight_13(conversation.outgoing)
    assert told(conversation, flight) == "changed"


@pytest.mark.parametrize(
    "cipher", ["CHACHA20-POLY1305", "AES256-GCM-SHA384", "AES128-SHA256", "AES256-SHA384"]
)
def test_each_kind_of_cipher_suite_of_tls_1_2_is_read(served, cipher: str) -> None:
    context = context_of(served, tls12=True)
    context.set_ciphers(f"ECDHE-{served.algorithm.upper()}-{cipher}")
    conversation = served.ask()
    assert conversation.receive(real_flight(context, conversation.outgoing)) == "unchanged"


def test_a_server_that_wants_a_certificate_is_seen_without_one(served) -> None:
    for tls12 in (False, True):
        context = context_of(served, tls12=tls12)
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=make_authority("Clients").pem)
        conversation = served.ask()
        assert conversation.receive(real_flight(context, conversation.outgoing)) == "unchanged"


def test_a_server_that_has_only_another_group_is_odd(served) -> None:
    context = context_of(served)
    context.set_ecdh_curve("secp384r1")
    conversation = served.ask()
    assert conversation.receive(real_flight(context, conversation.outgoing)) == "odd"


def test_an_old_server_is_odd(served) -> None:
    conversation = served.ask()
    assert conversation.receive(b"\x15\x03\x01\x00\x02\x02\x46") == "odd"  # protocol_version


def test_the_end_of_the_stream_is_odd_at_each_point(served) -> None:
    for way in ("flight_12", "flight_13"):
        for count in range(4):
            conversation = served.ask()
            flight = getattr(served.forger(), way)(conversation.outgoing)[:count]
            if way == "flight_12" and count > 2:
                continue
            assert told(conversation, flight) is None
            assert conversation.receive(b"") == "odd"


def test_an_answer_stays(served) -> None:
    conversation = served.ask()
    flight = b"".join(served.forger().flight_13(conversation.outgoing))
    for more in (flight, b"anything", b"", flight):
        assert conversation.receive(more) == "unchanged"
    conversation = served.ask()
    for more in (REFUSAL, flight, b""):
        assert conversation.receive(more) == "none"


def test_the_key_of_a_leaf_is_read_once(served) -> None:
    leaves = Leaves()
    for _ in range(2):
        conversation = served.ask(leaves=leaves)
        flight = served.forger().flight_12(conversation.outgoing)
        assert told(conversation, flight) == "unchanged"
    assert len(leaves) == 1
