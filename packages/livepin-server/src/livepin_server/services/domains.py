"""Domains and their pins. Every change publishes, or goes onto the stage."""

from __future__ import annotations

from sqlalchemy import Connection, select

from livepin_server.storage.schema import domains

from . import rows
from .changes import AddDomain, AddPins, FollowPinSet, RemoveDomain, RemovePin, SetDomain
from .changes.domains import canonical
from .model import DomainSettings, DomainView, Intent, NewDomain, NewPin, Publication, Staged
from .nearest import not_found
from .publishing.published import require_stream
from .publishing.stage import Stage, only


class Domains:
    """Adds, shows and removes domains and pins. `staged` reads them as they would be."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def all(self, account: str, stream: str = "main", *, staged: bool = False) -> list[DomainView]:
        """Return the domains of a stream by pattern."""

        def read(connection: Connection) -> list[DomainView]:
            require_stream(connection, account, stream)
            return _views(connection, account, stream)

        return self._stage.read(account, read, staged=staged)

    def show(
        self, account: str, pattern: str, stream: str = "main", *, staged: bool = False
    ) -> DomainView:
        """Return one domain.

        Raises:
            NotFoundError: no such domain; the hint names the nearest.
        """
        found = self.all(account, stream, staged=staged)
        name = canonical(pattern)
        for view in found:
            if view.pattern == name:
                return view
        raise not_found("domain", name, [view.pattern for view in found])

    def add(self, account: str, new: NewDomain, intent: Intent) -> Publication | Staged:
        """Add a domain with pins of its own, or one that follows a shared set."""
        return only(self._stage.make(account, AddDomain(domain=new), intent))

    def change(
        self, account: str, pattern: str, wanted: DomainSettings, stream: str, intent: Intent
    ) -> Publication | Staged:
        """Change mode, token or stale of a domain."""
        change = SetDomain(pattern=pattern, stream=stream, settings=wanted)
        return only(self._stage.make(account, change, intent))

    def follow(
        self, account: str, pattern: str, pin_set: str | None, stream: str, intent: Intent
    ) -> Publication | Staged:
        """Have a domain follow a shared pin set, or with None one of its own."""
        change = FollowPinSet(pattern=pattern, stream=stream, pin_set=pin_set)
        return only(self._stage.make(account, change, intent))

    def remove(
        self, account: str, pattern: str, stream: str, intent: Intent
    ) -> Publication | Staged:
        """Remove a domain and the pins of its own: clients no longer pin it."""
        change = RemoveDomain(pattern=pattern, stream=stream)
        return only(self._stage.make(account, change, intent))

    def add_pins(
        self, account: str, pattern: str, new: list[NewPin], stream: str, intent: Intent
    ) -> Publication | Staged:
        """Add pins to the set that a domain follows."""
        change = AddPins(pattern=pattern, stream=stream, pins=new)
        return only(self._stage.make(account, change, intent))

    def remove_pin(
        self, account: str, pattern: str, sha256: str, stream: str, intent: Intent
    ) -> Publication | Staged:
        """Remove a pin (`sha256/BASE64`) from the set that a domain follows."""
        change = RemovePin(pattern=pattern, stream=stream, sha256=sha256)
        return only(self._stage.make(account, change, intent))


def _views(connection: Connection, account: str, stream: str) -> list[DomainView]:
    by_set = rows.views(connection, account, stream)
    place = rows.of(domains, account, stream)
    found = connection.execute(select(domains).where(*place).order_by(domains.c.pattern))
    return [rows.view(row, by_set[row.pin_set]) for row in found]
