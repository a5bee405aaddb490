"""Staged changes, and what guards an account."""

from __future__ import annotations

from typing import Any

from litestar import Request, delete, get, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from livepin_server.errors import InvalidError
from livepin_server.services.changes import SetGuards
from livepin_server.services.composition import Services
from livepin_server.services.guard_settings import GuardChange, GuardSettings
from livepin_server.services.model import Area, How, Principal, Role, Staged, StageView
from livepin_server.services.publishing.stage import Trial

from .asking import Reason, answered, intent
from .shapes import Kept, NewGuards, Outcome, PublishStage

_Request = Request[Principal, Any, Any]
_BASE = "/v1/accounts/{account:str}/stages"


@get(_BASE, role=Role.VIEWER, area=Area.CONFIGS, sync_to_thread=True)
def list_stages(services: NamedDependency[Services], account: FromPath[str]) -> list[StageView]:
    """Return the stages of an account: the open one first, then by their time."""
    return services.stage.all(account)


@get(_BASE + "/{number:str}/trial", role=Role.VIEWER, area=Area.CONFIGS, sync_to_thread=True)
def try_stage(
    services: NamedDependency[Services],
    request: _Request,
    account: FromPath[str],
    number: FromPath[str],
) -> Trial:
    """Return what publishing a stage, or the `open` one, would do now, and do nothing."""
    return services.stage.try_out(account, _number(number), intent(request))


@post(
    _BASE + "/{number:str}/publish",
    role=Role.OPERATOR,
    area=Area.CONFIGS,
    status_code=200,
    sync_to_thread=True,
)
def publish_stage(
    services: NamedDependency[Services],
    request: _Request,
    how: NamedDependency[How],
    account: FromPath[str],
    number: FromPath[str],
    data: JSONBody[PublishStage],
) -> Outcome:
    """Publish the changes of a stage together, now or at their time.

    If-Match names the revision of the stage that its publisher has seen.
    """
    done = services.stage.publish(
        account,
        _number(number),
        intent(request, data.reason, how),
        role=request.user.role,
        approve=data.approve,
    )
    if isinstance(done, StageView):
        return Outcome(stage=done)
    return Outcome(items=done)


@delete(
    _BASE + "/{number:str}",
    role=Role.OPERATOR,
    area=Area.CONFIGS,
    status_code=200,
    sync_to_thread=True,
)
def discard_stage(
    services: NamedDependency[Services],
    request: _Request,
    how: NamedDependency[How],
    account: FromPath[str],
    number: FromPath[str],
    reason: Reason = "",
) -> StageView:
    """Forget a stage and its changes: nothing of it was published."""
    return services.stage.discard(account, _number(number), intent(request, reason, how))


@get("/v1/accounts/{account:str}/guards", role=Role.VIEWER, area=Area.ACCOUNTS, sync_to_thread=True)
def show_guards(services: NamedDependency[Services], account: FromPath[str]) -> GuardSettings:
    """Return what the publishes of an account are measured by."""
    return services.stage.guards(account)


@put("/v1/accounts/{account:str}/guards", role=Role.ADMIN, area=Area.ACCOUNTS, sync_to_thread=True)
def set_guards(
    services: NamedDependency[Services],
    request: _Request,
    how: NamedDependency[How],
    account: FromPath[str],
    data: JSONBody[NewGuards],
) -> Kept | Staged:
    """Change what the publishes of an account are measured by. What is not said stays."""
    wanted = GuardChange(most_domains=data.most_domains, second_person=data.second_person)
    return answered(
        services.stage.make(account, SetGuards(wanted=wanted), intent(request, data.reason, how)),
        lambda _: Kept(guards=services.stage.guards(account)),
    )


def _number(text: str) -> int | None:
    if text == "open":
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= 16):
        raise InvalidError(f"expected the number of a stage or open, found {text[:40]!r}")
    return int(text)


HANDLERS = [list_stages, try_stage, publish_stage, discard_stage, show_guards, set_guards]
