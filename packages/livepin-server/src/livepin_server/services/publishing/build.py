"""From rows to an unsigned config. Reads only, inside the publishing transaction."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec
from livepin.documents import Config, Domain, Mode, Stale
from livepin.pins import Pin, PinSet, parse_sha256
from sqlalchemy import Connection, select

from livepin_server.services.delivery_settings import DeliverySettings
from livepin_server.storage.schema import accounts, domains, pins


def build(
    connection: Connection,
    account: str,
    stream: str,
    *,
    root_version: int,
    version: int,
    now: datetime,
    lifetime: timedelta,
) -> Config:
    """Return the config that the rows of a stream say."""
    settings = connection.scalars(
        select(accounts.c.delivery).where(accounts.c.name == account)
    ).one()
    delivery = msgspec.json.decode(settings, type=DeliverySettings)
    pin_sets = _pin_sets(connection, account, stream)
    moment = now.replace(microsecond=0)
    return Config(
        account=account,
        stream=stream,
        root_version=root_version,
        version=version,
        issued=moment,
        expires=moment + lifetime,
        refresh_interval=delivery.interval,
        delivery=delivery.document(),
        pin_sets=pin_sets,
        domains=_domains(connection, account, stream, pin_sets),
    )


def _pin_sets(connection: Connection, account: str, stream: str) -> dict[str, PinSet]:
    """Return the pin sets that domains follow: apps need no others."""
    found: dict[str, list[Pin]] = {}
    followed = select(domains.c.pin_set).where(
        domains.c.account == account, domains.c.stream == stream
    )
    rows = connection.execute(
        select(pins)
        .where(pins.c.account == account, pins.c.stream == stream, pins.c.pin_set.in_(followed))
        .order_by(pins.c.pin_set, pins.c.id)
    )
    for row in rows:
        pin = Pin(parse_sha256(row.sha256), row.not_before, row.not_after)
        found.setdefault(row.pin_set, []).append(pin)
    return {name: PinSet(tuple(listed)) for name, listed in found.items()}


def _domains(
    connection: Connection, account: str, stream: str, pin_sets: dict[str, PinSet]
) -> tuple[Domain, ...]:
    rows = connection.execute(
        select(domains)
        .where(domains.c.account == account, domains.c.stream == stream)
        .order_by(domains.c.pattern)
    )
    return tuple(
        Domain(
            pattern=row.pattern,
            pin_set=row.pin_set,
            pins=pin_sets[row.pin_set],
            mode=Mode(row.mode),
            token=row.token,
            stale=Stale(row.stale),
        )
        for row in rows
    )
