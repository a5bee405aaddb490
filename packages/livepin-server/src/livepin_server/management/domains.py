"""Domains and pins."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any

from litestar import Request, delete, get, patch, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, Parameter

from livepin_server.errors import InvalidError
from livepin_server.services.composition import Services
from livepin_server.services.model import (
    DomainSettings,
    DomainView,
    Intent,
    NewDomain,
    Principal,
    Role,
)

from .shapes import AddDomain, AddPins, ChangeDomain, DomainChanged, FollowPinSet, Published

Stream = Annotated[str, Parameter(max_length=63)]
Reason = Annotated[str, Parameter(max_length=500)]
_Request = Request[Principal, Any, Any]
_BASE = "/v1/accounts/{account:str}/domains"


@get(_BASE, role=Role.VIEWER, sync_to_thread=True)
def list_domains(
    services: NamedDependency[Services], account: FromPath[str], stream: Stream = "main"
) -> list[DomainView]:
    """Return the domains of a stream."""
    return services.domains.all(account, stream)


@post(_BASE, role=Role.OPERATOR, sync_to_thread=True)
def add_domain(
    services: NamedDependency[Services],
    request: _Request,
    account: FromPath[str],
    data: JSONBody[AddDomain],
) -> DomainChanged:
    """Add a domain with its pins, and publish."""
    members = {name: getattr(data, name) for name in NewDomain.__struct_fields__}
    publication = services.domains.add(account, NewDomain(**members), intent(request, data.reason))
    return DomainChanged(
        domain=services.domains.show(account, data.pattern, data.stream), publication=publication
    )


@get(_BASE + "/{pattern:str}", role=Role.VIEWER, sync_to_thread=True)
def show_domain(
    services: NamedDependency[Services],
    account: FromPath[str],
    pattern: FromPath[str],
    stream: Stream = "main",
) -> DomainView:
    """Return one domain."""
    return services.domains.show(account, pattern, stream)


@patch(_BASE + "/{pattern:str}/settings", role=Role.OPERATOR, sync_to_thread=True)
def change_domain(
    services: NamedDependency[Services],
    request: _Request,
    account: FromPath[str],
    pattern: FromPath[str],
    data: JSONBody[ChangeDomain],
    stream: Stream = "main",
) -> DomainChanged:
    """Change mode, token or stale of a domain, and publish. What is not said stays."""
    wanted = DomainSettings(mode=data.mode, token=data.token, stale=data.stale)
    publication = services.domains.change(
        account, pattern, wanted, stream, intent(request, data.reason)
    )
    return DomainChanged(
        domain=services.domains.show(account, pattern, stream), publication=publication
    )


@put(_BASE + "/{pattern:str}/pin-set", role=Role.OPERATOR, sync_to_thread=True)
def follow_pin_set(
    services: NamedDependency[Services],
    request: _Request,
    account: FromPath[str],
    pattern: FromPath[str],
    data: JSONBody[FollowPinSet],
    stream: Stream = "main",
) -> DomainChanged:
    """Have a domain follow a shared pin set, or a copy of its own, and publish."""
    publication = services.domains.follow(
        account, pattern, data.name, stream, intent(request, data.reason)
    )
    return DomainChanged(
        domain=services.domains.show(account, pattern, stream), publication=publication
    )


@delete(_BASE + "/{pattern:str}", role=Role.OPERATOR, status_code=200, sync_to_thread=True)
def remove_domain(
    services: NamedDependency[Services],
    request: _Request,
    account: FromPath[str],
    pattern: FromPath[str],
    stream: Stream = "main",
    reason: Reason = "",
) -> Published:
    """Remove a domain, and publish: clients no longer pin it."""
    publication = services.domains.remove(account, pattern, stream, intent(request, reason))
    return Published(publication=publication)


@post(_BASE + "/{pattern:str}/pins", role=Role.OPERATOR, sync_to_thread=True)
def add_pins(
    services: NamedDependency[Services],
    request: _Request,
    account: FromPath[str],
    pattern: FromPath[str],
    data: JSONBody[AddPins],
    stream: Stream = "main",
) -> DomainChanged:
    """Add pins to the set that a domain follows, and publish."""
    publication = services.domains.add_pins(
        account, pattern, data.pins, stream, intent(request, data.reason)
    )
    return DomainChanged(
        domain=services.domains.show(account, pattern, stream), publication=publication
    )


@delete(
    _BASE + "/{pattern:str}/pins/{digest:str}",
    role=Role.OPERATOR,
    status_code=200,
    sync_to_thread=True,
)
def remove_pin(
    services: NamedDependency[Services],
    request: _Request,
    account: FromPath[str],
    pattern: FromPath[str],
    digest: FromPath[str],
    stream: Stream = "main",
    reason: Reason = "",
) -> DomainChanged:
    """Remove a pin from the set that a domain follows, and publish.

    It is named by its SHA-256 in base64url without padding.
    """
    publication = services.domains.remove_pin(
        account, pattern, _fingerprint(digest), stream, intent(request, reason)
    )
    return DomainChanged(
        domain=services.domains.show(account, pattern, stream), publication=publication
    )


def intent(request: _Request, reason: str = "") -> Intent:
    """Return who asks, and why."""
    user, client = request.user, request.client
    return Intent(
        author=user.name,
        reason=reason,
        key_id=user.key_id,
        origin=client.host if client is not None else "",
    )


def _fingerprint(digest: str) -> str:
    try:
        value = base64.urlsafe_b64decode(digest[:64] + "=" * (-len(digest) % 4))
    except (binascii.Error, ValueError) as exc:
        raise InvalidError(f"expected a SHA-256 in base64url, found {digest[:64]!r}") from exc
    return "sha256/" + base64.b64encode(value).decode()


HANDLERS = [
    list_domains,
    add_domain,
    show_domain,
    change_domain,
    follow_pin_set,
    remove_domain,
    add_pins,
    remove_pin,
]
