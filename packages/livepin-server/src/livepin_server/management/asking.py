"""Who asks for a change, why and how; and how it is answered: published, or kept for later."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, TypeVar

import msgspec
from litestar import Request, Response
from litestar.params import HeaderParameter, Parameter

from livepin_server.errors import InvalidError
from livepin_server.services.model import How, Intent, Moment, Principal, Staged

_ETAG = re.compile(r'"([0-9]{1,16})"\Z')
_P = TypeVar("_P")
_A = TypeVar("_A")

Stream = Annotated[str, Parameter(max_length=63)]
Reason = Annotated[str, Parameter(max_length=500)]
Since = Annotated[str | None, Parameter(max_length=40, description="A time with its zone.")]
AsStaged = Annotated[bool, Parameter(description="As it will be once the open stage is published.")]


def how(
    stage: Annotated[
        bool, Parameter(description="Keep the change on the open stage, to be published later.")
    ] = False,
    at: Annotated[
        datetime | None, Parameter(description="Publish then; a time with its zone.")
    ] = None,
    force: Annotated[
        bool, Parameter(description="Publish though apps may be shut out; needs a reason.")
    ] = False,
    confirmed: Annotated[
        bool,
        Parameter(description="Publish though apps are protected less, or may not be reached."),
    ] = False,
    expected: Annotated[
        str | None,
        HeaderParameter(
            name="If-Match",
            max_length=20,
            description="The ETag of what the caller has seen: refused if it has changed since.",
        ),
    ] = None,
) -> How:
    """Return how a change is to be made."""
    if at is not None and at.tzinfo is None:
        raise InvalidError("at: expected a time with its zone", hint="such as 2027-01-31T12:00:00Z")
    match = None if expected is None else _ETAG.match(expected)
    if expected is not None and match is None:
        raise InvalidError(f"If-Match: expected an ETag, found {expected!r}")
    number = None if match is None else int(match[1])
    return How(stage=stage, at=at, force=force, confirmed=confirmed, expected=number)


def since_of(text: str | None) -> datetime | None:
    """Return the time that a query names.

    Raises:
        InvalidError: it is none, or has no zone.
    """
    try:
        return msgspec.convert(text, type=Moment | None)
    except msgspec.ValidationError as exc:
        raise InvalidError(
            f"since: expected a time with its zone, found {text!r}",
            hint="such as 2027-01-31T12:00:00Z",
        ) from exc


def intent(
    request: Request[Principal, Any, Any], reason: str = "", how: How | None = None
) -> Intent:
    """Return who asks, from where, why and how."""
    user, client = request.user, request.client
    return Intent(
        author=user.name,
        reason=reason,
        key_id=user.key_id,
        origin=client.host if client is not None else "",
        how=how or How(),
    )


def tagged(content: _P, version: int) -> Response[_P]:
    """Return an answer with the newest config version as its ETag, for If-Match."""
    return Response(content, headers={"ETag": f'"{version}"'})


def answered(outcome: _P | Staged, answer: Callable[[_P], _A]) -> _A | Staged:
    """Return what a change is answered with: `answer` only where it was published."""
    return outcome if isinstance(outcome, Staged) else answer(outcome)
