"""The management application: every route in one list, one role each."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any

from litestar import Litestar, Request
from litestar.di import Provide
from litestar.exceptions import PermissionDeniedException
from litestar.middleware import DefineMiddleware

from livepin_server.services.composition import Services
from livepin_server.telemetry.metrics import Metrics
from livepin_server.web.auth import (
    FAILURES_AT_ONCE,
    FAILURES_PER_SECOND,
    ApiKeyMiddleware,
    guard,
)
from livepin_server.web.limits import RateLimit
from livepin_server.web.litestar_problems import HANDLERS as PROBLEM_HANDLERS

from . import accounts, configs, domains, openapi, server

ROUTES = [*accounts.HANDLERS, *domains.HANDLERS, *configs.HANDLERS, *server.HANDLERS]

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
    failures = RateLimit(FAILURES_PER_SECOND, FAILURES_AT_ONCE)
    authentication = DefineMiddleware(
        ApiKeyMiddleware, api_keys=services.api_keys, failures=failures
    )
    probes = asyncio.Semaphore(_MOST_PROBES)
    return Litestar(
        ROUTES,
        dependencies={
            "services": Provide(lambda: services, sync_to_thread=False),
            "metrics": Provide(lambda: metrics, sync_to_thread=False),
            "delivery_expires": Provide(lambda: delivery_expires, sync_to_thread=False),
            "probes": Provide(lambda: probes, sync_to_thread=False),
            "schema": Provide(lambda: openapi.document(ROUTES), sync_to_thread=False),
        },
        middleware=[authentication],
        guards=[guard],
        before_request=_refuse_browsers,
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
