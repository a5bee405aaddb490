"""Every error of the management API as a problem; never a traceback."""

from __future__ import annotations

import logging
from typing import Any

from litestar import Request, Response
from litestar.exceptions import HTTPException

from livepin_server.errors import (
    ConflictError,
    CustodyError,
    ForbiddenError,
    InvalidError,
    NotFoundError,
    OutdatedError,
    ServiceError,
    UnavailableError,
    UnconfirmedError,
)

from .auth import TooManyFailuresError
from .problems import CONTENT_TYPE, Problem, encoded, problem

logger = logging.getLogger("livepin.management")

_STATUS: dict[type[ServiceError], int] = {
    NotFoundError: 404,
    ConflictError: 409,
    OutdatedError: 412,
    UnconfirmedError: 409,
    InvalidError: 422,
    ForbiddenError: 403,
    UnavailableError: 503,
}

_AnyRequest = Request[Any, Any, Any]


def on_service_error(_: _AnyRequest, exc: ServiceError) -> Response[bytes]:
    """Answer a refused use case."""
    status = _STATUS[type(exc)]
    headers = {"Retry-After": "5"} if status == 503 else {}
    asked = exc.to_confirm if isinstance(exc, UnconfirmedError) else ()
    return _response(problem(status, str(exc), exc.hint, to_confirm=asked), headers)


def on_custody_error(_: _AnyRequest, exc: CustodyError) -> Response[bytes]:
    """Answer that a private key cannot be used now; the message never holds key material."""
    logger.error("a private key cannot be used: %s", exc)
    return _response(problem(503, str(exc), exc.hint), {"Retry-After": "5"})


def on_http_error(request: _AnyRequest, exc: HTTPException) -> Response[bytes]:
    """Answer what the framework refuses: routes, methods, bodies, keys."""
    if exc.status_code >= 500:
        return on_unexpected(request, exc)
    detail = exc.detail
    if exc.status_code == 400 and isinstance(exc.extra, list):
        detail = "; ".join(_mistake(each) for each in exc.extra if isinstance(each, dict))
    return _response(problem(exc.status_code, detail), dict(exc.headers or {}))


def on_too_many_failures(_: _AnyRequest, exc: TooManyFailuresError) -> Response[bytes]:
    """Answer an address that guesses keys."""
    return _response(problem(429, str(exc)), {"Retry-After": str(exc.pause)})


def on_deep_nesting(_: _AnyRequest, __: RecursionError) -> Response[bytes]:
    """Answer a body that nests deeper than it can be read: nothing else here recurses."""
    return _response(problem(400, "the body is nested too deeply"), {})


def on_unexpected(request: _AnyRequest, exc: Exception) -> Response[bytes]:
    """Answer our own mistake: the log has it, the caller does not."""
    logger.error("unexpected", exc_info=exc, extra={"path": request.url.path})
    return _response(problem(500, "an unexpected error; the server's log has it"), {})


HANDLERS: dict[Any, Any] = {
    ServiceError: on_service_error,
    CustodyError: on_custody_error,
    HTTPException: on_http_error,
    TooManyFailuresError: on_too_many_failures,
    RecursionError: on_deep_nesting,
    Exception: on_unexpected,
}


def _mistake(found: dict[str, str]) -> str:
    """Say what is wrong with a member of the body, or a parameter."""
    key, message = found.get("key", "body"), found.get("message", "")
    if message == repr(key):  # how the framework says that there is none
        return "a body is missing" if key == "data" else f"{key}: missing"
    return f"{key}: {message}"


def _response(found: Problem, headers: dict[str, str]) -> Response[bytes]:
    return Response(
        encoded(found), status_code=found.status, media_type=CONTENT_TYPE, headers=headers
    )
