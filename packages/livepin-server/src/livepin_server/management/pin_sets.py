"""Shared pin sets, managed trust roots among them."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, delete, get, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from livepin_server.services.composition import Services
from livepin_server.services.model import (
    Area,
    How,
    NewPinSet,
    PinSetView,
    Principal,
    Role,
    Staged,
)

from .asking import AsStaged, Reason, Stream, answered, intent, tagged
from .domains import SHOWN
from .shapes import AddPinSet, PinSetChanged, Published, ReplacePins

_Request = Request[Principal, Any, Any]
_BASE = "/v1/accounts/{account:str}/pin-sets"


@get(_BASE, role=Role.VIEWER, area=SHOWN, sync_to_thread=True)
def list_pin_sets(
    services: NamedDependency[Services],
    account: FromPath[str],
    stream: Stream = "main",
    staged: AsStaged = False,
) -> list[PinSetView]:
    """Return the shared pin sets of a stream, each with the domains that follow it."""
    return services.pin_sets.all(account, stream, staged=staged)


@post(_BASE, role=Role.OPERATOR, area=Area.PINS, sync_to_thread=True)
def add_pin_set(
    services: NamedDependency[Services],
    request: _Request,
    how: NamedDependency[How],
    account: FromPath[str],
    data: JSONBody[AddPinSet],
) -> PinSetChanged | Staged:
    """Add a pin set that domains may follow by its name, and publish."""
    members = {name: getattr(data, name) for name in NewPinSet.__struct_fields__}
    return answered(
        services.pin_sets.add(account, NewPinSet(**members), intent(request, data.reason, how)),
        lambda done: PinSetChanged(
            pin_set=services.pin_sets.show(account, data.name, data.stream), publication=done
        ),
    )


@get(_BASE + "/{name:str}", role=Role.VIEWER, area=SHOWN, sync_to_thread=True)
def show_pin_set(
    services: NamedDependency[Services],
    account: FromPath[str],
    name: FromPath[str],
    stream: Stream = "main",
    staged: AsStaged = False,
) -> Response[PinSetView]:
    """Return one shared pin set."""
    version = services.published.newest(account, stream)  # first: it may be too old, never too new
    return tagged(services.pin_sets.show(account, name, stream, staged=staged), version)


@put(_BASE + "/{name:str}/pins", role=Role.OPERATOR, area=Area.PINS, sync_to_thread=True)
def replace_pins(
    services: NamedDependency[Services],
    request: _Request,
    how: NamedDependency[How],
    account: FromPath[str],
    name: FromPath[str],
    data: JSONBody[ReplacePins],
    stream: Stream = "main",
) -> PinSetChanged | Staged:
    """Have a pin set hold exactly these pins, and publish once.

    One that it holds already stays as it is, with its label and its limits in time.
    """
    return answered(
        services.pin_sets.replace(
            account, name, data.pins, stream, intent(request, data.reason, how)
        ),
        lambda done: PinSetChanged(
            pin_set=services.pin_sets.show(account, name, stream), publication=done
        ),
    )


@delete(
    _BASE + "/{name:str}", role=Role.OPERATOR, area=Area.PINS, status_code=200, sync_to_thread=True
)
def remove_pin_set(
    services: NamedDependency[Services],
    request: _Request,
    how: NamedDependency[How],
    account: FromPath[str],
    name: FromPath[str],
    stream: Stream = "main",
    reason: Reason = "",
) -> Published | Staged:
    """Remove a pin set that no domain follows, and publish."""
    return answered(
        services.pin_sets.remove(account, name, stream, intent(request, reason, how)),
        lambda done: Published(publication=done),
    )


HANDLERS = [list_pin_sets, add_pin_set, show_pin_set, replace_pins, remove_pin_set]
