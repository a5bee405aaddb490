"""What is in a backup: bounded records, one after another, and one that says that it is the last.

    livepin-backup/1 = age( gzip( record* ) )
    record           = length (4 bytes, big-endian), MessagePack of one of the values below

First comes the header, then files, then rows, then the end. A reader takes nothing on trust: a
recipient is public, so anybody may have made what it opens.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import IO, Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from livepin_server import layout
from livepin_server.errors import BackupError
from livepin_server.settings import FILE as SETTINGS
from livepin_server.storage.rows import Rows

FORMAT = "livepin-backup/1"
MOST_RECORD = 64 * 1024 * 1024  # bytes; a document may have 8 MiB
MOST_FILE = 256 * 1024  # bytes
# Which files may be in one, and nothing else: a name never leads out of the folder.
FILES = frozenset(
    {
        SETTINGS,
        layout.MASTER_KEY,
        layout.NEXT_MASTER_KEY,
        layout.OPERATOR_KEY,
        *(
            f"{folder}/{name}"
            for folder in (layout.TLS, layout.NEXT_TLS)
            for name in ("ca.pem", "server.pem", "server.key", "next.pem", "next.key")
        ),
    }
)

_LENGTH = 4  # bytes
_LEVEL = 3  # of compression: half of the best one's time
_NAME = Meta(min_length=1, max_length=63)


class Header(Struct, frozen=True, kw_only=True, tag="header"):
    """Of what and when it is. `master_key` is `elsewhere` where the environment gives it."""

    format: str
    moment: Annotated[datetime, Meta(tz=True)]
    version: Annotated[str, Meta(max_length=63)]
    schema: Annotated[str, Meta(max_length=63)]
    master_key: Literal["file", "elsewhere"]


class File(Struct, frozen=True, kw_only=True, tag="file"):
    """A file of the data folder."""

    path: Annotated[str, Meta(max_length=63)]
    data: Annotated[bytes, Meta(max_length=MOST_FILE)]


class TableRows(Struct, frozen=True, kw_only=True, tag="rows"):
    """Some rows of a table, as the database keeps them."""

    table: Annotated[str, _NAME]
    columns: Annotated[list[Annotated[str, _NAME]], Meta(max_length=100)]
    values: Annotated[list[list[Any]], Meta(max_length=1000)]


class End(Struct, frozen=True, kw_only=True, tag="end"):
    """The end: how many rows there were."""

    rows: int


Record = Header | File | TableRows | End

_encode = msgspec.msgpack.Encoder().encode
_decode: Callable[[bytes], Record] = msgspec.msgpack.Decoder(Record).decode


def written(records: Iterable[Record]) -> Iterator[bytes]:
    """Give records as they stand in a backup."""
    packer = zlib.compressobj(_LEVEL, wbits=31)
    for each in records:
        data = _encode(each)
        if len(data) > MOST_RECORD:
            raise BackupError(f"a record has {len(data)} bytes; expected at most {MOST_RECORD}")
        yield packer.compress(len(data).to_bytes(_LENGTH, "big") + data)
    yield packer.flush()


class Reader:
    """A backup that is read: its header at once, then its files, then its rows.

    Raises:
        BackupError: it is not a backup, or not one that this version reads.
    """

    def __init__(self, plain: IO[bytes]) -> None:
        self._plain = gzip.GzipFile(fileobj=plain)
        self._ahead: Record | None = None
        found = self._next()
        if not isinstance(found, Header) or found.format != FORMAT:
            raise BackupError(
                f"expected a backup in the format {FORMAT}",
                hint="was it made by a newer version of livepin-server? install that one",
            )
        self.header = found

    def files(self) -> Iterator[File]:
        """Give the files, each once.

        Raises:
            BackupError: one that does not belong into a data folder.
        """
        seen: set[str] = set()
        while isinstance(found := self._next(), File):
            if found.path not in FILES or found.path in seen:
                raise BackupError(f"it holds a file that is not one of Livepin's: {found.path!r}")
            seen.add(found.path)
            yield found
        self._ahead = found

    def rows(self) -> Iterator[Rows]:
        """Give the rows, after the files; it ends only if the backup is whole.

        Raises:
            BackupError: it ends early, or goes on after its end.
        """
        count = 0
        while isinstance(found := self._next(), TableRows):
            count += len(found.values)
            yield Rows(
                table=found.table,
                columns=tuple(found.columns),
                values=[tuple(each) for each in found.values],
            )
        if not isinstance(found, End) or found.rows != count or self._read(1):
            raise BackupError("it is not whole: its end is missing or another one's")

    def _next(self) -> Record:
        if self._ahead is not None:
            found, self._ahead = self._ahead, None
            return found
        length = int.from_bytes(self._exactly(_LENGTH), "big")
        if length > MOST_RECORD:
            raise BackupError(f"a record has {length} bytes; expected at most {MOST_RECORD}")
        try:
            return _decode(self._exactly(length))
        except (msgspec.DecodeError, RecursionError, ValueError) as exc:  # of bad UTF-8, too
            raise BackupError("it holds a record that is none of a backup") from exc

    def _exactly(self, size: int) -> bytes:
        found = self._read(size)
        if len(found) != size:
            raise BackupError("it ends early: it was cut off")
        return found

    def _read(self, size: int) -> bytes:
        try:
            return self._plain.read(size)
        except (gzip.BadGzipFile, EOFError, zlib.error) as exc:
            raise BackupError("it is not a backup of Livepin, or it was cut off") from exc
