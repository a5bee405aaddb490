"""Apps: by what their evidence is known, and their releases."""

from __future__ import annotations

from typing import Any

from litestar import Request, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from livepin_server.services.apps.model import AppView, ReleaseView
from livepin_server.services.apps.parsing import MOST_MANIFEST
from livepin_server.services.composition import Services
from livepin_server.services.model import Area, Principal, Role

from .asking import Reason, intent
from .shapes import AddApp, AddRelease, ChangeApp

_Request = Request[Principal, Any, Any]
_ALL = "/v1/accounts/{account:str}/apps"
_ONE = _ALL + "/{name:str}"
_SEES: dict[str, Any] = {"role": Role.VIEWER, "area": Area.INSTALLATIONS, "sync_to_thread": True}
_NEEDS: dict[str, Any] = {**_SEES, "role": Role.ADMIN}
_MOST_BODY = 2 * MOST_MANIFEST + 2**20  # in JSON the end of each line takes two bytes


@get(_ALL, **_SEES)
def list_apps(services: NamedDependency[Services], account: FromPath[str]) -> list[AppView]:
    """Return the apps of an account, by name."""
    return services.apps.all(account)


@post(_ALL, **_NEEDS)
def add_app(
    services: NamedDependency[Services],
    request: _Request,
    account: FromPath[str],
    data: JSONBody[AddApp],
) -> AppView:
    """Register an app, under the name that it gives itself in token requests."""
    return services.apps.add(account, data, intent(request, data.reason))


@get(_ONE, **_SEES)
def show_app(
    services: NamedDependency[Services], account: FromPath[str], name: FromPath[str]
) -> AppView:
    """Return one app; its keys never."""
    return services.apps.show(account, name)


@patch(_ONE + "/identities", **_NEEDS)
def change_app(
    services: NamedDependency[Services],
    request: _Request,
    account: FromPath[str],
    name: FromPath[str],
    data: JSONBody[ChangeApp],
) -> AppView:
    """Replace identities of an app, each whole and with its keys, or end them; others stay."""
    return services.apps.set(account, name, data, intent(request, data.reason))


@delete(_ONE, status_code=200, **_NEEDS)
def remove_app(
    services: NamedDependency[Services],
    request: _Request,
    account: FromPath[str],
    name: FromPath[str],
    reason: Reason = "",
) -> AppView:
    """Remove an app with its releases; what the policy in force needs is refused."""
    return services.apps.remove(account, name, intent(request, reason))


@get(_ONE + "/releases", **_SEES)
def list_releases(
    services: NamedDependency[Services], account: FromPath[str], name: FromPath[str]
) -> list[ReleaseView]:
    """Return the releases of an app, the one that was added last first."""
    return services.releases.all(account, name)


@post(_ONE + "/releases", request_max_body_size=_MOST_BODY, **_NEEDS)
def add_release(
    services: NamedDependency[Services],
    request: _Request,
    account: FromPath[str],
    name: FromPath[str],
    data: JSONBody[AddRelease],
) -> ReleaseView:
    """Register a release, by the manifest of its files."""
    return services.releases.add(account, name, data, intent(request, data.reason))


@delete(_ONE + "/releases/{version:str}", status_code=200, **_NEEDS)
def end_release(
    services: NamedDependency[Services],
    request: _Request,
    account: FromPath[str],
    name: FromPath[str],
    version: FromPath[str],
    reason: Reason = "",
) -> ReleaseView:
    """End a release: its files are those of no release from now on."""
    return services.releases.end(account, name, version, intent(request, reason))


HANDLERS = [
    list_apps,
    add_app,
    show_app,
    change_app,
    remove_app,
    list_releases,
    add_release,
    end_release,
]
