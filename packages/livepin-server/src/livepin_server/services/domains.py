"""Domains and their pins. Every change publishes; none may leave a domain without pins."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import idna
from livepin.errors import MalformedError
from livepin.hostnames import parse_pattern
from livepin.pins import PREFIX
from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.engine import Row

from livepin_server.errors import ConflictError, InvalidError, NotFoundError
from livepin_server.storage.database import Database
from livepin_server.storage.schema import domains, pins

from . import rows
from .model import DomainSettings, DomainView, Intent, NewDomain, NewPin, PinView, Publication
from .naming import is_shared, own_set, said
from .nearest import not_found
from .publishing.published import require_stream
from .publishing.publisher import Publisher


class Domains:
    """Adds, shows and removes domains and pins."""

    def __init__(self, database: Database, publisher: Publisher) -> None:
        self._database = database
        self._publisher = publisher

    def all(self, account: str, stream: str = "main") -> list[DomainView]:
        """Return the domains of a stream by pattern."""
        with self._database.reading() as connection:
            require_stream(connection, account, stream)
            return _views(connection, account, stream)

    def show(self, account: str, pattern: str, stream: str = "main") -> DomainView:
        """Return one domain.

        Raises:
            NotFoundError: no such domain; the hint names the nearest.
        """
        found = self.all(account, stream)
        name = canonical(pattern)
        for view in found:
            if view.pattern == name:
                return view
        raise not_found("domain", name, [view.pattern for view in found])

    def add(self, account: str, new: NewDomain, intent: Intent) -> Publication:
        """Add a domain with pins of its own, or one that follows a shared set, and publish.

        Raises:
            InvalidError: not a pattern, or not pins. NotFoundError: no such pin set.
            ConflictError: it is there already.
        """
        pattern = canonical(new.pattern)
        labels = rows.checked(new.pins)
        _require_pins_or_set(pattern, new)

        def change(connection: Connection, now: datetime) -> list[str]:
            key = {"account": account, "stream": new.stream}
            if rows.domain(connection, account, new.stream, pattern) is not None:
                raise ConflictError(
                    f"{pattern} is there already", hint=f"to add a pin: livepin pin add {pattern}"
                )
            if new.pin_set is None:
                pin_set, follows = own_set(pattern), ""
                rows.insert_set(connection, key, pin_set, new.pins, intent.author, now)
            else:
                pin_set, follows = new.pin_set, f", pin set {new.pin_set}"
                rows.require_shared(connection, account, new.stream, pin_set)
            connection.execute(
                insert(domains).values(
                    **key,
                    pattern=pattern,
                    pin_set=pin_set,
                    mode=new.mode,
                    token=new.token,
                    stale=new.stale,
                    connect=new.connect,
                    ca=new.ca,
                    created=now,
                )
            )
            added = f"+ domain {pattern} ({new.mode}){follows}"
            return [added, *rows.lines("+", pin_set, labels)]

        return self._publisher.publish(account, new.stream, change, intent)

    def change(
        self, account: str, pattern: str, wanted: DomainSettings, stream: str, intent: Intent
    ) -> Publication:
        """Change mode, token or stale of a domain, and publish.

        Raises:
            InvalidError: nothing is said. ConflictError: all of it is so already.
        """
        name = canonical(pattern)
        to_be = {
            each: found
            for each in wanted.__struct_fields__
            if (found := getattr(wanted, each)) is not None
        }
        if not to_be:
            raise InvalidError("expected mode, token or stale")

        def change(connection: Connection, now: datetime) -> list[str]:
            row = rows.require_domain(connection, account, stream, name)
            news = {each: to for each, to in to_be.items() if getattr(row, each) != to}
            if not news:
                so = ", ".join(f"{each} {_word(to)}" for each, to in to_be.items())
                raise ConflictError(f"{name} has {so} already")
            _update(connection, row, news)
            return [
                f"* domain {name}: {each} {_word(getattr(row, each))} -> {_word(to)}"
                for each, to in news.items()
            ]

        return self._publisher.publish(account, stream, change, intent)

    def follow(
        self, account: str, pattern: str, pin_set: str | None, stream: str, intent: Intent
    ) -> Publication:
        """Have a domain follow a shared pin set, or with None one of its own, and publish.

        Its own set starts as a copy of the one that it followed: nothing is unpinned.

        Raises:
            NotFoundError: no such domain or pin set. ConflictError: it follows that one already.
        """
        name = canonical(pattern)
        wanted = own_set(name) if pin_set is None else pin_set

        def change(connection: Connection, now: datetime) -> list[str]:
            row = rows.require_domain(connection, account, stream, name)
            if row.pin_set == wanted:
                what = f"the pin set {wanted}" if is_shared(wanted) else "a pin set of its own"
                raise ConflictError(f"{name} follows {what} already")
            if pin_set is None:
                rows.copy_set(connection, account, stream, row.pin_set, to=stream, named=wanted)
            else:
                rows.require_shared(connection, account, stream, pin_set)
            _update(connection, row, {"pin_set": wanted})
            rows.remove_own_set(connection, row)
            return [f"* domain {name}: pin set {said(row.pin_set)} -> {said(wanted)}"]

        return self._publisher.publish(account, stream, change, intent)

    def remove(self, account: str, pattern: str, stream: str, intent: Intent) -> Publication:
        """Remove a domain and the pins of its own, and publish: clients no longer pin it."""
        name = canonical(pattern)

        def change(connection: Connection, now: datetime) -> list[str]:
            rows.remove_domain(connection, rows.require_domain(connection, account, stream, name))
            return [f"- domain {name}"]

        return self._publisher.publish(account, stream, change, intent)

    def add_pins(
        self, account: str, pattern: str, new: list[NewPin], stream: str, intent: Intent
    ) -> Publication:
        """Add pins to the set that a domain follows, and publish.

        Raises:
            InvalidError: not pins. ConflictError: one is there already, or there are too many.
        """
        name, labels = canonical(pattern), rows.checked(new)
        if not labels:
            raise InvalidError("expected at least one pin")

        def change(connection: Connection, now: datetime) -> list[str]:
            row = rows.require_domain(connection, account, stream, name)
            held = rows.held(connection, account, stream, row.pin_set)
            for digest in labels:
                if digest in held:
                    raise ConflictError(f"{name} has the pin {PREFIX}{digest} already")
            key = {"account": account, "stream": stream}
            rows.insert_pins(connection, key, row.pin_set, new, intent.author, now)
            return rows.lines("+", row.pin_set, labels)

        return self._publisher.publish(account, stream, change, intent)

    def remove_pin(
        self, account: str, pattern: str, sha256: str, stream: str, intent: Intent
    ) -> Publication:
        """Remove a pin (`sha256/BASE64`) from the set that a domain follows, and publish.

        Raises:
            NotFoundError: no such pin. ConflictError: it is the last one, which stays.
        """
        name = canonical(pattern)
        (digest,) = rows.checked([NewPin(sha256=sha256)])

        def change(connection: Connection, now: datetime) -> list[str]:
            row = rows.require_domain(connection, account, stream, name)
            held = rows.held(connection, account, stream, row.pin_set)
            if digest not in held:
                raise NotFoundError(
                    f"{name} has no pin {PREFIX}{digest}", hint=f"see: livepin pin list {name}"
                )
            if len(held) == 1:
                raise ConflictError(
                    f"{PREFIX}{digest} is the last pin of {name}",
                    hint="add another pin first, or remove the domain",
                )
            of_set = rows.in_set(account, stream, row.pin_set)
            connection.execute(delete(pins).where(*of_set, pins.c.sha256 == digest))
            return rows.lines("-", row.pin_set, {digest: held[digest]})

        return self._publisher.publish(account, stream, change, intent)


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


def view(row: Row[Any], held: list[PinView]) -> DomainView:
    """Return a domain with the pins of the set that it follows."""
    return DomainView(
        pattern=row.pattern,
        stream=row.stream,
        pin_set=row.pin_set,
        shared=is_shared(row.pin_set),
        mode=row.mode,
        token=row.token,
        stale=row.stale,
        connect=row.connect,
        ca=row.ca,
        pins=held,
        created=row.created,
    )


def _require_pins_or_set(pattern: str, new: NewDomain) -> None:
    if new.pins and new.pin_set is not None:
        raise InvalidError(f"expected pins or a pin set for {pattern}, found both")
    if not new.pins and new.pin_set is None:
        raise InvalidError(
            f"expected at least one pin for {pattern}",
            hint="livepin domain add takes it from the live endpoint",
        )


def _update(connection: Connection, row: Row[Any], members: dict[str, Any]) -> None:
    place = rows.of(domains, row.account, row.stream)
    connection.execute(
        update(domains).where(*place, domains.c.pattern == row.pattern).values(**members)
    )


def _word(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value)


def _views(connection: Connection, account: str, stream: str) -> list[DomainView]:
    by_set = rows.views(connection, account, stream)
    place = rows.of(domains, account, stream)
    found = connection.execute(select(domains).where(*place).order_by(domains.c.pattern))
    return [view(row, by_set[row.pin_set]) for row in found]
