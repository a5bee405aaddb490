"""A token request that evidence comes with."""

from __future__ import annotations

import datetime as dt
from typing import Any

from livepin.documents.token_request import evidence_nonce
from livepin.jose import PrivateKey
from livepin_server.attestation.attested import Asked

NOW = dt.datetime(2026, 11, 23, 12, tzinfo=dt.timezone.utc)
_KEY = PrivateKey.generate().public


def asked(challenge: str = "challenge", **changes: Any) -> Asked:
    """Return what an installation asks with this challenge."""
    members = {
        "account": "acme",
        "app": "com.example.app",
        "key": _KEY,
        "nonce": evidence_nonce(challenge, _KEY.kid, "com.example.app"),
        "key_nonce": evidence_nonce("", "", "com.example.app"),
        "now": NOW,
    }
    return Asked(**(members | changes))
