"""Signatures by the key of a leaf certificate: which are wanted, and whether one is right."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key
from livepin.certificates import spki
from livepin.errors import MalformedError

from livepin_server.probing.looks import Algorithm

from .wire import OddError

_CACHED = 4_096  # keys, some KiB each
_PSS_ONLY = bytes.fromhex("06092a864886f70d01010a")  # id-RSASSA-PSS, in a SubjectPublicKeyInfo
_CURVES = frozenset({"secp256r1", "secp384r1", "secp521r1"})


@dataclass(frozen=True, slots=True)
class _Scheme:
    """What `key` makes such a signature, and what its `verify` wants to know besides."""

    key: str
    arguments: tuple[Any, ...] = ()
    only_12: bool = False


def _pss(key: str, digest: hashes.HashAlgorithm) -> _Scheme:
    salted = padding.PSS(mgf=padding.MGF1(digest), salt_length=padding.PSS.DIGEST_LENGTH)
    return _Scheme(key, (salted, digest))


_SHA256, _SHA384, _SHA512 = hashes.SHA256(), hashes.SHA384(), hashes.SHA512()
_SCHEMES = {  # RFC 8446, section 4.2.3
    0x0403: _Scheme("secp256r1", (ec.ECDSA(_SHA256),)),
    0x0503: _Scheme("secp384r1", (ec.ECDSA(_SHA384),)),
    0x0603: _Scheme("secp521r1", (ec.ECDSA(_SHA512),)),
    0x0807: _Scheme("ed25519"),
    0x0808: _Scheme("ed448"),
    0x0804: _pss("rsa", _SHA256),
    0x0805: _pss("rsa", _SHA384),
    0x0806: _pss("rsa", _SHA512),
    0x0809: _pss("rsa-pss", _SHA256),
    0x080A: _pss("rsa-pss", _SHA384),
    0x080B: _pss("rsa-pss", _SHA512),
    0x0401: _Scheme("rsa", (padding.PKCS1v15(), _SHA256), only_12=True),
    0x0501: _Scheme("rsa", (padding.PKCS1v15(), _SHA384), only_12=True),
    0x0601: _Scheme("rsa", (padding.PKCS1v15(), _SHA512), only_12=True),
}
ALL_SCHEMES = tuple(_SCHEMES)
OFFERED_SCHEMES: dict[Algorithm, tuple[int, ...]] = {
    "ecdsa": (0x0403, 0x0503, 0x0603, 0x0807, 0x0808),
    "rsa": (0x0804, 0x0805, 0x0806, 0x0809, 0x080A, 0x080B, 0x0401, 0x0501, 0x0601),
}


class Leaf:
    """The public key of a certificate; no more of that is read."""

    __slots__ = ("_key", "_kind")

    def __init__(self, der: bytes) -> None:
        """Read the key.

        Raises:
            OddError: no certificate, or a key that makes no signatures in TLS.
        """
        try:
            info = spki(der)
            self._key: Any = load_der_public_key(info)
        except (MalformedError, UnsupportedAlgorithm, ValueError) as exc:
            raise OddError("expected a certificate with a public key") from exc
        self._kind = _kind(self._key, info)

    def check(
        self, algorithm: Algorithm, scheme: int, signature: bytes, content: bytes, *, tls13: bool
    ) -> None:
        """Check a signature over `content` by this key, with a scheme that was offered.

        In TLS 1.3 a scheme names its curve, and PKCS #1 is of the past (RFC 8446, 4.2.3); in
        TLS 1.2 it names hash and algorithm alone (RFC 5246, section 7.4.1.4.1).

        Raises:
            OddError: another scheme, another kind of key, or not signed by this one.
        """
        if scheme not in OFFERED_SCHEMES[algorithm]:
            raise OddError(f"expected a signature scheme that was offered, found {scheme:#06x}")
        wanted = _SCHEMES[scheme]
        if tls13 and wanted.only_12:
            raise OddError("expected no signature of PKCS #1 in TLS 1.3")
        same = wanted.key == self._kind
        if not same and (tls13 or not {wanted.key, self._kind} <= _CURVES):
            raise OddError(f"expected a signature by {wanted.key}, found a key of {self._kind}")
        try:
            self._key.verify(signature, content, *wanted.arguments)
        except (InvalidSignature, ValueError) as exc:
            raise OddError("expected a signature by the key of the leaf certificate") from exc


def _kind(key: object, info: bytes) -> str:
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in _CURVES:
        return key.curve.name
    if isinstance(key, rsa.RSAPublicKey):
        return "rsa-pss" if _PSS_ONLY in info[:24] else "rsa"
    if isinstance(key, ed25519.Ed25519PublicKey):
        return "ed25519"
    if isinstance(key, ed448.Ed448PublicKey):
        return "ed448"
    raise OddError("expected a public key that makes signatures in TLS")


class Leaves:
    """The leaf keys read last, by the SHA-256 of their certificates, so many at most."""

    def __init__(self, *, most: int = _CACHED) -> None:
        self._most = most
        self._found: OrderedDict[bytes, Leaf] = OrderedDict()

    def __len__(self) -> int:
        return len(self._found)

    def __call__(self, der: bytes) -> Leaf:
        """Return the key of a certificate.

        Raises:
            OddError: it cannot be read; that is not kept.
        """
        name = sha256(der).digest()
        leaf = self._found.get(name)
        if leaf is None:
            leaf = self._found[name] = Leaf(der)
            if len(self._found) > self._most:
                self._found.popitem(last=False)
        else:
            self._found.move_to_end(name)
        return leaf
