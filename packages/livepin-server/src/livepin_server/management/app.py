"""The management application: every route in one list, one role each."""

from __future__ import annotations

import logging
import time
from typing import Any

from litestar import Litestar, Request
from litestar.config.allowed_hosts import AllowedHostsConfig
from litestar.di import Provide
from litestar.exceptions import PermissionDeniedException
from litestar.middleware import DefineMiddleware
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme

from livepin_server import __version__
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

from . import accounts, configs, domains, server

ROUTES = [*accounts.HANDLERS, *domains.HANDLERS, *configs.HANDLERS, *server.HANDLERS]

_MOST_BODY = 256 * 1024  # bytes
_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}

logger = logging.getLogger("livepin.management")


def build_app(
    services: Services, metrics: Metrics, *, allowed_hosts: list[str] | None = None
) -> Litestar:
    """Return the ASGI application over `services`; several may live in one process."""
    failures = RateLimit(FAILURES_PER_SECOND, FAILURES_AT_ONCE)
    authentication = DefineMiddleware(
        ApiKeyMiddleware, api_keys=services.api_keys, failures=failures
    )
    app = Litestar(
        ROUTES,
        dependencies={
            "services": Provide(lambda: services, sync_to_thread=False),
            "metrics": Provide(lambda: metrics, sync_to_thread=False),
            "schema": Provide(lambda: app.openapi_schema.to_schema(), sync_to_thread=False),
        },
        middleware=[authentication],
        guards=[guard],
        before_request=_refuse_browsers,
        after_response=_Counter(metrics),
        exception_handlers=PROBLEM_HANDLERS,
        openapi_config=_openapi(),
        request_max_body_size=_MOST_BODY,
        response_headers=_HEADERS,
        allowed_hosts=AllowedHostsConfig(allowed_hosts) if allowed_hosts else None,
        logging_config=None,
    )
    return app


def _refuse_browsers(request: Request[Any, Any, Any]) -> None:
    """Refuse what another web site makes a browser send here: there is no web page to send it."""
    request.scope["livepin.started"] = time.monotonic()  # type: ignore[typeddict-unknown-key]
    if "origin" in request.headers:
        raise PermissionDeniedException("requests from web pages are not taken")


class _Counter:
    """Counts and logs answers; never a header, so never a key."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    async def __call__(self, request: Request[Any, Any, Any]) -> None:
        """Count one request."""
        self._metrics.requests.labels("management", "any").inc()
        user = request.scope.get("user")
        logger.info(
            "request",
            extra={
                "method": request.method,
                "path": request.url.path,
                "caller": getattr(user, "name", None),
            },
        )


def _openapi() -> OpenAPIConfig:
    return OpenAPIConfig(
        title="Livepin management API",
        version=__version__,
        description="Private API of a Livepin server. Paths under /v1 only ever gain members.",
        components=Components(
            security_schemes={"apiKey": SecurityScheme(type="http", scheme="bearer")}
        ),
        security=[{"apiKey": []}],
        use_handler_docstrings=True,
        render_plugins=[JsonRenderPlugin()],  # no page that loads scripts from elsewhere
    )
