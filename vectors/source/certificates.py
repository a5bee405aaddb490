"""Tables of certificates in DER, and the fingerprint of the key in each.

The certificates are put together from their parts, so the SubjectPublicKeyInfo whose SHA-256 is
expected is known without taking it out of a certificate.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .der import (
    certificate,
    ec_spki,
    ed25519_spki,
    element,
    rsa_pss_spki,
    rsa_spki,
    sequence,
    unknown_spki,
)

# A certificate of the public web, whose fingerprint its users have published.
_ISRG_ROOT_X1 = Path(__file__).with_name("isrg_root_x1.pem")
_ISRG_PIN = "sha256/C5+lpZ7tcVwmwQIMcRtPbsQtWLABXhQzejna0wHFr8M="


def tables() -> Iterator[tuple[str, dict[str, Any]]]:
    """Give the name and the content of each table."""
    yield "ordinary", _ordinary()
    yield "rare", _rare()
    yield "refused", _refused()


def _ordinary() -> dict[str, Any]:
    lines = _ISRG_ROOT_X1.read_text("ascii").splitlines()
    isrg = base64.b64decode("".join(line for line in lines if not line.startswith("-")))
    return {
        "title": "Certificates as they are met every day, and the pin of each",
        "rows": [
            _row("P-256", ec_spki("leaf")),
            _row("P-256, renewed with the same key", ec_spki("leaf"), serial=8),
            _row("RSA-2048", rsa_spki("leaf")),
            {"note": "ISRG Root X1, RSA-4096", "der": _text(isrg), "expected": _ISRG_PIN},
        ],
    }


def _rare() -> dict[str, Any]:
    return {
        "title": "Certificates that few platforms read: this pin, or a refusal, and no other pin",
        "rows": [
            _row("Ed25519", ed25519_spki("leaf")),
            _row("RSA for RSASSA-PSS alone", rsa_pss_spki("leaf")),
            _row("RSA without the NULL parameters", rsa_spki("leaf", parameters=b"")),
            _row("P-256 with a compressed point", ec_spki("leaf", compressed=True)),
            _row("a key of an unknown algorithm", unknown_spki("leaf")),
            _row("version 1, which has no version field", ec_spki("leaf"), v1=True),
        ],
    }


def _refused() -> dict[str, Any]:
    good = certificate(ec_spki("leaf"))
    bad = {
        "nothing": b"",
        "cut off": good[:-1],
        "cut off within the key": good[:200],
        "a byte too many": good + b"\0",
        "two certificates": good + good,
        "PEM": b"-----BEGIN CERTIFICATE-----\n",
        "the key alone": ec_spki("leaf"),
        "a SEQUENCE of nothing": sequence(),
        "an indefinite length": b"\x30\x80" + good[4:] + b"\0\0",
        "a SET for the outer SEQUENCE": element(0x31, good[4:]),
    }
    rows = [{"note": note, "der": _text(der), "expected": None} for note, der in bad.items()]
    return {"title": "What is no certificate", "rows": rows}


def _row(note: str, spki: bytes, **changes: Any) -> dict[str, Any]:
    digest = hashlib.sha256(spki).digest()
    der = certificate(spki, **changes)
    return {"note": note, "der": _text(der), "expected": f"sha256/{_text(digest)}"}


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
