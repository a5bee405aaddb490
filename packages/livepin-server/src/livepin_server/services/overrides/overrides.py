"""`Overrides`: signed for one installation, replaced, ended, and told.

An override stands beside the configs and changes none: it takes a number from the counter that they
share, and only the installation whose key it names takes it (rule 9). A newer one replaces it, and
to end it is a newer one that is empty.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from livepin.documents import Config, Domain, config
from livepin.jose import parse_compact
from msgspec import structs
from sqlalchemy import Connection, delete, select
from sqlalchemy.engine import Row

from livepin_server.bus.memory import Bus, OverridesChanged
from livepin_server.custody.keeping import Custody
from livepin_server.errors import ConflictError, ForbiddenError, InvalidError, NotFoundError
from livepin_server.services.audit import Action, entry_of
from livepin_server.services.audit.log import Audit
from livepin_server.services.model import Intent
from livepin_server.services.publishing.published import newest, require_account, require_stream
from livepin_server.services.tokens.installations import last_request, named
from livepin_server.services.tokens.model import TEST
from livepin_server.storage.database import Database
from livepin_server.storage.schema import overrides

from . import rows
from .building import Wanted, domains
from .model import NewOverride, OverrideView
from .signing import Device, sign

MOST = 1000  # installations of an account with one: every server has them in memory
MOST_LISTED = 1000
_LONGEST_NUMBER = 16  # digits; an id has more


class Overrides:
    """Signs overrides, ends them and lists them.

    With `tested` only those of installations that have the tag `test` count; of others the caller
    learns nothing, not even whether they are there.
    """

    def __init__(
        self,
        database: Database,
        custody: Custody,
        bus: Bus,
        *,
        clock: Callable[[], datetime],
    ) -> None:
        self._database = database
        self._custody = custody
        self._bus = bus
        self._clock = clock
        self._audit = Audit(database)
        self._told = clock()  # which have expired by then

    def all(
        self, account: str, *, tested: bool, installation: str | None = None, limit: int = 50
    ) -> list[OverrideView]:
        """Return overrides, the newest first: those in force, and those that ended lately.

        Raises:
            NotFoundError: no such account. InvalidError: that names no installation.
        """
        query = rows.listed(account, tested=tested).limit(limit)
        with self._database.reading() as connection:
            require_account(connection, account)
            if installation is not None:
                identity = _named(connection, account, installation, tested)
                query = query.where(overrides.c.installation == identity)
            found = connection.execute(query).all()
            begun = rows.roots_begun(connection, account)
        now = self._clock()
        return [rows.view(row, begun, now) for row in found]

    def create(
        self, account: str, new: NewOverride, intent: Intent, *, tested: bool
    ) -> OverrideView:
        """Sign an override, in the place of the one that its installation has.

        Raises:
            InvalidError: it cannot be, or the app would refuse it. ForbiddenError: the
                installation has not the tag. NotFoundError: its key is not known.
            ConflictError: the server holds no key to sign it, or there are too many.
        """
        if not intent.reason:
            raise InvalidError("expected a reason", hint="--reason: it stays in the audit log")
        wanted = Wanted.of(new)
        said = {"hosts": wanted.hosts, "mode": wanted.mode.value, "pins": wanted.pin_texts}
        lives = timedelta(seconds=new.lives)

        def transaction(connection: Connection) -> OverrideView:
            now = self._clock()
            require_account(connection, account)
            device = _device(connection, account, new, tested)
            old = rows.newest(connection, account, device.id)
            if old is None or old.until <= now:
                _require_room(connection, account, now)
            made = domains(_config(connection, account, device.stream), wanted)
            begun = rows.roots_begun(connection, account)
            row = self._signed(connection, account, device, made, said, intent, lives, now)
            view = rows.view(row, begun, now)
            before = None if old is None or not old.hosts else rows.view(old, begun, now)
            replaced = _said(before) if before is not None and before.in_force else None
            after = _said(view)
            self._tell(connection, account, "override.create", view, intent, now, replaced, after)
            return view

        return self._done(account, transaction)

    def end(self, account: str, name: str, intent: Intent, *, tested: bool) -> OverrideView:
        """End an override, by its number or its installation, before it expires.

        Raises:
            NotFoundError: there is none of that number. ForbiddenError: the installation has not
                the tag. ConflictError: none is in force, or the server holds no key to sign that.
        """

        def transaction(connection: Connection) -> OverrideView:
            now = self._clock()
            require_account(connection, account)
            row = _meant(connection, account, name, tested)
            begun = rows.roots_begun(connection, account)
            view = rows.view(row, begun, now)
            if not view.in_force:
                raise ConflictError(
                    f"the override {view.version} of {view.installation} is over already",
                    hint="livepin override list",
                )
            device = Device(id=row.installation, thumbprint=row.thumbprint, stream=row.stream)
            said = {"hosts": (), "mode": "", "pins": ()}
            lives = row.until - now.replace(microsecond=0)
            end = self._signed(connection, account, device, (), said, intent, lives, now)
            before, after = _said(view), {"version": end.version}
            self._tell(connection, account, "override.end", view, intent, now, before, after)
            return structs.replace(view, ended=now, ended_by=intent.author, in_force=False)

        return self._done(account, transaction)

    def end_up_to(self, account: str, version: int, intent: Intent) -> None:
        """End what is in force up to a number, as after a restore: it may have been ended since.

        Raises:
            ConflictError: the server holds no key to sign that.
        """
        for each in self._in_force(account):
            if each.version <= version:
                self.end(account, str(each.version), intent, tested=False)

    def warnings(self, account: str) -> list[str]:
        """Return what people are to know: whose pins are not the config's, and until when."""
        return [
            f"an override {each.effect} the installation {each.installation} of {account} at "
            f"{', '.join(each.domains)} until {each.expires:%Y-%m-%d %H:%M} UTC, by {each.author}"
            for each in self._in_force(account)
        ]

    def tell_expired(self) -> None:
        """Have what has expired since the last time go out of memory, and out of copies."""
        now = self._clock()
        query = select(overrides.c.account).where(
            overrides.c.until > self._told, overrides.c.until <= now
        )
        with self._database.reading() as connection:
            accounts = connection.scalars(query.distinct()).all()
        self._told = now
        for each in accounts:
            self._bus.announce(OverridesChanged(account=each))

    def forget(self, before: datetime) -> None:
        """Forget what nobody can have in force since then; the audit log has it all."""
        gone = delete(overrides).where(overrides.c.until < before)
        self._database.write(lambda connection: connection.execute(gone))

    def _in_force(self, account: str) -> list[OverrideView]:
        with self._database.reading() as connection:
            return rows.in_force(connection, account, self._clock())

    def _signed(
        self,
        connection: Connection,
        account: str,
        device: Device,
        made: tuple[Domain, ...],
        said: Mapping[str, Any],
        intent: Intent,
        lives: timedelta,
        now: datetime,
    ) -> Row[Any]:
        """Sign an override, and keep it in the place of the one before."""
        document, raw = sign(connection, self._custody, account, device, made, lives=lives, now=now)
        row = {
            "account": account, "version": document.version, "installation": device.id,
            "thumbprint": device.thumbprint, "stream": device.stream,
            "root_version": document.root_version, "document": raw, "issued": document.issued,
            "expires": document.expires, "until": document.expires, "author": intent.author,
            "reason": intent.reason, "mode": said["mode"], "hosts": " ".join(said["hosts"]),
            "pins": " ".join(said["pins"]),
        }  # fmt: skip
        return rows.add(connection, row, now=now)

    def _tell(
        self,
        connection: Connection,
        account: str,
        action: Action,
        view: OverrideView,
        intent: Intent,
        now: datetime,
        before: Mapping[str, Any] | None,
        after: Mapping[str, Any],
    ) -> None:
        entry = entry_of(
            intent,
            account=account,
            action=action,
            now=now,
            target=view.installation,
            before=before,
            after=after,
        )
        self._audit.append(connection, entry)

    def _done(
        self, account: str, transaction: Callable[[Connection], OverrideView]
    ) -> OverrideView:
        """Make a change, and tell everybody of it, other processes with the commit."""
        news = OverridesChanged(account=account)

        def told(connection: Connection) -> OverrideView:
            found = transaction(connection)
            self._bus.enclose(connection, news)
            return found

        found = self._database.write(told)
        self._bus.announce(news)
        return found


def _named(connection: Connection, account: str, name: str, tested: bool) -> str:
    """Return the id that is meant; one of which nothing is known may be."""
    return named(connection, account, name, new=True, tag=TEST if tested else None)


def _require_tested(connection: Connection, account: str, identity: str) -> None:
    """Refuse an installation without the tag, and one of which nothing is known just so."""
    if not rows.is_tested(connection, account, identity):
        raise ForbiddenError(
            f"expected an installation with the tag {TEST}, {identity} has it not",
            hint=f"an admin gives it: livepin installation tag {identity} {TEST}",
        )


def _require_room(connection: Connection, account: str, now: datetime) -> None:
    if rows.count_delivered(connection, account, now) >= MOST:
        raise ConflictError(
            f"{MOST} installations of {account} have an override",
            hint="end those that nobody needs: livepin override list",
        )


def _device(connection: Connection, account: str, new: NewOverride, tested: bool) -> Device:
    """Return the installation that is meant, whose key has to be known."""
    identity = _named(connection, account, new.installation, tested)
    if tested:
        _require_tested(connection, account, identity)
    row = last_request(connection, account, identity)
    thumbprint = new.installation if row is None else row.thumbprint
    if thumbprint == identity:
        raise NotFoundError(
            f"the key of {identity} is not known: it has not asked for a token yet",
            hint="give its thumbprint; the app shows it: client.installation_thumbprint",
        )
    stream = new.stream or ("main" if row is None else row.stream)
    require_stream(connection, account, stream)
    return Device(id=identity, thumbprint=thumbprint, stream=stream)


def _meant(connection: Connection, account: str, name: str, tested: bool) -> Row[Any]:
    """Return the override of a number, or the newest of an installation."""
    if name.isascii() and name.isdigit() and len(name) <= _LONGEST_NUMBER:
        found = rows.numbered(connection, account, int(name))
        if found is None or (
            tested and not rows.is_tested(connection, account, found.installation)
        ):
            raise NotFoundError(
                f"there is no override {name} of {account}", hint="livepin override list"
            )
        return found
    identity = _named(connection, account, name, tested)
    if tested:
        _require_tested(connection, account, identity)
    found = rows.newest(connection, account, identity)
    if found is None or not found.hosts:
        raise ConflictError(f"no override of {identity} is in force", hint="livepin override list")
    return found


def _config(connection: Connection, account: str, stream: str) -> Config:
    (row,) = newest(connection, account, stream)
    return Config.parse(parse_compact(row.document, typ=config.TYP).payload)


def _said(view: OverrideView) -> dict[str, Any]:
    """Return what the audit log says of an override."""
    return {
        "version": view.version, "root_version": view.root_version, "domains": view.domains,
        "mode": view.mode, "pins": view.pins, "expires": view.expires,
        "thumbprint": view.thumbprint, "stream": view.stream,
    }  # fmt: skip
