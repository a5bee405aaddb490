"""All use cases of one server, wired together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import datetime

from livepin_server.bus.memory import Bus
from livepin_server.custody.keeping import Custody
from livepin_server.storage.database import Database

from .accounts import Accounts
from .api_keys import ApiKeys
from .appraisal.explaining import Appraising
from .appraisal.policies import Policies
from .appraisal.verdicts import Verdicts
from .apps.apps import Apps
from .apps.releases import Releases
from .audit.log import Audit
from .backups import Backups
from .delivery_settings import DeliverySettings
from .domains import Domains
from .monitoring.channels import Channels
from .monitoring.composition import Monitoring, compose_monitoring
from .overrides.overrides import Overrides
from .pin_sets import PinSets
from .private_keys import PrivateKeys
from .publishing.published import Published
from .publishing.publisher import Look, Publisher
from .publishing.stage import Stage
from .publishing.versions import Versions
from .roots import Roots
from .streams import Streams
from .tokens.installations import Installations
from .tokens.keys import TokenKeys
from .tokens.loading import Tokens
from .tokens.recording import Recording
from .tokens.settings import TokenSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Services(Monitoring):
    """What the front ends call."""

    accounts: Accounts
    domains: Domains
    pin_sets: PinSets
    streams: Streams
    stage: Stage
    publisher: Publisher
    published: Published
    roots: Roots
    private_keys: PrivateKeys
    versions: Versions
    backups: Backups
    api_keys: ApiKeys
    tokens: Tokens
    token_keys: TokenKeys
    token_settings: TokenSettings
    installations: Installations
    overrides: Overrides
    recording: Recording
    apps: Apps
    releases: Releases
    policies: Policies
    appraising: Appraising
    verdicts: Verdicts
    channels: Channels
    audit: Audit
    bus: Bus
    database: Database
    clock: Callable[[], datetime]


def compose(
    database: Database,
    custody: Custody,
    bus: Bus,
    *,
    clock: Callable[[], datetime],
    delivery: Callable[[], DeliverySettings],
    look: Look,
) -> Services:
    """Return the use cases over a database, private keys and a bus."""
    publisher = Publisher(database, custody, bus, clock=clock, look=look)
    published = Published(database)
    stage = Stage(database, publisher, published, clock=clock)
    token_keys = TokenKeys(database, custody, bus, clock=clock)
    apps = Apps(database, custody, bus, clock=clock)
    installations = Installations(database, bus, clock=clock)
    verdicts = Verdicts(database, clock=clock)
    monitoring = compose_monitoring(database, bus, clock=clock)
    return Services(
        **{each.name: getattr(monitoring, each.name) for each in fields(monitoring)},
        accounts=Accounts(database, custody, publisher, clock=clock, delivery=delivery),
        domains=Domains(stage),
        pin_sets=PinSets(stage),
        streams=Streams(database, stage),
        stage=stage,
        publisher=publisher,
        published=published,
        roots=Roots(database, custody, publisher, clock=clock),
        private_keys=PrivateKeys(database, custody, clock=clock),
        versions=Versions(database, publisher, clock=clock),
        backups=Backups(database, clock=clock),
        api_keys=ApiKeys(database, clock=clock),
        tokens=Tokens(database, published, token_keys, apps, clock=clock),
        token_keys=token_keys,
        token_settings=TokenSettings(database, bus, clock=clock),
        installations=installations,
        overrides=Overrides(database, custody, bus, clock=clock),
        recording=Recording(database, verdicts),
        apps=apps,
        releases=Releases(database, bus, clock=clock),
        policies=Policies(database, bus, clock=clock),
        appraising=Appraising(database, installations, clock=clock),
        verdicts=verdicts,
        channels=Channels(database, custody, clock=clock),
        audit=Audit(database),
        bus=bus,
        database=database,
        clock=clock,
    )
