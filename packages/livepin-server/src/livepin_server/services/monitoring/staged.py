"""What the stages of an account would make of its configs, if they were published now."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from livepin.documents import Config
from sqlalchemy import Connection, select

from livepin_server.errors import ServiceError
from livepin_server.services.changes import Applying
from livepin_server.services.publishing import stage_rows
from livepin_server.services.publishing.build import build
from livepin_server.storage.database import Database
from livepin_server.storage.schema import stages

_ANY = timedelta(days=1)  # of a config that nobody signs


@dataclass(frozen=True, slots=True, kw_only=True)
class StagedConfig:
    """The config that a stage would make of a stream, and when, if it has a time."""

    stage: int
    at: datetime | None
    config: Config


def staged_configs(database: Database, account: str, now: datetime) -> list[StagedConfig]:
    """Return them all. A stage that cannot be published as things stand makes none."""
    with database.reading() as connection:
        if not _numbers(connection, account):
            return []

    def transaction(connection: Connection) -> list[StagedConfig]:
        found = []
        for number, at in _numbers(connection, account):
            with connection.begin_nested() as trial:
                found += _made(connection, account, number, at, now)
                trial.rollback()
        return found

    return database.try_out(transaction)


def _numbers(connection: Connection, account: str) -> list[tuple[int, datetime | None]]:
    query = select(stages.c.number, stages.c.at).where(stages.c.account == account)
    return [(row.number, row.at) for row in connection.execute(query.order_by(stages.c.number))]


def _made(
    connection: Connection, account: str, number: int, at: datetime | None, now: datetime
) -> list[StagedConfig]:
    applying = Applying(connection=connection, account=account, author="", now=now)
    try:
        names = {
            name: None
            for change in stage_rows.changes_of(connection, account, number)
            for name in change.apply(applying)
        }
    except ServiceError:
        return []
    return [
        StagedConfig(
            stage=number,
            at=at,
            config=build(
                connection, account, name, root_version=1, version=1, now=now, lifetime=_ANY
            ),
        )
        for name in names
    ]
