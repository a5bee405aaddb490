"""The appraisal policy: its versions, what a new one would do, and which rule decides."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Request, Response, get, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, Parameter

from livepin_server.services.appraisal.model import Effect, Explanation, PolicySet, PolicyView
from livepin_server.services.composition import Services
from livepin_server.services.model import Area, How, Principal, Role

from .asking import intent, tagged
from .shapes import SetPolicy, TryPolicy

_Request = Request[Principal, Any, Any]
_POLICY = "/v1/accounts/{account:str}/policy"
_SEES: dict[str, Any] = {"role": Role.VIEWER, "area": Area.INSTALLATIONS, "sync_to_thread": True}


@get(_POLICY, **_SEES)
def show_policy(
    services: NamedDependency[Services],
    account: FromPath[str],
    version: Annotated[int | None, Parameter(gt=-1, lt=2**53)] = None,
) -> Response[PolicyView]:
    """Return the policy in force, or one of before; version 0 is as shipped."""
    found = services.policies.show(account, version)
    return tagged(found, found.version)


@get(_POLICY + "/versions", **_SEES)
def list_policies(services: NamedDependency[Services], account: FromPath[str]) -> list[PolicyView]:
    """Return the last versions that were set, the newest first."""
    return services.policies.versions(account)


@put(_POLICY, **{**_SEES, "role": Role.ADMIN})
def set_policy(
    services: NamedDependency[Services],
    request: _Request,
    how: NamedDependency[How],
    account: FromPath[str],
    data: JSONBody[SetPolicy],
) -> PolicySet:
    """Set the policy. What refuses installations that pass, or is weaker, is to be confirmed."""
    who = intent(request, data.reason, how)
    return services.policies.set(account, data.policy, who)


@post(_POLICY + "/effect", status_code=200, **_SEES)
def try_policy(
    services: NamedDependency[Services], account: FromPath[str], data: JSONBody[TryPolicy]
) -> Effect:
    """Return what a policy would do to the installations of the last day; nothing is set."""
    return services.policies.effect(account, data.policy)


@get("/v1/accounts/{account:str}/installations/{installation:str}/appraisal", **_SEES)
def explain_installation(
    services: NamedDependency[Services], account: FromPath[str], installation: FromPath[str]
) -> Explanation:
    """Return how an installation is appraised now, and which rule decides."""
    return services.appraising.explain(account, installation)


HANDLERS = [show_policy, list_policies, set_policy, try_policy, explain_installation]
