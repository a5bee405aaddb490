"""Who calls the management API, and whether they may: API keys, roles, scopes, accounts."""

from __future__ import annotations

import asyncio
from typing import Any

from litestar.connection import ASGIConnection
from litestar.exceptions import NotAuthorizedException, PermissionDeniedException
from litestar.handlers import BaseRouteHandler
from litestar.middleware import AbstractAuthenticationMiddleware, AuthenticationResult
from litestar.types import ASGIApp

from livepin_server.errors import ForbiddenError
from livepin_server.services.api_keys import ApiKeys
from livepin_server.services.model import Area, Principal, Role
from livepin_server.services.nearest import not_found
from livepin_server.services.rights import has_role, named, reaches

from .blocked import BlockedAddresses
from .limits import RateLimit, origin

GATE = "gate"
PUBLIC = ("/healthz", "/readyz", "/openapi.json")

_LONGEST = 256

# Guessing 256 bits is hopeless. Who tries is told to stop. A right key is always taken: else
# anybody who shares an address with an operator could lock them out.
FAILURES_PER_SECOND, FAILURES_AT_ONCE = 0.2, 20.0


class TooManyFailuresError(Exception):
    """An address tried too many wrong keys; it may try again after `pause` seconds."""

    def __init__(self, pause: int) -> None:
        super().__init__("too many wrong API keys from this address")
        self.pause = pause


class Gate:
    """What one server knows of those who knock: its keys, and who tried too many wrong ones."""

    def __init__(self, api_keys: ApiKeys, blocked: BlockedAddresses | None) -> None:
        self.api_keys = api_keys
        self.failures = RateLimit(FAILURES_PER_SECOND, FAILURES_AT_ONCE)
        self.blocked = blocked


class ApiKeyMiddleware(AbstractAuthenticationMiddleware):
    """Takes the caller from `Authorization: Bearer lpk_...`, by the `Gate` in the scope's state."""

    def __init__(self, app: ASGIApp) -> None:
        # No method is excepted, OPTIONS neither: the guard needs to know who calls.
        super().__init__(app, exclude=[f"^{path}$" for path in PUBLIC], exclude_http_methods=())

    async def authenticate_request(
        self, connection: ASGIConnection[Any, Any, Any, Any]
    ) -> AuthenticationResult:
        """Return the principal; the same answer for no key, a wrong one, and one that ended."""
        gate: Gate = connection.scope["state"][GATE]
        address = connection.client.host if connection.client else ""
        scheme, _, text = connection.headers.get("authorization", "").partition(" ")
        try:
            if scheme.lower() != "bearer" or len(text) > _LONGEST:
                raise ForbiddenError("an API key is needed")
            principal = await asyncio.to_thread(gate.api_keys.verify, text.strip(), address)
        except ForbiddenError as exc:
            if not gate.failures.allow(origin(address)):
                if gate.blocked is not None and connection.client:
                    await asyncio.to_thread(gate.blocked.blocked, connection.client.host)
                raise TooManyFailuresError(gate.failures.pause) from exc
            raise NotAuthorizedException(
                "expected Authorization: Bearer with a valid API key",
                headers={"WWW-Authenticate": "Bearer"},
            ) from exc
        return AuthenticationResult(user=principal, auth=None)


def guard(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Refuse a caller whose role, scopes or account are not those of the route.

    A route without a role is open to nobody, one without an area to no key with scopes. A role
    that stands beside the others has to be named by the route. Other accounts do not exist, as
    far as the caller can tell.
    """
    if connection.scope["path"] in PUBLIC:
        return
    needed, beside = handler.opt.get("role"), handler.opt.get("beside")
    principal: Principal = connection.user
    if not isinstance(needed, Role) or not has_role(principal, needed, beside):
        raise PermissionDeniedException(
            f"expected the role {roles_of(handler)}, found {principal.role.value}"
        )
    areas = areas_of(handler)
    if not reaches(principal, areas):
        raise PermissionDeniedException(f"expected an API key with the scope {named(areas)}")
    if handler.opt.get("server_wide") and principal.account is not None:
        raise PermissionDeniedException("expected an API key for the whole server")
    account = connection.path_params.get("account")
    if account is not None and principal.account not in (None, account):
        raise not_found("account", account, [principal.account])


def roles_of(handler: BaseRouteHandler) -> str:
    """Return in words the roles of a route: the least, and one that may beside those above it."""
    found = [handler.opt.get("role"), handler.opt.get("beside")]
    return " or ".join(each.value for each in found if isinstance(each, Role)) or "none"


def areas_of(handler: BaseRouteHandler) -> tuple[Area, ...]:
    """Return the areas of a route: a key with scopes needs one of them."""
    found = handler.opt.get("area", ())
    return (found,) if isinstance(found, Area) else tuple(found)
