"""The server's messages: what was not offered, or is not a whole message, is odd."""

from __future__ import annotations

import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from forging import Heard, extension, message, record, sign, vector
from livepin_server.probing.fast import FastConversation

RETRY = hashlib.sha256(b"HelloRetryRequest").digest()
PRIVATE = X25519PrivateKey.generate()
SHARE = b"\x00\x1d" + vector(2, PRIVATE.public_key().public_bytes_raw())
VERSION = extension(43, b"\x03\x04")


def test_the_forger_is_right_unless_told_otherwise(served, answer_13, answer_12) -> None:
    assert (answer_13(served), answer_12(served)) == ("unchanged", "unchanged")


@pytest.mark.parametrize(
    "said",
    [
        {"random": RETRY},
        {"session": b""},
        {"session": b"s" * 32},
        {"session": b"s" * 33},
        {"suite": 0x1304},
        {"suite": 0xC02B},
        {"group": b"\x00\x17"},
        {"hello_extensions": VERSION},
        {"hello_extensions": extension(43, b"\x03\x03") + extension(51, SHARE)},
        {"hello_extensions": extension(43, b"\x7f\x1c") + extension(51, SHARE)},
        {"hello_extensions": extension(43, b"\x03\x04\x00") + extension(51, SHARE)},
        {"hello_extensions": VERSION + extension(51, SHARE + b"\x00")},
        {"hello_extensions": VERSION + extension(51, SHARE[:3] + b"\x1f" + SHARE[4:-1])},
        {"hello_extensions": VERSION + extension(51, SHARE[:4] + bytes(32))},
        {"hello_extensions": VERSION + extension(51, SHARE) + extension(41, b"\x00\x00")},
        {"hello_extensions": VERSION + VERSION + extension(51, SHARE)},
        {"encrypted_extensions": message(8, vector(2, extension(16, b"\x00\x03\x02h2")))},
        {"encrypted_extensions": message(8, vector(2, extension(42)))},
        {"encrypted_extensions": message(8, vector(2, extension(0, b"\x00")))},
        {"encrypted_extensions": message(8, vector(2, extension(0) + extension(0)))},
        {"encrypted_extensions": message(8, b"\x00\x00\x00")},
        {"encrypted_extensions": message(8, b"")},
        {"encrypted_extensions": message(13, b"\x00\x00\x00")},
        {"before": message(13, b"\x00\x00\x00") * 2},
        {"before": message(4, b"\x00")},
        {"certificate": message(25, b"\x00\x02" + bytes(8))},  # compressed
        {"certificate": message(11, b"\x00\x00\x00\x00")},
        {"certificate": message(11, b"\x00\x00\x00\x05\x00\x00\x00\x00\x00")},
        {"certificate": message(11, b"\x00" + vector(3, b"\x00\x00\x01a\x00\x00" * 17))},
        {"certificate": message(11, b"\x00" + vector(3, b"\x00\x00\x01a\x00\x04" + extension(5)))},
        {"certificate": message(11, b"\x01c" + vector(3, b"\x00\x00\x01a\x00\x00"))},
        {"certificate": message(11, b"\x00" + vector(3, b"\x00\x00\x01a\x00\x00") + b"\x00")},
        {"verify": message(20, bytes(32))},
        {"verify": message(15, b"\x04\x03\x00\x09short")},
        {"verify": message(15, b"\x04\x03" + vector(2, b"short"))},
        {"verify": message(15, b"\x04\x03" + vector(2, b"long") + b"\x00")},
    ],
)
def test_tls_1_3_that_is_not_as_offered_is_odd(ecdsa, answer_13, said) -> None:
    assert answer_13(ecdsa, shared=PRIVATE, **said) == "odd"


def test_the_extensions_that_are_right_are_so_only_by_themselves(ecdsa, answer_13) -> None:
    right = VERSION + extension(51, SHARE)
    assert answer_13(ecdsa, shared=PRIVATE, hello_extensions=right) == "unchanged"


def test_a_request_for_a_certificate_is_passed_over(served, answer_13) -> None:
    request = message(13, b"\x00" + vector(2, extension(13, b"\x00\x02\x04\x03")))
    assert answer_13(served, before=request) == "unchanged"


def test_extensions_that_were_offered_are_taken(served, answer_13, answer_12) -> None:
    groups = extension(10, b"\x00\x02\x00\x1d")
    both = message(8, vector(2, extension(0) + groups))
    assert answer_13(served, encrypted_extensions=both) == "unchanged"
    extensions = extension(0) + extension(11, b"\x01\x00") + extension(23)
    extensions += extension(0xFF01, b"\x00")
    assert answer_12(served, hello_extensions=extensions) == "unchanged"
    assert answer_12(served, hello_extensions=b"") == "unchanged"


@pytest.mark.parametrize("way", ["answer_13", "answer_12"])
def test_other_chains_are_changed_and_the_empty_one_is_odd(served, request, way) -> None:
    answer = request.getfixturevalue(way)
    entry = b"\x00\x00\x01a" + (b"\x00\x00" if way == "answer_13" else b"")
    start = b"\x00" if way == "answer_13" else b""
    assert answer(served, certificate=message(11, start + vector(3, entry))) == "changed"
    assert answer(served, certificate=message(11, start + vector(3, entry * 16))) == "changed"
    assert answer(served, certificate=message(11, start + vector(3, entry * 17))) == "odd"
    assert answer(served, certificate=message(11, start + vector(3, b""))) == "odd"


@pytest.mark.parametrize(
    "said",
    [
        {"random": b"r" * 24 + b"DOWNGRD\x01"},
        {"random": b"r" * 24 + b"DOWNGRD\x00"},
        {"random": RETRY},
        {"session": b"s" * 33},
        {"suite": 0x1301},
        {"suite": 0xC02F},  # ECDHE with RSA
        {"suite": 0x009E},  # DHE
        {"suite": 0x002F},  # RSA, without (EC)DHE
        {"hello_extensions": extension(35)},
        {"hello_extensions": extension(5)},
        {"hello_extensions": extension(16, b"\x00\x03\x02h2")},
        {"hello_extensions": extension(0, b"\x00")},
        {"hello_extensions": extension(11, b"\x01\x01")},
        {"hello_extensions": extension(11, b"\x01\x00\x00")},
        {"hello_extensions": extension(23, b"\x00")},
        {"hello_extensions": extension(0xFF01, b"\x01a")},
        {"hello_extensions": extension(0xFF01, b"\x00") * 2},
        {"hello_extensions": extension(43, b"\x03\x03")},
        {"hello": message(2, b"\x03\x02" + bytes(33) + b"\xc0\x2b\x00")},
        {"hello": message(2, b"\x03\x04" + bytes(33) + b"\xc0\x2b\x00")},
        {"hello": message(2, b"\x03\x03" + bytes(33) + b"\xc0\x2b\x01")},
        {"hello": message(2, b"\x03\x03" + bytes(33) + b"\xc0\x2b\x00\x00\x00\x00")},
        {"hello": message(2, b"\x03\x03")},
        {"hello": message(0, b"")},
        {"certificate": message(11, b"\x00\x00\x00")},
        {"certificate": message(22, b"\x01\x00\x00\x00")},  # a status that was not asked for
        {"group": b"\x00\x1e"},
        {"group": b"\x00\x17"},
        {"group": b"\x01\x00"},
        {"verify": message(14, b"")},
        {"verify": message(12, b"\x01\x00\x1d" + vector(1, bytes(32)) + b"\x04\x03\x00\x00")},
        {"verify": message(12, b"\x03\x00\x17" + vector(1, bytes(65)) + b"\x04\x03\x00\x00")},
        {"verify": message(12, b"\x03\x00\x1d" + vector(1, bytes(32)) + b"\x04\x03\x00\x01")},
        {"verify": message(12, b"\x03\x00\x1d" + vector(1, bytes(32)) + b"\x04\x03\x00\x00\x00")},
    ],
)
def test_tls_1_2_that_is_not_as_offered_is_odd(ecdsa, answer_12, said) -> None:
    assert answer_12(ecdsa, **said) == "odd"


def test_a_hello_without_extensions_is_one(ecdsa, answer_12) -> None:
    hello = message(2, b"\x03\x03" + b"r" * 32 + b"\x00\xc0\x2b\x00")
    assert answer_12(ecdsa, hello=hello) == "unchanged"


def test_a_session_that_is_not_there_is_not_resumed(ecdsa) -> None:
    conversation = ecdsa.ask()
    session = conversation.outgoing[44:76]
    for each, answer in [(b"s" * 32, "unchanged"), (session, "odd")]:
        conversation = ecdsa.ask(draw=lambda size, end=session: b"r" * 32 + end)
        forger = ecdsa.forger(session=each)
        assert conversation.receive(b"".join(forger.flight_12(conversation.outgoing))) == answer


def test_a_name_is_not_acknowledged_to_who_gave_none(ecdsa) -> None:
    for host, answer in [("api.example.test", "unchanged"), ("127.0.0.1", "odd")]:
        conversation = FastConversation(host, "ecdsa", ecdsa.digest)
        forger = ecdsa.forger(encrypted_extensions=message(8, vector(2, extension(0))))
        assert conversation.receive(b"".join(forger.flight_13(conversation.outgoing))) == answer
        conversation = FastConversation(host, "ecdsa", ecdsa.digest)
        forger = ecdsa.forger(hello_extensions=extension(0))
        assert conversation.receive(b"".join(forger.flight_12(conversation.outgoing))) == answer


def test_a_point_of_a_curve_comes_uncompressed(ecdsa) -> None:
    for first, answer in [(b"\x04", "unchanged"), (b"\x02", "odd")]:
        conversation = ecdsa.ask()
        parameters = b"\x03\x00\x17" + vector(1, first + bytes(64))
        content = Heard.of(conversation.outgoing).random + b"r" * 32 + parameters
        scheme, signature = sign(ecdsa.chain.key, content, tls13=False)
        body = parameters + scheme.to_bytes(2, "big") + vector(2, signature)
        flight = ecdsa.forger().flight_12(conversation.outgoing)
        flight[2] = record(22, message(12, body))
        assert conversation.receive(b"".join(flight)) == answer
