"""The key schedule of TLS 1.3, as far as what a server says in the handshake (RFC 8446, 7.1)."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from .wire import OddError, vector

_NONCE = 12  # bytes


@dataclass(frozen=True, slots=True)
class Suite:
    """A cipher suite of TLS 1.3; `derived` is the secret from which all begins without a PSK."""

    digest: str
    key: int
    aead: type[AESGCM | ChaCha20Poly1305]
    derived: bytes = field(init=False)

    def __post_init__(self) -> None:
        empty = hashlib.new(self.digest)
        zeros = bytes(empty.digest_size)
        early = hmac.digest(zeros, zeros, self.digest)
        derived = self.expand(early, b"derived", empty.digest(), empty.digest_size)
        object.__setattr__(self, "derived", derived)

    def expand(self, secret: bytes, label: bytes, context: bytes, length: int) -> bytes:
        """Return HKDF-Expand-Label; nothing here is longer than one block of it."""
        info = length.to_bytes(2, "big") + vector(1, b"tls13 ", label) + vector(1, context)
        return hmac.digest(secret, info + b"\x01", self.digest)[:length]


SUITES = {
    0x1301: Suite("sha256", 16, AESGCM),
    0x1302: Suite("sha384", 32, AESGCM),
    0x1303: Suite("sha256", 32, ChaCha20Poly1305),
}


class Opening:
    """Opens what a server has sealed, record by record (RFC 8446, sections 5.2 and 5.3)."""

    __slots__ = ("_aead", "_count", "_start")

    def __init__(self, aead: AESGCM | ChaCha20Poly1305, start: bytes) -> None:
        self._aead = aead
        self._start = int.from_bytes(start, "big")
        self._count = 0

    def open(self, header: bytes, body: bytes) -> bytes:
        """Return what is in the next record.

        Raises:
            OddError: not sealed by whom the keys are shared with.
        """
        nonce = (self._start ^ self._count).to_bytes(_NONCE, "big")
        self._count += 1
        try:
            return self._aead.decrypt(nonce, body, header)
        except InvalidTag as exc:
            raise OddError("expected a record that opens") from exc


def shared_secret(private: X25519PrivateKey, public: bytes) -> bytes:
    """Return what X25519 gives with the server's 32 bytes.

    Raises:
        OddError: a point of small order, with which all would be zero (RFC 7748, section 6.1).
    """
    try:
        return private.exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError as exc:
        raise OddError("expected a key share of the server") from exc


def handshake_opening(suite: Suite, shared: bytes, transcript: bytes) -> Opening:
    """Return what opens the server's records after a transcript that ends with its hello."""
    handshake = hmac.digest(suite.derived, shared, suite.digest)
    traffic = suite.expand(handshake, b"s hs traffic", transcript, len(transcript))
    key = suite.expand(traffic, b"key", b"", suite.key)
    return Opening(suite.aead(key), suite.expand(traffic, b"iv", b"", _NONCE))
