"""The management application: every route in one list, each with a role and an area."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

from litestar import Litestar, Request, Response
from litestar.di import Provide
from litestar.exceptions import PermissionDeniedException
from litestar.middleware import DefineMiddleware

from livepin_server.services.api_keys import ApiKeys
from livepin_server.services.audit import SERVER, entry_of
from livepin_server.services.composition import Services
from livepin_server.services.model import Intent, Staged
from livepin_server.telemetry.metrics import Metrics
from livepin_server.web.auth import (
    FAILURES_AT_ONCE,
    FAILURES_PER_SECOND,
    ApiKeyMiddleware,
    guard,
)
from livepin_server.web.blocked import BlockedAddresses
from livepin_server.web.bodies import ExactRequest
from livepin_server.web.limits import RateLimit
from livepin_server.web.litestar_problems import HANDLERS as PROBLEM_HANDLERS

from . import (
    accounts,
    audit,
    configs,
    custody,
    domains,
    openapi,
    pin_sets,
    roots,
    server,
    stage,
    streams,
)
from . import api_keys as keys
from .asking import how

ROUTES = [
    *accounts.HANDLERS,
    *roots.HANDLERS,
    *custody.HANDLERS,
    *keys.HANDLERS,
    *domains.HANDLERS,
    *pin_sets.HANDLERS,
    *streams.HANDLERS,
    *stage.HANDLERS,
    *configs.HANDLERS,
    *audit.HANDLERS,
    *server.HANDLERS,
]

_MOST_PROBES = 4  # at once; each is a process
_MOST_BODY = 256 * 1024  # bytes
_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}


def build_app(
    services: Services, metrics: Metrics, *, delivery_expires: datetime | None = None
) -> Litestar:
    """Return the ASGI application over `services`; several may live in one process."""
    probes = asyncio.Semaphore(_MOST_PROBES)
    return _app(
        ROUTES,
        services.api_keys,
        {
            "services": lambda: services,
            "metrics": lambda: metrics,
            "ask_database": lambda: lambda: _ask_database(services),
            "delivery_expires": lambda: delivery_expires,
            "probes": lambda: probes,
            "schema": lambda: openapi.document(ROUTES),
            "how": how,
        },
        BlockedAddresses(lambda address: _tell_blocked(services, address)),
    )


def build_watching_app(
    api_keys: ApiKeys, metrics: Metrics, *, ask_database: Callable[[], object]
) -> Litestar:
    """Return what a process that serves delivery alone answers in private: how it fares."""
    given = {"metrics": lambda: metrics, "ask_database": lambda: ask_database}
    return _app(server.WATCHING, api_keys, given)


def _ask_database(services: Services) -> None:
    """Raise unless the database answers and takes changes."""
    services.database.require_writable()
    services.accounts.all()


def _tell_blocked(services: Services, address: str) -> None:
    who = Intent(author="", origin=address, reason="too many wrong API keys")
    now = services.clock()
    services.audit.record(entry_of(who, account=SERVER, action="login.blocked", now=now))


def _app(
    routes: list[Any],
    api_keys: ApiKeys,
    given: dict[str, Callable[..., Any]],
    blocked: BlockedAddresses | None = None,
) -> Litestar:
    failures = RateLimit(FAILURES_PER_SECOND, FAILURES_AT_ONCE)
    keys = DefineMiddleware(ApiKeyMiddleware, api_keys=api_keys, failures=failures, blocked=blocked)
    return Litestar(
        routes,
        dependencies={name: Provide(give, sync_to_thread=False) for name, give in given.items()},
        middleware=[keys],
        guards=[guard],
        request_class=ExactRequest,
        before_request=_refuse_browsers,
        after_request=_mark_staged,
        exception_handlers=PROBLEM_HANDLERS,
        openapi_config=None,  # served by a route of our own; no page that loads scripts
        request_max_body_size=_MOST_BODY,
        response_headers=_HEADERS,
        logging_config=None,
    )


def _refuse_browsers(request: Request[Any, Any, Any]) -> None:
    """Refuse what another web site makes a browser send here: there is no web page to send it."""
    if "origin" in request.headers:
        raise PermissionDeniedException("requests from web pages are not taken")


async def _mark_staged(made: Response[Any] | Awaitable[Response[Any]]) -> Response[Any]:
    """Answer 202 where a change was taken, and is not published yet."""
    response = await made if isinstance(made, Awaitable) else made  # by a handler in a thread
    if isinstance(response.content, Staged):
        response.status_code = 202
    return response
