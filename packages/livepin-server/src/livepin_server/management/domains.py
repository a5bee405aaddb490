"""Domains and pins."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from litestar import Request, Response, delete, get, patch, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from livepin_server.errors import InvalidError
from livepin_server.services.composition import Services
from livepin_server.services.model import (
    Area,
    DomainSettings,
    DomainView,
    How,
    NewDomain,
    Principal,
    Role,
    Staged,
)

from .asking import AsStaged, Reason, Stream, answered, intent, tagged
from .monitoring import untold
from .shapes import AddDomain, AddPins, ChangeDomain, DomainChanged, FollowPinSet, Published

_Request = Request[Principal, Any, Any]
_BASE = "/v1/accounts/{account:str}/domains"
# What anybody has to see who changes one of these.
SHOWN = (Area.DOMAINS, Area.PINS, Area.STREAMS)


@get(_BASE, role=Role.VIEWER, area=SHOWN, sync_to_thread=True)
def list_domains(
    services: NamedDependency[Services],
    account: FromPath[str],
    stream: Stream = "main",
    staged: AsStaged = False,
) -> list[DomainView]:
    """Return the domains of a stream."""
    return services.domains.all(account, stream, staged=staged)


@post(_BASE, role=Role.OPERATOR, area=Area.DOMAINS, sync_to_thread=True)
def add_domain(
    services: NamedDependency[Services],
    request: _Request,
    how: NamedDependency[How],
    account: FromPath[str],
    data: JSONBody[AddDomain],
) -> DomainChanged | Staged:
    """Add a domain with its pins, and publish."""
    members = {name: getattr(data, name) for name in NewDomain.__struct_fields__}
    return answered(
        services.domains.add(account, NewDomain(**members), intent(request, data.reason, how)),
        lambda done: DomainChanged(
            domain=services.domains.show(account, data.pattern, data.stream),
            publication=done,
            warnings=untold(services, [account]),
        ),
    )


@get(_BASE + "/{pattern:str}", role=Role.VIEWER, area=SHOWN, sync_to_thread=True)
def show_domain(
    services: NamedDependency[Services],
    account: FromPath[str],
    pattern: FromPath[str],
    stream: Stream = "main",
    staged: AsStaged = False,
) -> Response[DomainView]:
    """Return one domain."""
    version = services.published.newest(account, stream)  # first: it may be too old, never too new
    return tagged(services.domains.show(account, pattern, stream, staged=staged), version)


@patch(
    _BASE + "/{pattern:str}/settings", role=Role.OPERATOR, area=Area.DOMAINS, sync_to_thread=True
)
def change_domain(
    services: NamedDependency[Services],
    request: _Request,
    how: NamedDependency[How],
    account: FromPath[str],
    pattern: FromPath[str],
    data: JSONBody[ChangeDomain],
    stream: Stream = "main",
) -> DomainChanged | Staged:
    """Change mode, token or stale of a domain, and publish. What is not said stays."""
    wanted = DomainSettings(mode=data.mode, token=data.token, stale=data.stale)
    return answered(
        services.domains.change(
            account, pattern, wanted, stream, intent(request, data.reason, how)
        ),
        lambda done: DomainChanged(
            domain=services.domains.show(account, pattern, stream), publication=done
        ),
    )


@put(_BASE + "/{pattern:str}/pin-set", role=Role.OPERATOR, area=Area.PINS, sync_to_thread=True)
def follow_pin_set(
    services: NamedDependency[Services],
    request: _Request,
    how: NamedDependency[How],
    account: FromPath[str],
    pattern: FromPath[str],
    data: JSONBody[FollowPinSet],
    stream: Stream = "main",
) -> DomainChanged | Staged:
    """Have a domain follow a shared pin set, or a copy of its own, and publish."""
    return answered(
        services.domains.follow(
            account, pattern, data.name, stream, intent(request, data.reason, how)
        ),
        lambda done: DomainChanged(
            domain=services.domains.show(account, pattern, stream), publication=done
        ),
    )


@delete(
    _BASE + "/{pattern:str}",
    role=Role.OPERATOR,
    area=Area.DOMAINS,
    status_code=200,
    sync_to_thread=True,
)
def remove_domain(
    services: NamedDependency[Services],
    request: _Request,
    how: NamedDependency[How],
    account: FromPath[str],
    pattern: FromPath[str],
    stream: Stream = "main",
    reason: Reason = "",
) -> Published | Staged:
    """Remove a domain, and publish: clients no longer pin it."""
    return answered(
        services.domains.remove(account, pattern, stream, intent(request, reason, how)),
        lambda done: Published(publication=done),
    )


@post(_BASE + "/{pattern:str}/pins", role=Role.OPERATOR, area=Area.PINS, sync_to_thread=True)
def add_pins(
    services: NamedDependency[Services],
    request: _Request,
    how: NamedDependency[How],
    account: FromPath[str],
    pattern: FromPath[str],
    data: JSONBody[AddPins],
    stream: Stream = "main",
) -> DomainChanged | Staged:
    """Add pins to the set that a domain follows, and publish."""
    return answered(
        services.domains.add_pins(
            account, pattern, data.pins, stream, intent(request, data.reason, how)
        ),
        lambda done: DomainChanged(
            domain=services.domains.show(account, pattern, stream), publication=done
        ),
    )


@delete(
    _BASE + "/{pattern:str}/pins/{digest:str}",
    role=Role.OPERATOR,
    area=Area.PINS,
    status_code=200,
    sync_to_thread=True,
)
def remove_pin(
    services: NamedDependency[Services],
    request: _Request,
    how: NamedDependency[How],
    account: FromPath[str],
    pattern: FromPath[str],
    digest: FromPath[str],
    stream: Stream = "main",
    reason: Reason = "",
) -> DomainChanged | Staged:
    """Remove a pin from the set that a domain follows, and publish.

    It is named by its SHA-256 in base64url without padding.
    """
    return answered(
        services.domains.remove_pin(
            account, pattern, _fingerprint(digest), stream, intent(request, reason, how)
        ),
        lambda done: DomainChanged(
            domain=services.domains.show(account, pattern, stream), publication=done
        ),
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
