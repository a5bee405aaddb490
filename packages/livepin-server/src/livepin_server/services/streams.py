"""Streams: lines of configs within an account. An app follows the one that its bootstrap names.

A stream is never removed: apps may follow it, and its versions are part of the account's history.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from livepin.documents.members import name as check_name
from livepin.errors import MalformedError
from msgspec import structs
from sqlalchemy import Connection, func, insert, select
from sqlalchemy.engine import Row

from livepin_server.errors import ConflictError, InvalidError
from livepin_server.storage.database import Database
from livepin_server.storage.schema import configs, domains, pin_sets, pins, streams

from . import rows
from .domains import canonical, view
from .model import DomainTaken, Intent, NewStream, Publication, StreamView
from .naming import is_shared
from .publishing.published import require_account, require_stream
from .publishing.publisher import Publisher

_MOST_STREAMS = 100  # of an account


class Streams:
    """Adds and lists streams, and takes domains from one to another."""

    def __init__(
        self, database: Database, publisher: Publisher, *, clock: Callable[[], datetime]
    ) -> None:
        self._database = database
        self._publisher = publisher
        self._clock = clock

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

    def add(self, account: str, new: NewStream, intent: Intent) -> Publication:
        """Add a stream with the domains and pin sets of another one, and publish its first config.

        Raises:
            InvalidError: not a name. NotFoundError: no such stream to copy.
            ConflictError: it is there already, or there are too many.
        """
        name, now = _checked(new.name), self._clock()

        def transaction(connection: Connection) -> Publication:
            known = require_account(connection, account)
            if name in known:
                raise ConflictError(
                    f"the stream {name} is there already", hint="see: livepin stream list"
                )
            if len(known) >= _MOST_STREAMS:
                raise ConflictError(f"expected at most {_MOST_STREAMS} streams in an account")
            require_stream(connection, account, new.source)
            connection.execute(insert(streams).values(account=account, name=name, created=now))
            for table in (pin_sets, pins, domains):
                rows.copy(connection, table, rows.of(table, account, new.source), stream=name)
            lines = [f"+ stream {name}, a copy of {new.source}"]
            return self._publisher.issue(connection, account, name, lines, intent, now=now)

        publication = self._database.write(transaction)
        self._publisher.announce(publication)
        return publication

    def take(
        self, account: str, stream: str, wanted: DomainTaken, intent: Intent
    ) -> list[Publication]:
        """Take a domain with its pins from another stream, and publish both in one transaction.

        With `keep` the other stream has it as well, and what this one had of it is replaced.

        Raises:
            InvalidError: one stream, not two. NotFoundError: no such stream, or domain in it.
            ConflictError: it is here already, or follows a pin set that is another one here.
        """
        name, source, now = canonical(wanted.pattern), wanted.source, self._clock()
        if source == stream:
            raise InvalidError(
                f"expected two streams, found {stream} twice", hint="see: livepin stream list"
            )

        def transaction(connection: Connection) -> list[Publication]:
            require_stream(connection, account, source)
            require_stream(connection, account, stream)
            row = rows.require_domain(connection, account, source, name)
            here = rows.domain(connection, account, stream, name)
            if here is not None:
                _require_replaceable(connection, row, here, keep=wanted.keep)
                rows.remove_domain(connection, here)
            _carry_set(connection, row, stream)
            this_one = (*rows.of(domains, account, source), domains.c.pattern == name)
            rows.copy(connection, domains, this_one, stream=stream)
            sign = "+" if here is None else "*"
            lines = {stream: [f"{sign} domain {name}, as it is in {source}"]}
            if not wanted.keep:
                rows.remove_domain(connection, row)
                lines = {
                    stream: [f"+ domain {name}, from {source}"],
                    source: [f"- domain {name}, to {stream}"],
                }
            return [
                self._publisher.issue(connection, account, each, changed, intent, now=now)
                for each, changed in lines.items()
            ]

        publications = self._database.write(transaction)
        for each in publications:
            self._publisher.announce(each)
        return publications


def _checked(name: str) -> str:
    try:
        return check_name(name, what="a stream")
    except MalformedError as exc:
        raise InvalidError(str(exc), hint="such as canary") from exc


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


def _require_replaceable(
    connection: Connection, row: Row[Any], here: Row[Any], *, keep: bool
) -> None:
    if not keep:
        raise ConflictError(
            f"{here.pattern} is in {here.stream} already",
            hint="to have it there as it is here: livepin stream copy",
        )
    first, second = (
        view(each, rows.views(connection, each.account, each.stream)[each.pin_set])
        for each in (row, here)
    )
    if first == structs.replace(second, stream=first.stream, created=first.created):
        raise ConflictError(f"{here.pattern} is in {here.stream} as it is in {row.stream} already")


def _carry_set(connection: Connection, row: Row[Any], stream: str) -> None:
    """Have the pin set of a domain in another stream, too; never change one that is there."""
    account, name = row.account, row.pin_set
    if not is_shared(name) or name not in rows.shared_sets(connection, account, stream):
        rows.copy_set(connection, account, row.stream, name, to=stream, named=name)
        return
    members = select(pins.c.sha256, pins.c.not_before, pins.c.not_after)
    first, second = (
        set(connection.execute(members.where(*rows.in_set(account, each, name))).all())
        for each in (row.stream, stream)
    )
    if first != second:
        raise ConflictError(
            f"the pin set {name} of {stream} has other pins than that of {row.stream}",
            hint=f"make them alike, or first: livepin pinset use {row.pattern} --own",
        )
