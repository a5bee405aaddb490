"""Domains and their pins. Every change publishes; none may leave a domain without pins."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import idna
from livepin.errors import MalformedError
from livepin.hostnames import parse_pattern
from livepin.pins import parse_fingerprint
from sqlalchemy import Connection, delete, func, insert, select, update
from sqlalchemy.engine import Row

from livepin_server.errors import ConflictError, InvalidError, NotFoundError
from livepin_server.storage.database import Database
from livepin_server.storage.schema import domains, pin_sets, pins

from .model import DomainSettings, DomainView, NewDomain, NewPin, PinView, Publication
from .nearest import not_found
from .publishing.published import require_stream
from .publishing.publisher import Intent, Publisher

_YEAR_10000 = 253402300800  # seconds since 1970


class Domains:
    """Adds, shows and removes domains and pins."""

    def __init__(
        self, database: Database, publisher: Publisher, *, clock: Callable[[], datetime]
    ) -> None:
        self._database = database
        self._publisher = publisher
        self._clock = clock

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
        """Add a domain with its pins, and publish.

        Raises:
            InvalidError: not a pattern, or not pins. ConflictError: it is there already.
        """
        pattern = canonical(new.pattern)
        digests = _digests(new.pins)
        if not digests:
            raise InvalidError(
                f"expected at least one pin for {pattern}",
                hint="livepin domain add takes it from the live endpoint",
            )

        def change(connection: Connection, now: datetime) -> list[str]:
            key = {"account": account, "stream": new.stream}
            if _row(connection, account, new.stream, pattern) is not None:
                raise ConflictError(
                    f"{pattern} is there already", hint=f"to add a pin: livepin pin add {pattern}"
                )
            connection.execute(insert(pin_sets).values(**key, name=pattern))
            connection.execute(
                insert(domains).values(
                    **key,
                    pattern=pattern,
                    pin_set=pattern,
                    mode=new.mode,
                    token=new.token,
                    stale=new.stale,
                    connect=new.connect,
                    ca=new.ca,
                    created=now,
                )
            )
            _insert_pins(connection, {**key, "pin_set": pattern}, new.pins, intent, now)
            return [f"+ domain {pattern} ({new.mode})", *_lines("+", pattern, digests)]

        return self._publisher.publish(account, new.stream, change, intent)

    def change(
        self, account: str, pattern: str, wanted: DomainSettings, stream: str, intent: Intent
    ) -> Publication:
        """Change mode, token or stale of a domain, and publish.

        Raises:
            InvalidError: nothing is said. ConflictError: all of it is so already.
        """
        name = canonical(pattern)
        said = {
            each: found
            for each in wanted.__struct_fields__
            if (found := getattr(wanted, each)) is not None
        }
        if not said:
            raise InvalidError("expected mode, token or stale")

        def change(connection: Connection, now: datetime) -> list[str]:
            row = _require(connection, account, stream, name)
            news = {each: to for each, to in said.items() if getattr(row, each) != to}
            if not news:
                so = ", ".join(f"{each} {_word(to)}" for each, to in said.items())
                raise ConflictError(f"{name} has {so} already")
            connection.execute(
                update(domains)
                .where(*_of(domains, account, stream), domains.c.pattern == name)
                .values(**news)
            )
            return [
                f"* domain {name}: {each} {_word(getattr(row, each))} -> {_word(to)}"
                for each, to in news.items()
            ]

        return self._publisher.publish(account, stream, change, intent)

    def remove(self, account: str, pattern: str, stream: str, intent: Intent) -> Publication:
        """Remove a domain and its pins, and publish: clients no longer pin it."""
        name = canonical(pattern)

        def change(connection: Connection, now: datetime) -> list[str]:
            row = _require(connection, account, stream, name)
            connection.execute(
                delete(domains).where(*_of(domains, account, stream), domains.c.pattern == name)
            )
            used = select(func.count()).where(
                *_of(domains, account, stream), domains.c.pin_set == row.pin_set
            )
            if connection.scalar(used) == 0:
                connection.execute(
                    delete(pin_sets).where(
                        *_of(pin_sets, account, stream), pin_sets.c.name == row.pin_set
                    )
                )
            return [f"- domain {name}"]

        return self._publisher.publish(account, stream, change, intent)

    def add_pins(
        self, account: str, pattern: str, new: list[NewPin], stream: str, intent: Intent
    ) -> Publication:
        """Add pins to a domain, and publish.

        Raises:
            InvalidError: not pins. ConflictError: one is there already.
        """
        name, digests = canonical(pattern), _digests(new)
        if not digests:
            raise InvalidError("expected at least one pin")

        def change(connection: Connection, now: datetime) -> list[str]:
            row = _require(connection, account, stream, name)
            held = set(connection.scalars(_pins_of(account, stream, row.pin_set)))
            for digest in digests:
                if digest in held:
                    raise ConflictError(f"{name} has the pin sha256/{digest} already")
            key = {"account": account, "stream": stream, "pin_set": row.pin_set}
            _insert_pins(connection, key, new, intent, now)
            return _lines("+", name, digests)

        return self._publisher.publish(account, stream, change, intent)

    def remove_pin(
        self, account: str, pattern: str, sha256: str, stream: str, intent: Intent
    ) -> Publication:
        """Remove a pin (`sha256/BASE64`), and publish. The last one stays.

        Raises:
            NotFoundError: no such pin. ConflictError: it is the last one.
        """
        name = canonical(pattern)
        (digest,) = _digests([NewPin(sha256=sha256)])

        def change(connection: Connection, now: datetime) -> list[str]:
            row = _require(connection, account, stream, name)
            held = list(connection.scalars(_pins_of(account, stream, row.pin_set)))
            if digest not in held:
                raise NotFoundError(
                    f"{name} has no pin sha256/{digest}", hint=f"see: livepin pin list {name}"
                )
            if len(held) == 1:
                raise ConflictError(
                    f"sha256/{digest} is the last pin of {name}",
                    hint="add another pin first, or remove the domain",
                )
            connection.execute(
                delete(pins).where(
                    *_of(pins, account, stream),
                    pins.c.pin_set == row.pin_set,
                    pins.c.sha256 == digest,
                )
            )
            return _lines("-", name, [digest])

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


def _digests(new: list[NewPin]) -> list[str]:
    found: list[str] = []
    for pin in new:
        try:
            parse_fingerprint(pin.sha256)
        except MalformedError as exc:
            raise InvalidError(str(exc), hint=exc.hint) from exc
        _check_limits(pin)
        found.append(pin.sha256.removeprefix("sha256/"))
    if len(set(found)) != len(found):
        raise InvalidError("expected each pin once")
    return found


def _check_limits(pin: NewPin) -> None:
    """Refuse limits in time that a config cannot say, or that leave the pin no time at all."""
    limits = [_whole(each) for each in (pin.not_before, pin.not_after) if each is not None]
    for moment in limits:
        if moment.tzinfo is None or not 0 <= moment.timestamp() < _YEAR_10000:
            raise InvalidError(
                f"{pin.sha256}: expected a time from 1970 to 9999 with its zone, found {moment}",
                hint="such as 2027-01-31T12:00:00Z",
            )
    if len(limits) == 2 and limits[0] >= limits[1]:
        raise InvalidError(f"{pin.sha256}: expected not_before to be earlier than not_after")


def _whole(moment: datetime) -> datetime:
    """Return the second that a moment lies in: configs know no finer times."""
    return moment.replace(microsecond=0)


def _word(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value)


def _lines(sign: str, pattern: str, digests: list[str]) -> list[str]:
    return [f"{sign} pin {pattern} sha256/{digest}" for digest in digests]


def _insert_pins(
    connection: Connection, key: dict[str, str], new: list[NewPin], intent: Intent, now: datetime
) -> None:
    for pin in new:
        connection.execute(
            insert(pins).values(
                **key,
                sha256=pin.sha256.removeprefix("sha256/"),
                label=pin.label,
                level=pin.level,
                backup=pin.backup,
                not_before=pin.not_before and _whole(pin.not_before),
                not_after=pin.not_after and _whole(pin.not_after),
                created=now,
                author=intent.author,
            )
        )


def _of(table: Any, account: str, stream: str) -> tuple[Any, Any]:
    return table.c.account == account, table.c.stream == stream


def _pins_of(account: str, stream: str, pin_set: str) -> Any:
    return select(pins.c.sha256).where(*_of(pins, account, stream), pins.c.pin_set == pin_set)


def _row(connection: Connection, account: str, stream: str, pattern: str) -> Row[Any] | None:
    return connection.execute(
        select(domains).where(*_of(domains, account, stream), domains.c.pattern == pattern)
    ).first()


def _require(connection: Connection, account: str, stream: str, pattern: str) -> Row[Any]:
    row = _row(connection, account, stream, pattern)
    if row is None:
        known = connection.scalars(select(domains.c.pattern).where(*_of(domains, account, stream)))
        raise not_found("domain", pattern, known.all())
    return row


def _views(connection: Connection, account: str, stream: str) -> list[DomainView]:
    sets: dict[str, list[PinView]] = {}
    found = connection.execute(select(pins).where(*_of(pins, account, stream)).order_by(pins.c.id))
    for row in found:
        sets.setdefault(row.pin_set, []).append(
            PinView(
                sha256=f"sha256/{row.sha256}",
                label=row.label,
                level=row.level,
                backup=row.backup,
                not_before=row.not_before,
                not_after=row.not_after,
                created=row.created,
                author=row.author,
            )
        )
    rows = connection.execute(
        select(domains).where(*_of(domains, account, stream)).order_by(domains.c.pattern)
    )
    return [
        DomainView(
            pattern=row.pattern,
            stream=row.stream,
            pin_set=row.pin_set,
            mode=row.mode,
            token=row.token,
            stale=row.stale,
            connect=row.connect,
            ca=row.ca,
            pins=sets.get(row.pin_set, []),
            created=row.created,
        )
        for row in rows
    ]
