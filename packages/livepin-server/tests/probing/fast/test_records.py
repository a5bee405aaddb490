"""Records: in pieces of any size, bounded, and none of them out of place."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from forging import CHANGE_CIPHER_SPEC, REFUSAL, Heard, Sealer, record, told
from livepin_server.probing.fast.records import MOST_BYTES, MOST_RECORDS, Records, RefusedError
from livepin_server.probing.fast.wire import OddError


def read(*data: bytes) -> bytes | None:
    """The first message in what came."""
    records = Records()
    for each in data:
        records.feed(each)
    return records.message()


@pytest.fixture
def sealed(ecdsa):
    """A conversation that has heard the hello of a server, what seals for it, and messages."""
    conversation, private = ecdsa.ask(), X25519PrivateKey.generate()
    heard = Heard.of(conversation.outgoing)
    forger = ecdsa.forger(shared=private)
    hello = forger.hello_13(heard)
    assert conversation.receive(record(22, hello)) is None
    messages = b"".join(forger.messages_13(heard.message + hello))
    return conversation, Sealer(heard, hello, private), messages


def test_a_message_may_come_in_many_records_and_a_record_hold_many() -> None:
    message = b"\x02\x00\x00\x03abc"
    pieces = [record(22, message[at : at + 1]) for at in range(len(message))]
    assert read(*pieces) == message
    records = Records()
    records.feed(record(22, message * 2 + message[:5]))
    assert (records.message(), records.message(), records.message()) == (message, message, None)
    records.feed(record(22, message[5:]))
    assert records.message() == message


@pytest.mark.parametrize("size", [1, 2, 5, 1000])
def test_the_socket_may_give_pieces_of_any_size(served, size: int) -> None:
    for way in ("flight_12", "flight_13"):
        conversation = served.ask()
        flight = b"".join(getattr(served.forger(), way)(conversation.outgoing))
        pieces = (flight[at : at + size] for at in range(0, len(flight), size))
        assert told(conversation, pieces) == "unchanged"


@pytest.mark.parametrize(
    "data",
    [
        record(20, b"\x01"),  # before the hello of the server
        record(22, b""),
        record(23, b"data"),
        record(24, b"beat"),
        record(21, b"\x01\x28"),  # a warning
        record(21, b"\x02\x28\x02\x28"),
        record(21, b"\x02\x50"),
        record(22, b"\x02\x00") + record(21, b"\x02\x28"),  # within a message
        b"\x16\x03\x01\x00\x04\x02\x00\x00\x00",
        b"\x16\x02\x03\x00\x04\x02\x00\x00\x00",
        b"\x15\x03\x00\x00\x02\x02\x28",
        b"\x15\x03\x04\x00\x02\x02\x28",
        b"\x16\x03\x03\x40\x01",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        record(22, b"\x0b\xff\xff\xff"),
    ],
)
def test_what_is_no_record_of_the_handshake_is_odd(data: bytes) -> None:
    with pytest.raises(OddError):
        read(data)


@pytest.mark.parametrize("version", [b"\x03\x01", b"\x03\x02", b"\x03\x03"])
def test_a_refusal_may_come_before_a_version_is_agreed_on(version: bytes) -> None:
    with pytest.raises(RefusedError):
        read(b"\x15" + version + b"\x00\x02\x02\x28")


def test_more_bytes_than_the_bound_are_odd_and_not_held() -> None:
    records = Records()
    records.feed(record(22, b"\x0b" + (MOST_BYTES - 4).to_bytes(3, "big")))
    for _ in range(MOST_BYTES // 10_000):
        records.feed(record(22, bytes(10_000)))
        assert records.message() is None
    records.feed(record(22, bytes(10_000)))
    with pytest.raises(OddError, match="expected at most 131072 bytes"):
        records.message()
    assert len(records._bytes) + len(records._message) <= MOST_BYTES


def test_what_is_beyond_the_bound_is_dropped_at_once() -> None:
    records = Records()
    records.feed(b"\x16\x03\x03\x40\x00" + bytes(10 * MOST_BYTES))
    assert len(records._bytes) == MOST_BYTES


def test_records_are_counted() -> None:
    records = Records()
    for _ in range(MOST_RECORDS):
        records.feed(record(22, b"\x02\x00\x00\x00"))
        assert records.message()
    records.feed(record(22, b"\x02\x00\x00\x00"))
    with pytest.raises(OddError, match="expected at most 64 records"):
        records.message()


def test_sealed_messages_may_be_split_joined_and_padded(sealed) -> None:
    conversation, seal, messages = sealed
    flight = [seal(22, messages[:7]), seal(22, messages[7:300], 100), seal(22, messages[300:])]
    assert told(conversation, [CHANGE_CIPHER_SPEC, *flight]) == "unchanged"


def test_a_sealed_refusal_is_one(sealed) -> None:
    conversation, seal, messages = sealed
    assert told(conversation, [seal(22, messages[:6]), seal(21, b"\x02\x28")]) == "none"


def test_a_refusal_after_the_certificate_is_odd(ecdsa, sealed) -> None:
    conversation, seal, messages = sealed
    end = messages.index(ecdsa.ders[-1]) + len(ecdsa.ders[-1]) + 2
    assert told(conversation, [seal(22, messages[:end]), seal(21, b"\x02\x28")]) == "odd"


@pytest.mark.parametrize(
    "make",
    [
        lambda seal, messages: REFUSAL,  # by whoever stands between
        lambda seal, messages: record(22, messages),
        lambda seal, messages: record(23, messages),
        lambda seal, messages: record(20, b"\x02"),
        lambda seal, messages: seal(22, b""),
        lambda seal, messages: seal(0, b""),
        lambda seal, messages: seal(23, messages),
        lambda seal, messages: seal(20, b"\x01"),
        lambda seal, messages: seal(22, messages, outer=22),
        lambda seal, messages: seal(22, messages[:6], 16_384),
        lambda seal, messages: b"\x17\x03\x03\x41\x01",
        lambda seal, messages: b"\x17\x03\x01" + seal(22, messages)[3:],
        lambda seal, messages: seal(22, messages[:3]) + CHANGE_CIPHER_SPEC,
        lambda seal, messages: seal(22, b"")[:0] + seal(21, b"\x02\x50"),
    ],
)
def test_what_is_not_sealed_or_no_handshake_is_odd_after_the_hello(sealed, make) -> None:
    conversation, seal, messages = sealed
    assert conversation.receive(make(seal, messages)) == "odd"


def test_records_out_of_order_do_not_open(sealed) -> None:
    conversation, seal, messages = sealed
    first, second = seal(22, messages[:100]), seal(22, messages[100:])
    assert told(conversation, [second, first]) == "odd"


def test_nothing_may_follow_the_hello_in_its_record(ecdsa) -> None:
    """Else what nobody has sealed would be read as if it were sealed."""
    conversation, private = ecdsa.ask(), X25519PrivateKey.generate()
    heard, forger = Heard.of(conversation.outgoing), ecdsa.forger(shared=private)
    hello = forger.hello_13(heard)
    seal = Sealer(heard, hello, private)
    messages = b"".join(forger.messages_13(heard.message + hello))
    flight = [record(22, hello + messages[:1]), seal(22, messages[1:])]
    assert told(conversation, flight) == "odd"
