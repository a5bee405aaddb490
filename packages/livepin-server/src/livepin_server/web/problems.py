"""Errors over HTTP: problem details (RFC 9457)."""

from __future__ import annotations

from http import HTTPStatus

import msgspec

CONTENT_TYPE = "application/problem+json"
# Answers that leave a body unread: the connection ends with them, and says so, that clients do
# not send their next request on it.
BODY_UNREAD = frozenset({408, 413})


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A problem. `type` is about:blank: the status says what kind it is."""

    title: str
    status: int
    detail: str = ""
    hint: str | None = None


def problem(status: int, detail: str = "", hint: str | None = None) -> Problem:
    """Return the problem for an HTTP status."""
    return Problem(title=HTTPStatus(status).phrase, status=status, detail=detail, hint=hint)


def encoded(found: Problem) -> bytes:
    """Return a problem as JSON."""
    return msgspec.json.encode(found)
