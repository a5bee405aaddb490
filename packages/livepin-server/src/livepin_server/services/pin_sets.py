"""Shared pin sets: defined once, followed by any domains of a stream; managed trust roots too.

A set that no domain follows travels in no config, but all that is done to it is in the history.
"""

from __future__ import annotations

from datetime import datetime

from livepin.documents.members import name as check_name
from livepin.errors import MalformedError
from livepin.pins import PREFIX
from sqlalchemy import Connection, delete

from livepin_server.errors import ConflictError, InvalidError
from livepin_server.storage.database import Database
from livepin_server.storage.schema import pins

from . import rows
from .model import Intent, NewPin, NewPinSet, PinSetView, Publication
from .nearest import not_found
from .publishing.published import require_stream
from .publishing.publisher import Publisher

_MOST_SETS = 1000  # of a stream
_MOST_NAMED = 5  # domains, in an error


class PinSets:
    """Adds, shows, replaces and removes the pin sets that domains share."""

    def __init__(self, database: Database, publisher: Publisher) -> None:
        self._database = database
        self._publisher = publisher

    def all(self, account: str, stream: str = "main") -> list[PinSetView]:
        """Return the shared pin sets of a stream by name."""
        with self._database.reading() as connection:
            require_stream(connection, account, stream)
            by_set = rows.views(connection, account, stream)
            followers = rows.followers(connection, account, stream)
            return [
                PinSetView(
                    name=name,
                    stream=stream,
                    pins=by_set[name],
                    domains=followers.get(name, []),
                )
                for name in rows.shared_sets(connection, account, stream)
            ]

    def show(self, account: str, name: str, stream: str = "main") -> PinSetView:
        """Return one shared pin set.

        Raises:
            NotFoundError: no such set; the hint names the nearest.
        """
        found = {view.name: view for view in self.all(account, stream)}
        if name not in found:
            raise not_found("pin set", name, found)
        return found[name]

    def add(self, account: str, new: NewPinSet, intent: Intent) -> Publication:
        """Add a pin set that domains may follow, and publish.

        Raises:
            InvalidError: not a name, or not pins.
            ConflictError: it is there already, or there are too many.
        """
        name, labels = _checked(new.name), _some(new.pins)

        def change(connection: Connection, now: datetime) -> list[str]:
            known = rows.shared_sets(connection, account, new.stream)
            if name in known:
                raise ConflictError(
                    f"the pin set {name} is there already", hint=f"livepin pinset update {name}"
                )
            if len(known) >= _MOST_SETS:
                raise ConflictError(f"expected at most {_MOST_SETS} pin sets in a stream")
            key = {"account": account, "stream": new.stream}
            rows.insert_set(connection, key, name, new.pins, intent.author, now)
            return [f"+ pin set {name}", *rows.lines("+", name, labels)]

        return self._publisher.publish(account, new.stream, change, intent)

    def replace(
        self, account: str, name: str, new: list[NewPin], stream: str, intent: Intent
    ) -> Publication:
        """Have a shared pin set hold exactly these pins, and publish once.

        A pin that it holds already stays as it is, with its label and its limits in time.

        Raises:
            InvalidError: not pins, or none. NotFoundError: no such set.
            ConflictError: it holds these already, or there are too many.
        """
        wanted = _some(new)

        def change(connection: Connection, now: datetime) -> list[str]:
            rows.require_shared(connection, account, stream, name)
            held = rows.held(connection, account, stream, name)
            gone = {digest: label for digest, label in held.items() if digest not in wanted}
            come = {digest: label for digest, label in wanted.items() if digest not in held}
            if not gone and not come:
                raise ConflictError(f"the pin set {name} holds these pins already")
            of_set = rows.in_set(account, stream, name)
            connection.execute(delete(pins).where(*of_set, pins.c.sha256.in_(gone)))
            if come:
                key = {"account": account, "stream": stream}
                added = [pin for pin in new if pin.sha256.removeprefix(PREFIX) in come]
                rows.insert_pins(connection, key, name, added, intent.author, now)
            return [*rows.lines("-", name, gone), *rows.lines("+", name, come)]

        return self._publisher.publish(account, stream, change, intent)

    def remove(self, account: str, name: str, stream: str, intent: Intent) -> Publication:
        """Remove a shared pin set that no domain follows, and publish.

        Raises:
            NotFoundError: no such set. ConflictError: a domain follows it.
        """

        def change(connection: Connection, now: datetime) -> list[str]:
            rows.require_shared(connection, account, stream, name)
            used = rows.followers(connection, account, stream).get(name)
            if used:
                more = " ..." if len(used) > _MOST_NAMED else ""
                raise ConflictError(
                    f"the pin set {name} is followed by {', '.join(used[:_MOST_NAMED])}{more}",
                    hint=f"give each another one first: livepin pinset use {used[0]} --own",
                )
            rows.remove_set(connection, account, stream, name)
            return [f"- pin set {name}"]

        return self._publisher.publish(account, stream, change, intent)


def _checked(name: str) -> str:
    try:
        return check_name(name, what="a pin set")
    except MalformedError as exc:
        hint = "a set that is named after a host is that domain's own"
        raise InvalidError(str(exc), hint=hint) from exc


def _some(new: list[NewPin]) -> dict[str, str]:
    labels = rows.checked(new)
    if not labels:
        raise InvalidError("expected at least one pin: apps take no empty pin set")
    return labels
