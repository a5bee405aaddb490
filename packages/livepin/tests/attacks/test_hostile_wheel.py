"""Somebody hands in a wheel to be measured that is made to do harm.

It could unpack without an end, hold more entries than anybody can count, name files outside of its
folder, or hold one name twice, so that what is measured is not what an installer takes. Each is
refused, before it is unpacked where that would take long.
"""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path

import pytest
from livepin.errors import MalformedError
from livepin.evidence import wheels
from livepin.evidence.manifest import MAX_FILES
from livepin.evidence.wheels import measure_wheel

RECORD = "shop-1.dist-info/RECORD"
MIB = 1024 * 1024


def wheel(path: Path, entries: list[tuple[str | zipfile.ZipInfo, bytes]]) -> Path:
    with zipfile.ZipFile(path / "x.whl", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(RECORD, b"")
        for name, data in entries:
            archive.writestr(name, data)
    return path / "x.whl"


def patched(path: Path, field: int, form: str, value: int) -> Path:
    """Set a field of the last entry in the table of contents."""
    data = bytearray(path.read_bytes())
    struct.pack_into(form, data, data.rindex(b"PK\x01\x02") + field, value)
    path.write_bytes(data)
    return path


def refused(path: Path, message: str) -> None:
    with pytest.raises(MalformedError, match=message) as caught:
        measure_wheel(path)
    assert "\n" not in str(caught.value)


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(wheels, "_SMALL", MIB)
    monkeypatch.setattr(wheels, "_entries", None)
    refused(wheel(tmp_path, [("shop.py", bytes(4 * MIB))]), "bytes that unpack to 4194304")


def test_one_whose_entries_overlap_counts_each_of_them(tmp_path) -> None:
    path = wheel(tmp_path, [(f"{number}.py", b"x") for number in range(100)])
    data = path.read_bytes()
    parts = data.split(b"PK\x01\x02")
    for number, part in enumerate(parts[2:], 2):  # all say that they are 1 GiB, at one place
        raw = bytearray(part)
        struct.pack_into("<I", raw, 20, 1024 * MIB)
        struct.pack_into("<I", raw, 38, 0)
        parts[number] = bytes(raw)
    path.write_bytes(b"PK\x01\x02".join(parts))
    refused(path, "unpack to 107374182400")


def test_one_that_says_it_is_smaller_than_it_is_is_not_read_on(tmp_path) -> None:
    path = patched(wheel(tmp_path, [("shop.py", bytes(MIB))]), 24, "<I", 10)
    refused(path, "no wheel: Bad CRC-32")


def test_more_entries_than_an_app_has_are_refused(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(wheels, "_entries", None)
    path = wheel(tmp_path, [(str(number), b"") for number in range(MAX_FILES)])
    refused(path, "at most 20000 files")


def test_a_table_of_contents_that_nobody_can_hold_is_not_read(tmp_path) -> None:
    path = tmp_path / "x.whl"
    index = 512 * MIB
    with path.open("wb") as file:  # a file with a hole: it takes no room
        file.truncate(index)
        file.seek(index)
        file.write(struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 9999, 9999, index, 0, 0))
    refused(path, "its table of contents is too long")


@pytest.mark.parametrize(
    "name",
    ["../evil.py", "/etc/evil.py", "shop/../../evil.py", "shop//evil.py", "./evil.py",
     "shop\\evil.py", "shop/evil\n.py", "shop-1.data/purelib/../evil.py",
     "shop-1.data/purelib//evil.py", "shop-1.data/scripts/../../evil", "shop-1.data/purelib/"],
)  # fmt: skip
def test_a_path_that_leads_out_is_refused(tmp_path, name) -> None:
    if name.endswith("/"):
        entries = [("shop-1.data/purelib", b"")]
        refused(wheel(tmp_path, entries), "relative path")
    else:
        refused(wheel(tmp_path, [(name, b"")]), r"expected (a relative path|/ in a path)")


def test_a_name_that_ends_early_for_some_readers_is_refused(tmp_path) -> None:
    path = wheel(tmp_path, [("shop.py!evil", b"")])
    path.write_bytes(path.read_bytes().replace(b"shop.py!evil", b"shop.py\x00evil"))
    refused(path, "relative path")


def test_a_name_that_stands_twice_is_refused(tmp_path) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        path = wheel(tmp_path, [("shop.py", b"good"), ("shop.py", b"evil")])
    refused(path, "holds 'shop.py' twice")


def test_two_names_for_one_place_are_refused(tmp_path) -> None:
    path = wheel(tmp_path, [("shop.py", b"good"), ("shop-1.data/platlib/shop.py", b"evil")])
    refused(path, "holds 'shop.py' twice")


def test_what_nobody_can_read_is_refused(tmp_path) -> None:
    path = patched(wheel(tmp_path, [("shop.py", b"")]), 8, "<H", 1)  # it says: encrypted
    refused(path, "stored or deflated")


def test_a_flipped_byte_never_does_more_than_be_refused(tmp_path) -> None:
    whole = wheel(tmp_path, [("shop/cart.py", b"def total(): return 3\n" * 9)]).read_bytes()
    path = tmp_path / "flipped.whl"
    for at in range(len(whole)):
        data = bytearray(whole)
        data[at] ^= 0xFF
        path.write_bytes(data)
        try:
            measure_wheel(path)
        except (MalformedError, OSError):
            continue


def test_whatever_is_cut_off_is_refused(tmp_path) -> None:
    whole = wheel(tmp_path, [("shop/cart.py", b"x" * 99)]).read_bytes()
    path = tmp_path / "cut.whl"
    for end in range(0, len(whole) - 1, 3):
        path.write_bytes(whole[:end])
        refused(path, "no wheel")
    assert zipfile.is_zipfile(io.BytesIO(whole))
