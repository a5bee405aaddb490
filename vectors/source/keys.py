"""Test keys that anybody can derive again. They protect nothing.

A key is known by a name such as `config 1`; its private scalar is the SHA-256 of that name.
Signatures have the nonce of RFC 6979, so that a document comes out the same each time.
"""

from __future__ import annotations

import base64
import hashlib
import json
from functools import cache
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # of P-256
_ECDSA = ec.ECDSA(hashes.SHA256(), deterministic_signing=True)


def b64url(data: bytes) -> str:
    """Return base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def compact_json(value: object) -> bytes:
    """Return JSON without white space, in ASCII."""
    return json.dumps(value, separators=(",", ":")).encode()


@cache
def private_key(name: str) -> ec.EllipticCurvePrivateKey:
    """Return the private key of a name."""
    scalar = int.from_bytes(hashlib.sha256(f"livepin test key: {name}".encode()).digest(), "big")
    return ec.derive_private_key(scalar % (_ORDER - 1) + 1, ec.SECP256R1())


@cache
def _jwk(name: str) -> tuple[tuple[str, str], ...]:
    numbers = private_key(name).public_key().public_numbers()
    x, y = (b64url(value.to_bytes(32, "big")) for value in (numbers.x, numbers.y))
    return ("crv", "P-256"), ("kty", "EC"), ("x", x), ("y", y)


def jwk(name: str) -> dict[str, Any]:
    """Return the public JWK of a name."""
    return dict(_jwk(name))


def kid(name: str) -> str:
    """Return the RFC 7638 thumbprint of a name's key."""
    return b64url(hashlib.sha256(compact_json(jwk(name))).digest())


def sign(name: str, data: bytes, *, twin: bool = False) -> bytes:
    """Return r||s on `data`; `twin` gives the other signature that verifies, (r, n-s)."""
    r, s = decode_dss_signature(private_key(name).sign(data, _ECDSA))
    if twin:
        s = _ORDER - s
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def fingerprint(name: str) -> str:
    """Return base64 of 32 bytes that stand for the SPKI fingerprint of a TLS key."""
    digest = hashlib.sha256(f"livepin test pin: {name}".encode()).digest()
    return base64.b64encode(digest).decode()


def pin(name: str) -> str:
    """Return a pin in its text form."""
    return f"sha256/{fingerprint(name)}"
