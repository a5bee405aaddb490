"""`Notices`: what became of a notice. What it says, and who tells it, is in `outbox`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec
from msgspec import Struct
from sqlalchemy import Connection, select
from sqlalchemy.engine import Row

from livepin_server.errors import NotFoundError
from livepin_server.services.nearest import not_found
from livepin_server.services.publishing.published import require_account
from livepin_server.storage.database import Database
from livepin_server.storage.schema import channels, outbox

from .model import Event, Notice


class NoticeView(Struct, frozen=True, kw_only=True):
    """A notice for one channel: it waits for its next attempt, was delivered, or is dead.

    `trouble` is why the last attempt failed; of one that was delivered, who was not told.
    """

    id: int
    channel: str
    event: Event
    incident: int | None
    title: str
    state: Literal["waiting", "delivered", "dead"]
    created: datetime
    due: datetime
    attempts: int
    trouble: str | None


class Notices:
    """Shows notices, and nothing by which one could write to a channel."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def show(self, account: str, number: int) -> NoticeView:
        """Return a notice.

        Raises:
            NotFoundError: there is none of this number, or it was forgotten.
        """
        with self._database.reading() as connection:
            require_account(connection, account)
            one = outbox.c.account == account, outbox.c.id == number
            row = connection.execute(select(outbox).where(*one)).first()
        if row is None:
            raise NotFoundError(f"there is no notice {number}")
        return _view(row)

    def dead(self, account: str, channel: str, limit: int) -> list[NoticeView]:
        """Return the notices of a channel that nobody got, the newest first.

        Raises:
            NotFoundError: there is no such channel.
        """
        one = outbox.c.account == account, outbox.c.channel == channel, outbox.c.dead.is_not(None)
        query = select(outbox).where(*one).order_by(outbox.c.id.desc()).limit(limit)
        with self._database.reading() as connection:
            require_channel(connection, account, channel)
            return [_view(row) for row in connection.execute(query)]


def require_channel(connection: Connection, account: str, name: str) -> None:
    """Refuse the name of a channel that is not there.

    Raises:
        NotFoundError: the account or the channel is not.
    """
    require_account(connection, account)
    of_account = select(channels.c.name).where(channels.c.account == account)
    known: Sequence[str] = connection.scalars(of_account).all()
    if name not in known:
        raise not_found("channel", name, known)


def _view(row: Row[Any]) -> NoticeView:
    notice = msgspec.json.decode(row.body, type=Notice)
    state: Literal["waiting", "delivered", "dead"] = "waiting"
    if row.dead is not None:
        state = "dead"
    elif row.delivered is not None:
        state = "delivered"
    return NoticeView(
        id=row.id,
        channel=row.channel,
        event=notice.event,
        incident=row.incident,
        title=notice.title,
        state=state,
        created=row.created,
        due=row.due,
        attempts=row.attempts,
        trouble=row.trouble,
    )
