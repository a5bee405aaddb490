"""`Recording`: when installations were last seen, and with what. In memory, written in batches.

Nothing here decides anything. What a server that dies has not written yet, a second at most, is
lost; the next request of each installation tells it again.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, Insert, delete, exists, select
from sqlalchemy.dialects import postgresql, sqlite

from livepin_server.storage.database import Database
from livepin_server.storage.schema import installation_rules, installations

MOST = 200_000  # installations that wait to be written; more are not noted
_AT_A_TIME = 5_000  # rows of one transaction, so that publishing waits little


class Seen(NamedTuple):
    """A token request of an installation: what it said, and when."""

    account: str
    id: str
    thumbprint: str
    app: str
    stream: str
    config_version: int
    moment: datetime


class Recording:
    """Notes requests, from one thread, and writes them, from another."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._seen: dict[tuple[str, str], Seen] = {}
        self.missed = 0  # that were not noted, for lack of room

    def note(self, seen: Seen) -> None:
        """Remember a request; the last one of an installation counts."""
        with self._lock:
            if len(self._seen) < MOST or (seen.account, seen.id) in self._seen:
                self._seen[seen.account, seen.id] = seen
            else:
                self.missed += 1

    def keep(self) -> None:
        """Write down what was noted.

        Raises:
            UnavailableError: the database cannot now; it is remembered, and written next time.
        """
        with self._lock:
            taken, self._seen = self._seen, {}
        # In one order everywhere: two servers that write the same rows never wait for each other.
        rows = [taken[key] for key in sorted(taken)]
        try:
            while rows:
                batch = rows[:_AT_A_TIME]
                self._database.write(functools.partial(_write, batch=batch))
                del rows[: len(batch)]
        except BaseException:
            with self._lock:
                self._seen = {(each.account, each.id): each for each in rows} | self._seen
            raise

    def forget(self, before: datetime) -> None:
        """Forget installations that were not seen since, and of which nothing is decided."""

        def transaction(connection: Connection) -> None:
            decided = select(installation_rules.c.id).where(
                installation_rules.c.account == installations.c.account,
                installation_rules.c.id == installations.c.id,
            )
            connection.execute(
                delete(installations).where(
                    installations.c.last_seen < before, ~exists(decided.correlate(installations))
                )
            )

        self._database.write(transaction)


def _write(connection: Connection, *, batch: Sequence[Seen]) -> None:
    rows: list[dict[str, Any]] = [
        {
            "account": each.account, "id": each.id, "thumbprint": each.thumbprint,
            "app": each.app, "stream": each.stream, "config_version": each.config_version,
            "first_seen": each.moment, "last_seen": each.moment,
        }
        for each in batch
    ]  # fmt: skip
    connection.execute(_UPSERTS[connection.dialect.name], rows)


def _upsert(dialect: Any) -> Insert:
    statement = dialect.insert(installations)
    news = ("app", "stream", "config_version", "last_seen")
    found: Insert = statement.on_conflict_do_update(
        index_elements=["account", "id"],
        set_={name: statement.excluded[name] for name in news},
        # Another server may have written a later one already.
        where=installations.c.last_seen <= statement.excluded.last_seen,
    )
    return found


_UPSERTS = {"sqlite": _upsert(sqlite), "postgresql": _upsert(postgresql)}
