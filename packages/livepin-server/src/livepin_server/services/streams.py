"""Streams: lines of configs within an account. An app follows the one that its bootstrap names.

A stream is never removed: apps may follow it, and its versions are part of the account's history.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, func, select
from sqlalchemy.engine import Row

from livepin_server.storage.database import Database
from livepin_server.storage.schema import configs, domains, streams

from . import rows
from .changes import AddStream, TakeDomain
from .model import DomainTaken, Intent, NewStream, Publication, Staged, StreamView
from .publishing.published import require_account, require_stream
from .publishing.stage import Stage, only


class Streams:
    """Adds and lists streams, and takes domains from one to another."""

    def __init__(self, database: Database, stage: Stage) -> None:
        self._database = database
        self._stage = stage

    def all(self, account: str) -> list[StreamView]:
        """Return the streams of an account by name, each with its newest version."""
        latest = select(func.max(configs.c.version)).where(configs.c.account == account)
        newest = select(
            configs.c.stream, configs.c.version, configs.c.issued, configs.c.expires
        ).where(
            configs.c.account == account,
            configs.c.version.in_(latest.group_by(configs.c.stream)),
        )
        with self._database.reading() as connection:
            require_account(connection, account)
            by_stream = {row.stream: row for row in connection.execute(newest)}
            found = connection.execute(
                select(streams).where(streams.c.account == account).order_by(streams.c.name)
            ).all()
            return [_view(connection, row, by_stream[row.name]) for row in found]

    def show(self, account: str, name: str) -> StreamView:
        """Return one stream.

        Raises:
            NotFoundError: no such stream; the hint names the nearest.
        """
        with self._database.reading() as connection:
            require_stream(connection, account, name)
        return next(each for each in self.all(account) if each.name == name)

    def add(self, account: str, new: NewStream, intent: Intent) -> Publication | Staged:
        """Add a stream with the domains and pin sets of another one."""
        return only(self._stage.make(account, AddStream(new=new), intent))

    def take(
        self, account: str, stream: str, wanted: DomainTaken, intent: Intent
    ) -> list[Publication] | Staged:
        """Take a domain with its pins from another stream, unless with `keep` of it only a copy."""
        return self._stage.make(account, TakeDomain(stream=stream, wanted=wanted), intent)


def _view(connection: Connection, row: Row[Any], newest: Row[Any, Any, Any, Any]) -> StreamView:
    number = select(func.count()).where(*rows.of(domains, row.account, row.name))
    return StreamView(
        name=row.name,
        version=newest.version,
        issued=newest.issued,
        expires=newest.expires,
        domains=connection.scalar(number) or 0,
        pin_sets=len(rows.shared_sets(connection, row.account, row.name)),
        created=row.created,
    )
