"""Overrides: one installation unpinned for a while. What a pentester may do, and nothing else is.

Who is no admin makes them for installations that an admin has tagged; a pentester sees and ends no
others either. An operator ends any: nobody is less protected by that.
"""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Request, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, Parameter

from livepin_server.services.composition import Services
from livepin_server.services.model import Area, Principal, Role
from livepin_server.services.overrides.model import OverrideView
from livepin_server.services.overrides.overrides import MOST_LISTED
from livepin_server.services.rights import may

from .asking import Reason, intent
from .shapes import CreateOverride

_Request = Request[Principal, Any, Any]
_ALL = "/v1/accounts/{account:str}/overrides"
_SEES: dict[str, Any] = {
    "role": Role.VIEWER, "beside": Role.PENTEST, "area": Area.INSTALLATIONS,
    "sync_to_thread": True,
}  # fmt: skip
_MAKES: dict[str, Any] = {**_SEES, "role": Role.OPERATOR}


@get(_ALL, **_SEES)
def list_overrides(
    services: NamedDependency[Services],
    request: _Request,
    account: FromPath[str],
    installation: Annotated[
        str | None,
        Parameter(max_length=80, description="Those of one: its id, its thumbprint, or latest."),
    ] = None,
    limit: Annotated[int, Parameter(ge=1, le=MOST_LISTED)] = 50,
) -> list[OverrideView]:
    """Return overrides, the newest first: those in force, and those that ended lately."""
    tested = _only_tested(request, Role.VIEWER)
    return services.overrides.all(account, tested=tested, installation=installation, limit=limit)


@post(_ALL, **_MAKES)
def create_override(
    services: NamedDependency[Services],
    request: _Request,
    account: FromPath[str],
    data: JSONBody[CreateOverride],
) -> OverrideView:
    """Sign an override for one installation, in the place of the one that it has."""
    who, tested = intent(request, data.reason), _only_tested(request, Role.ADMIN)
    return services.overrides.create(account, data, who, tested=tested)


@delete(_ALL + "/{override:str}", status_code=200, **_MAKES)
def end_override(
    services: NamedDependency[Services],
    request: _Request,
    account: FromPath[str],
    override: FromPath[str],
    reason: Reason = "",
) -> OverrideView:
    """End an override, by its number or its installation, before it expires."""
    who, tested = intent(request, reason), _only_tested(request, Role.OPERATOR)
    return services.overrides.end(account, override, who, tested=tested)


def _only_tested(request: _Request, role: Role) -> bool:
    """Tell whether the caller is held to tagged installations, as all below a role are."""
    return not may(request.user, role, Area.INSTALLATIONS)


HANDLERS = [list_overrides, create_override, end_override]
