"""Wheels: what is installed of them, and archives that are made to cost or deceive."""

from __future__ import annotations

import io
import struct
import time
import tracemalloc
import zipfile
from pathlib import Path

import pytest
from livepin.errors import MalformedError
from livepin.evidence import wheel
from livepin.evidence.manifest import MAX_SIZE
from livepin.evidence.measurements import measure

from .releases import FILES, INFO, make_wheel

_CENTRAL = b"PK\1\2"


def _archive(path: Path, entries: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in {f"{INFO}/METADATA": b"", **entries}.items():
            archive.writestr(name, content)
    return path


def _changed(path: Path, offset: int, *values: int, layout: str) -> None:
    """Change what the directory of an archive says of its last file."""
    data = bytearray(path.read_bytes())
    struct.pack_into(layout, data, data.rindex(_CENTRAL) + offset, *values)
    path.write_bytes(data)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shop-1.4-py3-none-any.whl"


def test_a_wheel_has_the_paths_of_what_is_installed_of_it(tmp_path: Path) -> None:
    found = measure(make_wheel(tmp_path))
    assert list(found.files) == sorted(
        [*(each for each in FILES if ".data/" not in each), "shop/extra.py"]
    )
    assert found.files["shop/core.py"].size == len(FILES["shop/core.py"])


def test_folders_in_a_wheel_are_no_files(path: Path) -> None:
    found = measure(_archive(path, {"shop/": b"", "shop/a.py": b""}))
    assert list(found.files) == [f"{INFO}/METADATA", "shop/a.py"]


@pytest.mark.parametrize("content", [b"", b"PK", b"no archive" * 100, b"PK\5\6" + b"\xff" * 18])
def test_what_is_no_archive_is_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(MalformedError, match="expected"):
        measure(path)


@pytest.mark.parametrize("names", [[], ["a-1.dist-info/METADATA", "b-1.dist-info/METADATA"]])
def test_an_archive_without_one_dist_info_is_no_wheel(path: Path, names: list[str]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name in ["shop.py", *names]:
            archive.writestr(name, "")
    with pytest.raises(MalformedError, match=f"with one .dist-info, found {len(names)}"):
        measure(path)


@pytest.mark.parametrize("name", ["../a", "/a", "a/../../b", "a\\b", "shop-1.4.data/scripts/../x"])
def test_a_name_that_leads_out_is_refused(path: Path, name: str) -> None:
    with pytest.raises(MalformedError, match="a relative path"):
        measure(_archive(path, {name: b""}))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_twice_is_refused(path: Path) -> None:
    _archive(path, {"a": b"1"})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("a", "2")
    with pytest.raises(MalformedError, match="found 'a' twice"):
        measure(path)
    # Which of the two an installer would leave is open.
    with pytest.raises(MalformedError, match="found 'a' twice"):
        measure(_archive(path, {"a": b"1", "shop-1.4.data/platlib/a": b"2"}))


def test_more_than_can_be_read_in_time_is_refused_before_anything_is_unpacked(path: Path) -> None:
    _archive(path, {"bomb": bytes(2**20)})
    _changed(path, 24, 2**32 - 2, layout="<L")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("more", b"more")
    began = time.process_time()
    with pytest.raises(MalformedError, match=f"at most {MAX_SIZE} bytes in all, found 42949672"):
        measure(path)
    assert time.process_time() - began < 0.5


def test_a_file_gives_no_more_than_it_declares(path: Path) -> None:
    _archive(path, {"bomb": bytes(2**25)})
    _changed(path, 24, 1000, layout="<L")
    tracemalloc.start()
    try:
        with pytest.raises(MalformedError, match="Bad CRC-32"):
            measure(path)
        assert tracemalloc.get_traced_memory()[1] < 20 * 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_compression_that_bounds_no_output_is_refused(path: Path, method: int) -> None:
    with pytest.raises(MalformedError, match="stored or deflated"):
        measure(_archive(path, {"bomb": bytes(2**20)}, method))


def test_an_encrypted_file_is_refused(path: Path) -> None:
    _archive(path, {"secret": b"x"})
    _changed(path, 8, 1, layout="<H")
    with pytest.raises(MalformedError, match="'secret' stored or deflated"):
        measure(path)


def test_a_damaged_file_is_refused(path: Path) -> None:
    _archive(path, {"a.py": b"x" * 1000}, zipfile.ZIP_STORED)
    path.write_bytes(path.read_bytes().replace(b"x" * 1000, b"y" * 1000))
    with pytest.raises(MalformedError, match="Bad CRC-32"):
        measure(path)


def test_a_file_without_a_name_is_refused(path: Path) -> None:
    _archive(path, {"ab": b""})
    _changed(path, 28, 0, 2, layout="<HH")
    with pytest.raises(MalformedError, match="expected"):
        measure(path)


def test_a_file_before_the_beginning_is_refused(path: Path) -> None:
    data = bytearray(_archive(path, {"a": b""}).read_bytes())
    struct.pack_into("<L", data, data.rindex(b"PK\5\6") + 16, 2**30)
    path.write_bytes(data)
    with pytest.raises(MalformedError, match="expected a wheel"):
        measure(path)


def test_a_name_that_is_no_text_is_refused(path: Path) -> None:
    _archive(path, {"\u00e4.py": b""})
    path.write_bytes(path.read_bytes().replace("\u00e4".encode(), b"\xff\xff"))
    with pytest.raises(MalformedError, match="expected a wheel"):
        measure(path)


def test_a_directory_of_millions_of_files_is_refused_unread(path: Path) -> None:
    """Each entry of 46 bytes would take ten times that in memory."""
    entry = _CENTRAL + bytes(42)
    size = len(entry) * (wheel._LONGEST_READ // len(entry) + 1)
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, size, 0, 0)
    with path.open("wb") as file:
        file.truncate(size)
        file.seek(size)
        file.write(end)
    began = time.process_time()
    with pytest.raises(MalformedError, match="at most 100000 files"):
        measure(path)
    assert time.process_time() - began < 0.5


def test_too_many_files_are_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wheel, "MAX_FILES", 3)
    _archive(path, {"a": b"", "b": b"", "c": b""})
    with pytest.raises(MalformedError, match="files and folders"):
        measure(path)


def test_a_file_is_read_in_pieces_too() -> None:
    with wheel._Bounded(io.BytesIO(b"abc")) as file:  # type: ignore[arg-type]
        assert file.read(2) + file.read(None) + file.read() == b"abc"
