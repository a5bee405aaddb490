"""Backups as the server knows of them. They are made beside it; see `livepin_server.backups`."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime

from livepin_server.storage.database import Database

from .audit import SERVER, entry_of
from .audit.log import Audit
from .model import BackupMade, Intent

logger = logging.getLogger("livepin.backups")


class Backups:
    """Records that a backup was made. No key comes here, and nothing of what is in one."""

    def __init__(self, database: Database, *, clock: Callable[[], datetime]) -> None:
        self._audit = Audit(database)
        self._clock = clock

    def record(self, made: BackupMade, intent: Intent) -> datetime:
        """Record a backup, and return when: the history of the server has an entry of it."""
        now = self._clock()
        after = {"recipients": made.recipients, **_of(made)}
        self._audit.record(
            entry_of(intent, account=SERVER, action="backup.make", now=now, after=after)
        )
        sealed = f"to {made.recipients} recipients" if made.recipients else "under a passphrase"
        logger.info(
            "a backup was made", extra={"author": intent.author, "sealed": sealed, **_of(made)}
        )
        return now


def _of(made: BackupMade) -> dict[str, object]:
    return {"bytes": made.size, "rows": made.rows}
