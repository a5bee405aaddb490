"""Streams: lines of configs, of which each app follows one."""

from __future__ import annotations

from typing import Any

from litestar import Request, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from livepin_server.services.composition import Services
from livepin_server.services.model import (
    Area,
    DomainTaken,
    How,
    NewStream,
    Principal,
    Role,
    Staged,
    StreamView,
)

from .asking import answered, intent
from .shapes import AddStream, Publications, StreamMade, TakeDomain

_Request = Request[Principal, Any, Any]
_BASE = "/v1/accounts/{account:str}/streams"


@get(_BASE, role=Role.VIEWER, area=Area.STREAMS, sync_to_thread=True)
def list_streams(services: NamedDependency[Services], account: FromPath[str]) -> list[StreamView]:
    """Return the streams of an account, each with its newest config version."""
    return services.streams.all(account)


@post(_BASE, role=Role.ADMIN, area=Area.STREAMS, sync_to_thread=True)
def add_stream(
    services: NamedDependency[Services],
    request: _Request,
    how: NamedDependency[How],
    account: FromPath[str],
    data: JSONBody[AddStream],
) -> StreamMade | Staged:
    """Add a stream, a copy of another one, and publish its first config. It stays for good."""
    new = NewStream(name=data.name, source=data.source)
    return answered(
        services.streams.add(account, new, intent(request, data.reason, how)),
        lambda done: StreamMade(stream=services.streams.show(account, data.name), publication=done),
    )


@post(
    _BASE + "/{stream:str}/domains",
    role=Role.OPERATOR,
    area=Area.STREAMS,
    status_code=200,
    sync_to_thread=True,
)
def take_domain(
    services: NamedDependency[Services],
    request: _Request,
    how: NamedDependency[How],
    account: FromPath[str],
    stream: FromPath[str],
    data: JSONBody[TakeDomain],
) -> Publications | Staged:
    """Take a domain with its pins from another stream, and publish both at once."""
    wanted = DomainTaken(pattern=data.pattern, source=data.source, keep=data.keep)
    return answered(
        services.streams.take(account, stream, wanted, intent(request, data.reason, how)),
        lambda done: Publications(items=done),
    )


HANDLERS = [list_streams, add_stream, take_domain]
