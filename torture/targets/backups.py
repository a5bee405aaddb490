"""What a backup holds once it is opened, which anybody may have made: its records."""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterator
from datetime import datetime, timezone

from livepin_server.backups import form
from livepin_server.backups.form import End, File, Header, Reader, TableRows
from livepin_server.errors import BackupError

from .target import Target

_HEADER = Header(
    format=form.FORMAT,
    moment=datetime(2026, 11, 23, tzinfo=timezone.utc),
    version="0.1.0",
    schema="0001",
    master_key="file",
)
_FILE = File(path="livepin.toml", data=b"delivery_urls = []\n")
_ROWS = TableRows(table="t", columns=["a", "b"], values=[["x", 1], [b"y", None], [True, -(2**63)]])


def _records(data: bytes) -> None:
    try:
        reader = Reader(io.BytesIO(gzip.compress(data, 0)))
        files = list(reader.files())
        rows = list(reader.rows())
    except BackupError:
        return
    assert {each.path for each in files} <= form.FILES
    assert all(len(each.values) <= 1000 for each in rows)


def _streams() -> Iterator[bytes]:
    for records in ((_HEADER, End(rows=0)), (_HEADER, _FILE, _ROWS, _ROWS, End(rows=6))):
        yield gzip.decompress(b"".join(form.written(records)))


TARGETS = {"backup": Target(run=_records, seeds=_streams, longest=2048)}
