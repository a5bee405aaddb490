"""The rows of a stream, as several use cases read and write them: domains, pin sets and pins."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from livepin.errors import MalformedError
from livepin.pins import PREFIX, parse_fingerprint
from sqlalchemy import Connection, Table, delete, func, insert, literal, or_, select
from sqlalchemy.engine import Row

from livepin_server.errors import ConflictError, InvalidError
from livepin_server.probing.probe import Target
from livepin_server.storage.schema import domains, pin_sets, pins

from .model import MOST_PINS, DomainView, NewPin, PinView
from .naming import is_shared
from .nearest import not_found

_YEAR_10000 = 253402300800  # seconds since 1970


def of(table: Table, account: str, stream: str) -> tuple[Any, Any]:
    """Return the conditions for the rows of a stream."""
    return table.c.account == account, table.c.stream == stream


def copy(connection: Connection, table: Table, conditions: Iterable[Any], **replaced: str) -> None:
    """Insert the rows that meet `conditions` once more, with some members replaced."""
    kept = [each for each in table.c if each.name != "id"]
    chosen = [
        literal(replaced[each.name], each.type) if each.name in replaced else each for each in kept
    ]
    found = select(*chosen).where(*conditions).order_by(*table.primary_key)
    connection.execute(insert(table).from_select(kept, found))


# -- domains -------------------------------------------------------------------------------------


def domain(connection: Connection, account: str, stream: str, pattern: str) -> Row[Any] | None:
    """Return the row of a domain, or None."""
    return connection.execute(
        select(domains).where(*of(domains, account, stream), domains.c.pattern == pattern)
    ).first()


def require_domain(connection: Connection, account: str, stream: str, pattern: str) -> Row[Any]:
    """Return the row of a domain.

    Raises:
        NotFoundError: there is none; the hint names the nearest.
    """
    row = domain(connection, account, stream, pattern)
    if row is None:
        known = connection.scalars(select(domains.c.pattern).where(*of(domains, account, stream)))
        raise not_found("domain", pattern, known.all())
    return row


def remove_domain(connection: Connection, row: Row[Any]) -> None:
    """Delete a domain, and the pin set that was its own."""
    place = of(domains, row.account, row.stream)
    connection.execute(delete(domains).where(*place, domains.c.pattern == row.pattern))
    remove_own_set(connection, row)


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


def endpoints(connection: Connection, account: str) -> dict[str, dict[str, Target]]:
    """Return by stream and pattern where to look at domains that are not just at port 443."""
    found: dict[str, dict[str, Target]] = {}
    query = select(domains.c.stream, domains.c.pattern, domains.c.connect, domains.c.ca).where(
        domains.c.account == account,
        or_(domains.c.connect.is_not(None), domains.c.ca.is_not(None)),
        domains.c.pattern.not_like("*.%"),
    )
    for row in connection.execute(query):
        target = Target(host=row.pattern, connect=row.connect, ca=row.ca)
        found.setdefault(row.stream, {})[row.pattern] = target
    return found


def looked_at(connect: str | None, ca: str | None) -> str:
    """Return how the history says where a domain is looked at, if not as any other is."""
    return (f", at {connect}" if connect else "") + (", private CA" if ca else "")


# -- pin sets ------------------------------------------------------------------------------------


def remove_own_set(connection: Connection, row: Row[Any]) -> None:
    """Delete the pin set that a domain followed, if it was its own."""
    if not is_shared(row.pin_set):
        remove_set(connection, row.account, row.stream, row.pin_set)


def remove_set(connection: Connection, account: str, stream: str, name: str) -> None:
    """Delete a pin set, and its pins with it."""
    connection.execute(
        delete(pin_sets).where(*of(pin_sets, account, stream), pin_sets.c.name == name)
    )


def copy_set(
    connection: Connection, account: str, stream: str, name: str, *, to: str, named: str
) -> None:
    """Copy a pin set with its pins to the stream `to`, as `named`."""
    sets = (*of(pin_sets, account, stream), pin_sets.c.name == name)
    copy(connection, pin_sets, sets, stream=to, name=named)
    copy(connection, pins, in_set(account, stream, name), stream=to, pin_set=named)


def shared_sets(connection: Connection, account: str, stream: str) -> list[str]:
    """Return the names of the pin sets that any domain of a stream may follow."""
    names = select(pin_sets.c.name).where(*of(pin_sets, account, stream))
    found = connection.scalars(names.order_by(pin_sets.c.name))
    return [each for each in found if is_shared(each)]


def require_shared(connection: Connection, account: str, stream: str, name: str) -> None:
    """Refuse a name that no shared pin set has.

    Raises:
        NotFoundError: the hint names the nearest.
    """
    known = shared_sets(connection, account, stream)
    if name not in known:
        raise not_found("pin set", name, known)


def followers(connection: Connection, account: str, stream: str) -> dict[str, list[str]]:
    """Return the patterns of the domains of a stream by the pin set that they follow."""
    found: dict[str, list[str]] = {}
    query = select(domains.c.pin_set, domains.c.pattern).where(*of(domains, account, stream))
    for row in connection.execute(query.order_by(domains.c.pattern)):
        found.setdefault(row.pin_set, []).append(row.pattern)
    return found


# -- pins ----------------------------------------------------------------------------------------


def in_set(account: str, stream: str, pin_set: str) -> tuple[Any, ...]:
    """Return the conditions for the pins of a set."""
    return (*of(pins, account, stream), pins.c.pin_set == pin_set)


def held(connection: Connection, account: str, stream: str, pin_set: str) -> dict[str, str]:
    """Return the pins of a set, the oldest first: from the base64 of each to its label."""
    found = select(pins.c.sha256, pins.c.label).where(*in_set(account, stream, pin_set))
    return {row.sha256: row.label for row in connection.execute(found.order_by(pins.c.id))}


def checked(new: Sequence[NewPin]) -> dict[str, str]:
    """Return new pins: from the base64 of each to its label.

    Raises:
        InvalidError: not pins, one of them twice, or limits in time that a config cannot say.
    """
    found: dict[str, str] = {}
    for pin in new:
        try:
            parse_fingerprint(pin.sha256)
        except MalformedError as exc:
            raise InvalidError(str(exc), hint=exc.hint) from exc
        _check_limits(pin)
        found[pin.sha256.removeprefix(PREFIX)] = pin.label
    if len(found) != len(new):
        raise InvalidError("expected each pin once", hint="several sources may hold the same key")
    return found


def insert_set(
    connection: Connection,
    key: dict[str, str],
    name: str,
    new: Sequence[NewPin],
    author: str,
    now: datetime,
) -> None:
    """Insert a pin set with its pins into the stream that `key` names."""
    connection.execute(insert(pin_sets).values(**key, name=name))
    insert_pins(connection, key, name, new, author, now)


def insert_pins(
    connection: Connection,
    key: dict[str, str],
    pin_set: str,
    new: Sequence[NewPin],
    author: str,
    now: datetime,
) -> None:
    """Insert pins into a set of the stream that `key` names.

    Raises:
        ConflictError: it would hold more than `MOST_PINS`.
    """
    rows = [
        {
            **key,
            "pin_set": pin_set,
            "sha256": pin.sha256.removeprefix(PREFIX),
            "label": pin.label,
            "level": pin.level,
            "backup": pin.backup,
            "not_before": pin.not_before and _whole(pin.not_before),
            "not_after": pin.not_after and _whole(pin.not_after),
            "created": now,
            "author": author,
        }
        for pin in new
    ]
    connection.execute(insert(pins), rows)
    number = connection.scalar(
        select(func.count()).where(*in_set(key["account"], key["stream"], pin_set))
    )
    if number is not None and number > MOST_PINS:
        raise ConflictError(
            f"expected at most {MOST_PINS} pins in a set, found {number}",
            hint="remove those that no certificate has any more",
        )


def views(connection: Connection, account: str, stream: str) -> dict[str, list[PinView]]:
    """Return the pins of a stream by the name of their set, the oldest first."""
    found: dict[str, list[PinView]] = {}
    rows = connection.execute(select(pins).where(*of(pins, account, stream)).order_by(pins.c.id))
    for row in rows:
        found.setdefault(row.pin_set, []).append(
            PinView(
                sha256=f"{PREFIX}{row.sha256}",
                label=row.label,
                level=row.level,
                backup=row.backup,
                not_before=row.not_before,
                not_after=row.not_after,
                created=row.created,
                author=row.author,
            )
        )
    return found


def lines(sign: str, pin_set: str, labels: Mapping[str, str]) -> list[str]:
    """Return what the history says of pins that came or went, as `checked` and `held` give them."""
    if not is_shared(pin_set):
        return [f"{sign} pin {pin_set.removesuffix('.')} {PREFIX}{digest}" for digest in labels]
    return [
        f"{sign} pin set {pin_set} {PREFIX}{digest} {label}".rstrip()
        for digest, label in labels.items()
    ]


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
        raise InvalidError(
            f"{pin.sha256}: expected not_before to be earlier than not_after",
            hint="swap the two, or leave one out",
        )


def _whole(moment: datetime) -> datetime:
    """Return the second that a moment lies in: configs know no finer times."""
    return moment.replace(microsecond=0)
