"""`Endpoints`: where to look, out of published domains and their settings.

A host that several streams have is one endpoint, unless they look at it elsewhere. Nothing is
written where nothing has changed, and little is read.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

from livepin.jose import b64url_encode
from sqlalchemy import Connection, Select, delete, func, insert, select, update

from livepin_server.storage.database import Database
from livepin_server.storage.schema import (
    accounts,
    beats,
    configs,
    domains,
    endpoints,
    findings,
    monitor_settings,
    schedule,
)

from .holding import number_of
from .leases import LASTING
from .model import MonitorSettings
from .settings import HTTPS, place_of
from .settings import read as read_settings

SOON = 30  # seconds in which new endpoints are looked at for the first time
_MANY = 500  # rows at a time
_DIGEST = 22  # characters of 16 bytes

Gone = Callable[[Connection, Collection[int], datetime], object]
_Target = tuple[str, int, str, str]  # host, port, connect, ca_digest


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """An endpoint as it is to be. `ca` is not compared: its digest is part of the target."""

    every: int
    domain: str
    stream: str
    ca: str | None


class Endpoints:
    """Keeps the rows of endpoints, and of when they are looked at.

    `gone` ends what is told of endpoints that are no longer monitored, before they are deleted.
    """

    def __init__(
        self,
        database: Database,
        *,
        clock: Callable[[], datetime],
        gone: Gone,
    ) -> None:
        self._database = database
        self._clock = clock
        self._gone = gone
        self._vantages: set[str] = set()
        self._done: dict[str, object] = {}  # what each account was, when it was written last

    def sync(self, account: str | None = None) -> None:
        """Make the endpoints of an account, or of all, what their newest configs say."""
        with self._database.reading() as connection:
            names = _accounts(connection) if account is None else [account]
            changed = [e for e in names if self._done.get(e) != self._marks(connection, e)]
        for each in changed:
            self._sync(each)

    def ensure_vantage(self, vantage: str) -> None:
        """Have all endpoints looked at from there, too."""
        self._vantages.add(vantage)
        self.sync()

    def _sync(self, account: str) -> None:
        """Write an account, if there is anything to write: else no other writer has to wait."""
        with self._database.reading() as connection:
            marks, is_done = self._marks(connection, account), self._is_done(connection, account)
        if not is_done:
            marks = self._database.write(lambda each: self._write(each, account))
        self._done[account] = marks

    def _is_done(self, connection: Connection, account: str) -> bool:
        wanted, held = _wanted(connection, account), _held(connection, account)
        return (
            wanted.keys() == held.keys()
            and all(_is_like(row, wanted[target]) for target, row in held.items())
            and not any(_missing(connection, account, e) for e in self._everywhere(connection))
            and connection.scalar(_wrong(account).limit(1)) is None
        )

    def _marks(self, connection: Connection, account: str) -> object:
        """Return what changes with everything that the rows of an account are made of."""
        row = configs.c
        versions = select(row.stream, func.max(row.version)).where(row.account == account)
        settings = select(monitor_settings.c.pattern, monitor_settings.c.settings).where(
            monitor_settings.c.account == account
        )
        return (
            frozenset(tuple(each) for each in connection.execute(versions.group_by(row.stream))),
            frozenset(tuple(each) for each in connection.execute(settings)),
            frozenset(self._everywhere(connection)),
        )

    def _everywhere(self, connection: Connection) -> set[str]:
        """Return all vantages: those of this process, and those that others look from."""
        return self._vantages | set(connection.scalars(select(beats.c.vantage).distinct()))

    def _write(self, connection: Connection, account: str) -> object:
        now, marks = self._clock(), self._marks(connection, account)
        wanted, held = _wanted(connection, account), _held(connection, account)
        forsaken = [row.id for target, row in held.items() if target not in wanted]
        if forsaken:
            self._gone(connection, forsaken, now)
        for some in _parts(forsaken):
            connection.execute(delete(endpoints).where(endpoints.c.id.in_(some)))
        for target, row in held.items():
            if target in wanted:
                _change(connection, row, wanted[target], now)
        fresh = [_row(account, t, w, now) for t, w in wanted.items() if t not in held]
        if fresh:
            connection.execute(insert(endpoints), fresh)
        for vantage in sorted(self._everywhere(connection)):
            _plan(connection, account, vantage, now)
        _look_again(connection, account, now)
        return marks


def _accounts(connection: Connection) -> list[str]:
    return list(connection.scalars(select(accounts.c.name).where(accounts.c.active)))


def _wanted(connection: Connection, account: str) -> dict[_Target, _Wanted]:
    """Return where to look; what leads there first by the name of its stream gives it its name."""
    settings, row = read_settings(connection, account), domains.c
    query = select(row.stream, row.pattern, row.connect, row.ca).where(row.account == account)
    found: dict[_Target, _Wanted] = {}
    for each in connection.execute(query.order_by(row.stream, row.pattern)):
        said = settings.get(each.pattern, MonitorSettings())
        for host, port in _places(each.pattern, said):
            target = (host, port, each.connect or "", _digest(each.ca))
            before = found.get(target)
            found[target] = _Wanted(
                every=said.every if before is None else min(before.every, said.every),
                domain=before.domain if before else each.pattern,
                stream=before.stream if before else each.stream,
                ca=each.ca,
            )
    return found


def _places(pattern: str, settings: MonitorSettings) -> Iterator[tuple[str, int]]:
    if settings.hosts:
        yield from map(place_of, settings.hosts)
    elif not pattern.startswith("*."):
        yield pattern, HTTPS


def _digest(ca: str | None) -> str:
    return b64url_encode(sha256(ca.encode()).digest()).decode()[:_DIGEST] if ca else ""


def _held(connection: Connection, account: str) -> dict[_Target, Any]:
    row = endpoints.c
    query = select(
        row.id, row.host, row.port, row.connect, row.ca_digest, row.every, row.domain, row.stream
    ).where(row.account == account)
    return {
        (each.host, each.port, each.connect, each.ca_digest): each
        for each in connection.execute(query)
    }


def _row(account: str, target: _Target, wanted: _Wanted, now: datetime) -> dict[str, Any]:
    host, port, connect, ca_digest = target
    return {
        "account": account,
        "host": host,
        "port": port,
        "connect": connect,
        "ca_digest": ca_digest,
        "ca": wanted.ca,
        "every": wanted.every,
        "domain": wanted.domain,
        "stream": wanted.stream,
        "created": now,
    }


def _is_like(row: Any, wanted: _Wanted) -> bool:
    found = (row.every, row.domain, row.stream)
    return found == (wanted.every, wanted.domain, wanted.stream)


def _change(connection: Connection, row: Any, wanted: _Wanted, now: datetime) -> None:
    if _is_like(row, wanted):
        return
    said = {"every": wanted.every, "domain": wanted.domain, "stream": wanted.stream}
    connection.execute(update(endpoints).where(endpoints.c.id == row.id).values(**said))
    if row.every != wanted.every:
        # A look under way would be rescheduled as before, up to a day from now: it is made anew.
        connection.execute(
            update(schedule)
            .where(schedule.c.endpoint == row.id)
            .values(next_due=_first(row.id, wanted.every, now), fence=schedule.c.fence + 1)
        )


def _missing(connection: Connection, account: str, vantage: str) -> list[Any]:
    """Return the endpoints of an account that are not looked at from a vantage."""
    row = endpoints.c
    planned = select(schedule.c.endpoint).where(
        schedule.c.endpoint == row.id, schedule.c.vantage == vantage
    )
    missing = select(row.id, row.every).where(row.account == account, ~planned.exists())
    return list(connection.execute(missing).all())


def _plan(connection: Connection, account: str, vantage: str, now: datetime) -> None:
    """Have endpoints looked at from a vantage that are not: soon, but not all at once."""
    found = [
        {
            "endpoint": each.id,
            "vantage": vantage,
            "next_due": _first(each.id, each.every, now, vantage),
            "lease_until": now,
            "fence": 0,
        }
        for each in _missing(connection, account, vantage)
    ]
    if found:
        connection.execute(insert(schedule), found)


def _first(endpoint: int, every: int, now: datetime, vantage: str = "") -> datetime:
    spread = min(every, SOON) * 1000
    return now + timedelta(milliseconds=number_of(str(endpoint), vantage) % spread)


def _look_again(connection: Connection, account: str, now: datetime) -> None:
    """Look at once where apps may be shut out: what was published may have mended it."""
    connection.execute(
        update(schedule)
        .where(schedule.c.endpoint.in_(_wrong(account)), schedule.c.next_due > now)
        .values(next_due=now)
    )


def _wrong(account: str) -> Select[tuple[int]]:
    """Return what is not as it should be; what only may be so soon has its turn as any other."""
    return select(findings.c.endpoint).where(
        findings.c.account == account, findings.c.kind.not_in(LASTING)
    )


def _parts(ids: list[int]) -> Iterator[list[int]]:
    for start in range(0, len(ids), _MANY):
        yield ids[start : start + _MANY]
