"""`PrivateKeys`: changing the master key. All that is sealed is sealed anew, or nothing is.

The new master key is on disk before the transaction that seals under it, and takes the place of
the old one after it. Whatever is cut off between is finished or undone when the folder is opened.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime

from msgspec import Struct
from sqlalchemy import Connection

from livepin_server.custody.keeping import Custody
from livepin_server.custody.sealed import Vault
from livepin_server.errors import CustodyError, ServiceError
from livepin_server.storage.database import Database

from . import key_rows
from .audit import SERVER, entry_of
from .audit.log import Audit
from .model import Intent


class Rekeyed(Struct, frozen=True, kw_only=True):
    """How many keys were sealed under a new master key, and what is left for people to do."""

    keys: int
    next: list[str]


class PrivateKeys:
    """Looks after the private keys of a server."""

    def __init__(
        self, database: Database, custody: Custody, *, clock: Callable[[], datetime]
    ) -> None:
        self._audit = Audit(database)
        self._clock = clock
        self._database = database
        self._custody = custody
        self._sealed = custody.sealed

    def rekey(self, intent: Intent) -> Rekeyed:
        """Seal all private keys under a new master key. Those in a token stay as they are.

        Raises:
            CustodyError: a key does not open, or the new master key cannot be written.
            UnavailableError: the database cannot do it now. Which master key is in force then
                is found out before anything else is done.
        """
        self.settle()
        fresh = self._sealed.begin()
        try:
            number = self._database.write(lambda each: self._reseal(each, fresh, intent))
        except BaseException:
            with suppress(ServiceError, CustodyError):
                self.settle()
            raise
        self.settle()
        return Rekeyed(keys=number, next=self._left())

    def settle(self) -> None:
        """Finish or undo a change that was cut off.

        Raises:
            CustodyError: no master key is at hand that opens anything.
        """
        if self._sealed.is_changing:
            # As a write: it waits for a commit of which nobody heard whether it was kept.
            self._sealed.settle(self._database.write(key_rows.sealed))

    def warnings(self) -> list[str]:
        """Return what there is to say: keys that could not be used now."""
        with self._database.reading() as connection:
            one = key_rows.one_sealed(connection)
        return self._custody.warnings(one)

    def _reseal(self, connection: Connection, fresh: Vault, intent: Intent) -> int:
        found = key_rows.sealed(connection)
        for each in found:
            key = self._sealed.open(each.data, each.label)
            data = fresh.seal(key, each.label)
            fresh.open(data, each.label)
            key_rows.replace(connection, each, data)
        entry = entry_of(
            intent,
            account=SERVER,
            action="custody.rekey",
            now=self._clock(),
            after={"keys": [each.label.kid for each in found]},
        )
        self._audit.append(connection, entry)
        return len(found)

    def _left(self) -> list[str]:
        left = self.warnings()
        if self._database.shared is not None:
            left.append(
                "copy the new master key to every other server of this database: until then they "
                "sign nothing; they need no restart"
            )
        left.append("backups made before this need the old master key: it is not kept here")
        return left
