"""What endpoints are judged by: published pins, those that a part of the fleet holds, and staged.

An account is read whole and kept for a minute, so that to judge an endpoint asks no database.
What is dear to read is read again only where it can have changed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from hashlib import sha256

import msgspec
from livepin.documents import Config, Domain
from livepin.documents.config import TYP
from livepin.jose import parse_compact
from livepin.pins import parse_fingerprint
from msgspec import Struct
from sqlalchemy import Connection, func, select

from livepin_server.bus.memory import News, Spent
from livepin_server.services import rows
from livepin_server.services.model import PinView
from livepin_server.services.publishing.published import newest
from livepin_server.storage.database import Database
from livepin_server.storage.schema import (
    configs,
    domains,
    endpoints,
    installations,
    observations,
    schedule,
    stages,
)

from . import history
from .model import Following, Holding, Judging, MonitorSettings
from .settings import read as read_settings
from .staged import StagedConfig, staged_configs

FRESH = timedelta(seconds=60)
_FRESH_FLEET = timedelta(minutes=10)
_FRESH_SERVED = timedelta(hours=1)
_LATE = timedelta(hours=1)  # that a change may be written after its time, by any worker's clock
_HELD = timedelta(days=30)  # an installation that was seen since then holds what it had
_Target = tuple[str, bytes]  # an address in the place of the host's, and the digest of a CA
_BY_NAME: _Target = ("", b"")
_MOST_HELD = 16  # older configs of an account, those first that most hold


@dataclass(frozen=True, slots=True, kw_only=True)
class _Older:
    """A config of a stream that installations hold."""

    version: int
    config: Config
    installations: int
    of: int


@dataclass(slots=True, kw_only=True)
class _Stream:
    """A stream: its newest config, the pins of its sets, and what domains say, once asked for."""

    name: str
    version: int
    published: datetime
    config: Config
    views: dict[str, list[PinView]]
    targets: dict[str, _Target]
    settings: dict[str, MonitorSettings]
    followings: dict[str, Following] = field(default_factory=dict)

    def leads(self, domain: Domain, target: _Target) -> bool:
        """Tell whether this stream looks at a domain there, and not elsewhere or by another CA."""
        return self.targets.get(domain.pattern, _BY_NAME) == target

    def following(self, domain: Domain) -> Following:
        """Return how apps of this stream judge the hosts of a domain."""
        found = self.followings.get(domain.pattern)
        if found is None:
            found = self.followings[domain.pattern] = Following(
                stream=self.name,
                version=self.version,
                pattern=domain.pattern,
                mode=domain.mode.value,
                pins=domain.pins,
                views=self.views.get(domain.pin_set, []),
                settings=self.settings.get(domain.pattern, MonitorSettings()),
                apps=f"apps that follow {self.name}",
                published=self.published,
            )
        return found


@dataclass(slots=True, kw_only=True)
class _Account:
    """An account as it was read. `marks` say from what; while they are the same, so is it."""

    streams: list[_Stream]
    staged: list[StagedConfig]
    older: dict[str, list[_Older]]
    served: dict[str, datetime]
    marks: tuple[object, ...]
    read: datetime
    fleet_read: datetime
    served_read: datetime


class Sources:
    """Says what an endpoint is judged by. Safe from any thread."""

    def __init__(self, database: Database, *, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock
        self._lock = threading.Lock()
        self._accounts: dict[str, _Account] = {}
        self._stale: set[str] = set()
        self._parsed: dict[tuple[str, int], Config] = {}

    def judging(
        self,
        account: str,
        host: str,
        port: int,
        *,
        connect: str | None = None,
        ca: str | None = None,
    ) -> Judging:
        """Return what an endpoint is judged by, at most a minute old.

        A stream that looks at the host elsewhere, or by another CA, has an endpoint of its own.

        Raises:
            livepin.errors.LivepinError: a config of the account cannot be read.
        """
        found, target = self._account(account), _target(connect, ca)
        following, holding = list[Following](), list[Holding]()
        for stream in found.streams:
            domain = stream.config.lookup(host)
            if domain is not None:
                if not stream.leads(domain, target):
                    continue
                following.append(stream.following(domain))
            holding += _held(stream.name, domain, host, found)
        return Judging(following=following, holding=holding, served=found.served)

    def pinned(
        self,
        account: str,
        host: str,
        keys: Sequence[str],
        before: datetime,
        *,
        connect: str | None = None,
        ca: str | None = None,
    ) -> tuple[bool | None, str | None]:
        """Tell whether all who followed a host there had one of these keys pinned, and which.

        None where nobody pinned that host then. What was published since counts for nothing.
        """
        fingerprints = [parse_fingerprint(each) for each in keys]
        target = _target(connect, ca)
        followed = [(s, config.lookup(host)) for s, config in self._in_force(account, before)]
        pins = [
            domain.pins.match(fingerprints, now=before)
            for stream, domain in followed
            if domain is not None and stream.leads(domain, target)
        ]
        if not pins:
            return None, None
        return None not in pins, next((str(each) for each in pins if each is not None), None)

    def note(self, account: str, keys: Collection[str], now: datetime) -> None:
        """Note that an endpoint serves these keys."""
        found = self._accounts.get(account)
        if found is not None and keys:
            # In place: to copy it takes longer than a look. Others ask it for single keys alone.
            found.served.update(dict.fromkeys(keys, now))

    def announced(self, news: News) -> None:
        """Read an account anew for the next endpoint, as something of it was announced."""
        if not isinstance(news, Spent):
            self.forget(news.account)

    def forget(self, account: str) -> None:
        """Read an account anew for the next endpoint."""
        self._stale.add(account)

    # -- reading ---------------------------------------------------------------------------------

    def _account(self, account: str) -> _Account:
        now, found = self._clock(), self._accounts.get(account)
        if found is not None and account not in self._stale and _is_fresh(found.read, now, FRESH):
            return found
        with self._lock:
            found = self._accounts.get(account)
            if account in self._stale or found is None or not _is_fresh(found.read, now, FRESH):
                self._stale.discard(account)  # first: what is announced meanwhile is read again
                try:
                    found = self._accounts[account] = self._read(account, found, now)
                except BaseException:
                    self._stale.add(account)
                    raise
            return found

    def _read(self, account: str, old: _Account | None, now: datetime) -> _Account:
        """Read an account, but for what cannot have changed since."""
        with self._database.reading() as connection:
            marks = _marks(connection, account)
            is_same = old is not None and old.marks == marks
            streams = old.streams if old and is_same else self._streams(connection, account)
            fleet, older = (old.fleet_read, old.older) if old else (now, {})
            if old is None or not is_same or not _is_fresh(fleet, now, _FRESH_FLEET):
                fleet, older = now, self._older(connection, account, streams, now)
            since, served = (old.served_read, old.served) if old else (now, {})
            if old is None or not _is_fresh(since, now, _FRESH_SERVED):
                known = (served, since) if since < now else ({}, None)
                since, served = now, _served(connection, account, *known)
        staged = old.staged if old and is_same else staged_configs(self._database, account, now)
        self._forget_parsed(account, streams, older)
        return _Account(
            streams=streams,
            staged=staged,
            older=older,
            served=served,
            marks=marks,
            read=now,
            fleet_read=fleet,
            served_read=since,
        )

    def _streams(self, connection: Connection, account: str) -> list[_Stream]:
        settings, targets = read_settings(connection, account), _targets(connection, account)
        found = []
        for row in sorted(newest(connection, account), key=lambda each: str(each.stream)):
            config = self._config(account, row.version, row.document)
            found.append(
                _Stream(
                    name=row.stream,
                    version=row.version,
                    published=row.issued,
                    config=config,
                    views=rows.views(connection, account, row.stream),
                    targets=targets.get(row.stream, {}),
                    settings=settings,
                )
            )
        return found

    def _older(
        self, connection: Connection, account: str, streams: list[_Stream], now: datetime
    ) -> dict[str, list[_Older]]:
        """Return by stream the older configs that installations hold."""
        row, count = installations.c, func.count().label("count")
        query = select(row.stream, row.config_version, count).where(
            row.account == account, row.last_seen >= now - _HELD
        )
        listed = connection.execute(query.group_by(row.stream, row.config_version)).all()
        totals: dict[str, int] = {}
        for each in listed:
            totals[each.stream] = totals.get(each.stream, 0) + each[2]
        current = {each.name: each.version for each in streams}
        held = {(e.stream, e.config_version): e[2] for e in listed if e.stream in current}
        old = [each for each in held if each[1] < current[each[0]]]
        found: dict[str, list[_Older]] = {}
        for stream, version in sorted(old, key=lambda each: -held[each])[:_MOST_HELD]:
            config = self._version(connection, account, stream, version)
            if config is not None:
                of = totals[stream]
                found.setdefault(stream, []).append(
                    _Older(
                        version=version, config=config, installations=held[stream, version], of=of
                    )
                )
        return found

    def _version(
        self, connection: Connection, account: str, stream: str, version: int
    ) -> Config | None:
        """Return a version of a stream; None if there is none, whatever an installation says."""
        config = self._parsed.get((account, version))
        if config is None:
            raw = connection.scalar(
                select(configs.c.document).where(
                    configs.c.account == account,
                    configs.c.stream == stream,
                    configs.c.version == version,
                )
            )
            config = None if raw is None else self._config(account, version, raw)
        return config if config is not None and config.stream == stream else None

    def _config(self, account: str, version: int, raw: bytes) -> Config:
        found = self._parsed.get((account, version))
        if found is None:
            found = Config.parse(parse_compact(raw, typ=TYP).payload)
            self._parsed[account, version] = found
        return found

    def _forget_parsed(
        self, account: str, streams: list[_Stream], older: dict[str, list[_Older]]
    ) -> None:
        kept = {each.version for each in streams}
        kept |= {each.version for listed in older.values() for each in listed}
        for key in [each for each in self._parsed if each[0] == account and each[1] not in kept]:
            del self._parsed[key]

    def _in_force(self, account: str, before: datetime) -> Iterator[tuple[_Stream, Config]]:
        """Give the config of each stream that was its newest at a moment."""
        for stream in self._account(account).streams:
            if stream.published <= before:
                yield stream, stream.config
                continue
            query = select(configs.c.document).where(
                configs.c.account == account,
                configs.c.stream == stream.name,
                configs.c.issued <= before,
            )
            with self._database.reading() as connection:
                raw = connection.scalar(query.order_by(configs.c.version.desc()).limit(1))
            if raw is not None:
                yield stream, Config.parse(parse_compact(raw, typ=TYP).payload)


def _targets(connection: Connection, account: str) -> dict[str, dict[str, _Target]]:
    """Return where streams look at domains, by stream and pattern, but for those by their names."""
    row, found = domains.c, dict[str, dict[str, _Target]]()
    query = select(row.stream, row.pattern, row.connect, row.ca).where(
        row.account == account, row.connect.is_not(None) | row.ca.is_not(None)
    )
    for each in connection.execute(query):
        found.setdefault(each.stream, {})[each.pattern] = _target(each.connect, each.ca)
    return found


def _target(connect: str | None, ca: str | None) -> _Target:
    return connect or "", _digest(ca) if ca else b""


@lru_cache(maxsize=256)
def _digest(ca: str) -> bytes:
    return sha256(ca.encode()).digest()


def _held(stream: str, domain: Domain | None, host: str, account: _Account) -> Iterator[Holding]:
    """Give what else apps of a stream judge a host by, or will, where that is not the same."""
    for old in account.older.get(stream, ()):
        found = old.config.lookup(host)
        if found is not None and not _is_like(found, domain):
            yield Holding(
                stream=stream,
                version=old.version,
                pattern=found.pattern,
                mode=found.mode.value,
                pins=found.pins,
                installations=old.installations,
                of=old.of,
            )
    for each in account.staged:
        found = each.config.lookup(host) if each.config.stream == stream else None
        if found is not None and not _is_like(found, domain):
            yield Holding(
                stream=stream,
                version=None,
                stage=each.stage,
                at=each.at,
                pattern=found.pattern,
                mode=found.mode.value,
                pins=found.pins,
            )


def _is_like(found: Domain, domain: Domain | None) -> bool:
    return domain is not None and (found.mode, found.pins) == (domain.mode, domain.pins)


def _is_fresh(read: datetime, now: datetime, lasts: timedelta) -> bool:
    return timedelta() <= now - read < lasts  # a clock that was set back makes nothing fresh


def _marks(connection: Connection, account: str) -> tuple[object, ...]:
    """Return what changes with everything that is read of an account but its fleet."""
    versions = select(configs.c.stream, func.max(configs.c.version)).where(
        configs.c.account == account
    )
    of_stages = select(stages.c.number, stages.c.revision, stages.c.at).where(
        stages.c.account == account
    )
    return (
        frozenset(tuple(each) for each in connection.execute(versions.group_by(configs.c.stream))),
        frozenset(tuple(each) for each in connection.execute(of_stages)),
        frozenset(
            (name, msgspec.json.encode(each))
            for name, each in read_settings(connection, account).items()
        ),
    )


# -- which keys are served -----------------------------------------------------------------------


class _Key(Struct, frozen=True):
    sha256: str


class _Chain(Struct, frozen=True):
    verified: bool = False
    chain: list[_Key] = []


class _Sight(Struct, frozen=True):
    observation: _Chain


class _Sights(Struct, frozen=True):
    sights: list[_Sight] = []


_sights_of = msgspec.json.Decoder(_Sights)


def _served(
    connection: Connection,
    account: str,
    before: Mapping[str, datetime],
    since: datetime | None,
) -> dict[str, datetime]:
    """Return when each key was served last: until it left, or at the last look.

    What was read `before`, at the moment `since`, is not read again: history is only added to.
    """
    found = dict(before)
    for left, moment in history.left(connection, account, since and since - _LATE):
        found[left] = max(moment, found.get(left, moment))
    query = (
        select(observations.c.state, schedule.c.looked)
        .join(endpoints, endpoints.c.id == observations.c.endpoint)
        .join(
            schedule,
            (schedule.c.endpoint == observations.c.endpoint)
            & (schedule.c.vantage == observations.c.vantage),
        )
        .where(endpoints.c.account == account, schedule.c.looked.is_not(None))
    )
    for state, looked in connection.execution_options(yield_per=1000).execute(query):
        for sight in _sights_of.decode(state).sights:
            seen = sight.observation
            for key in seen.chain if seen.verified else ():
                found[key.sha256] = max(looked, found.get(key.sha256, looked))
    return found
