"""The token of one hop of a request: whether a header field is added, which, and what it replaces.

Every adapter asks here for each hop anew, with the fields that are about to be sent, and never
changes the request of the app: what a redirect is made from has no token. So a token goes to its
own host alone, over TLS, and not before the connection was judged. Where the app wants proofs, one
goes with each token, for this hop's method and URL.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from livepin.client import Client, Token, TokenState
from livepin.errors import MalformedError, TokenUnavailableError
from livepin.hostnames import normalise
from livepin.tokens import PROOF_HEADER

Fields = list[tuple[str, Any]]  # names with values, text or bytes

_HTTPS = 443

_HINTS = {
    TokenState.NO_NETWORK: "the app needs a connection to the delivery service",
    TokenState.UNTRUSTED_NETWORK: "another network may help: somebody is in between here",
    TokenState.NO_SERVICE: "the delivery service answers, and gives no token; its log says why",
}


class Hop(NamedTuple):
    """Where one request goes, as its library has it: `target` is the path, with its query or not.

    `port` is None for that of the scheme.
    """

    method: str
    scheme: str
    host: str
    port: int | None
    target: str

    @property
    def url(self) -> str:
        """The URL as a backend names itself. Raises `MalformedError` of another target."""
        if not self.target.startswith("/"):
            raise MalformedError(f"expected a path with / first, found {self.target[:80]!r}")
        host = normalise(self.host)
        port = "" if self.port in (None, _HTTPS) else f":{self.port}"
        return f"https://{f'[{host}]' if ':' in host else host}{port}{self.target}"


def with_token(pins: Client, hop: Hop, fields: Iterable[tuple[str, Any]]) -> Fields | None:
    """Return the fields of a request with its token, or None where nothing changes.

    Fields of the names of token and proof are replaced, whoever set them; others that hold one are
    removed.

    Raises:
        TokenUnavailableError: there is no token, and the request must not go without.
    """
    found = list(fields)
    if not _is_wanted(pins, hop):
        return _changed(pins, found, None, None)
    token = _checked(pins, hop, pins.token(hop.host, _bound(pins, found)))
    proof = None
    if token is not None and pins.proof:
        try:
            proof = pins.prove(token, hop.method, hop.url)
        except Exception as exc:  # noqa: BLE001 - by the app's key store
            _check_may_go(pins, hop, exc)
            token = None
    return _changed(pins, found, token, proof)


async def awith_token(pins: Client, hop: Hop, fields: Iterable[tuple[str, Any]]) -> Fields | None:
    """Return the same, without blocking the event loop."""
    found = list(fields)
    if not _is_wanted(pins, hop):
        return _changed(pins, found, None, None)
    token = _checked(pins, hop, await pins.atoken(hop.host, _bound(pins, found)))
    proof = None
    if token is not None and pins.proof:
        try:
            proof = await pins.aprove(token, hop.method, hop.url)
        except Exception as exc:  # noqa: BLE001 - by the app's key store
            _check_may_go(pins, hop, exc)
            token = None
    return _changed(pins, found, token, proof)


def _is_wanted(pins: Client, hop: Hop) -> bool:
    try:
        return hop.scheme in ("https", "wss") and pins.needs_token(hop.host)
    except MalformedError:
        return False  # no such host can be verified


def _bound(pins: Client, fields: Fields) -> bytes | None:
    """Return the value that the token is bound to, as it is sent; None if the request has none."""
    if pins.bind is None:
        return None
    name = pins.bind.lower()
    values = [_octets(value).strip() for each, value in fields if each.lower() == name]
    return b", ".join(values) if values else None  # several are one, by RFC 9110, section 5.3


def _checked(pins: Client, hop: Hop, token: Token) -> Token | None:
    if token.state is TokenState.SUCCESS:
        return token
    if token.state is TokenState.NOT_PROTECTED or pins.without_token == "send":  # noqa: S105
        return None
    host = normalise(hop.host)
    raise TokenUnavailableError(
        f"{host} asks for a token and there is none ({token.state.value}); nothing was sent",
        host=host,
        state=token.state.value,
        hint=_HINTS[token.state],
    )


def _check_may_go(pins: Client, hop: Hop, exc: Exception) -> None:
    """Refuse a request whose proof cannot be made, unless it may go without its token, too."""
    if pins.without_token == "send":  # noqa: S105
        return
    host = normalise(hop.host)
    raise TokenUnavailableError(
        f"{host} asks for a token, and there is no proof for it ({exc}); nothing was sent",
        host=host,
        state="no_proof",
        hint="the app's key signs each proof, and each is for a URL",
    ) from exc


def _changed(pins: Client, fields: Fields, token: Token | None, proof: str | None) -> Fields | None:
    added = [] if token is None else [(token.header, token.value)]
    if proof is not None:
        added.append((PROOF_HEADER, proof))
    names = {name.lower() for name, _ in added}
    kept = [
        (each, value)
        for each, value in fields
        if each.lower() not in names and not _is_ours(pins, _text(value))
    ]
    return [*kept, *added] if added or len(kept) < len(fields) else None


def _is_ours(pins: Client, value: str) -> bool:
    return pins.is_token(value) or pins.is_proof(value)


def _octets(value: str | bytes) -> bytes:
    return value.encode("utf-8") if isinstance(value, str) else value


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")
