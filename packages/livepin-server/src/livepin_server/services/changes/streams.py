"""Changes of streams: a new one, and domains that go from one to another."""

from __future__ import annotations

from typing import Any, ClassVar

from livepin.documents.members import name as check_name
from livepin.errors import MalformedError
from msgspec import structs
from sqlalchemy import Connection, insert, select
from sqlalchemy.engine import Row

from livepin_server.errors import ConflictError, InvalidError
from livepin_server.services import rows
from livepin_server.services.audit import Action
from livepin_server.services.model import DomainTaken, NewStream, Role
from livepin_server.services.naming import is_shared
from livepin_server.services.publishing.published import require_account
from livepin_server.storage.schema import domains, pin_sets, pins, streams

from .change import Applying, Change
from .domains import canonical

_MOST_STREAMS = 100  # of an account


class AddStream(Change, frozen=True, kw_only=True, tag="add-stream"):
    """Add a stream with the domains and pin sets of another one.

    Raises, when applied:
        InvalidError: not a name. NotFoundError: no such stream to copy.
        ConflictError: it is there already, or there are too many.
    """

    needs: ClassVar[Role] = Role.ADMIN
    action: ClassVar[Action] = "stream.add"
    new: NewStream

    def apply(self, at: Applying) -> dict[str, list[str]]:
        """Insert the stream, and copies of the rows of the other."""
        name, connection = _checked(self.new.name), at.connection
        known = require_account(connection, at.account)
        if name in known:
            raise ConflictError(
                f"the stream {name} is there already", hint="see: livepin stream list"
            )
        if len(known) >= _MOST_STREAMS:
            raise ConflictError(f"expected at most {_MOST_STREAMS} streams in an account")
        at.require_stream(self.new.source)
        connection.execute(insert(streams).values(account=at.account, name=name, created=at.now))
        for table in (pin_sets, pins, domains):
            source = rows.of(table, at.account, self.new.source)
            rows.copy(connection, table, source, stream=name)
        return {name: [f"+ stream {name}, a copy of {self.new.source}"]}


class TakeDomain(Change, frozen=True, kw_only=True, tag="take-domain"):
    """Take a domain with its pins from another stream.

    With `keep` the other stream has it as well, and what this one had of it is replaced.

    Raises, when applied:
        InvalidError: one stream, not two. NotFoundError: no such stream, or domain in it.
        ConflictError: it is here already, or follows a pin set that is another one here.
    """

    stream: str
    wanted: DomainTaken

    def apply(self, at: Applying) -> dict[str, list[str]]:
        """Copy the rows, and delete those of the other stream unless it keeps them."""
        source, stream, connection = self.wanted.source, self.stream, at.connection
        name = canonical(self.wanted.pattern)
        if source == stream:
            raise InvalidError(
                f"expected two streams, found {stream} twice", hint="see: livepin stream list"
            )
        at.require_stream(source)
        at.require_stream(stream)
        row = rows.require_domain(connection, at.account, source, name)
        here = rows.domain(connection, at.account, stream, name)
        if here is not None:
            _require_replaceable(connection, row, here, keep=self.wanted.keep)
            rows.remove_domain(connection, here)
        _carry_set(connection, row, stream)
        this_one = (*rows.of(domains, at.account, source), domains.c.pattern == name)
        rows.copy(connection, domains, this_one, stream=stream)
        if self.wanted.keep:
            sign = "+" if here is None else "*"
            place = rows.looked_at(row.connect, row.ca)
            return {stream: [f"{sign} domain {name}, as it is in {source}{place}"]}
        rows.remove_domain(connection, row)
        return {
            stream: [f"+ domain {name}, from {source}"],
            source: [f"- domain {name}, to {stream}"],
        }


def _checked(name: str) -> str:
    try:
        return check_name(name, what="a stream")
    except MalformedError as exc:
        raise InvalidError(str(exc), hint="such as canary") from exc


def _require_replaceable(
    connection: Connection, row: Row[Any], here: Row[Any], *, keep: bool
) -> None:
    if not keep:
        raise ConflictError(
            f"{here.pattern} is in {here.stream} already",
            hint="to have it there as it is here: livepin stream copy",
        )
    first, second = (
        rows.view(each, rows.views(connection, each.account, each.stream)[each.pin_set])
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
