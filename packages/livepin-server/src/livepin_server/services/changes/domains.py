"""Changes of domains and their pins. None may leave a domain without pins."""

from __future__ import annotations

from typing import Any

import idna
from livepin.errors import MalformedError
from livepin.hostnames import parse_pattern
from livepin.pins import PREFIX
from sqlalchemy import delete, insert, update
from sqlalchemy.engine import Row

from livepin_server.errors import ConflictError, InvalidError, NotFoundError
from livepin_server.services import rows
from livepin_server.services.model import DomainSettings, NewDomain, NewPin
from livepin_server.services.naming import is_shared, own_set, said
from livepin_server.storage.schema import domains, pins

from .change import Applying, Change


class AddDomain(Change, frozen=True, kw_only=True, tag="add-domain"):
    """Add a domain with pins of its own, or one that follows a shared set.

    Raises, when applied:
        InvalidError: not a pattern, or not pins. NotFoundError: no such pin set.
        ConflictError: it is there already.
    """

    domain: NewDomain

    def apply(self, at: Applying) -> dict[str, list[str]]:
        """Insert the rows."""
        new, pattern = self.domain, canonical(self.domain.pattern)
        labels = rows.checked(new.pins)
        _require_pins_or_set(pattern, new)
        key = {"account": at.account, "stream": new.stream}
        at.require_stream(new.stream)
        if rows.domain(at.connection, at.account, new.stream, pattern) is not None:
            raise ConflictError(
                f"{pattern} is there already", hint=f"to add a pin: livepin pin add {pattern}"
            )
        if new.pin_set is None:
            pin_set, follows = own_set(pattern), ""
            rows.insert_set(at.connection, key, pin_set, new.pins, at.author, at.now)
        else:
            pin_set, follows = new.pin_set, f", pin set {new.pin_set}"
            rows.require_shared(at.connection, at.account, new.stream, pin_set)
        at.connection.execute(
            insert(domains).values(
                **key,
                pattern=pattern,
                pin_set=pin_set,
                mode=new.mode,
                token=new.token,
                stale=new.stale,
                connect=new.connect,
                ca=new.ca,
                created=at.now,
            )
        )
        added = f"+ domain {pattern} ({new.mode}){follows}{rows.looked_at(new.connect, new.ca)}"
        return {new.stream: [added, *rows.lines("+", pin_set, labels)]}


class _OfDomain(Change, frozen=True, kw_only=True):
    """A change of one domain of a stream."""

    pattern: str
    stream: str = "main"

    def _row(self, at: Applying) -> Row[Any]:
        name = canonical(self.pattern)
        at.require_stream(self.stream)
        return rows.require_domain(at.connection, at.account, self.stream, name)


class SetDomain(_OfDomain, frozen=True, kw_only=True, tag="set-domain"):
    """Change mode, token or stale of a domain.

    Raises, when applied:
        InvalidError: nothing is said. ConflictError: all of it is so already.
    """

    settings: DomainSettings

    def apply(self, at: Applying) -> dict[str, list[str]]:
        """Update the row."""
        to_be = {
            each: found
            for each in self.settings.__struct_fields__
            if (found := getattr(self.settings, each)) is not None
        }
        if not to_be:
            raise InvalidError("expected mode, token or stale")
        row = self._row(at)
        news = {each: to for each, to in to_be.items() if getattr(row, each) != to}
        if not news:
            so = ", ".join(f"{each} {_word(to)}" for each, to in to_be.items())
            raise ConflictError(f"{row.pattern} has {so} already")
        _update(at, row, news)
        lines = [
            f"* domain {row.pattern}: {each} {_word(getattr(row, each))} -> {_word(to)}"
            for each, to in news.items()
        ]
        return {self.stream: lines}


class FollowPinSet(_OfDomain, frozen=True, kw_only=True, tag="follow-pin-set"):
    """Have a domain follow a shared pin set, or with None one of its own.

    Its own set starts as a copy of the one that it followed: nothing is unpinned.

    Raises, when applied:
        NotFoundError: no such domain or pin set. ConflictError: it follows that one already.
    """

    pin_set: str | None

    def apply(self, at: Applying) -> dict[str, list[str]]:
        """Point the domain to the set."""
        row, connection = self._row(at), at.connection
        wanted = own_set(row.pattern) if self.pin_set is None else self.pin_set
        if row.pin_set == wanted:
            what = f"the pin set {wanted}" if is_shared(wanted) else "a pin set of its own"
            raise ConflictError(f"{row.pattern} follows {what} already")
        if self.pin_set is None:
            rows.copy_set(
                connection, at.account, self.stream, row.pin_set, to=self.stream, named=wanted
            )
        else:
            rows.require_shared(connection, at.account, self.stream, self.pin_set)
        _update(at, row, {"pin_set": wanted})
        rows.remove_own_set(connection, row)
        line = f"* domain {row.pattern}: pin set {said(row.pin_set)} -> {said(wanted)}"
        return {self.stream: [line]}


class RemoveDomain(_OfDomain, frozen=True, kw_only=True, tag="remove-domain"):
    """Remove a domain and the pins of its own: clients no longer pin it."""

    def apply(self, at: Applying) -> dict[str, list[str]]:
        """Delete the rows."""
        row = self._row(at)
        rows.remove_domain(at.connection, row)
        return {self.stream: [f"- domain {row.pattern}"]}


class AddPins(_OfDomain, frozen=True, kw_only=True, tag="add-pins"):
    """Add pins to the set that a domain follows.

    Raises, when applied:
        InvalidError: not pins. ConflictError: one is there already, or there are too many.
    """

    pins: list[NewPin]

    def apply(self, at: Applying) -> dict[str, list[str]]:
        """Insert the rows."""
        labels = rows.checked(self.pins)
        if not labels:
            raise InvalidError("expected at least one pin")
        row = self._row(at)
        held = rows.held(at.connection, at.account, self.stream, row.pin_set)
        for digest in labels:
            if digest in held:
                raise ConflictError(f"{row.pattern} has the pin {PREFIX}{digest} already")
        key = {"account": at.account, "stream": self.stream}
        rows.insert_pins(at.connection, key, row.pin_set, self.pins, at.author, at.now)
        return {self.stream: rows.lines("+", row.pin_set, labels)}


class RemovePin(_OfDomain, frozen=True, kw_only=True, tag="remove-pin"):
    """Remove a pin (`sha256/BASE64`) from the set that a domain follows.

    Raises, when applied:
        NotFoundError: no such pin. ConflictError: it is the last one, which stays.
    """

    sha256: str

    def apply(self, at: Applying) -> dict[str, list[str]]:
        """Delete the row."""
        (digest,) = rows.checked([NewPin(sha256=self.sha256)])
        row = self._row(at)
        held = rows.held(at.connection, at.account, self.stream, row.pin_set)
        if digest not in held:
            raise NotFoundError(
                f"{row.pattern} has no pin {PREFIX}{digest}",
                hint=f"see: livepin pin list {row.pattern}",
            )
        if len(held) == 1:
            raise ConflictError(
                f"{PREFIX}{digest} is the last pin of {row.pattern}",
                hint="add another pin first, or remove the domain",
            )
        of_set = rows.in_set(at.account, self.stream, row.pin_set)
        at.connection.execute(delete(pins).where(*of_set, pins.c.sha256 == digest))
        return {self.stream: rows.lines("-", row.pin_set, {digest: held[digest]})}


def canonical(pattern: str) -> str:
    """Return a pattern as configs hold it; U-labels become A-labels by IDNA 2008.

    Raises:
        InvalidError: not a host, `*.host` or IP literal.
    """
    try:
        if not pattern.isascii():
            star, host = ("*.", pattern[2:]) if pattern.startswith("*.") else ("", pattern)
            pattern = star + idna.encode(host, uts46=True).decode("ascii")
        return parse_pattern(pattern)
    except MalformedError as exc:
        raise InvalidError(str(exc), hint=exc.hint) from exc
    except (idna.IDNAError, UnicodeError) as exc:
        raise InvalidError(f"expected a host name, found {pattern[:80]!r}: {exc}") from exc


def _require_pins_or_set(pattern: str, new: NewDomain) -> None:
    if new.pins and new.pin_set is not None:
        raise InvalidError(f"expected pins or a pin set for {pattern}, found both")
    if not new.pins and new.pin_set is None:
        raise InvalidError(
            f"expected at least one pin for {pattern}",
            hint="livepin domain add takes it from the live endpoint",
        )


def _update(at: Applying, row: Row[Any], members: dict[str, Any]) -> None:
    place = rows.of(domains, row.account, row.stream)
    at.connection.execute(
        update(domains).where(*place, domains.c.pattern == row.pattern).values(**members)
    )


def _word(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value)
