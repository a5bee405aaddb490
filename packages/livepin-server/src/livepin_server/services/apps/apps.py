"""`Apps`: which apps there are, and by what their evidence is known.

The keys that open evidence are sealed, and leave this module only for those who verify.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import msgspec
from msgspec import structs, to_builtins
from sqlalchemy import Connection, delete, insert, update
from sqlalchemy.engine import Row

from livepin_server.attestation.play import PlayApp
from livepin_server.attestation.registered import FORMATS, Kind, Registered, provable
from livepin_server.bus.memory import Bus, TokensChanged
from livepin_server.custody.keeping import Custody
from livepin_server.custody.label import Label
from livepin_server.errors import ConflictError, CustodyError, InvalidError
from livepin_server.services import key_rows
from livepin_server.services.audit import Action, entry_of
from livepin_server.services.audit.log import Audit
from livepin_server.services.model import Intent
from livepin_server.services.nearest import not_found
from livepin_server.services.publishing.published import require_account
from livepin_server.storage.database import Database
from livepin_server.storage.schema import apps, releases

from . import needs, parsing, rows
from .model import AppChange, AppView, Identities, NewApp

MOST_APPS = 200  # of an account


class Apps:
    """Registers apps. What changes holds at once, on every server."""

    def __init__(
        self,
        database: Database,
        custody: Custody,
        bus: Bus,
        *,
        clock: Callable[[], datetime],
    ) -> None:
        self._database = database
        self._sealed = custody.sealed
        self._bus = bus
        self._clock = clock
        self._audit = Audit(database)
        self._opened: dict[bytes, PlayApp] = {}  # by what is sealed: to read an RSA key takes long

    def all(self, account: str) -> list[AppView]:
        """Return the apps of an account, by name."""
        with self._database.reading() as connection:
            require_account(connection, account)
            return _views(connection, account)

    def show(self, account: str, name: str) -> AppView:
        """Return one app.

        Raises:
            NotFoundError: no such app.
        """
        with self._database.reading() as connection:
            require_account(connection, account)
            return _view(connection, account, name)

    def add(self, account: str, new: NewApp, intent: Intent) -> AppView:
        """Register an app. Without identities it can prove nothing but what it says of itself.

        Raises:
            ConflictError: it is registered, or there are too many. InvalidError: a name or an
                identity is not what it should be.
        """
        parsing.require_name(new.name)
        said = parsing.identities(new)

        def transaction(connection: Connection) -> AppView:
            now = self._clock()
            require_account(connection, account)
            names = {row.name for row in rows.all_apps(connection, account)}
            if new.name in names:
                raise ConflictError(
                    f"there is an app {new.name!r} already", hint=f"livepin app set {new.name}"
                )
            if len(names) >= MOST_APPS:
                raise ConflictError(f"expected at most {MOST_APPS} apps in {account}")
            row = {"account": account, "name": new.name, "created": now, "identities": "{}"}
            connection.execute(insert(apps).values(**row))
            self._put(connection, account, new.name, Identities(), said)
            return self._told(connection, account, new.name, "app.add", None, intent, now)

        return self._written(account, transaction)

    def set(self, account: str, name: str, change: AppChange, intent: Intent) -> AppView:
        """Replace the identities that are said, end those that are to be removed; others stay.

        Raises:
            NotFoundError: no such app. InvalidError: an identity is not what it should be, or
                nothing is said. ConflictError: the policy in force needs one that ends.
        """
        said = parsing.identities(change)
        both = [each for each in change.remove if each in said]
        if both:
            raise InvalidError(f"expected {both[0]} to be replaced or to end, found both")
        if not said and not change.remove:
            raise InvalidError("expected an identity", hint="livepin app set --help")

        def transaction(connection: Connection) -> AppView:
            now = self._clock()
            require_account(connection, account)
            before = _view(connection, account, name)
            left = structs.replace(before.identities, **dict.fromkeys(change.remove))
            self._put(connection, account, name, left, said)
            rows.forget_proofs(connection, account, name, change.remove)
            after = _view(connection, account, name)
            needs.require_level(connection, account, name, before.proves, after.proves)
            return self._told(connection, account, name, "app.set", before, intent, now)

        return self._written(account, transaction)

    def remove(self, account: str, name: str, intent: Intent) -> AppView:
        """Remove an app with its releases; return what it was.

        Raises:
            NotFoundError: no such app. ConflictError: the policy in force needs it.
        """

        def transaction(connection: Connection) -> AppView:
            now = self._clock()
            require_account(connection, account)
            found = _view(connection, account, name)
            needs.require_level(connection, account, name, found.proves, provable(()))
            if found.releases:
                needs.require_releases(connection, account, name)
            of_app = releases.c.account == account, releases.c.app == name
            connection.execute(delete(releases).where(*of_app))
            connection.execute(delete(apps).where(*_one(account, name)))
            rows.forget_proofs(connection, account, name, FORMATS)
            self._tell(connection, account, name, "app.remove", intent, now, before=_said(found))
            return found

        return self._written(account, transaction)

    def read(self, connection: Connection, account: str) -> Mapping[str, Registered]:
        """Return what verifiers need of each app, by its name.

        Raises:
            CustodyError: the keys of one do not open.
        """
        in_force = rows.in_force(connection, account)
        return {
            row.name: self._registered(row, in_force.get(row.name, {}))
            for row in rows.all_apps(connection, account)
        }

    def _registered(self, row: Row[Any], versions: Mapping[str, str]) -> Registered:
        shown = rows.identities(row)
        return Registered(
            android=shown.android,
            apple=shown.apple,
            play=None if row.sealed is None else self._open(row),
            workload=shown.workload,
            releases=versions,
        )

    def _open(self, row: Row[Any]) -> PlayApp:
        kept = key_rows.app_keys(row)
        found = self._opened.get(kept.data)
        if found is None:
            secret = self._sealed.open_secret(kept.data, kept.label)
            try:
                found = msgspec.json.decode(secret, type=PlayApp)
            except msgspec.MsgspecError:
                raise CustodyError(f"the keys of {row.name} of {row.account} are damaged") from None
            if len(self._opened) >= MOST_APPS:
                self._opened.clear()
            self._opened[kept.data] = found
        return found

    def _put(
        self,
        connection: Connection,
        account: str,
        name: str,
        before: Identities,
        said: Mapping[Kind, parsing.Identity],
    ) -> None:
        """Keep what is said over what was before, the keys sealed."""
        play = said.get("play")
        shown: dict[str, Any] = dict(said.items())
        if isinstance(play, PlayApp):
            shown["play"] = play.public()
        after = structs.replace(before, **shown)
        values: dict[str, Any] = {"identities": msgspec.json.encode(after).decode()}
        if isinstance(play, PlayApp):
            values["sealed"] = self._sealed.keep_secret(
                msgspec.json.encode(play),
                Label(account, key_rows.PLAY, name),
                beside=key_rows.one_sealed(connection),
            )
        elif after.play is None:
            values["sealed"] = None
        connection.execute(update(apps).where(*_one(account, name)).values(**values))

    def _written(self, account: str, transaction: Callable[[Connection], AppView]) -> AppView:
        done = self._database.write(transaction)
        self._bus.announce(TokensChanged(account=account))
        return done

    def _told(
        self,
        connection: Connection,
        account: str,
        name: str,
        action: Action,
        before: AppView | None,
        intent: Intent,
        now: datetime,
    ) -> AppView:
        view = _view(connection, account, name)
        was = None if before is None else _said(before)
        self._tell(connection, account, name, action, intent, now, before=was, after=_said(view))
        return view

    def _tell(
        self,
        connection: Connection,
        account: str,
        name: str,
        action: Action,
        intent: Intent,
        now: datetime,
        before: Mapping[str, Any] | None = None,
        after: Mapping[str, Any] | None = None,
    ) -> None:
        entry = entry_of(
            intent,
            account=account,
            action=action,
            now=now,
            target=name,
            before=before,
            after=after,
        )
        self._audit.append(connection, entry)
        self._bus.enclose(connection, TokensChanged(account=account))


def _one(account: str, name: str) -> tuple[Any, ...]:
    return apps.c.account == account, apps.c.name == name


def _views(connection: Connection, account: str) -> list[AppView]:
    number = rows.counted(connection, account)
    found = []
    for row in rows.all_apps(connection, account):
        shown = rows.identities(row)
        found.append(
            AppView(
                name=row.name,
                identities=shown,
                proves=provable(shown.kinds()),
                releases=number.get(row.name, 0),
                created=row.created,
            )
        )
    return found


def _view(connection: Connection, account: str, name: str) -> AppView:
    known = {each.name: each for each in _views(connection, account)}
    if name not in known:
        raise not_found("app", name, known)
    return known[name]


def _said(view: AppView) -> dict[str, Any]:
    return dict(to_builtins(view.identities))
