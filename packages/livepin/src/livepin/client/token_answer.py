"""The answer of the token service, read strictly: all of it is right, or none is used.

It comes over the pinned channel, unsigned. What it can do is bounded by that: a config in it is
judged by the rules, and a field that a token travels in can be none that frames a request.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from livepin import jsontext
from livepin.documents.members import MAX_VERSION
from livepin.documents.token_request import MAX_CHALLENGE, MAX_HOSTS
from livepin.errors import MalformedError
from livepin.tokens import LIFETIME
from livepin.tokens import MAX_SIZE as MAX_TOKEN

MAX_SIZE = 512 * 1024  # bytes: 32 tokens, a config and an override of their largest
MAX_DOCUMENT = 64 * 1024  # characters of a config or an override

_FIELD = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
_VISIBLE = re.compile(r"[!-~]+\Z")
# A service that was taken over must not be able to write requests of another meaning.
_FRAMING = {
    "connection", "content-encoding", "content-length", "content-type", "cookie", "expect", "host",
    "keep-alive", "te", "trailer", "transfer-encoding", "upgrade",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """A token as it came: its field, its value, and the seconds that it lives."""

    header: str
    value: str = field(repr=False)
    lives: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenAnswer:
    """An answer: `tokens` by host, or None where the challenge was not good.

    `newest` is the (root_version, version) of the newest config, `config` that config as signed,
    where it came along, `override` that of this installation.
    """

    challenge: str = field(repr=False)
    tokens: dict[str, Issued] | None
    newest: tuple[int, int]
    config: bytes | None
    override: bytes | None

    @classmethod
    def parse(cls, raw: bytes) -> TokenAnswer:
        """Return the answer in `raw`.

        Raises:
            MalformedError: anything but what `spec/tokens.md` describes.
        """
        jsontext.check_depth(raw)
        members = jsontext.parse_object(raw)
        listed = members.get("tokens", ...)
        return cls(
            challenge=_text(members.get("challenge"), "challenge", MAX_CHALLENGE),
            tokens=None if listed is None else _tokens(listed),
            newest=_newest(members.get("newest")),
            config=_document(members, "config"),
            override=_document(members, "override"),
        )


def _tokens(listed: object) -> dict[str, Issued]:
    if not isinstance(listed, dict) or len(listed) > MAX_HOSTS:
        raise MalformedError(f"expected the tokens of at most {MAX_HOSTS} hosts")
    return {host: _issued(each) for host, each in listed.items()}


def _issued(members: object) -> Issued:
    if not isinstance(members, dict):
        raise MalformedError("expected each token with header, token and lives")
    header = members.get("header")
    if not isinstance(header, str) or not _FIELD.match(header) or _frames(header.lower()):
        raise MalformedError("expected the name of a header field that tokens can travel in")
    value = _text(members.get("token"), "token", MAX_TOKEN)
    return Issued(header=header, value=value, lives=_whole(members, "lives", LIFETIME.seconds))


def _frames(header: str) -> bool:
    return header in _FRAMING or header.startswith(("proxy-", "sec-", "grpc-"))


def _newest(members: object) -> tuple[int, int]:
    if not isinstance(members, dict):
        raise MalformedError("expected newest with root_version and version")
    return _whole(members, "root_version", MAX_VERSION), _whole(members, "version", MAX_VERSION)


def _document(members: dict[str, Any], name: str) -> bytes | None:
    value = members.get(name, ...)
    return None if value is None else _text(value, name, MAX_DOCUMENT).encode()


def _text(value: object, name: str, longest: int) -> str:
    if not isinstance(value, str) or len(value) > longest or not _VISIBLE.match(value):
        raise MalformedError(f"expected {name} of 1 to {longest} visible characters of ASCII")
    return value


def _whole(members: dict[str, Any], name: str, most: int) -> int:
    value = members.get(name)
    if type(value) is not int or not 1 <= value <= most:
        raise MalformedError(f"expected {name} as a whole number of 1 to {most}")
    return value
