"""Restoring a server from a backup: whole or not at all, and above everything that apps have seen.

A number that is given out twice is a rollback to the apps that know it, so each account goes on
above every number that the lost server can have given out since the backup. That needs nothing
but the clock. What is still out there is looked at besides: for newer roots, for what is lost,
and for configs that only a thief of the keys can have signed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO

from livepin.errors import ConfigurationError
from sqlalchemy import Connection, select

from livepin_server import folder, layout
from livepin_server import settings as settings_file
from livepin_server.custody import age, tls_identity
from livepin_server.custody.age import Opening
from livepin_server.custody.files import sync_folder, write_secret
from livepin_server.custody.label import SEALED, Label
from livepin_server.custody.sealed import load_master_key
from livepin_server.errors import BackupError, SchemaError
from livepin_server.exports.static import Documents, export
from livepin_server.exports.static.folder import FolderTarget
from livepin_server.services.monitoring import leases
from livepin_server.storage import rows, schema_version
from livepin_server.storage.database import Database
from livepin_server.storage.rows import Rows
from livepin_server.storage.schema import keys, schedule

from . import accounts, form, mark
from .accounts import Numbers, RestoredAccount
from .making import Progress
from .sources import copy_of, source

SQLITE = "sqlite"  # as a database: a file in the new folder


@dataclass(frozen=True, slots=True, kw_only=True)
class RestorePlan:
    """What `livepin restore` is to do.

    `database` takes the place of the backup's; `above` is a version that everything goes above;
    `seen` are further places to look at; newer configs are kept in `keep`.
    """

    file: Path
    data: Path
    opening: Opening
    database: str | None = None
    above: int | None = None
    seen: tuple[str, ...] = ()
    keep: Path | None = None
    offline: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What was restored. `kept` are the files of newer configs."""

    header: form.Header
    rows: int
    accounts: list[RestoredAccount]
    kept: list[Path]


def restore(
    plan: RestorePlan,
    environment: Mapping[str, str],
    *,
    clock: Callable[[], datetime],
    progress: Progress = lambda _: None,
) -> Restored:
    """Make a data folder from a backup, or leave nothing behind.

    Raises:
        BackupError, ConfigurationError, CustodyError, SchemaError, ServiceError: it cannot be
            made; the message says why.
    """
    data = plan.data.resolve()
    try:
        folder.check_paths(data)
        with ExitStack() as undo:
            making = folder.beside(data, undo)
            restored = _Restoring(plan, making, environment, clock(), progress).run(undo)
            sync_folder(making)
            if data.exists():
                data.rmdir()
            making.rename(data)
            undo.pop_all()
        sync_folder(data.parent)
    except OSError as exc:
        raise ConfigurationError(f"cannot restore to {data}: {exc.strerror or exc}") from exc
    return restored


class _Restoring:
    """One restore, into a folder that is not the data folder yet."""

    def __init__(
        self,
        plan: RestorePlan,
        making: Path,
        environment: Mapping[str, str],
        now: datetime,
        progress: Progress,
    ) -> None:
        self._plan = plan
        self._making = making
        self._environment = environment
        self._now = now
        self._progress = progress

    def run(self, undo: ExitStack) -> Restored:
        """Fill the folder and the database; `undo` is for what is outside of the folder."""
        plan = self._plan
        seen = [source(each, self._environment) for each in plan.seen]
        with ExitStack() as stack:
            with _opened(plan.file) as sealed, age.opened(sealed, plan.opening) as plain:
                reader = form.Reader(plain)
                header = reader.header
                numbers = Numbers(moment=header.moment, now=self._now, above=plan.above)
                numbers.check()
                self._write_files(reader)
                settings = folder.read_settings(self._making, self._environment)
                database = stack.enter_context(folder.open_database(settings, self._making))
                self._require_empty(database)
                count, last = self._fill(database, reader, numbers)
                self._empty_on_failure(database, undo)  # not before: it might be another's
            self._require_keys(database, header)
            exports = [] if plan.offline else settings.export
            places = [*(copy_of(each, self._environment) for each in exports), *seen]
            found = accounts.recover(database, last, numbers, places, offline=plan.offline)
        mark.write(self._making, _mark(header, found))
        return Restored(header=header, rows=count, accounts=found, kept=[*_keep(plan.keep, found)])

    def _write_files(self, reader: form.Reader) -> None:
        for each in reader.files():
            path = self._making / each.path
            path.parent.mkdir(mode=0o700, exist_ok=True)
            data = each.data
            if each.path == settings_file.FILE and self._plan.database is not None:
                named = None if self._plan.database == SQLITE else self._plan.database
                text = settings_file.with_database(data.decode("utf-8", "replace"), named)
                data = text.encode()
            write_secret(path, data)
        for tls in self._tls():
            sync_folder(tls)

    def _tls(self) -> list[Path]:
        """Return the folders of delivery keys: a renewal may have been under way."""
        found = (self._making / each for each in (layout.TLS, layout.NEXT_TLS))
        return [each for each in found if each.is_dir()]

    def _require_empty(self, database: Database) -> None:
        if schema_version.current(database) is not None:
            raise SchemaError(
                "the database holds the data of a Livepin server; nothing of it was changed",
                hint="name an empty one: --database URL",
            )

    def _empty_on_failure(self, database: Database, undo: ExitStack) -> None:
        """Leave nothing in a database that is not in the new folder."""
        path, url = database.path, database.url
        if path is not None and path.resolve().is_relative_to(self._making.resolve()):
            return

        def empty() -> None:
            with closing(Database(url.render_as_string(hide_password=False))) as again:
                schema_version.remove(again)

        undo.callback(empty)

    def _fill(
        self, database: Database, reader: form.Reader, numbers: Numbers
    ) -> tuple[int, dict[str, int]]:
        """Fill the database; from its commit on no number that was given out is given out again."""

        def fill(connection: Connection, tables: set[str]) -> tuple[int, dict[str, int]]:
            count = rows.fill(connection, tables, self._counted(reader.rows()))
            if schedule.name in tables:  # else the backup is older than monitoring
                leases.begin_anew(connection, self._now)
            return count, accounts.raise_all(connection, numbers)

        return schema_version.restore(database, reader.header.schema, fill)

    def _counted(self, found: Iterator[Rows]) -> Iterator[Rows]:
        count = 0
        for each in found:
            yield each
            count += len(each.values)
            self._progress(count)

    def _require_keys(self, database: Database, header: form.Header) -> None:
        """Refuse a backup whose keys do not open; a master key that is elsewhere may come later."""
        for each in self._tls()[:1] or [self._making / layout.TLS]:
            tls_identity.load(each)
        given = self._environment.get("LIVEPIN_MASTER_KEY")
        if header.master_key == "elsewhere" and not given:
            return
        vault = load_master_key(self._making / layout.MASTER_KEY, given)
        with database.reading() as connection:
            for row in connection.execute(select(keys)):
                if row.sealed[:1] != SEALED:
                    continue  # it is in a token, which the backup does not hold
                vault.open(row.sealed, Label(row.account, row.role, row.kid))


def _opened(path: Path) -> IO[bytes]:
    try:
        return path.open("rb")
    except OSError as exc:
        raise BackupError(
            f"cannot read {path}: {exc.strerror}", hint="is it the right file?"
        ) from exc


def _mark(header: form.Header, found: list[RestoredAccount]) -> mark.Mark:
    marked = {
        each.name: mark.MarkedAccount(
            floor=each.floor, root_version=each.root_version, foreign=each.foreign
        )
        for each in found
    }
    return mark.Mark(backup=header.moment, accounts=marked)


def _keep(keep: Path | None, found: list[RestoredAccount]) -> Iterator[Path]:
    """Keep the configs that the backup does not know, with the roots that vouch for them."""
    if keep is None:
        return
    keep.mkdir(parents=True, exist_ok=True)
    for each in found:
        configs = {stream: newer.raw for stream, newer in each.sightings.newer.items()}
        if configs:
            known = {**each.documents.roots, **each.sightings.roots}
            documents = Documents(account=each.name, roots=known, configs=configs)
            outcome = export(documents, FolderTarget(keep))
            yield from (keep / path for path in outcome.written)
