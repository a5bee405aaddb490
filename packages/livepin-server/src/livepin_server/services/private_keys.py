"""`PrivateKeys`: changing the master key. All that is sealed is sealed anew, or nothing is.

The new master key is on disk before anything is sealed under it, and takes the place of the old one
after the commit. Whatever is cut off between is finished or undone when the folder is opened.

The files change inside write transactions only, of which the database has one at a time among all
threads and processes: nobody gives up a master key under which another one is about to seal. Nor
do they change while a refused commit may lie in SQLite's log, which a server that dies next would
show as kept: what was sealed by that is opened by the new one alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime

from msgspec import Struct
from sqlalchemy import Connection

from livepin_server.custody.keeping import Custody
from livepin_server.custody.label import Kept
from livepin_server.errors import CustodyError, ServiceError, UnavailableError
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

        Who does it while another one does waits for that one's end.

        Raises:
            CustodyError: a key does not open, or the new master key cannot be written.
            UnavailableError: the database cannot do it now. Which master key is in force then
                is found out before anything else is done.
        """
        self._database.require_writable()
        try:
            number = self._database.write(lambda each: self._reseal(each, intent))
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
            UnavailableError: the database cannot say now which of the two does.
        """
        if self._sealed.is_changing:
            self._database.require_writable()
            # As a write: it waits for a commit of which nobody heard whether it was kept, and
            # none begins before the files are what they should be.
            self._database.write(lambda each: self._settle(key_rows.sealed(each)))

    def warnings(self) -> list[str]:
        """Return what there is to say: keys that could not be used now."""
        with self._database.reading() as connection:
            one = key_rows.one_sealed(connection)
        return self._custody.warnings(one)

    def _reseal(self, connection: Connection, intent: Intent) -> int:
        found = key_rows.sealed(connection)
        if self._sealed.is_changing:
            self._settle(found)
        opened = [self._sealed.open_secret(each.data, each.label) for each in found]
        fresh = self._sealed.begin()
        for each, secret in zip(found, opened, strict=True):
            data = fresh.seal(secret, each.label)
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

    def _settle(self, found: Sequence[Kept]) -> None:
        if self._database.problem is not None:
            raise UnavailableError(self._database.problem, hint="try again once it takes changes")
        self._sealed.settle(found)

    def _left(self) -> list[str]:
        left = self.warnings()
        if self._database.shared is not None:
            left.append(
                "copy the new master key to every other server of this database: until then they "
                "sign nothing; they need no restart"
            )
        left.append("backups made before this need the old master key: it is not kept here")
        return left
