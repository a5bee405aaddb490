"""The form of a backup: read back as written, bounded, and whole or refused."""

from __future__ import annotations

import datetime as dt
import gzip
import io

import msgspec
import pytest
from livepin_server.backups import form
from livepin_server.backups.form import End, File, Header, Reader, TableRows
from livepin_server.errors import BackupError

NOW = dt.datetime(2026, 11, 23, 12, tzinfo=dt.timezone.utc)
HEADER = Header(
    format=form.FORMAT, moment=NOW, version="0.1.0", schema="0001", master_key="file"
)  # fmt: skip
FILE = File(path="tls/ca.pem", data=b"x" * 1000)
ROWS = TableRows(table="accounts", columns=["name"], values=[["acme"], ["beta"]])


def backup(*records):
    return io.BytesIO(b"".join(form.written(records)))


def read(plain):
    """Read it all; return the files and the rows."""
    reader = Reader(plain)
    return list(reader.files()), list(reader.rows())


def test_it_is_read_back_as_it_was_written():
    reader = Reader(backup(HEADER, FILE, ROWS, ROWS, End(rows=4)))
    assert reader.header == HEADER
    assert list(reader.files()) == [FILE]
    found = list(reader.rows())
    assert [each.table for each in found] == ["accounts", "accounts"]
    assert found[0].values == [("acme",), ("beta",)]


def test_it_may_hold_no_files_and_no_rows():
    assert read(backup(HEADER, End(rows=0))) == ([], [])


@pytest.mark.parametrize(
    "records",
    [
        (),
        (HEADER,),
        (HEADER, FILE),
        (HEADER, ROWS),
        (HEADER, ROWS, End(rows=3)),
        (HEADER, ROWS, End(rows=2), End(rows=2)),
        (HEADER, ROWS, End(rows=2), ROWS),
        (HEADER, ROWS, FILE, End(rows=2)),
        (HEADER, HEADER, End(rows=0)),
        (FILE, HEADER, End(rows=0)),
        (HEADER, FILE, FILE, End(rows=0)),
        (msgspec.structs.replace(HEADER, format="livepin-backup/2"), End(rows=0)),
    ],
)
def test_what_is_not_whole_or_not_in_order_is_refused(records):
    with pytest.raises(BackupError):
        read(backup(*records))


@pytest.mark.parametrize(
    "path",
    [
        "../livepin.toml", "/etc/passwd", "tls/../../x", "tls/ca.pem/..", "livepin.db", "", "tls",
        "tls/other.pem", "tls\\ca.pem", "tls/ca.pem\0", "TLS/ca.pem", "./livepin.toml", "run/x",
    ],
)  # fmt: skip
def test_a_file_of_any_other_name_is_refused(path):
    with pytest.raises(BackupError, match="not one of Livepin's"):
        read(backup(HEADER, File(path=path, data=b""), End(rows=0)))


def raw(*lengths_and_data):
    """Return records as bytes that nobody checked."""
    return io.BytesIO(
        gzip.compress(b"".join(n.to_bytes(4, "big") + data for n, data in lengths_and_data))
    )


def encoded(value):
    data = msgspec.msgpack.encode(value)
    return len(data), data


@pytest.mark.parametrize(
    "records",
    [
        [(2**32 - 1, b"")],
        [(form.MOST_RECORD + 1, b"")],
        [(0, b"")],
        [(5, b"\xff" * 5)],
        [(7, b"\x81\xa4typ\xf7\xc0")],
        [encoded({"type": "header"})],
        [encoded([1, 2, 3])],
        [encoded({**msgspec.to_builtins(HEADER), "type": "header", "schema": "x" * 64})],
        [encoded(HEADER), encoded({"type": "file", "path": "x" * 64, "data": b""})],
        [encoded(HEADER), encoded(File(path="livepin.toml", data=b"x" * (form.MOST_FILE + 1)))],
        [encoded(HEADER), encoded(msgspec.structs.replace(ROWS, values=[[]] * 1001))],
        [encoded(HEADER), encoded(msgspec.structs.replace(ROWS, columns=["x"] * 101))],
        [encoded(HEADER), encoded(msgspec.structs.replace(ROWS, table="x" * 64))],
        [encoded(HEADER), (20_001, b"\x91" * 20_000 + b"\xc0")],
    ],
)
def test_a_record_that_is_none_or_beyond_its_bounds_is_refused(records):
    with pytest.raises(BackupError):
        read(raw(*records))


def test_a_row_that_nests_without_end_is_refused():
    deep = b"\x91" * 100_000 + b"\xc0"
    data = b"\x84\xa4type\xa4rows\xa5table\xa1x\xa7columns\x90\xa6values\x91\x91" + deep
    with pytest.raises(BackupError):
        read(raw(encoded(HEADER), (len(data), data)))


@pytest.mark.parametrize("data", [b"", b"hello", b"\x1f\x8b", b"\x1f\x8b\x08\x00" + bytes(40)])
def test_what_is_no_backup_at_all_is_refused(data):
    with pytest.raises(BackupError):
        Reader(io.BytesIO(data))


def test_what_is_cut_off_anywhere_is_refused():
    whole = backup(HEADER, FILE, ROWS, End(rows=2)).getvalue()
    for length in range(len(whole) - 8):
        with pytest.raises(BackupError):
            read(io.BytesIO(whole[:length]))


def test_a_record_that_is_too_large_is_not_written(monkeypatch):
    monkeypatch.setattr(form, "MOST_RECORD", 500)
    with pytest.raises(BackupError, match="expected at most 500"):
        backup(HEADER, FILE)


def test_nothing_after_a_record_is_read_before_it_is_needed():
    """A gigabyte of zeros in a megabyte is read by the record, never as a whole."""
    bomb = gzip.compress((1024).to_bytes(4, "big") + bytes(200_000_000), 9)
    plain = io.BytesIO(bomb)
    with pytest.raises(BackupError):
        Reader(plain)
    assert plain.tell() < len(bomb)
