"""The text of an API key: `lpk_ID_SECRET`, 256 random bits in base64url. Each key has one text."""

from __future__ import annotations

import base64
import re
import secrets

MARK = "lpk_"
# The 43rd character holds four bits: the other two are zero, or one key would have four texts.
_FORM = re.compile(MARK + r"([a-z0-9]{12})_([A-Za-z0-9_-]{42}[AEIMQUYcgkosw048])\Z")
_BEGIN = re.compile(MARK + r"([a-z0-9]{12})(?:_|\Z)")


def new_id() -> str:
    """Return what a new key is called in its text; it is no secret."""
    return secrets.token_hex(6)


def new_secret() -> bytes:
    """Return 32 random bytes."""
    return secrets.token_bytes(32)


def written(identity: str, secret: bytes) -> str:
    """Return the text of a key."""
    return f"{MARK}{identity}_{base64.urlsafe_b64encode(secret).rstrip(b'=').decode()}"


def parse(text: str) -> tuple[str, bytes] | None:
    """Return the ID and the secret of a text; None where it is not that of a key."""
    match = _FORM.match(text)
    return None if match is None else (match[1], base64.urlsafe_b64decode(match[2] + "="))


def id_in(text: str) -> str | None:
    """Return the ID of what begins as the text of a key."""
    match = _BEGIN.match(text)
    return None if match is None else match[1]
