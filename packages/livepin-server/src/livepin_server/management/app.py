"""The management application: every route in one list, each with a role and an area."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime
from typing import Any

from litestar import Litestar, Request, Response
from litestar.di import Provide
from litestar.exceptions import PermissionDeniedException
from litestar.types import ASGIApp, Receive, Scope, Send

from livepin_server.services.api_keys import ApiKeys
from livepin_server.services.audit import SERVER, entry_of
from livepin_server.services.composition import Services
from livepin_server.services.model import Intent, Staged
from livepin_server.telemetry.metrics import Metrics
from livepin_server.web.auth import GATE, ApiKeyMiddleware, Gate, guard
from livepin_server.web.blocked import BlockedAddresses
from livepin_server.web.bodies import ExactRequest
from livepin_server.web.litestar_problems import HANDLERS as PROBLEM_HANDLERS

from . import (
    accounts,
    apps,
    audit,
    channels,
    configs,
    custody,
    domains,
    incidents,
    installations,
    monitoring,
    openapi,
    overrides,
    pin_sets,
    policy,
    roots,
    server,
    stage,
    streams,
    tokens,
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
    *tokens.HANDLERS,
    *installations.HANDLERS,
    *policy.HANDLERS,
    *overrides.HANDLERS,
    *apps.HANDLERS,
    *monitoring.HANDLERS,
    *incidents.HANDLERS,
    *channels.HANDLERS,
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
) -> ASGIApp:
    """Return the ASGI application over `services`; several may live in one process."""
    probes = asyncio.Semaphore(_MOST_PROBES)
    return _App(
        _management,
        Gate(services.api_keys, BlockedAddresses(lambda address: _tell_blocked(services, address))),
        services=services,
        metrics=metrics,
        ask_database=lambda: _ask_database(services),
        delivery_expires=delivery_expires,
        probes=probes,
    )


def build_watching_app(
    api_keys: ApiKeys, metrics: Metrics, *, ask_database: Callable[[], object]
) -> ASGIApp:
    """Return what a process that serves delivery alone answers in private: how it fares."""
    return _App(_watching, Gate(api_keys, None), metrics=metrics, ask_database=ask_database)


class _App:
    """Gives what one server has to routes that all servers of a process share.

    To build the routes takes longer than most commands that have no server.
    """

    def __init__(self, routes: Callable[[], Litestar], gate: Gate, **given: Any) -> None:
        self.litestar = routes()
        self._given = {GATE: gate, **given}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"] = {**scope.get("state", {}), **self._given}
        await self.litestar(scope, receive, send)


@functools.cache
def _management() -> Litestar:
    names = ("services", "metrics", "ask_database", "delivery_expires", "probes")
    document = functools.cache(lambda: openapi.document(ROUTES))
    return _built(ROUTES, names, schema=document, how=how)


@functools.cache
def _watching() -> Litestar:
    return _built(server.WATCHING, ("metrics", "ask_database"))


def _ask_database(services: Services) -> None:
    """Raise unless the database answers and takes changes."""
    services.database.require_writable()
    services.accounts.all()


def _tell_blocked(services: Services, address: str) -> None:
    who = Intent(author="", origin=address, reason="too many wrong API keys")
    now = services.clock()
    services.audit.record(entry_of(who, account=SERVER, action="login.blocked", now=now))


def _built(routes: list[Any], names: Iterable[str], **given: Callable[..., Any]) -> Litestar:
    given |= {name: _given(name) for name in names}
    return Litestar(
        routes,
        dependencies={name: Provide(give, sync_to_thread=False) for name, give in given.items()},
        middleware=[ApiKeyMiddleware],
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


def _given(name: str) -> Callable[[Request[Any, Any, Any]], Any]:
    def give(request: Request[Any, Any, Any]) -> Any:
        return request.state[name]

    return give


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
