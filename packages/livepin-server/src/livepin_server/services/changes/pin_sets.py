"""Changes of shared pin sets. One that no domain follows travels in no config."""

from __future__ import annotations

from livepin.documents.members import name as check_name
from livepin.errors import MalformedError
from livepin.pins import PREFIX
from sqlalchemy import delete

from livepin_server.errors import ConflictError, InvalidError
from livepin_server.services import rows
from livepin_server.services.model import NewPin, NewPinSet
from livepin_server.storage.schema import pins

from .change import Applying, Change

_MOST_SETS = 1000  # of a stream
_MOST_NAMED = 5  # domains, in an error


class AddPinSet(Change, frozen=True, kw_only=True, tag="add-pin-set"):
    """Add a pin set that domains may follow.

    Raises, when applied:
        InvalidError: not a name, or not pins.
        ConflictError: it is there already, or there are too many.
    """

    pin_set: NewPinSet

    def apply(self, at: Applying) -> dict[str, list[str]]:
        """Insert the rows."""
        new = self.pin_set
        name, labels = _checked(new.name), _some(new.pins)
        at.require_stream(new.stream)
        known = rows.shared_sets(at.connection, at.account, new.stream)
        if name in known:
            raise ConflictError(
                f"the pin set {name} is there already", hint=f"livepin pinset update {name}"
            )
        if len(known) >= _MOST_SETS:
            raise ConflictError(f"expected at most {_MOST_SETS} pin sets in a stream")
        key = {"account": at.account, "stream": new.stream}
        rows.insert_set(at.connection, key, name, new.pins, at.author, at.now)
        return {new.stream: [f"+ pin set {name}", *rows.lines("+", name, labels)]}


class _OfPinSet(Change, frozen=True, kw_only=True):
    """A change of one shared pin set of a stream."""

    name: str
    stream: str = "main"

    def _require(self, at: Applying) -> None:
        at.require_stream(self.stream)
        rows.require_shared(at.connection, at.account, self.stream, self.name)


class ReplacePins(_OfPinSet, frozen=True, kw_only=True, tag="replace-pins"):
    """Have a shared pin set hold exactly these pins.

    A pin that it holds already stays as it is, with its label and its limits in time.

    Raises, when applied:
        InvalidError: not pins, or none. NotFoundError: no such set.
        ConflictError: it holds these already, or there are too many.
    """

    pins: list[NewPin]

    def apply(self, at: Applying) -> dict[str, list[str]]:
        """Delete what is not wanted, and insert what is new."""
        wanted = _some(self.pins)
        self._require(at)
        held = rows.held(at.connection, at.account, self.stream, self.name)
        gone = {digest: label for digest, label in held.items() if digest not in wanted}
        come = {digest: label for digest, label in wanted.items() if digest not in held}
        if not gone and not come:
            raise ConflictError(f"the pin set {self.name} holds these pins already")
        of_set = rows.in_set(at.account, self.stream, self.name)
        at.connection.execute(delete(pins).where(*of_set, pins.c.sha256.in_(gone)))
        if come:
            key = {"account": at.account, "stream": self.stream}
            added = [pin for pin in self.pins if pin.sha256.removeprefix(PREFIX) in come]
            rows.insert_pins(at.connection, key, self.name, added, at.author, at.now)
        lines = [*rows.lines("-", self.name, gone), *rows.lines("+", self.name, come)]
        return {self.stream: lines}


class RemovePinSet(_OfPinSet, frozen=True, kw_only=True, tag="remove-pin-set"):
    """Remove a shared pin set that no domain follows.

    Raises, when applied:
        NotFoundError: no such set. ConflictError: a domain follows it.
    """

    def apply(self, at: Applying) -> dict[str, list[str]]:
        """Delete the rows."""
        self._require(at)
        used = rows.followers(at.connection, at.account, self.stream).get(self.name)
        if used:
            more = " ..." if len(used) > _MOST_NAMED else ""
            raise ConflictError(
                f"the pin set {self.name} is followed by {', '.join(used[:_MOST_NAMED])}{more}",
                hint=f"give each another one first: livepin pinset use {used[0]} --own",
            )
        rows.remove_set(at.connection, at.account, self.stream, self.name)
        return {self.stream: [f"- pin set {self.name}"]}


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
