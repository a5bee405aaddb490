"""The use cases of monitoring that need a database and no key, wired together.

A worker has these alone. Channels, whose settings are sealed, are with the others of a server.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from livepin_server.bus.memory import Announcement, Bus
from livepin_server.storage.database import Database

from .beats import Beats
from .endpoints import Endpoints
from .incidents.incidents import Incidents
from .incidents.maintenance import Maintenances
from .incidents.taking import take
from .judging import Place, judge
from .model import Claimed, Finding, Held, Judging
from .outbox import Outbox
from .readings import Metering
from .schedule import Schedule
from .settings import MonitoringSettings
from .sources import Sources
from .status import Watching


@dataclass(frozen=True, slots=True, kw_only=True)
class Monitoring:
    """What looks, judges, and tells how it fares."""

    endpoints: Endpoints
    sources: Sources
    schedule: Schedule
    beats: Beats
    watching: Watching
    metering: Metering
    incidents: Incidents
    maintenances: Maintenances
    outbox: Outbox
    monitoring_settings: MonitoringSettings


def compose_monitoring(
    database: Database, bus: Bus, *, clock: Callable[[], datetime]
) -> Monitoring:
    """Return the use cases of monitoring over a database and a bus."""
    incidents = Incidents(database, clock=clock)
    endpoints = Endpoints(database, clock=clock, gone=incidents.gone)
    sources = Sources(database, clock=clock)
    bus.subscribe(sources.announced, Announcement)
    return Monitoring(
        endpoints=endpoints,
        sources=sources,
        schedule=Schedule(database, sources, clock=clock, judge=_judged, take=take),
        beats=Beats(database, clock=clock),
        watching=Watching(database, clock=clock, incidents=incidents.all, incident=incidents.show),
        metering=Metering(database),
        incidents=incidents,
        maintenances=Maintenances(database, clock=clock),
        outbox=Outbox(database, clock=clock),
        monitoring_settings=MonitoringSettings(database, clock=clock, changed=endpoints.sync),
    )


def _judged(claimed: Claimed, held: Held, by: Judging, now: datetime) -> list[Finding]:
    place = Place(
        host=claimed.host, port=claimed.port, vantage=claimed.vantage, endpoint=claimed.endpoint
    )
    return judge(place, held, by, now=now, others=claimed.others)
