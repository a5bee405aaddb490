"""The token of one hop of a request: whether a header field is added, which, and what it replaces.

Every adapter asks here for each hop anew, with the fields that are about to be sent, and never
changes the request of the app: what a redirect is made from has no token. So a token goes to its
own host alone, over TLS, and not before the connection was judged.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from livepin.client import Client, Token, TokenState
from livepin.errors import MalformedError, TokenUnavailableError
from livepin.hostnames import normalise

Fields = list[tuple[str, Any]]  # names with values, text or bytes

_HINTS = {
    TokenState.NO_NETWORK: "the app needs a connection to the delivery service",
    TokenState.UNTRUSTED_NETWORK: "another network may help: somebody is in between here",
    TokenState.NO_SERVICE: "the delivery service answers, and gives no token; its log says why",
}


def with_token(
    pins: Client, scheme: str, host: str, fields: Iterable[tuple[str, Any]]
) -> Fields | None:
    """Return the fields of a request to `host` with its token, or None where nothing changes.

    A field of the token's name is replaced, whoever set it; other tokens are removed.

    Raises:
        TokenUnavailableError: there is no token, and the request must not go without.
    """
    found = list(fields)
    if not _is_wanted(pins, scheme, host):
        return _changed(pins, found, None)
    return _changed(pins, found, _checked(pins, host, pins.token(host, _bound(pins, found))))


async def awith_token(
    pins: Client, scheme: str, host: str, fields: Iterable[tuple[str, Any]]
) -> Fields | None:
    """Return the same, without blocking the event loop."""
    found = list(fields)
    if not _is_wanted(pins, scheme, host):
        return _changed(pins, found, None)
    return _changed(pins, found, _checked(pins, host, await pins.atoken(host, _bound(pins, found))))


def _is_wanted(pins: Client, scheme: str, host: str) -> bool:
    try:
        return scheme in ("https", "wss") and pins.needs_token(host)
    except MalformedError:
        return False  # no such host can be verified


def _bound(pins: Client, fields: Fields) -> bytes | None:
    """Return the value that the token is bound to, as it is sent; None if the request has none."""
    if pins.bind is None:
        return None
    name = pins.bind.lower()
    values = [_octets(value).strip() for each, value in fields if each.lower() == name]
    return b", ".join(values) if values else None  # several are one, by RFC 9110, section 5.3


def _checked(pins: Client, host: str, token: Token) -> Token | None:
    if token.state is TokenState.SUCCESS:
        return token
    if token.state is TokenState.NOT_PROTECTED or pins.without_token == "send":  # noqa: S105
        return None
    raise TokenUnavailableError(
        f"{normalise(host)} asks for a token and there is none ({token.state.value}); nothing was "
        "sent",
        host=normalise(host),
        state=token.state.value,
        hint=_HINTS[token.state],
    )


def _changed(pins: Client, fields: Fields, token: Token | None) -> Fields | None:
    name = None if token is None else token.header.lower()
    kept = [
        (each, value)
        for each, value in fields
        if each.lower() != name and not pins.is_token(_text(value))
    ]
    if token is None:
        return None if len(kept) == len(fields) else kept
    kept.append((token.header, token.value))
    return kept


def _octets(value: str | bytes) -> bytes:
    return value.encode("utf-8") if isinstance(value, str) else value


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")
