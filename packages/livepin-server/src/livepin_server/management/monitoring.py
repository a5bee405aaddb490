"""Monitoring: how endpoints are, how each domain is monitored, and a look at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from litestar import Request, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, Parameter

from livepin_server.bus.memory import MonitorWanted
from livepin_server.errors import InvalidError
from livepin_server.services.audit import entry_of
from livepin_server.services.composition import Services
from livepin_server.services.model import Area, Principal, Role
from livepin_server.services.monitoring.model import (
    ChangeView,
    MonitorSettings,
    MonitorStatus,
)

from .asking import Reason, Since, intent, since_of
from .shapes import ChangeMonitoring, LookNow, Looks

MONITOR = "/v1/accounts/{account:str}/monitor"
SEES: dict[str, Any] = {"role": Role.VIEWER, "area": Area.MONITOR, "sync_to_thread": True}
DOES: dict[str, Any] = {**SEES, "role": Role.OPERATOR}
NEEDS: dict[str, Any] = {**SEES, "role": Role.ADMIN}
MOST = 1000  # of anything that is listed
_LONGEST = 15  # digits of a number

_Request = Request[Principal, Any, Any]
_SETTINGS = MONITOR + "/settings"
Limit = Annotated[int, Parameter(ge=1, le=MOST)]


@get(MONITOR, **SEES)
def show_monitor(
    services: NamedDependency[Services],
    account: FromPath[str],
    pattern: Annotated[
        str | None, Parameter(max_length=1100, description="One domain, as it was added.")
    ] = None,
    limit: Limit = MOST,
    since: Since = None,
) -> MonitorStatus:
    """Return how endpoints are, what is wrong, and whether anybody looks and is told.

    What was not looked at `since` then is counted.
    """
    found = services.watching.status(account, pattern, since=since_of(since))
    return msgspec.structs.replace(
        found,
        endpoints=found.endpoints[:limit],
        warnings=[*found.warnings, *untold(services, [account])],
    )


@post(MONITOR + "/looks", status_code=200, **DOES)
def look_now(
    services: NamedDependency[Services],
    request: _Request,
    account: FromPath[str],
    data: JSONBody[LookNow],
) -> Looks:
    """Have endpoints looked at now: of one domain, or all of them."""
    moment, who = services.clock(), intent(request, data.reason)
    wanted(services, account)  # before, too: where nobody looked yet, it makes that possible
    services.endpoints.sync(account)  # of a domain that was added just now
    number = services.schedule.look_now(account, data.pattern or None)
    if not number and data.pattern:
        services.watching.status(account, data.pattern)  # refuses what is no domain
    entry = entry_of(
        who, account=account, action="probe", now=moment, target=data.pattern,
        after={"endpoints": number},
    )  # fmt: skip
    services.audit.record(entry)
    wanted(services, account)
    return Looks(endpoints=number, moment=moment)


@get(_SETTINGS, **SEES)
def list_monitor_settings(
    services: NamedDependency[Services], account: FromPath[str]
) -> dict[str, MonitorSettings]:
    """Return how domains are monitored, by pattern: those that are not as any other is."""
    return services.monitoring_settings.all(account)


@patch(_SETTINGS + "/{pattern:str}", **DOES)
def change_monitor_settings(
    services: NamedDependency[Services],
    request: _Request,
    account: FromPath[str],
    pattern: FromPath[str],
    data: JSONBody[ChangeMonitoring],
) -> MonitorSettings:
    """Change how a domain is monitored. What is not said stays."""
    who = intent(request, data.reason)
    return services.monitoring_settings.change(account, pattern, data, who)


@get(MONITOR + "/history/{pattern:str}", **SEES)
def list_certificate_changes(
    services: NamedDependency[Services],
    account: FromPath[str],
    pattern: FromPath[str],
    limit: Limit = 50,
) -> list[ChangeView]:
    """Return changes of certificates, the newest first, and whether each was pinned beforehand."""
    found = services.watching.history(account, pattern, limit)
    if not found:
        services.watching.status(account, pattern)  # refuses what is no domain, nor was one
    return found


@delete("/v1/vantages/{vantage:str}", status_code=200, server_wide=True, **NEEDS)
def forget_vantage(
    services: NamedDependency[Services],
    request: _Request,
    vantage: FromPath[str],
    reason: Reason = "",
) -> Looks:
    """Forget a vantage from where nobody looks any more, and what is held of it."""
    number = services.incidents.forget(vantage, intent(request, reason))
    return Looks(endpoints=number, moment=services.clock())


def wanted(services: Services, account: str) -> None:
    """Tell whoever looks and notifies, in any process, that there is something to do at once."""
    news = MonitorWanted(account=account)
    services.database.write(lambda connection: services.bus.enclose(connection, news))
    services.bus.announce(news)


def untold(services: Services, accounts: Sequence[str]) -> list[str]:
    """Return the warnings that nobody will be told, of accounts that have no channel."""
    found = {each: services.channels.nobody(each) for each in accounts}
    texts = {each: text for each, text in found.items() if text is not None}
    if texts and len(services.accounts.all()) > 1:  # the command in it has to say which
        return [f"{text} --account {each}" for each, text in texts.items()]
    return [*texts.values()]


def number_of(text: str) -> int:
    """Return a number that stands in a path.

    Raises:
        InvalidError: it is none.
    """
    if not (text.isascii() and text.isdigit() and len(text) <= _LONGEST):
        raise InvalidError(f"expected a number, found {text[:40]!r}")
    return int(text)


HANDLERS = [
    show_monitor,
    look_now,
    list_monitor_settings,
    change_monitor_settings,
    list_certificate_changes,
    forget_vantage,
]
