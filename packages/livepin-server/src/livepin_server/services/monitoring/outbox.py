"""`Outbox`: notices on their way to channels. At least once, whatever is killed in between.

A notice is put here in the transaction that changes an incident, a row for each channel that wants
it. Whoever tells it claims it for a while, tells, and notes that; if that note is never made, it is
told again, with the same key, by which its receiver can tell. One is told to a channel at a time,
and of an incident in order. What tells is in `monitor`; nothing here sends.
"""

from __future__ import annotations

import random
import re
import secrets
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

import msgspec
from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    case,
    delete,
    func,
    insert,
    literal,
    or_,
    select,
    update,
)
from sqlalchemy.engine import Row

from livepin_server.errors import ConflictError, NotFoundError
from livepin_server.storage.database import Database
from livepin_server.storage.schema import Moment, channels, incidents, outbox

from .channel_kinds import ChannelSettings, DeadNotice, Retried
from .model import SEVERITIES, ChannelKind, Notice

FIRST, LONGEST = timedelta(seconds=30), timedelta(minutes=30)  # between two attempts
PATIENCE = timedelta(days=3)  # after which a notice is given up
_LATEST = timedelta(hours=1)  # for which a receiver may ask not to be told
_FAR = 2 * _LATEST  # nobody puts a notice off for longer, or claims it
_JITTER = 0.2  # of a pause, so that not all come back at once
_MOST_DEAD = 1000  # that are listed
_TROUBLE = 300  # characters
_KEY = re.compile(r"[A-Za-z0-9_-]{1,64}")  # it stands in headers
_FREE = datetime(1970, 1, 1, tzinfo=timezone.utc)  # until then, so no more
_EVENTS_THAT_END = ("resolved", "test")


@dataclass(frozen=True, kw_only=True)
class Posted:
    """A notice that was claimed for one channel, until its lease ends.

    `settings` are those of the channel, opened by `Channels.opened`; they are never shown.
    """

    id: int
    fence: int
    account: str
    channel: str
    kind: ChannelKind
    key: str
    attempt: int
    created: datetime
    notice: Notice
    settings: ChannelSettings | None = field(default=None, repr=False)


def put(connection: Connection, notice: Notice, now: datetime, *, key: str | None = None) -> int:
    """Put a notice for each channel of its account that wants it; return how many will be told.

    What is put once more with the same key is there already. For a channel that is disabled it is
    dead from the start, where people see it.
    """
    found = connection.execute(
        select(channels).where(channels.c.account == notice.account).order_by(channels.c.name)
    ).all()
    wanted = [row for row in found if wants(row, notice)]
    numbers = [put_for(connection, row, notice, now, key=key) for row in wanted]
    return sum(each is not None for each in numbers)


def wants(channel: Row[Any], notice: Notice) -> bool:
    """Tell whether a channel is told of that: it is severe enough, and of its tags."""
    loud = SEVERITIES.index(notice.severity) >= SEVERITIES.index(channel.severity)
    tags = set(channel.tags.split())
    return loud and (not tags or not tags.isdisjoint(notice.tags))


def put_for(
    connection: Connection,
    channel: Row[Any],
    notice: Notice,
    now: datetime,
    *,
    key: str | None = None,
) -> int | None:
    """Put a notice for one channel, whatever it wants; return its number if it will be told."""
    if key is None:
        key = secrets.token_urlsafe(16)
    elif not _KEY.fullmatch(key):
        raise ValueError("expected a key of letters, digits, - and _")
    of_channel = _of_channel(channel.account, channel.name)
    there = select(outbox.c.id).where(*of_channel, outbox.c.key == key).limit(1)
    if connection.execute(there).first() is not None:
        return None
    if notice.incident is not None:
        # What was told over and over again is replaced by this. One that is told just now keeps
        # its lease, and this one waits for its end.
        connection.execute(
            update(outbox)
            .where(*of_channel, outbox.c.incident == notice.incident, outbox.c.told.is_not(None))
            .where(_is_waiting(outbox))
            .values(delivered=now)
        )
    disabled = channel.disabled is not None
    values = {
        "account": channel.account, "channel": channel.name, "incident": notice.incident,
        "key": key, "body": msgspec.json.encode(notice).decode(), "created": now, "due": now,
        "lease_until": _FREE, "fence": 0, "attempts": 0, "dead": now if disabled else None,
        "trouble": "the channel is disabled" if disabled else None,
    }  # fmt: skip
    number: int = connection.execute(
        insert(outbox).values(**values).returning(outbox.c.id)
    ).scalar_one()
    return None if disabled else number


def tell_anew(
    connection: Connection, channel: Row[Any], numbers: Collection[int], now: datetime
) -> Retried:
    """Have notices that were given up be told anew, with the keys that they had; all without names.

    What is out of date is skipped, and refused where it is named: it would open an incident again
    that is over, for ever, since nothing comes after it.

    Raises:
        NotFoundError: no such notice that was given up. ConflictError: it is out of date, or the
            channel is disabled.
    """
    rows = _given_up(connection, channel, numbers)
    if channel.disabled is not None:
        raise ConflictError(
            f"the channel {channel.name} is disabled", hint=f"livepin channel test {channel.name}"
        )
    old = [row.id for row in rows if _is_out_of_date(connection, row)]
    if old and numbers:
        raise ConflictError(
            f"the notice {old[0]} is out of date: {channel.name} was told more of its incident "
            "since, or that has changed",
            hint=f"livepin channel retry {channel.name} {old[0]} --drop",
        )
    again = [row.id for row in rows if row.id not in old]
    connection.execute(
        update(outbox)
        .where(outbox.c.id.in_(again))
        .values(dead=None, trouble=None, told=None, created=now, due=now, attempts=0)
    )
    return Retried(notices=len(again), skipped=len(old))


def drop_dead(connection: Connection, channel: Row[Any], numbers: Collection[int]) -> Retried:
    """Forget notices that were given up, which nobody is told; all without names.

    Raises:
        NotFoundError: no such notice that was given up.
    """
    rows = _given_up(connection, channel, numbers)
    connection.execute(delete(outbox).where(outbox.c.id.in_([row.id for row in rows])))
    return Retried(notices=0, dropped=len(rows))


class Outbox:
    """Gives notices to whoever tells them, and keeps what became of each.

    `jitter` gives numbers from 0 to 1, by which pauses differ.
    """

    def __init__(
        self,
        database: Database,
        *,
        clock: Callable[[], datetime],
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._database = database
        self._clock = clock
        self._jitter = jitter

    def claim(self, most: int, *, lease: timedelta) -> list[Posted]:
        """Return what is to be told now, nothing of it to anybody else until the lease ends.

        It is at most one for each channel, the oldest first.
        """
        now = self._clock()
        with self._database.reading() as connection:
            if most < 1 or not connection.execute(_heads(now).limit(1)).first():
                return []  # nothing is written each second that there is nothing to do
        return self._database.write(lambda each: self._claim(each, now, most, lease))

    def delivered(
        self, posted: Posted, *, again: timedelta | None = None, trouble: str | None = None
    ) -> bool:
        """Note that a notice was told; tell whether it was still claimed by this.

        `trouble` says who of the channel was not told; it is shown until the next one is told.
        With `again` it is told once more after that time, and so on until there is a newer one of
        its incident, or that is resolved.
        """
        return self._database.write(lambda each: self._delivered(each, posted, again, trouble))

    def failed(
        self,
        posted: Posted,
        trouble: str,
        *,
        permanent: bool = False,
        retry_after: float | None = None,
        disable: bool = False,
    ) -> bool:
        """Note that a notice could not be told; tell whether it is given up.

        It is tried again later, unless the failure is permanent, or it was tried for long enough.
        `retry_after` is what the receiver asks for, in seconds. With `disable` the channel is told
        nothing any more, and what waits for it is dead.
        """
        return self._database.write(
            lambda each: self._failed(each, posted, trouble, permanent, retry_after, disable)
        )

    def dead(self, account: str) -> list[DeadNotice]:
        """Return the notices of an account that were given up, the newest first."""
        query = (
            select(outbox)
            .where(outbox.c.account == account, outbox.c.dead.is_not(None))
            .order_by(outbox.c.id.desc())
            .limit(_MOST_DEAD)
        )
        with self._database.reading() as connection:
            return [_dead(row) for row in connection.execute(query)]

    def forget(self, before: datetime) -> int:
        """Forget what was told, or given up, before a moment; return how many."""
        gone = or_(outbox.c.delivered < before, outbox.c.dead < before)
        return self._database.write(lambda each: each.execute(delete(outbox).where(gone)).rowcount)

    def _claim(
        self, connection: Connection, now: datetime, most: int, lease: timedelta
    ) -> list[Posted]:
        numbers = list(connection.scalars(_heads(now).limit(most)))
        connection.execute(
            update(outbox)
            .where(outbox.c.id.in_(numbers))
            .values(
                lease_until=now + lease,
                fence=outbox.c.fence + 1,
                attempts=outbox.c.attempts + 1,
            )
        )
        query = (
            select(outbox, channels.c.kind)
            .join(channels, _is_its_channel)
            .where(outbox.c.id.in_(numbers))
            .order_by(outbox.c.id)
        )
        return [_posted(row) for row in connection.execute(query)]

    def _delivered(
        self,
        connection: Connection,
        posted: Posted,
        again: timedelta | None,
        trouble: str | None,
    ) -> bool:
        now = self._clock()
        trouble = None if trouble is None else trouble[:_TROUBLE]
        row = _release(connection, posted)
        if row is None:
            return False
        of_channel = (channels.c.account == posted.account, channels.c.name == posted.channel)
        connection.execute(update(channels).where(*of_channel).values(trouble=trouble))
        values: dict[str, Any] = {"delivered": now, "trouble": trouble}
        if again is not None and _goes_on(connection, posted):
            values = {"due": now + again, "told": now, "attempts": 0, "trouble": trouble}
        connection.execute(update(outbox).where(outbox.c.id == posted.id).values(**values))
        return True

    def _failed(
        self,
        connection: Connection,
        posted: Posted,
        trouble: str,
        permanent: bool,
        retry_after: float | None,
        disable: bool,
    ) -> bool:
        now = self._clock()
        row = _release(connection, posted)
        if row is None:
            return False
        trouble = trouble[:_TROUBLE]
        since = max(row.created, row.told or row.created)
        given_up = permanent or disable or now - since >= PATIENCE
        values: dict[str, Any] = {"trouble": trouble}
        if given_up:
            values["dead"] = now
        else:
            values["due"] = now + self._pause(row.attempts, retry_after)
        connection.execute(update(outbox).where(outbox.c.id == posted.id).values(**values))
        said: dict[str, Any] = {"trouble": trouble}
        if disable:
            said["disabled"] = now
            waiting = (*_of_channel(posted.account, posted.channel), _is_waiting(outbox))
            connection.execute(update(outbox).where(*waiting).values(dead=now, trouble=trouble))
        of_channel = (channels.c.account == posted.account, channels.c.name == posted.channel)
        connection.execute(update(channels).where(*of_channel).values(**said))
        return given_up

    def _pause(self, attempts: int, retry_after: float | None) -> timedelta:
        doubled: timedelta = FIRST * 2 ** min(max(attempts - 1, 0), 16)
        pause = min(doubled, LONGEST) * (1 - _JITTER * self._jitter())
        asked = timedelta(seconds=min(max(retry_after or 0.0, 0.0), _LATEST.total_seconds()))
        return max(pause, asked)


def _is_waiting(table: Any) -> ColumnElement[bool]:
    return and_(table.c.delivered.is_(None), table.c.dead.is_(None))


def _of_channel(account: str, name: str) -> tuple[ColumnElement[bool], ...]:
    return outbox.c.account == account, outbox.c.channel == name


_is_its_channel = and_(channels.c.account == outbox.c.account, channels.c.name == outbox.c.channel)


def _heads(now: datetime) -> Any:
    """Return the query of the first row of each channel that may be told now.

    A channel of which one is told just now has none: it gets one at a time, so that one that hangs
    takes one place alone. Nor does an incident of which an earlier one still has to be told.
    """
    other = outbox.alias("other")
    busy = or_(
        other.c.lease_until > now,
        and_(_is_waiting(other), other.c.incident == outbox.c.incident, other.c.id < outbox.c.id),
    )
    same = (other.c.account == outbox.c.account, other.c.channel == outbox.c.channel)
    first = func.min(outbox.c.id)
    return (
        select(first)
        .join(channels, _is_its_channel)
        .where(_is_waiting(outbox), outbox.c.due <= now, channels.c.disabled.is_(None))
        .where(~select(other.c.id).where(*same, busy).exists())
        .group_by(outbox.c.account, outbox.c.channel)
        .order_by(first)
    )


def is_ahead(connection: Connection, latest: datetime) -> bool:
    """Tell whether notices wait until later than they can have been put off, or are from then."""
    return (
        connection.execute(select(outbox.c.id).where(_ahead(latest)).limit(1)).first() is not None
    )


def set_right(connection: Connection, latest: datetime, now: datetime) -> None:
    """Have what a clock that was ahead put here, or put off, be told now."""
    connection.execute(
        update(outbox)
        .where(_ahead(latest))
        .values(
            created=_no_later(outbox.c.created, now),
            told=_no_later(outbox.c.told, now),
            due=now,
            lease_until=_FREE,
            fence=outbox.c.fence + 1,
        )
    )


def _no_later(moment: ColumnElement[datetime], now: datetime) -> ColumnElement[datetime]:
    return case((moment > now, literal(now, Moment())), else_=moment)


def _ahead(latest: datetime) -> ColumnElement[bool]:
    until = latest + _FAR
    late = or_(outbox.c.due > until, outbox.c.lease_until > until, outbox.c.created > latest)
    return and_(_is_waiting(outbox), late)


def _release(connection: Connection, posted: Posted) -> Row[Any] | None:
    """End a lease; return the row if it is still to be told and nobody claimed it since."""
    mine = (outbox.c.id == posted.id, outbox.c.fence == posted.fence)
    connection.execute(update(outbox).where(*mine).values(lease_until=_FREE))
    return connection.execute(select(outbox).where(*mine, _is_waiting(outbox))).first()


def _goes_on(connection: Connection, posted: Posted) -> bool:
    """Tell whether an incident is still as this notice says."""
    if posted.notice.incident is None or posted.notice.event in _EVENTS_THAT_END:
        return False
    newer = select(outbox.c.id).where(
        *_of_channel(posted.account, posted.channel),
        outbox.c.incident == posted.notice.incident,
        outbox.c.id > posted.id,
    )
    over = select(incidents.c.number).where(
        incidents.c.account == posted.account,
        incidents.c.number == posted.notice.incident,
        incidents.c.resolved.is_not(None),
    )
    return not any(connection.execute(each.limit(1)).first() for each in (newer, over))


def _given_up(
    connection: Connection, channel: Row[Any], numbers: Collection[int]
) -> list[Row[Any]]:
    of_channel = _of_channel(channel.account, channel.name)
    query = select(outbox).where(*of_channel, outbox.c.dead.is_not(None))
    if numbers:
        query = query.where(outbox.c.id.in_(numbers))
    rows = list(connection.execute(query.order_by(outbox.c.id.desc()).limit(_MOST_DEAD)))
    missing = set(numbers) - {row.id for row in rows}
    if missing:
        raise NotFoundError(
            f"{channel.name} has no notice {min(missing)} that nobody got",
            hint=f"livepin channel dead {channel.name}",
        )
    return rows


def _is_out_of_date(connection: Connection, row: Row[Any]) -> bool:
    """Tell whether a notice says what is not so any more, or was followed by what was told."""
    if row.incident is None:
        return False
    newer = select(outbox.c.id).where(
        *_of_channel(row.account, row.channel),
        outbox.c.incident == row.incident,
        outbox.c.id > row.id,
        or_(outbox.c.delivered.is_not(None), outbox.c.told.is_not(None)),
    )
    if connection.execute(newer.limit(1)).first():
        return True
    of = (incidents.c.account == row.account, incidents.c.number == row.incident)
    found = connection.execute(select(incidents.c.resolved).where(*of)).first()
    ends = msgspec.json.decode(row.body, type=Notice).event == "resolved"
    return found is not None and (found.resolved is not None) != ends


def _posted(row: Row[Any]) -> Posted:
    return Posted(
        id=row.id,
        fence=row.fence,
        account=row.account,
        channel=row.channel,
        kind=row.kind,
        key=row.key,
        attempt=row.attempts,
        created=row.created,
        notice=msgspec.json.decode(row.body, type=Notice),
    )


def _dead(row: Row[Any]) -> DeadNotice:
    notice = msgspec.json.decode(row.body, type=Notice)
    return DeadNotice(
        id=row.id,
        channel=row.channel,
        event=notice.event,
        incident=row.incident,
        title=notice.title,
        created=row.created,
        dead=row.dead,
        attempts=row.attempts,
        trouble=row.trouble or "",
    )
