"""Incidents: what is wrong, who takes care of it; and times in which nobody is told."""

from __future__ import annotations

from typing import Any

from litestar import Request, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody

from livepin_server.services.composition import Services
from livepin_server.services.model import Principal
from livepin_server.services.monitoring.model import IncidentView, MaintenanceView, NewMaintenance

from .asking import Reason, intent
from .monitoring import DOES, MONITOR, SEES, Limit, number_of
from .shapes import SnoozeIncident, Why

_Request = Request[Principal, Any, Any]
_ALL = MONITOR + "/incidents"
_ONE = _ALL + "/{incident:str}"
_MAINTENANCE = MONITOR + "/maintenance"


@get(_ALL, **SEES)
def list_incidents(
    services: NamedDependency[Services],
    account: FromPath[str],
    resolved: FromQuery[bool] = False,
    limit: Limit = 50,
) -> list[IncidentView]:
    """Return incidents, the newest first: those that are open, or with `resolved` over."""
    return services.incidents.all(account, resolved=resolved, limit=limit)


@get(_ONE, **SEES)
def show_incident(
    services: NamedDependency[Services], account: FromPath[str], incident: FromPath[str]
) -> IncidentView:
    """Return one incident, with what would be told of it now."""
    return services.incidents.show(account, number_of(incident))


@post(_ONE + "/acknowledge", status_code=200, **DOES)
def acknowledge_incident(
    services: NamedDependency[Services],
    request: _Request,
    account: FromPath[str],
    incident: FromPath[str],
    data: JSONBody[Why],
) -> IncidentView:
    """Say that somebody takes care of an incident: nobody is reminded of it any more."""
    who = intent(request, data.reason)
    return services.incidents.acknowledge(account, number_of(incident), who)


@post(_ONE + "/snooze", status_code=200, **DOES)
def snooze_incident(
    services: NamedDependency[Services],
    request: _Request,
    account: FromPath[str],
    incident: FromPath[str],
    data: JSONBody[SnoozeIncident],
) -> IncidentView:
    """Have an incident told of again after a while, and not before."""
    who = intent(request, data.reason)
    return services.incidents.snooze(account, number_of(incident), data.seconds, who)


@get(_MAINTENANCE, **SEES)
def list_maintenance(
    services: NamedDependency[Services], account: FromPath[str], limit: Limit = 50
) -> list[MaintenanceView]:
    """Return the times in which nobody is told, the newest first; those that are over, too."""
    return services.maintenances.all(account, limit=limit)


@post(_MAINTENANCE, **DOES)
def add_maintenance(
    services: NamedDependency[Services],
    request: _Request,
    account: FromPath[str],
    data: JSONBody[NewMaintenance],
) -> MaintenanceView:
    """Have nobody told for a while, of one domain or of all. Looking goes on."""
    return services.maintenances.add(account, data, intent(request, data.reason))


@delete(_MAINTENANCE + "/{window:str}", status_code=200, **DOES)
def end_maintenance(
    services: NamedDependency[Services],
    request: _Request,
    account: FromPath[str],
    window: FromPath[str],
    reason: Reason = "",
) -> MaintenanceView:
    """End a time of maintenance now: what is wrong is told from now on."""
    return services.maintenances.end(account, number_of(window), intent(request, reason))


HANDLERS = [
    list_incidents,
    show_incident,
    acknowledge_incident,
    snooze_incident,
    list_maintenance,
    add_maintenance,
    end_maintenance,
]
