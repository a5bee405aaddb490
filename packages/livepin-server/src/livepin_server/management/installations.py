"""Installations: which there are, and what operators decide of them."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Request, delete, get, put
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, Parameter

from livepin_server.services.composition import Services
from livepin_server.services.model import Area, Principal, Role
from livepin_server.services.rights import may
from livepin_server.services.tokens.installations import MOST_LISTED
from livepin_server.services.tokens.model import InstallationView

from .asking import Reason, intent
from .shapes import JudgeInstallation, PassInstallation, TagInstallation

_Request = Request[Principal, Any, Any]
_ALL = "/v1/accounts/{account:str}/installations"
_ONE = _ALL + "/{installation:str}"
_SEES: dict[str, Any] = {"role": Role.VIEWER, "area": Area.INSTALLATIONS, "sync_to_thread": True}
_DECIDES: dict[str, Any] = {**_SEES, "role": Role.OPERATOR}


@get(_ALL, **_SEES)
def list_installations(
    services: NamedDependency[Services],
    account: FromPath[str],
    tag: Annotated[str | None, Parameter(max_length=63)] = None,
    failing: FromQuery[bool] = False,
    limit: Annotated[int, Parameter(ge=1, le=MOST_LISTED)] = 50,
) -> list[InstallationView]:
    """Return installations, the one seen last first; or those that do not pass alone."""
    return services.installations.all(account, tag=tag, failing=failing, limit=limit)


@get(_ONE, **_SEES)
def show_installation(
    services: NamedDependency[Services], account: FromPath[str], installation: FromPath[str]
) -> InstallationView:
    """Return one installation by its id or thumbprint, or the one seen last for `latest`."""
    return services.installations.show(account, installation)


@put(_ONE + "/tags", **_DECIDES)
def tag_installation(
    services: NamedDependency[Services],
    request: _Request,
    account: FromPath[str],
    installation: FromPath[str],
    data: JSONBody[TagInstallation],
) -> InstallationView:
    """Give an installation these tags, and no others. An admin alone gives or takes `test`."""
    who = intent(request, data.reason)
    by_admin = may(request.user, Role.ADMIN, Area.INSTALLATIONS)
    return services.installations.tag(account, installation, data.tags, who, by_admin=by_admin)


@put(_ONE + "/rule", **_DECIDES)
def refuse_installation(
    services: NamedDependency[Services],
    request: _Request,
    account: FromPath[str],
    installation: FromPath[str],
    data: JSONBody[JudgeInstallation],
) -> InstallationView:
    """Block an installation, or have it fail: it gets decoys from now on."""
    who = intent(request, data.reason)
    return services.installations.decide(
        account, installation, data.verdict, who, expires=data.expires
    )


@put(_ONE + "/pass", **{**_SEES, "role": Role.ADMIN})
def pass_installation(
    services: NamedDependency[Services],
    request: _Request,
    account: FromPath[str],
    installation: FromPath[str],
    data: JSONBody[PassInstallation],
) -> InstallationView:
    """Have an installation pass, whatever it shows of itself."""
    who = intent(request, data.reason)
    return services.installations.decide(account, installation, "pass", who, expires=data.expires)


@delete(_ONE + "/rule", status_code=200, **_DECIDES)
def unblock_installation(
    services: NamedDependency[Services],
    request: _Request,
    account: FromPath[str],
    installation: FromPath[str],
    reason: Reason = "",
) -> InstallationView:
    """Lift what was decided of an installation."""
    return services.installations.decide(account, installation, None, intent(request, reason))


HANDLERS = [
    list_installations,
    show_installation,
    tag_installation,
    refuse_installation,
    pass_installation,
    unblock_installation,
]
