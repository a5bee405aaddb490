"""Errors over HTTP: problem details (RFC 9457)."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus

import msgspec

CONTENT_TYPE = "application/problem+json"
# Answers that leave a body unread: the connection ends with them, and says so, that clients do
# not send their next request on it.
BODY_UNREAD = frozenset({408, 413})


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A problem. `type` is about:blank: the status says what kind it is.

    `to_confirm` says what a person has to agree to, if that is all that stands against it.
    """

    title: str
    status: int
    detail: str = ""
    hint: str | None = None
    to_confirm: list[str] = []


def problem(
    status: int, detail: str = "", hint: str | None = None, *, to_confirm: Sequence[str] = ()
) -> Problem:
    """Return the problem for an HTTP status."""
    return Problem(
        title=HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        hint=hint,
        to_confirm=list(to_confirm),
    )


def encoded(found: Problem) -> bytes:
    """Return a problem as JSON."""
    return msgspec.json.encode(found)
