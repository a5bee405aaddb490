"""Making a backup of a data folder, while its server runs or not.

It reads one consistent state of the database and takes no lock, so nobody waits for it. Private
keys are in it, so it is made from the data folder itself and never over the API.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Literal

from sqlalchemy import Connection, func, select

from livepin_server import __version__, folder, layout
from livepin_server.custody import age
from livepin_server.custody.age import Seal
from livepin_server.custody.files import replacing
from livepin_server.custody.label import SEALED, Label
from livepin_server.custody.sealed import load_master_key
from livepin_server.errors import BackupError, CustodyError
from livepin_server.settings import database_url
from livepin_server.storage import rows, schema_version
from livepin_server.storage.database import Database
from livepin_server.storage.schema import accounts, keys

from . import form

_TRIES = 3  # where keys are replaced meanwhile
_VARIABLE = "LIVEPIN_MASTER_KEY"

Progress = Callable[[int], None]  # told how many rows are done


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A backup that was made. Without `master_key` it holds none: the environment gives it."""

    path: Path
    size: int
    moment: datetime
    schema: str
    accounts: int
    rows: int
    master_key: bool


def make(
    data: Path,
    environment: Mapping[str, str],
    target: Path,
    seal: Seal,
    *,
    now: datetime,
    progress: Progress = lambda _: None,
) -> Made:
    """Write a backup to `target`, whole or not at all; over nothing but another sealed file.

    Raises:
        BackupError, ConfigurationError, CustodyError, SchemaError, UnavailableError: it cannot be
            made; `target` is as it was.
    """
    seal.checked()
    settings = folder.read_settings(data, environment)
    database = Database(database_url(settings, data))
    try:
        with replacing(target, kind=age.MAGIC) as file:
            for _ in range(_TRIES):
                files = _files(data)
                with database.reading() as connection:
                    try:
                        header = _header(connection, files, data, environment, now)
                    except CustodyError:
                        if _files(data) == files:
                            raise
                        continue
                    if _files(data) == files:  # else files and rows may not belong together
                        return _write(connection, header, files, target, file, seal, progress)
            raise BackupError(f"the keys in {data} keep changing", hint="try again in a moment")
    finally:
        database.close()


def _files(data: Path) -> dict[str, bytes]:
    """Return the files of a data folder that a lost server needs."""
    found = {}
    for name in sorted(form.FILES):
        path = data / name
        try:
            with path.open("rb") as file:
                content = file.read(form.MOST_FILE + 1)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as exc:
            raise CustodyError(f"cannot read {path}: {exc.strerror}") from exc
        if len(content) > form.MOST_FILE:
            raise CustodyError(f"expected {path} to hold at most {form.MOST_FILE} bytes")
        found[name] = content
    return found


def _header(
    connection: Connection,
    files: dict[str, bytes],
    data: Path,
    environment: Mapping[str, str],
    now: datetime,
) -> form.Header:
    """Return the header; the first look at the database fixes what is seen of it."""
    schema = schema_version.revision(connection)
    schema_version.require(schema)
    return form.Header(
        format=form.FORMAT,
        moment=now,
        version=__version__,
        schema=str(schema),
        master_key=_master_key(connection, files, data, environment),
    )


def _master_key(
    connection: Connection, files: dict[str, bytes], data: Path, environment: Mapping[str, str]
) -> Literal["file", "elsewhere"]:
    """Tell where the master key is, and that it is the one: else the backup would be worthless.

    Where it is given by the environment of the server alone, nothing here can try it.
    """
    given = environment.get(_VARIABLE)
    where: Literal["file", "elsewhere"] = (
        "elsewhere" if given or layout.MASTER_KEY not in files else "file"
    )
    if given or where == "file":
        vault = load_master_key(data / layout.MASTER_KEY, given)
        for row in connection.execute(select(keys)):
            if row.sealed[:1] != SEALED:
                continue  # it is in a token, which no backup holds
            vault.open(row.sealed, Label(row.account, row.role, row.kid))
    return where


def _write(
    connection: Connection,
    header: form.Header,
    files: dict[str, bytes],
    target: Path,
    file: IO[bytes],
    seal: Seal,
    progress: Progress,
) -> Made:
    count = 0

    def told(so_far: int) -> None:
        nonlocal count
        count = so_far
        progress(so_far)

    if header.master_key == "elsewhere":
        files = {name: found for name, found in files.items() if name != layout.MASTER_KEY}
    number = connection.scalar(select(func.count()).select_from(accounts)) or 0
    age.seal(form.written(_records(connection, header, files, told)), file, seal)
    return Made(
        path=target,
        size=file.tell(),
        moment=header.moment,
        schema=header.schema,
        accounts=number,
        rows=count,
        master_key=header.master_key == "file",
    )


def _records(
    connection: Connection, header: form.Header, files: dict[str, bytes], told: Progress
) -> Iterator[form.Record]:
    yield header
    for path, content in files.items():
        yield form.File(path=path, data=content)
    count = 0
    for found in rows.every(connection):
        values = [list(each) for each in found.values]
        yield form.TableRows(table=found.table, columns=list(found.columns), values=values)
        count += len(values)
        told(count)
    yield form.End(rows=count)
