"""`Maintenances`: times in which nobody is told of a domain, or of anything. Looking goes on."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from livepin.errors import MalformedError
from livepin.hostnames import parse_pattern, pattern_covers
from sqlalchemy import Connection, func, insert, select, update
from sqlalchemy.engine import Row

from livepin_server.errors import ConflictError, InvalidError
from livepin_server.services.audit import Action, entry_of
from livepin_server.services.audit.log import Audit
from livepin_server.services.model import Intent
from livepin_server.services.monitoring.model import MaintenanceView, NewMaintenance
from livepin_server.services.nearest import not_found
from livepin_server.services.publishing.published import require_account
from livepin_server.storage.database import Database
from livepin_server.storage.schema import domains, incidents, maintenance

MOST = 100  # of an account that are not over
MOST_LISTED = 1000
_AHEAD = timedelta(days=366)


class Maintenances:
    """Adds maintenance windows, ends them before their time, and lists them."""

    def __init__(self, database: Database, *, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock
        self._audit = Audit(database)

    def all(self, account: str, *, limit: int = 50) -> list[MaintenanceView]:
        """Return maintenance windows, the newest first, those that are over too.

        Raises:
            NotFoundError: no such account.
        """
        query = (
            select(maintenance)
            .where(maintenance.c.account == account)
            .order_by(maintenance.c.number.desc())
            .limit(max(1, min(limit, MOST_LISTED)))
        )
        with self._database.reading() as connection:
            require_account(connection, account)
            found = connection.execute(query).all()
        now = self._clock()
        return [_view(row, now) for row in found]

    def add(self, account: str, new: NewMaintenance, intent: Intent) -> MaintenanceView:
        """Add a window, from now on unless it says when.

        Raises:
            InvalidError: not a pattern, or not a time to come. NotFoundError: no such account, or
                no domain is covered. ConflictError: there are too many.
        """

        def transaction(connection: Connection) -> MaintenanceView:
            now = self._clock()
            require_account(connection, account)
            starts, ends = _times(new, now)
            pattern = _pattern(connection, account, new.pattern)
            of_account = maintenance.c.account == account
            if _count(connection, account, now) >= MOST:
                raise ConflictError(
                    f"there are {MOST} maintenance windows already", hint="end some of them"
                )
            last = connection.scalar(select(func.max(maintenance.c.number)).where(of_account))
            row = {
                "account": account, "number": (last or 0) + 1, "pattern": pattern,
                "starts": starts, "ends": ends, "reason": new.reason or intent.reason,
                "author": intent.author, "created": now,
            }  # fmt: skip
            added = connection.execute(insert(maintenance).values(**row).returning(maintenance))
            view = _view(added.one(), now)
            self._tell(connection, account, "maintenance.add", view, intent, now)
            return view

        return self._database.write(transaction)

    def end(self, account: str, number: int, intent: Intent) -> MaintenanceView:
        """End a window now; one that has not begun never will. What is wrong is told then.

        Raises:
            NotFoundError: there is none of that number. ConflictError: it is over already.
        """

        def transaction(connection: Connection) -> MaintenanceView:
            now = self._clock()
            require_account(connection, account)
            place = maintenance.c.account == account, maintenance.c.number == number
            row = connection.execute(select(maintenance).where(*place)).first()
            if row is None:
                every = select(maintenance.c.number).where(maintenance.c.account == account)
                known = map(str, connection.scalars(every.limit(MOST_LISTED)))
                raise not_found("maintenance window", str(number), known)
            if row.ends <= now:
                raise ConflictError(
                    f"the maintenance window {number} is over already",
                    hint="livepin maintenance list",
                )
            ended = connection.execute(
                update(maintenance)
                .where(*place)
                .values(ends=max(row.starts, now))
                .returning(maintenance)
            )
            view = _view(ended.one(), now)
            connection.execute(
                update(incidents)
                .where(incidents.c.account == account, incidents.c.next_notice > now)
                .values(next_notice=now)  # the reminder decides anew
            )
            self._tell(connection, account, "maintenance.end", view, intent, now)
            return view

        return self._database.write(transaction)

    def _tell(
        self,
        connection: Connection,
        account: str,
        action: Action,
        view: MaintenanceView,
        intent: Intent,
        now: datetime,
    ) -> None:
        after = {"number": view.number, "starts": view.starts, "ends": view.ends}
        entry = entry_of(
            intent, account=account, action=action, now=now, target=view.pattern, after=after
        )
        self._audit.append(connection, entry)


def _times(new: NewMaintenance, now: datetime) -> tuple[datetime, datetime]:
    starts = new.starts or now
    if starts.tzinfo is None:
        raise InvalidError(
            "expected a time with its zone, found one without", hint="2026-11-23T12:00:00Z"
        )
    if starts > now + _AHEAD:
        raise InvalidError("expected a time within a year, found one that is later")
    ends = starts + timedelta(seconds=new.lasts)
    if ends <= now:
        raise InvalidError(
            f"expected a time to come, found one that ends at {ends:%Y-%m-%d %H:%M}",
            hint="without a start it begins now",
        )
    return starts, ends


def _pattern(connection: Connection, account: str, text: str) -> str:
    """Return a pattern that covers a domain: one with a mistake in it would cover none."""
    if not text:
        return ""
    try:
        pattern = parse_pattern(text)
    except MalformedError as exc:
        raise InvalidError(str(exc), hint=exc.hint) from exc
    query = select(domains.c.pattern).where(domains.c.account == account)
    known = set(connection.scalars(query.distinct()))
    if not any(_meet(pattern, each) for each in known):
        raise not_found("domain", pattern, known)
    return pattern


def _meet(pattern: str, domain: str) -> bool:
    host, other = pattern.removeprefix("*."), domain.removeprefix("*.")
    return pattern == domain or pattern_covers(pattern, other) or pattern_covers(domain, host)


def _count(connection: Connection, account: str, now: datetime) -> int:
    query = select(func.count()).where(maintenance.c.account == account, maintenance.c.ends > now)
    return connection.scalar(query) or 0


def _view(row: Row[tuple[object, ...]], now: datetime) -> MaintenanceView:
    return MaintenanceView(
        number=row.number, pattern=row.pattern, starts=row.starts, ends=row.ends,
        reason=row.reason, author=row.author, active=row.starts <= now < row.ends,
    )  # fmt: skip
