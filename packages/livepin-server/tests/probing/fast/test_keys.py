"""The key schedule, with the values of RFC 8448, section 3."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from livepin_server.probing.fast.keys import SUITES, handshake_opening, shared_secret
from livepin_server.probing.fast.wire import OddError

SHARED = bytes.fromhex("8bd4054fb55b9d63fdfbacf9f04b9f0d35e6d63f537563efd46272900f89492d")
HELLOS = bytes.fromhex("860c06edc07858ee8e78f0e7428c58edd6b43f2ca3e6e95f02ed063cf0e1cad8")
KEY = bytes.fromhex("3fce516009c21727d0f2e4e86ee403bc")
START = bytes.fromhex("5d313eb2671276ee13000b30")
HEADER = b"\x17\x03\x03\x00\x12"


def test_the_servers_keys_are_those_of_the_rfc_and_count_records() -> None:
    opening = handshake_opening(SUITES[0x1301], SHARED, HELLOS)
    for count in range(3):
        nonce = (int.from_bytes(START, "big") ^ count).to_bytes(12, "big")
        assert opening.open(HEADER, AESGCM(KEY).encrypt(nonce, b"hi", HEADER)) == b"hi"


def test_what_another_has_sealed_does_not_open() -> None:
    sealed = AESGCM(KEY).encrypt(START, b"hi", HEADER)
    for header, body in [(HEADER, sealed[:-1]), (HEADER, b""), (b"\x16" + HEADER[1:], sealed)]:
        opening = handshake_opening(SUITES[0x1301], SHARED, HELLOS)
        with pytest.raises(OddError, match="expected a record that opens"):
            opening.open(header, body)


@pytest.mark.parametrize("public", [bytes(32), b"\x01" + bytes(31), b"short"])
def test_a_point_of_small_order_shares_nothing(public: bytes) -> None:
    with pytest.raises(OddError, match="expected a key share"):
        shared_secret(X25519PrivateKey.generate(), public)
