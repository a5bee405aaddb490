"""`Channels`: whom an account tells. Their settings are sealed whole and never shown again.

What tells is in `monitor`; what waits for a channel is in `outbox`.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, and_, delete, func, insert, select, update
from sqlalchemy.engine import Row

from livepin_server.custody.keeping import Custody
from livepin_server.custody.label import Label
from livepin_server.errors import ConflictError, CustodyError
from livepin_server.services import key_rows
from livepin_server.services.audit import Action, entry_of
from livepin_server.services.audit.log import Audit
from livepin_server.services.model import Intent
from livepin_server.services.nearest import not_found
from livepin_server.services.publishing.published import require_account
from livepin_server.storage.database import Database
from livepin_server.storage.schema import channels, outbox

from . import channel_kinds
from .channel_kinds import AddedChannel, NewChannel, Retried, Webhook
from .incidents.catching_up import catch_up
from .model import ChannelView, Notice
from .outbox import Posted, drop_dead, put_for, tell_anew

MOST_CHANNELS = 50  # of an account


class Channels:
    """Adds, tests, lists and removes channels."""

    def __init__(
        self, database: Database, custody: Custody, *, clock: Callable[[], datetime]
    ) -> None:
        self._database = database
        self._sealed = custody.sealed
        self._clock = clock
        self._audit = Audit(database)

    def all(self, account: str) -> list[ChannelView]:
        """Return the channels of an account, by name."""
        with self._database.reading() as connection:
            require_account(connection, account)
            return [_view(connection, row) for row in _rows(connection, account)]

    def nobody(self, account: str) -> str | None:
        """Return the warning that nobody will be told, with the command; None if somebody is."""
        enabled = channels.c.account == account, channels.c.disabled.is_(None)
        with self._database.reading() as connection:
            if connection.execute(select(channels.c.name).where(*enabled).limit(1)).first():
                return None
        return (
            "nobody will be told if apps are about to break: "
            "livepin channel add email ops --to ops@example.com"
        )

    def add(self, account: str, new: NewChannel, intent: Intent) -> AddedChannel:
        """Add a channel. The secret of a webhook, if it is made here, is shown this once.

        It is told of what is open at once: so far, perhaps nobody was.

        Raises:
            ConflictError: the name is taken, or there are too many. InvalidError: its settings are
                not right.
        """
        settings, target = channel_kinds.checked(new.settings)

        def transaction(connection: Connection) -> ChannelView:
            now = self._clock()
            require_account(connection, account)
            names = [row.name for row in _rows(connection, account)]
            if new.name in names:
                raise ConflictError(
                    f"there is a channel {new.name!r} already",
                    hint=f"livepin channel remove {new.name}",
                )
            if len(names) >= MOST_CHANNELS:
                raise ConflictError(f"expected at most {MOST_CHANNELS} channels in {account}")
            sealed = self._sealed.keep_secret(
                channel_kinds.encode(settings),
                Label(account, key_rows.CHANNEL, new.name),
                beside=key_rows.one_sealed(connection),
            )
            private = getattr(settings, "allow_private", False)
            values = {
                "account": account, "name": new.name, "kind": channel_kinds.kind_of(settings),
                "settings": json.dumps({"target": target, "allow_private": private}),
                "sealed": sealed, "severity": new.severity,
                "tags": " ".join(dict.fromkeys(new.tags)), "created": now,
                "author": intent.author, "disabled": None, "trouble": None,
            }  # fmt: skip
            connection.execute(insert(channels).values(**values))
            row = _require(connection, account, new.name)
            self._tell(connection, "channel.add", row, intent, now, after=_said(row))
            catch_up(connection, row, now)
            return _view(connection, row)

        view = self._database.write(transaction)
        made = isinstance(settings, Webhook) and settings != new.settings
        secret = settings.secret if made and isinstance(settings, Webhook) else None
        return AddedChannel(channel=view, secret=secret)

    def test(self, account: str, name: str, intent: Intent) -> int:
        """Have a channel be told that this is a test; return the number of that notice.

        One that was disabled is not any more.

        Raises:
            NotFoundError: no such channel.
        """

        def transaction(connection: Connection) -> int:
            now = self._clock()
            require_account(connection, account)
            row = _require(connection, account, name)
            one = (channels.c.account == account, channels.c.name == name)
            connection.execute(update(channels).where(*one).values(disabled=None, trouble=None))
            row = _require(connection, account, name)
            number = put_for(connection, row, _test_notice(account, name, intent, now), now)
            assert number is not None  # its key is new, and the channel not disabled
            self._tell(connection, "channel.test", row, intent, now)
            return number

        return self._database.write(transaction)

    def retry(
        self, account: str, name: str, numbers: Sequence[int], intent: Intent, *, drop: bool = False
    ) -> Retried:
        """Have what nobody got be told anew, or dropped: all of it where no numbers are given.

        Raises:
            NotFoundError: no such channel, or no such notice that was given up. ConflictError: a
                notice is out of date, or the channel is disabled.
        """

        def transaction(connection: Connection) -> Retried:
            now = self._clock()
            require_account(connection, account)
            row = _require(connection, account, name)
            if drop:
                done = drop_dead(connection, row, numbers)
            else:
                done = tell_anew(connection, row, numbers, now)
            after = {"notices": done.notices, "dropped": done.dropped}
            self._tell(connection, "channel.retry", row, intent, now, after=after)
            return done

        return self._database.write(transaction)

    def remove(self, account: str, name: str, intent: Intent) -> ChannelView:
        """Remove a channel, with all that waits for it; return what it was.

        Raises:
            NotFoundError: no such channel.
        """

        def transaction(connection: Connection) -> ChannelView:
            require_account(connection, account)
            row = _require(connection, account, name)
            found = _view(connection, row)
            of_channel = outbox.c.account == account, outbox.c.channel == name
            connection.execute(delete(outbox).where(*of_channel))
            one = channels.c.account == account, channels.c.name == name
            connection.execute(delete(channels).where(*one))
            now = self._clock()
            self._tell(connection, "channel.remove", row, intent, now, before=_said(row))
            return found

        return self._database.write(transaction)

    def opened(self, posted: Posted) -> Posted:
        """Return a notice with the settings of its channel, by which it can be told.

        Raises:
            NotFoundError: the channel was removed. CustodyError: they do not open.
        """
        with self._database.reading() as connection:
            row = _require(connection, posted.account, posted.channel)
        kept = key_rows.channel(row)
        try:
            settings = channel_kinds.decode(self._sealed.open_secret(kept.data, kept.label))
        except msgspec.MsgspecError:
            raise CustodyError(
                f"the settings of the channel {row.name} of {row.account} are damaged"
            ) from None
        return dataclasses.replace(posted, settings=settings)

    def _tell(
        self,
        connection: Connection,
        action: Action,
        row: Row[Any],
        intent: Intent,
        now: datetime,
        *,
        before: dict[str, Any] | None = None,
        after: dict[str, Any] | None = None,
    ) -> None:
        entry = entry_of(
            intent, account=row.account, action=action, now=now, target=row.name,
            before=before, after=after,
        )  # fmt: skip
        self._audit.append(connection, entry)


def _rows(connection: Connection, account: str) -> list[Row[Any]]:
    query = select(channels).where(channels.c.account == account).order_by(channels.c.name)
    return list(connection.execute(query).all())


def _require(connection: Connection, account: str, name: str) -> Row[Any]:
    found = {row.name: row for row in _rows(connection, account)}
    if name not in found:
        raise not_found("channel", name, found)
    return found[name]


def _view(connection: Connection, row: Row[Any]) -> ChannelView:
    of_channel = outbox.c.account == row.account, outbox.c.channel == row.name
    waiting = and_(outbox.c.delivered.is_(None), outbox.c.dead.is_(None), outbox.c.told.is_(None))
    count = select(func.count()).select_from(outbox).where(*of_channel)
    return ChannelView(
        name=row.name,
        kind=row.kind,
        target=json.loads(row.settings)["target"],
        severity=row.severity,
        tags=row.tags.split(),
        created=row.created,
        author=row.author,
        disabled=row.disabled,
        trouble=row.trouble,
        waiting=connection.scalar(count.where(waiting)) or 0,
        dead=connection.scalar(count.where(outbox.c.dead.is_not(None))) or 0,
    )


def _said(row: Row[Any]) -> dict[str, Any]:
    return {
        "kind": row.kind, **json.loads(row.settings), "severity": row.severity,
        "tags": row.tags.split(),
    }  # fmt: skip


def _test_notice(account: str, name: str, intent: Intent, now: datetime) -> Notice:
    return Notice(
        account=account,
        event="test",
        incident=None,
        kind="monitor_silent",
        severity="info",
        title=f"test of the channel {name}",
        sentence=f"{intent.author} tests the channel {name}. Nothing is wrong.",
        moment=now,
        since=now,
    )
