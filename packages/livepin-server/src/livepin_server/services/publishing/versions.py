"""`Versions`: the numbers of an account's configs, where they have to go on above others.

A database that was put back from an older copy would give out numbers that apps have seen already.
They never take such a config (rule 7), so the count is raised above what they may hold.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from sqlalchemy import Connection, select, update

from livepin_server.errors import ConflictError, InvalidError
from livepin_server.services.model import Intent, Publication
from livepin_server.services.numbering import HIGHEST
from livepin_server.storage.database import Database
from livepin_server.storage.schema import accounts

from .published import newest, require_account
from .publisher import Publisher


class Versions:
    """Raises the count of an account, and publishes every stream above it."""

    def __init__(
        self, database: Database, publisher: Publisher, *, clock: Callable[[], datetime]
    ) -> None:
        self._database = database
        self._publisher = publisher
        self._clock = clock

    def raise_above(self, account: str, version: int, intent: Intent) -> list[Publication]:
        """Publish every stream again, unchanged, with numbers above `version`.

        Raises:
            InvalidError: above that there are too few numbers.
            ConflictError: they are above it already, or the server cannot sign.
        """
        now = self._clock()
        if not 1 <= version <= HIGHEST:
            raise InvalidError(
                f"expected a version of 1 to {HIGHEST}, found {version}",
                hint="a new root starts the count anew: livepin root prepare",
            )

        def transaction(connection: Connection) -> list[Publication]:
            streams = require_account(connection, account)
            query = select(accounts.c.last_version).where(accounts.c.name == account)
            last = connection.scalars(query).one()
            if version <= last:
                raise ConflictError(
                    f"the versions of {account} are above {version} already: the last is {last}"
                )
            connection.execute(
                update(accounts).where(accounts.c.name == account).values(last_version=version)
            )
            lines = [f"versions go on above {version}"]
            return [
                self._issue(connection, account, each, lines, intent, now)
                for each in sorted(streams)
            ]

        return self._announced(self._database.write(transaction))

    def go_on(self, account: str, floor: int, intent: Intent) -> list[Publication]:
        """Publish each stream again whose newest config is not above `floor`, as after a restore.

        Raises:
            ConflictError: the server cannot sign.
        """
        now = self._clock()

        def transaction(connection: Connection) -> list[Publication]:
            rows = newest(connection, account)
            behind = sorted(row.stream for row in rows if row.version <= floor)
            lines = [f"versions go on above {floor}"]
            return [self._issue(connection, account, each, lines, intent, now) for each in behind]

        return self._announced(self._database.write(transaction))

    def _issue(
        self,
        connection: Connection,
        account: str,
        stream: str,
        lines: list[str],
        intent: Intent,
        now: datetime,
    ) -> Publication:
        return self._publisher.issue(
            connection, account, stream, lines, intent, now=now, action="versions.raise"
        )

    def _announced(self, publications: list[Publication]) -> list[Publication]:
        for each in publications:
            self._publisher.announce(each)
        return publications
