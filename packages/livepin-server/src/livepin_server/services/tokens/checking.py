"""What a token is, for people: whether a backend takes it, and if not, why. Reads no clock."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

from livepin import jsontext, tokens
from livepin.errors import MalformedError
from livepin.jose import b64url_decode
from livepin.tokens import Algorithm, TokenError, TokenKey, verify
from msgspec import Struct

from .issuing import Issuing, Pair

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


class Checked(Struct, frozen=True, kw_only=True):
    """A token as its backend sees it: taken or not; `reason` is a word, `says` what it claims.

    `decoy` tells that the installation did not pass, which no backend can see.
    """

    taken: bool
    reason: str | None
    decoy: bool
    key: str | None
    says: dict[str, Any]


def check(issuing: Issuing, token: str, bind: str | None, now: datetime) -> Checked:
    """Return what a token of an account is, at a time."""
    header, says = _read(token)
    if "kid" not in header and header.get("alg") == "HS256":
        return _check_approov(issuing, token, says, bind, now)
    named = {pair.key.kid: name for name, pairs in issuing.keys.items() for pair in pairs}
    reason = _refusal(token, _keys(issuing), says, bind, now)
    decoys = {pair.decoy.kid: pair.decoy.public() for pair in _pairs(issuing)}
    decoy = reason == "signature" and _refusal(token, decoys, says, None, _issue(says)) is None
    return Checked(
        taken=reason is None,
        reason=reason,
        decoy=decoy,
        key=named.get(str(header.get("kid"))),
        says=says,
    )


def _refusal(
    token: str,
    keys: dict[str, TokenKey],
    says: dict[str, Any],
    bind: str | None,
    now: datetime,
) -> str | None:
    try:
        claims = verify(token, keys, audience=str(says.get("aud")), now=now)
    except TokenError as exc:
        return exc.reason
    return "binding" if bind not in (None, claims.binding) else None


def _check_approov(
    issuing: Issuing, token: str, says: dict[str, Any], bind: str | None, now: datetime
) -> Checked:
    signing_input, _, value = token.rpartition(".")
    signature = _bytes(value)
    found = [
        (name, decoy)
        for name, pairs in issuing.keys.items()
        for pair in pairs
        for key, decoy in ((pair.key, False), (pair.decoy, True))
        if key.algorithm is Algorithm.HS256
        and hmac.compare_digest(key.sign(signing_input.encode()), signature)
    ]
    name, decoy = found[0] if found else (None, False)
    reason = None if found and not decoy else "signature"
    if reason is None and not says.get("exp", 0) > now.timestamp():
        reason = "expired"
    if reason is None and bind is not None:
        digest = base64.b64encode(_bytes(bind)).decode()
        reason = None if says.get("pay") == digest else "binding"
    return Checked(taken=reason is None, reason=reason, decoy=decoy, key=name, says=says)


def _read(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return header and claims, unverified; empty where there are none."""
    parts = token.split(".")
    if len(token) > tokens.MAX_SIZE or len(parts) != 3:
        return {}, {}
    try:
        return _object(parts[0]), _object(parts[1])
    except (MalformedError, UnicodeEncodeError):
        return {}, {}


def _bytes(part: str) -> bytes:
    """Return what base64url says, or nothing."""
    try:
        return b64url_decode(part.encode("ascii"))
    except (MalformedError, UnicodeEncodeError):
        return b""


def _object(part: str) -> dict[str, Any]:
    raw = b64url_decode(part.encode("ascii"))
    jsontext.check_depth(raw)
    return jsontext.parse_object(raw)


def _issue(says: dict[str, Any]) -> datetime:
    """Return when a token says that it was issued, at which time does not refuse it."""
    issued = says.get("iat")
    if type(issued) is not int or not 0 <= issued < 2**33:
        return _EPOCH
    return _EPOCH + timedelta(seconds=issued)


def _pairs(issuing: Issuing) -> Iterator[Pair]:
    for pairs in issuing.keys.values():
        yield from pairs


def _keys(issuing: Issuing) -> dict[str, TokenKey]:
    return {pair.key.kid: pair.key.public() for pair in _pairs(issuing)}
