"""`Releases`: which versions of an app there are, and the files of each."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, insert, update
from sqlalchemy.engine import Row

from livepin_server.bus.memory import Bus, TokensChanged
from livepin_server.errors import ConflictError
from livepin_server.services.audit import Action, entry_of
from livepin_server.services.audit.log import Audit
from livepin_server.services.model import Intent
from livepin_server.services.nearest import not_found
from livepin_server.services.publishing.published import require_account
from livepin_server.storage.database import Database
from livepin_server.storage.schema import releases

from . import needs, parsing, rows
from .model import NewRelease, ReleaseView

MOST_RELEASES = 50  # in force, of an app
_MOST_ENDED = 100  # of an app; the oldest are forgotten, the audit log has them


class Releases:
    """Registers releases. Those in force are what measured files of an app may be."""

    def __init__(self, database: Database, bus: Bus, *, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._bus = bus
        self._clock = clock
        self._audit = Audit(database)

    def all(self, account: str, app: str) -> list[ReleaseView]:
        """Return the releases of an app, the one that was added last first.

        Raises:
            NotFoundError: no such app.
        """
        with self._database.reading() as connection:
            return [_view(row) for row in _of_app(connection, account, app)]

    def add(self, account: str, app: str, new: NewRelease, intent: Intent) -> ReleaseView:
        """Register a release; it is in force from now on. One that ended may come back.

        Raises:
            NotFoundError: no such app. ConflictError: that version, or a release of the same
                files, is in force; or there are too many. InvalidError: no version or manifest.
        """
        parsing.require_version(new.version)
        manifest = parsing.manifest(new.manifest)

        def transaction(connection: Connection) -> ReleaseView:
            now = self._clock()
            found = _of_app(connection, account, app)
            _require_new(app, [row for row in found if row.ended is None], new, manifest.digest)
            connection.execute(delete(releases).where(*_one(account, app, new.version)))
            row = {
                "account": account, "app": app, "version": new.version,
                "digest": manifest.digest, "files": len(manifest.files),
                "manifest": new.manifest.encode(), "created": now, "author": intent.author,
            }  # fmt: skip
            connection.execute(insert(releases).values(**row))
            return self._told(connection, account, app, new.version, "release.add", intent, now)

        return self._written(account, transaction)

    def end(self, account: str, app: str, version: str, intent: Intent) -> ReleaseView:
        """End a release: its files are those of no release from now on.

        Raises:
            NotFoundError: no such release is in force. ConflictError: it is the last one, and
                the policy in force takes registered releases alone.
        """

        def transaction(connection: Connection) -> ReleaseView:
            now = self._clock()
            found = _of_app(connection, account, app)
            in_force = {row.version for row in found if row.ended is None}
            if version not in in_force:
                raise not_found("release in force", version, in_force)
            if len(in_force) == 1:
                needs.require_releases(connection, account, app)
            connection.execute(
                update(releases)
                .where(*_one(account, app, version))
                .values(ended=now, manifest=None)
            )
            _forget(connection, account, app)
            return self._told(connection, account, app, version, "release.end", intent, now)

        return self._written(account, transaction)

    def _written(
        self, account: str, transaction: Callable[[Connection], ReleaseView]
    ) -> ReleaseView:
        done = self._database.write(transaction)
        self._bus.announce(TokensChanged(account=account))
        return done

    def _told(
        self,
        connection: Connection,
        account: str,
        app: str,
        version: str,
        action: Action,
        intent: Intent,
        now: datetime,
    ) -> ReleaseView:
        known = {row.version: row for row in rows.of_app(connection, account, app)}
        view = _view(known[version])
        said = {"digest": view.digest, "files": view.files}
        before, after = (said, None) if action == "release.end" else (None, said)
        entry = entry_of(
            intent, account=account, action=action, now=now, target=f"{app} {version}",
            before=before, after=after,
        )  # fmt: skip
        self._audit.append(connection, entry)
        self._bus.enclose(connection, TokensChanged(account=account))
        return view


def _of_app(connection: Connection, account: str, app: str) -> list[Row[Any]]:
    require_account(connection, account)
    known = [row.name for row in rows.all_apps(connection, account)]
    if app not in known:
        raise not_found("app", app, known)
    return rows.of_app(connection, account, app)


def _require_new(app: str, in_force: list[Row[Any]], new: NewRelease, digest: str) -> None:
    same = [row.version for row in in_force if row.digest == digest or row.version == new.version]
    if new.version in same:
        raise ConflictError(
            f"the release {new.version} of {app} is in force already",
            hint=f"livepin app release end {app} {new.version}; or give another version",
        )
    if same:
        raise ConflictError(f"the release {same[0]} of {app} has the same files")
    if len(in_force) >= MOST_RELEASES:
        raise ConflictError(
            f"expected at most {MOST_RELEASES} releases of {app} in force",
            hint=f"livepin app release end {app} VERSION",
        )


def _forget(connection: Connection, account: str, app: str) -> None:
    ended = [row for row in rows.of_app(connection, account, app) if row.ended is not None]
    for row in sorted(ended, key=lambda each: each.ended, reverse=True)[_MOST_ENDED:]:
        connection.execute(delete(releases).where(*_one(account, app, row.version)))


def _one(account: str, app: str, version: str) -> tuple[Any, ...]:
    of_app = releases.c.account == account, releases.c.app == app
    return (*of_app, releases.c.version == version)


def _view(row: Row[Any]) -> ReleaseView:
    return ReleaseView(
        version=row.version,
        digest=row.digest,
        files=row.files,
        created=row.created,
        author=row.author,
        ended=row.ended,
    )
