"""`Incidents`: shown, acknowledged, snoozed; and the jobs for all of them that hangs on time."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Literal

from sqlalchemy import Connection, and_, delete, exists, func, select
from sqlalchemy.engine import Row

from livepin_server.errors import ConflictError, InvalidError
from livepin_server.services.audit import Action, entry_of
from livepin_server.services.audit.entry import SERVER
from livepin_server.services.audit.log import Audit
from livepin_server.services.model import Intent
from livepin_server.services.monitoring import leases, outbox
from livepin_server.services.monitoring.model import IncidentView
from livepin_server.services.nearest import not_found
from livepin_server.services.publishing.published import require_account
from livepin_server.storage.database import Database
from livepin_server.storage.schema import (
    beats,
    findings,
    incidents,
    maintenance,
    observations,
    schedule,
)

from . import lateness, rows, silence
from .grouping import SILENT, Put, guarded, settle, would_say

LEASE = timedelta(minutes=2)  # of a worker, unless said
LONGEST_SNOOZE, SHORTEST_SNOOZE = timedelta(days=30), timedelta(minutes=1)
MOST_LISTED = 1000
_ROUNDS = 20  # of a job; what is left waits for its next time
_AT_A_TIME = 200
_TRY_AGAIN = timedelta(minutes=1)
_RIGHT_EVERY = timedelta(minutes=5)  # so long a clock that jumped may keep looks from being due

logger = logging.getLogger("livepin.monitoring")

State = Literal["open", "acknowledged", "snoozed", "resolved"]


class Incidents:
    """Shows incidents, keeps what people say to them, and reminds.

    `lease` is that of workers: how long one may go without a sign of life hangs on it.
    """

    def __init__(
        self,
        database: Database,
        *,
        clock: Callable[[], datetime],
        lease: timedelta = LEASE,
        put: Put = outbox.put,
    ) -> None:
        self._database = database
        self._clock = clock
        self._put = put
        self._audit = Audit(database)
        self._silence = max(silence.LEASES * lease, lateness.SHORTEST_SILENCE)
        self._hearing = silence.Hearing(clock())
        self._righted: datetime | None = None

    def all(self, account: str, *, resolved: bool = False, limit: int = 50) -> list[IncidentView]:
        """Return incidents that are open, the newest first; with `resolved` those that are over.

        Raises:
            NotFoundError: no such account.
        """
        query = select(incidents).where(incidents.c.account == account)
        over = incidents.c.resolved
        query = query.where(over.is_not(None) if resolved else over.is_(None))
        query = query.order_by(incidents.c.number.desc()).limit(max(1, min(limit, MOST_LISTED)))
        now = self._clock()
        with self._database.reading() as connection:
            require_account(connection, account)
            return [_view(connection, row, now) for row in connection.execute(query).all()]

    def show(self, account: str, number: int) -> IncidentView:
        """Return an incident.

        Raises:
            NotFoundError: no such account, or no such incident.
        """
        with self._database.reading() as connection:
            row = _require(connection, account, number)
            return _view(connection, row, self._clock())

    def acknowledge(self, account: str, number: int, intent: Intent) -> IncidentView:
        """Note that somebody sees to it: nobody is reminded; that it is worse or over is told.

        Raises:
            NotFoundError: no such account, or no such incident. ConflictError: it is over.
        """

        def change(row: Row[Any], now: datetime) -> dict[str, Any]:
            if row.acknowledged is not None:
                return {}
            return {"acknowledged": now, "acknowledged_by": intent.author}

        return self._change(account, number, intent, "incident.acknowledge", change)

    def snooze(self, account: str, number: int, seconds: int, intent: Intent) -> IncidentView:
        """Tell nothing of it for a while, unless it becomes critical; then again if it lasts.

        Raises:
            NotFoundError: no such account, or no such incident. ConflictError: it is over.
                InvalidError: too short or too long.
        """
        least, most = (int(e.total_seconds()) for e in (SHORTEST_SNOOZE, LONGEST_SNOOZE))
        if not least <= seconds <= most:
            raise InvalidError(
                f"expected {least} to {most} seconds, found {seconds}",
                hint="a minute to thirty days; a maintenance window is for what is planned",
            )

        def change(_: Row[Any], now: datetime) -> dict[str, Any]:
            return {"snoozed_until": now + timedelta(seconds=seconds)}

        return self._change(account, number, intent, "incident.snooze", change)

    def remind(self) -> None:
        """Tell what is due: reminders, growth, and what was held back until now."""
        for _ in range(_ROUNDS):
            now = self._clock()
            due = incidents.c.next_notice <= now
            with self._database.reading() as connection:
                if (
                    connection.execute(select(incidents.c.number).where(due).limit(1)).first()
                    is None
                ):
                    return
            self._database.write(partial(self._remind, now=now))

    def silence(self) -> None:
        """Tell of vantages from where nobody looks, and when somebody does again."""
        now = self._clock()
        self._set_right(now)

        def transaction(connection: Connection) -> None:
            rows.one_at_a_time(connection)
            silence.mark(
                connection, now, silence=self._silence, hearing=self._hearing, put=self._put
            )
            looked = exists().where(
                and_(
                    schedule.c.endpoint == findings.c.endpoint,
                    schedule.c.vantage == findings.c.vantage,
                )
            )
            self._ended(connection, ~looked, now)  # from a vantage that is no more

        self._database.write(transaction)

    def gone(self, connection: Connection, endpoints: Collection[int], now: datetime) -> None:
        """End the findings of endpoints that are no longer monitored, before their rows go."""
        rows.one_at_a_time(connection)
        for some in rows.pieces(sorted(endpoints)):
            self._ended(connection, findings.c.endpoint.in_(some), now)

    def forget(self, vantage: str, intent: Intent) -> int:
        """Forget a vantage that was taken away; return how many endpoints were looked at from it.

        Raises:
            NotFoundError: no such vantage. ConflictError: somebody looks from there.
        """

        def transaction(connection: Connection) -> int:
            now = self._clock()
            rows.one_at_a_time(connection)
            found = {each.name: each for each in silence.vantages(connection, now, self._hearing)}
            known = found.get(vantage)
            if known is None:
                raise not_found("vantage", vantage, found)
            if known.beat is not None and now - known.beat < self._silence:
                raise ConflictError(
                    f"somebody looks from {vantage}: a worker was heard of at "
                    f"{known.beat:%Y-%m-%d %H:%M:%S}",
                    hint="stop it first, then wait some minutes",
                )
            for table in (beats, observations):
                connection.execute(delete(table).where(table.c.vantage == vantage))
            count = connection.execute(delete(schedule).where(schedule.c.vantage == vantage))
            self._ended(connection, findings.c.vantage == vantage, now)
            silence.mark(
                connection, now, silence=self._silence, hearing=self._hearing, put=self._put
            )
            entry = entry_of(
                intent, account=SERVER, action="monitor.forget", now=now, target=vantage,
                after={"endpoints": count.rowcount},
            )  # fmt: skip
            self._audit.append(connection, entry)
            return count.rowcount

        return self._database.write(transaction)

    def forget_past(self, before: datetime) -> None:
        """Forget incidents and maintenance windows that were over before a moment.

        The last one of each account stays, so that no number is given out a second time.
        """

        def transaction(connection: Connection) -> None:
            rows.one_at_a_time(connection)
            for table, over in (
                (incidents, incidents.c.resolved),
                (maintenance, maintenance.c.ends),
            ):
                other = table.alias()
                last = select(func.max(other.c.number)).where(other.c.account == table.c.account)
                connection.execute(
                    delete(table).where(over < before, table.c.number < last.scalar_subquery())
                )

        self._database.write(transaction)

    def _set_right(self, now: datetime) -> None:
        """Have what a clock that was ahead put off be looked at, and told of, now.

        In transactions of its own: elsewhere rows of the schedule are locked before incidents.
        """
        last = self._righted
        if last is not None and timedelta() <= now - last < _RIGHT_EVERY:
            return
        self._righted = now
        longest = 2 * self._silence  # than any lease
        with self._database.reading() as connection:
            clocks = self._hearing.clocks(connection, now, self._silence)
            wrong = {
                vantage: clock for vantage, clock in clocks.items()
                if leases.are_ahead(connection, vantage, clock, longest)
            }  # fmt: skip
            latest = max([now, *clocks.values()]) + silence.AHEAD
            is_told_ahead = rows.is_ahead(connection, latest)
            waits_ahead = outbox.is_ahead(connection, latest)
        for vantage, clock in wrong.items():
            count = self._database.write(
                partial(leases.set_right, vantage=vantage, clock=clock, longest=longest, now=now)
            )
            logger.warning(
                "%s endpoints were due from %s later than they can be: a clock was ahead; they "
                "are looked at now", count, vantage,
            )  # fmt: skip
        if is_told_ahead:
            self._database.write(partial(rows.set_right, latest=latest, now=now))
        if waits_ahead:
            self._database.write(partial(outbox.set_right, latest=latest, now=now))

    def _remind(self, connection: Connection, now: datetime) -> None:
        rows.one_at_a_time(connection)
        query = (
            select(incidents.c.account, incidents.c.number)
            .where(incidents.c.next_notice <= now)
            .order_by(incidents.c.next_notice, incidents.c.account, incidents.c.number)
            .limit(_AT_A_TIME)
        )
        for account, number in connection.execute(query).all():

            def one(account: str = account, number: int = number) -> None:
                settle(connection, account, number, now, self._put)

            if not guarded(connection, f"the incident {number} of {account}", one):
                later = now + _TRY_AGAIN
                rows.change(connection, account, number, next_notice=later)

    def _ended(self, connection: Connection, condition: Any, now: datetime) -> None:
        for account, number in rows.ended(connection, condition):

            def one(account: str = account, number: int = number) -> None:
                if rows.is_firing(connection, account, number):
                    rows.change(connection, account, number, next_notice=now)
                else:
                    settle(connection, account, number, now, self._put, gone=True)

            guarded(connection, f"the incident {number} of {account}", one)

    def _change(
        self,
        account: str,
        number: int,
        intent: Intent,
        action: Action,
        change: Callable[[Row[Any], datetime], dict[str, Any]],
    ) -> IncidentView:
        def transaction(connection: Connection) -> IncidentView:
            now = self._clock()
            rows.one_at_a_time(connection)
            row = _require(connection, account, number)
            if row.resolved is not None:
                raise ConflictError(
                    f"the incident {number} is over since {row.resolved:%Y-%m-%d %H:%M} UTC",
                    hint="livepin incident list",
                )
            changed = change(row, now)
            if changed:
                rows.change(connection, account, number, **changed)
                settle(connection, account, number, now, self._put)
                entry = entry_of(
                    intent, account=account, action=action, now=now, target=str(number),
                    after=changed,
                )  # fmt: skip
                self._audit.append(connection, entry)
            return _view(connection, _require(connection, account, number), now)

        return self._database.write(transaction)


def _require(connection: Connection, account: str, number: int) -> Row[Any]:
    require_account(connection, account)
    row = rows.numbered(connection, account, number)
    if row is None:
        query = select(incidents.c.number).where(incidents.c.account == account)
        newest = query.order_by(incidents.c.number.desc()).limit(MOST_LISTED)
        raise not_found("incident", str(number), map(str, connection.scalars(newest)))
    return row


def _view(connection: Connection, row: Row[Any], now: datetime) -> IncidentView:
    notice, hosts = would_say(connection, row, now)
    is_counted = row.resolved is None and not row.cause.startswith(SILENT)
    return IncidentView(
        number=row.number, kind=notice.kind, severity=notice.severity, state=_state(row, now),
        opened=row.opened, seen=row.seen, resolved=row.resolved, acknowledged=row.acknowledged,
        acknowledged_by=row.acknowledged_by, snoozed_until=row.snoozed_until,
        notices=row.notices, next_notice=row.next_notice, endpoints=hosts,
        count=rows.count(connection, row.account, row.number) if is_counted else notice.endpoints,
        notice=notice,
    )  # fmt: skip


def _state(row: Row[Any], now: datetime) -> State:
    if row.resolved is not None:
        return "resolved"
    if row.snoozed_until is not None and row.snoozed_until > now:
        return "snoozed"
    return "open" if row.acknowledged is None else "acknowledged"
