"""A TLS server made of parts, each of which a test may make wrong; and real ones, in memory.

The key schedule is written once more, after RFC 8446, so that it is no mirror of what is tested.
"""

from __future__ import annotations

import hashlib
import hmac
import socket
import ssl
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding
from livepin.testing import Chain

CONTEXT = b" " * 64 + b"TLS 1.3, server CertificateVerify\x00"
DOWNGRADED = b"DOWNGRD\x01"
CHANGE_CIPHER_SPEC = b"\x14\x03\x03\x00\x01\x01"
REFUSAL = b"\x15\x03\x03\x00\x02\x02\x28"


def vector(size: int, body: bytes) -> bytes:
    """A vector with its length before it."""
    return len(body).to_bytes(size, "big") + body


def extension(kind: int, body: bytes = b"") -> bytes:
    """An extension."""
    return kind.to_bytes(2, "big") + vector(2, body)


def message(kind: int, body: bytes) -> bytes:
    """A message of the handshake."""
    return bytes([kind]) + vector(3, body)


def record(kind: int, body: bytes) -> bytes:
    """A record."""
    return bytes([kind]) + b"\x03\x03" + vector(2, body)


def ders(chain: Chain) -> list[bytes]:
    """What a chain presents."""
    return [each.public_bytes(Encoding.DER) for each in chain.presented]


@dataclass(frozen=True)
class Heard:
    """What a server takes from a hello."""

    message: bytes
    random: bytes
    session: bytes
    extensions: dict[int, bytes]

    @classmethod
    def of(cls, outgoing: bytes) -> Heard:
        """Read a hello as it is sent."""
        said = outgoing[5:]
        session = said[39 : 39 + said[38]]
        at = 39 + said[38]
        at += 2 + int.from_bytes(said[at : at + 2], "big")  # cipher suites
        at += 1 + said[at] + 2  # compression, and the length of the extensions
        found = {}
        while at < len(said):
            kind, length = (int.from_bytes(said[at + i : at + i + 2], "big") for i in (0, 2))
            found[kind] = said[at + 4 : at + 4 + length]
            at += 4 + length
        assert at == len(said)
        return cls(said, said[6:38], session, found)

    @property
    def share(self) -> bytes:
        """The 32 bytes for X25519."""
        return self.extensions[51][-32:]


def sign(key: Any, content: bytes, *, tls13: bool = True) -> tuple[int, bytes]:
    """Return scheme and signature, as a server with this key makes them."""
    if isinstance(key, rsa.RSAPrivateKey):
        if not tls13:
            return 0x0401, key.sign(content, padding.PKCS1v15(), hashes.SHA256())
        pss = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH)
        return 0x0804, key.sign(content, pss, hashes.SHA256())
    return 0x0403, key.sign(content, ec.ECDSA(hashes.SHA256()))


@dataclass
class Forger:
    """A server for one conversation. What a test sets is what it says instead of what is right."""

    chain: Sequence[bytes]
    key: Any
    hello: bytes = b""  # ServerHello, as a message
    hello_extensions: bytes | None = None
    encrypted_extensions: bytes = message(8, b"\x00\x00")
    before: bytes = b""  # of the certificate: a request for one
    certificate: bytes | None = None  # as a message
    verify: bytes | None = None  # as a message
    after: bytes = b""
    random: bytes = b"r" * 32
    session: bytes | None = None
    suite: int | None = None
    scheme: int | None = None
    group: bytes = b"\x00\x1d"
    signed: Callable[[bytes], bytes] = field(default=lambda content: content)
    shared: X25519PrivateKey = field(default_factory=X25519PrivateKey.generate)

    def hello_13(self, heard: Heard) -> bytes:
        """ServerHello of TLS 1.3."""
        extensions = self.hello_extensions
        if extensions is None:
            share = self.group + vector(2, self.shared.public_key().public_bytes_raw())
            extensions = extension(43, b"\x03\x04") + extension(51, share)
        return self.hello or self._hello(heard.session, self.suite or 0x1301, extensions)

    def flight_13(self, outgoing: bytes) -> list[bytes]:
        """The records of a whole flight of TLS 1.3."""
        heard = Heard.of(outgoing)
        hello = self.hello_13(heard)
        seal = Sealer(heard, hello, self.shared)
        messages = self.messages_13(heard.message + hello)
        return [record(22, hello), CHANGE_CIPHER_SPEC, *(seal(22, each) for each in messages)]

    def messages_13(self, transcript: bytes) -> list[bytes]:
        """What is sealed, after a transcript that ends with the hello of the server."""
        found = [self.encrypted_extensions]
        found += [self.before] if self.before else []
        entries = b"".join(vector(3, each) + b"\x00\x00" for each in self.chain)
        found.append(self.certificate or message(11, b"\x00" + vector(3, entries)))
        so_far = hashlib.sha256(transcript + b"".join(found)).digest()
        scheme, signature = sign(self.key, self.signed(CONTEXT + so_far))
        body = (self.scheme or scheme).to_bytes(2, "big") + vector(2, signature)
        found.append(self.verify or message(15, body))
        return [*found, *([self.after] if self.after else [])]

    def flight_12(self, outgoing: bytes) -> list[bytes]:
        """The records of a flight of TLS 1.2."""
        heard = Heard.of(outgoing)
        suite = 0xC02F if isinstance(self.key, rsa.RSAPrivateKey) else 0xC02B
        extensions = extension(0xFF01, b"\x00")
        if self.hello_extensions is not None:
            extensions = self.hello_extensions
        hello = self.hello or self._hello(b"", self.suite or suite, extensions)
        entries = b"".join(vector(3, each) for each in self.chain)
        certificate = self.certificate or message(11, vector(3, entries))
        point = self.shared.public_key().public_bytes_raw()
        parameters = b"\x03" + self.group + vector(1, point)
        content = self.signed(heard.random + self.random + parameters)
        scheme, signature = sign(self.key, content, tls13=False)
        body = parameters + (self.scheme or scheme).to_bytes(2, "big") + vector(2, signature)
        found = [hello, certificate, self.verify or message(12, body), message(14, b"")]
        return [record(22, each) for each in found]

    def _hello(self, session: bytes, suite: int, extensions: bytes) -> bytes:
        session = session if self.session is None else self.session
        body = b"\x03\x03" + self.random + vector(1, session) + suite.to_bytes(2, "big") + b"\x00"
        return message(2, body + vector(2, extensions))


class Sealer:
    """Seals records with what the hellos give: TLS_AES_128_GCM_SHA256."""

    def __init__(self, heard: Heard, hello: bytes, private: X25519PrivateKey) -> None:
        empty = hashlib.sha256().digest()
        early = hmac.digest(bytes(32), bytes(32), "sha256")
        shared = private.exchange(X25519PublicKey.from_public_bytes(heard.share))
        secret = hmac.digest(_expanded(early, b"derived", empty, 32), shared, "sha256")
        so_far = hashlib.sha256(heard.message + hello).digest()
        traffic = _expanded(secret, b"s hs traffic", so_far, 32)
        self._aead = AESGCM(_expanded(traffic, b"key", b"", 16))
        self._start = _expanded(traffic, b"iv", b"", 12)
        self._count = 0

    def __call__(self, kind: int, body: bytes, padded: int = 0, outer: int = 23) -> bytes:
        """Seal the next record."""
        inner = body + bytes([kind]) + bytes(padded)
        header = bytes([outer]) + b"\x03\x03" + (len(inner) + 16).to_bytes(2, "big")
        count = self._count.to_bytes(12, "big")
        nonce = bytes(a ^ b for a, b in zip(self._start, count, strict=True))
        self._count += 1
        return header + self._aead.encrypt(nonce, inner, header)


def _expanded(secret: bytes, label: bytes, context: bytes, length: int) -> bytes:
    info = length.to_bytes(2, "big") + vector(1, b"tls13 " + label) + vector(1, context)
    return hmac.digest(secret, info + b"\x01", "sha256")[:length]


def real_flight(context: ssl.SSLContext, outgoing: bytes) -> bytes:
    """What OpenSSL answers to a hello."""
    incoming, answered = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = context.wrap_bio(incoming, answered, server_side=True)
    incoming.write(outgoing)
    with suppress(ssl.SSLError):
        server.do_handshake()
    return answered.read()


def told(conversation: Any, pieces: Iterable[bytes]) -> Any:
    """Have a conversation hear pieces, until it answers."""
    for each in pieces:
        if (answer := conversation.receive(each)) is not None:
            return answer
    return None


def talk(conversation: Any, port: int, *, size: int = 65536) -> Any:
    """Have a conversation over a socket, that gives so many bytes at once, and end it."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as sock:
        sock.sendall(conversation.outgoing)
        while True:
            try:
                data = sock.recv(size)
            except ConnectionResetError:
                data = b""
            if (answer := conversation.receive(data)) is not None:
                return answer
