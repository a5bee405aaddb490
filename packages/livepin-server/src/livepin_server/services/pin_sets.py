"""Shared pin sets: defined once, followed by any domains of a stream; managed trust roots too.

A set that no domain follows travels in no config, but all that is done to it is in the history.
"""

from __future__ import annotations

from sqlalchemy import Connection

from . import rows
from .changes import AddPinSet, RemovePinSet, ReplacePins
from .model import Intent, NewPin, NewPinSet, PinSetView, Publication, Staged
from .nearest import not_found
from .publishing.published import require_stream
from .publishing.stage import Stage, only


class PinSets:
    """Adds, shows, replaces and removes pin sets. `staged` reads them as they would be."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def all(self, account: str, stream: str = "main", *, staged: bool = False) -> list[PinSetView]:
        """Return the shared pin sets of a stream by name."""

        def read(connection: Connection) -> list[PinSetView]:
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

        return self._stage.read(account, read, staged=staged)

    def show(
        self, account: str, name: str, stream: str = "main", *, staged: bool = False
    ) -> PinSetView:
        """Return one shared pin set.

        Raises:
            NotFoundError: no such set; the hint names the nearest.
        """
        found = {view.name: view for view in self.all(account, stream, staged=staged)}
        if name not in found:
            raise not_found("pin set", name, found)
        return found[name]

    def add(self, account: str, new: NewPinSet, intent: Intent) -> Publication | Staged:
        """Add a pin set that domains may follow."""
        return only(self._stage.make(account, AddPinSet(pin_set=new), intent))

    def replace(
        self, account: str, name: str, new: list[NewPin], stream: str, intent: Intent
    ) -> Publication | Staged:
        """Have a shared pin set hold exactly these pins."""
        change = ReplacePins(name=name, stream=stream, pins=new)
        return only(self._stage.make(account, change, intent))

    def remove(self, account: str, name: str, stream: str, intent: Intent) -> Publication | Staged:
        """Remove a shared pin set that no domain follows."""
        return only(self._stage.make(account, RemovePinSet(name=name, stream=stream), intent))
