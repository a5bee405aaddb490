"""`Watching`: how monitoring fares, for people and for metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

import msgspec
from livepin.hostnames import pattern_covers
from msgspec import Struct
from sqlalchemy import Connection, func, select, text

from livepin_server.services.changes.domains import canonical
from livepin_server.services.nearest import not_found
from livepin_server.services.publishing.published import require_account
from livepin_server.storage.database import Database
from livepin_server.storage.schema import channels, domains, findings, moment, outbox

from . import history
from .beats import beat_views
from .model import ChangeView, EndpointView, IncidentView, MonitorStatus
from .settings import read as read_settings

MOST_LISTED = 1000  # endpoints of a status
_MOST_INCIDENTS = 50  # of a domain
_MOST_CHANGES = 1000

_State = Literal["unseen", "ok", "suspect", "firing"]
_ENDPOINTS = """
    SELECT endpoints.id, account, domain, stream, host, port, every, schedule.vantage, next_due,
        looked, took, addresses, expires, pins_match
    FROM endpoints JOIN schedule ON schedule.endpoint = endpoints.id
    LEFT JOIN observations ON observations.endpoint = schedule.endpoint
        AND observations.vantage = schedule.vantage
"""
_ORDER = " ORDER BY host, port, schedule.vantage, endpoints.id"
_ALL = text(_ENDPOINTS + _ORDER)
_OF_ACCOUNT = text(f"{_ENDPOINTS} WHERE account = :account {_ORDER}")


class _Sentence(Struct, frozen=True):
    sentence: str


_sentence_of = msgspec.json.Decoder(_Sentence)


@dataclass(frozen=True, slots=True)
class _Wrong:
    """What is wrong at an endpoint, as a vantage sees it."""

    state: _State = "ok"
    sentences: list[str] = field(default_factory=list)
    incidents: set[int] = field(default_factory=set)


_Seen = tuple[EndpointView, set[int]]  # an endpoint, and the incidents that it is part of


class Watching:
    """Reads how monitoring fares.

    `incidents` gives those of an account that are not resolved, `incident` the one of a number.
    """

    def __init__(
        self,
        database: Database,
        *,
        clock: Callable[[], datetime],
        incidents: Callable[[str], list[IncidentView]] = lambda _: [],
        incident: Callable[[str, int], IncidentView] | None = None,
    ) -> None:
        self._database = database
        self._clock = clock
        self._incidents = incidents
        self._incident = incident

    def status(
        self, account: str, pattern: str | None = None, *, since: datetime | None = None
    ) -> MonitorStatus:
        """Return how monitoring of an account fares, or of the endpoints of a domain.

        At most `MOST_LISTED` endpoints are listed, first those with something wrong; all count.
        `late` are those that were not looked at `since` then.

        Raises:
            NotFoundError: no such account, or nothing that this pattern covers.
        """
        wanted, now = None if pattern is None else canonical(pattern), self._clock()
        with self._database.reading() as connection:
            require_account(connection, account)
            seen = _seen(connection, account)
            patterns = _patterns(connection, account)
            unwatched = _unwatched(connection, account, patterns)
            beats = beat_views(connection, now)
            told, dead = _channels(connection, account), _dead(connection, account)
        if wanted is None:
            incidents = self._incidents(account)
        else:
            seen = [
                (each, numbers)
                for each, numbers in seen
                if each.domain == wanted or pattern_covers(wanted, each.host)
            ]
            unwatched = [each for each in unwatched if each == wanted]
            if not seen and wanted not in patterns:
                raise not_found("domain", wanted, patterns)
            incidents = self._of(account, seen)
        found = [each for each, _ in seen]
        warnings = _warnings(account, unwatched, dead)
        if found and all(each.silent for each in beats):
            warnings.append("nobody looks: no worker of the monitor was heard of for five minutes")
        found.sort(key=lambda each: (_RANKS[each.state], each.pins_match is not False))
        return MonitorStatus(
            endpoints=found[:MOST_LISTED],
            count=len(found),
            unwatched=unwatched,
            incidents=incidents,
            beats=beats,
            channels=told,
            dead=dead,
            warnings=warnings,
            mismatched=sum(each.pins_match is False for each in found),
            unknown=sum(each.pins_match is None for each in found),
            late={} if since is None else _late(found, since),
        )

    def _of(self, account: str, seen: list[_Seen]) -> list[IncidentView]:
        """Return the incidents of endpoints, the newest first.

        They are not told by their own list of endpoints, which is cut.
        """
        if self._incident is None:
            return []
        numbers = sorted({number for _, each in seen for number in each}, reverse=True)
        found = [self._incident(account, each) for each in numbers[:_MOST_INCIDENTS]]
        return [each for each in found if each.resolved is None]

    def history(self, account: str, pattern: str, limit: int = 50) -> list[ChangeView]:
        """Return the changes of certificates at the hosts of a pattern, the newest first."""
        wanted = canonical(pattern)
        with self._database.reading() as connection:
            require_account(connection, account)
            return history.changes(connection, account, wanted, min(limit, _MOST_CHANGES))

    def endpoints(self, account: str | None = None) -> list[EndpointView]:
        """Return each endpoint as each vantage sees it: of an account, or of all."""
        with self._database.reading() as connection:
            return _views(connection, account)

    def forget(self, before: datetime) -> int:
        """Forget the changes of before a moment; return how many they were."""
        return self._database.write(lambda each: history.forget(each, before))


_RANKS: dict[_State, int] = {"firing": 0, "suspect": 1, "unseen": 2, "ok": 3}


def _late(found: list[EndpointView], since: datetime) -> dict[str, int]:
    late = (each.vantage for each in found if each.looked is None or each.looked < since)
    return dict(sorted(Counter(late).items()))


def _views(connection: Connection, account: str | None) -> list[EndpointView]:
    return [each for each, _ in _seen(connection, account)]


def _seen(connection: Connection, account: str | None) -> list[_Seen]:
    wrong = _wrong(connection, account)
    found = (
        connection.execute(_ALL)
        if account is None
        else connection.execute(_OF_ACCOUNT, {"account": account})
    )
    nothing, views = _Wrong(), list[_Seen]()
    for row in found:
        each = wrong.get((row[0], row[7]), nothing)
        views.append((_view(row, each.state, each.sentences), each.incidents))
    return views


def _view(row: Any, state: _State, sentences: list[str]) -> EndpointView:
    (
        _, _, domain, stream, host, port, every, vantage, next_due, looked, took, addresses,
        expires, match,
    ) = row  # fmt: skip
    return EndpointView(
        domain=domain,
        stream=stream,
        host=host,
        port=port,
        vantage=vantage,
        state="unseen" if looked is None and not sentences else state,
        pins_match=None if match is None else bool(match),
        expires=None if expires is None else moment(expires),
        looked=None if looked is None else moment(looked),
        took=took,
        next_due=moment(next_due),
        every=every,
        addresses=addresses or 0,
        findings=sentences,
    )


def _wrong(connection: Connection, account: str | None) -> dict[tuple[int, str], _Wrong]:
    """Return the state of endpoints with findings, and what those say."""
    row = findings.c
    query = select(row.endpoint, row.vantage, row.state, row.finding, row.incident).where(
        row.state.in_(("suspect", "firing"))
    )
    if account is not None:
        query = query.where(row.account == account)
    found: dict[tuple[int, str], _Wrong] = {}
    for endpoint, vantage, state, finding, number in connection.execute(query.order_by(row.key)):
        each = found.get((endpoint, vantage), _Wrong(state))
        each.sentences.append(_sentence_of.decode(finding).sentence)
        if number is not None:
            each.incidents.add(number)
        worst = min(each.state, state, key=_RANKS.__getitem__)
        found[endpoint, vantage] = replace(each, state=worst)
    return found


def _patterns(connection: Connection, account: str) -> set[str]:
    query = select(domains.c.pattern).where(domains.c.account == account).distinct()
    return set(connection.scalars(query))


def _unwatched(connection: Connection, account: str, patterns: set[str]) -> list[str]:
    settings = read_settings(connection, account)
    named = {name for name, each in settings.items() if each.hosts}
    return sorted(each for each in patterns - named if each.startswith("*."))


def _channels(connection: Connection, account: str) -> int:
    of_account = channels.c.account == account, channels.c.disabled.is_(None)
    return connection.scalar(select(func.count()).select_from(channels).where(*of_account)) or 0


def _dead(connection: Connection, account: str) -> int:
    dead = outbox.c.account == account, outbox.c.dead.is_not(None)
    return connection.scalar(select(func.count()).select_from(outbox).where(*dead)) or 0


def _warnings(account: str, unwatched: list[str], dead: int) -> list[str]:
    found = [
        f"nobody looks at {each}: it names no hosts: livepin monitor set '{each}' --host HOST"
        for each in unwatched[:10]
    ]
    if dead:
        found.append(f"{dead} notices of {account} were given up: livepin channel list")
    return found
