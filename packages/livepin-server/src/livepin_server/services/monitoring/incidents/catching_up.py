"""What a new channel is told at once: that what is open goes on, of which it was not told."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select
from sqlalchemy.engine import Row

from livepin_server.services.monitoring import outbox
from livepin_server.storage.schema import incidents

from . import rows
from .grouping import goes_on, guarded

MOST = 100  # incidents, the newest


def catch_up(connection: Connection, channel: Row[Any], now: datetime) -> None:
    """Put for a channel what is open in its account, if it wants that and people are told of it."""
    rows.one_at_a_time(connection)
    is_open = incidents.c.account == channel.account, incidents.c.resolved.is_(None)
    query = select(incidents).where(*is_open).order_by(incidents.c.number.desc()).limit(MOST)
    for row in reversed(connection.execute(query).all()):

        def one(row: Row[Any] = row) -> None:
            notice = goes_on(connection, row, now)
            if notice is not None and outbox.wants(channel, notice):
                outbox.put_for(connection, channel, notice, now)

        guarded(connection, f"the incident {row.number} for the channel {channel.name}", one)
