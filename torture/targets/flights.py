"""What a server answers to the probe engine `fast`: as it travels, and what is sealed in it."""

from __future__ import annotations

import hmac
import ssl
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from hashlib import sha256

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding
from livepin.testing import Chain, make_authority, make_chain, server_context
from livepin_server.probing.fast import FastConversation, digest_of
from livepin_server.probing.fast.hello import Share
from livepin_server.probing.fast.keys import SUITES
from livepin_server.probing.fast.wire import vector

from vectors.source.keys import private_key

from .target import Target

_HOST = "api.example.com"
_CLIENT = X25519PrivateKey.from_private_bytes(bytes(range(32)))
_SERVER = X25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
_SHARE = Share(_CLIENT, _CLIENT.public_key().public_bytes_raw())
_KEY = private_key("leaf")
_SUITE = SUITES[0x1301]
_SIGNED = b" " * 64 + b"TLS 1.3, server CertificateVerify\x00"
_RECORD = 16_384


@cache
def _chain() -> Chain:
    authority = make_authority("Test CA", key=private_key("ca"))
    return make_chain(_HOST, authority=authority, key=_KEY)


def _look() -> FastConversation:
    """One look whose hello is the same each time, so that an answer fits again."""
    known = digest_of([each.public_bytes(Encoding.DER) for each in _chain().presented])
    return FastConversation(
        _HOST, "ecdsa", known, draw=lambda _size: bytes(range(64)), shares=lambda: _SHARE
    )


# -- as it travels -------------------------------------------------------------------------------


@cache
def _flights() -> tuple[bytes, ...]:
    """What OpenSSL answers in TLS 1.3 and 1.2."""
    found = []
    for tls12 in (False, True):
        incoming, answered = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = server_context(_chain(), tls12=tls12)
        server = context.wrap_bio(incoming, answered, server_side=True)
        incoming.write(_look().outgoing)
        with suppress(ssl.SSLWantReadError):
            server.do_handshake()
        found.append(answered.read())
    return tuple(found)


def _flight(data: bytes) -> None:
    answer = _look().receive(data)
    piecewise = _look()
    for at in range(len(data)):
        if piecewise.receive(data[at : at + 1]) is not None:
            break
    if data:
        assert piecewise.receive(b"") == (answer or "odd")
    if answer == "unchanged":
        # Whoever has not the key can only have repeated what its owner has signed.
        said = _joined(data)
        assert any(proof in said for proof in _proofs())


def _joined(data: bytes) -> bytes:
    """What is in records, without their headers, and without those that say nothing."""
    found = []
    while len(data) >= 5:
        end = 5 + int.from_bytes(data[3:5], "big")
        if data[0] != 20:
            found.append(data[5:end])
        data = data[end:]
    return b"".join(found)


@cache
def _proofs() -> tuple[bytes, ...]:
    """What nobody can alter of the flights: all up to the proof, in TLS 1.2 without the hello."""
    found = []
    for flight in _flights():
        look = _look()
        end = next(at + 1 for at in range(len(flight)) if look.receive(flight[at : at + 1]))
        said = _joined(flight[:end])
        hello = 4 + int.from_bytes(said[1:4], "big")
        found.append(said[hello:] if flight == _flights()[1] else said)
    return tuple(found)


# -- sealed, so that more than the first record is tried -----------------------------------------


@cache
def _hello() -> bytes:
    share = b"\x00\x1d" + vector(2, _SERVER.public_key().public_bytes_raw())
    extensions = b"\x00\x2b\x00\x02\x03\x04" + b"\x00\x33" + vector(2, share)
    session = vector(1, bytes(range(32, 64)))
    body = b"\x03\x03" + bytes(32) + session + b"\x13\x01\x00" + vector(2, extensions)
    return b"\x02" + vector(3, body)


def _transcript() -> bytes:
    return _look().outgoing[5:] + _hello()


def _sealed_records(data: bytes) -> Iterator[bytes]:
    secret = _SERVER.exchange(X25519PublicKey.from_public_bytes(_SHARE.public))
    handshake = hmac.digest(_SUITE.derived, secret, "sha256")
    traffic = _SUITE.expand(handshake, b"s hs traffic", sha256(_transcript()).digest(), 32)
    aead = AESGCM(_SUITE.expand(traffic, b"key", b"", 16))
    start = int.from_bytes(_SUITE.expand(traffic, b"iv", b"", 12), "big")
    for count, at in enumerate(range(0, len(data), _RECORD)):
        inner = data[at : at + _RECORD] + b"\x16"
        header = b"\x17\x03\x03" + (len(inner) + 16).to_bytes(2, "big")
        nonce = (start ^ count).to_bytes(12, "big")
        yield header + aead.encrypt(nonce, inner, header)


@cache
def _messages() -> bytes:
    """Extensions, certificate and signature, as they are right."""
    entries = [vector(3, each.public_bytes(Encoding.DER)) for each in _chain().presented]
    listed = vector(3, *(each + b"\x00\x00" for each in entries))
    said = b"\x08\x00\x00\x02\x00\x00" + b"\x0b" + vector(3, b"\x00", listed)
    content = _SIGNED + sha256(_transcript() + said).digest()
    signature = _KEY.sign(content, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))
    return said + b"\x0f" + vector(3, b"\x04\x03", vector(2, signature))


def _sealed(data: bytes) -> None:
    hello = b"\x16\x03\x03" + vector(2, _hello())
    answer = _look().receive(hello + b"".join(_sealed_records(data)))
    assert answer != "none"
    assert data.startswith(_messages()) == (answer == "unchanged")


TARGETS = {
    "fast_flight": Target(run=_flight, seeds=_flights),
    "fast_sealed": Target(run=_sealed, seeds=lambda: [_messages()], longest=64 * 1024),
}
