"""What a wheel is once it is installed: its files as `Measurements.of_distribution` finds them.

The wheel may be anybody's: it is bounded before anything of it is read, and nothing is unpacked.
"""

from __future__ import annotations

import hashlib
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

from livepin.errors import MalformedError

from .files import MOST_BYTES, Progress
from .manifest import Entry, Manifest, check_number, checked_path, is_left_out

_CHUNK = 1024 * 1024  # bytes read at once
_MOST_INDEX = 4 * 1024 * 1024  # bytes of the table of contents of a wheel
_MOST_RATIO = 200  # of unpacked to packed; Deflate can do 1,000
_SMALL = 64 * 1024 * 1024  # bytes, below which the ratio does not matter
_ENCRYPTED = 1  # a bit of the flags
_PACKINGS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_BROKEN = (  # what `zipfile` has to say of an archive
    zipfile.BadZipFile, zlib.error, struct.error, EOFError, ValueError, NotImplementedError
)  # fmt: skip
_IN_PLACE = ("purelib", "platlib")
_ELSEWHERE = ("scripts", "headers", "data")  # installed outside of the folder of packages


def measure_wheel(path: Path, progress: Progress = lambda _: None) -> Manifest:
    """Return the manifest of what a wheel becomes.

    Raises:
        MalformedError: it is no wheel, or one that no installer should take. OSError: it cannot
            be read.
    """
    try:
        with path.open("rb") as file, zipfile.ZipFile(cast("IO[bytes]", _Bounded(file))) as archive:
            check_number(len(archive.infolist()))
            _check_size(archive, path.stat().st_size)
            found = _installed(archive)
            return Manifest(_entries(archive, found, progress))
    except _BROKEN as exc:
        raise MalformedError(f"{path.name[:80]} is no wheel: {exc}") from exc


class _Bounded:
    """A file of which nobody reads more at once than the longest table of contents."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def read(self, size: int = -1) -> bytes:
        """Read so much, or to the end."""
        most = _MOST_INDEX + 1
        data = self._file.read(min(size, most) if size >= 0 else most)
        if len(data) == most:
            raise zipfile.BadZipFile("its table of contents is too long")
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def _check_size(archive: zipfile.ZipFile, packed: int) -> None:
    """Refuse a wheel that takes long to unpack. No more is unpacked than its entries say."""
    unpacked = sum(each.file_size for each in archive.infolist())
    if unpacked > min(MOST_BYTES, max(_SMALL, _MOST_RATIO * packed)):
        raise MalformedError(f"expected a wheel, found {packed} bytes that unpack to {unpacked}")


def _installed(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Return what is measured of a wheel, by the path where it is installed."""
    infos = [each for each in archive.infolist() if not each.orig_filename.endswith("/")]
    aside = f"{_name([each.orig_filename for each in infos])}.data"
    seen: dict[str, zipfile.ZipInfo] = {}
    for info in infos:
        _check(info)
        path = _place(info.orig_filename, aside)
        if path is None:
            continue
        if path in seen:
            raise MalformedError(f"a wheel holds {path[:80]!r} twice")
        seen[path] = info
    return {path: info for path, info in seen.items() if not is_left_out(path)}


def _name(paths: list[str]) -> str:
    """Return name and version, as the folder of metadata says them."""
    found = [each for each in paths if each.endswith(".dist-info/RECORD") and each.count("/") == 1]
    if len(found) != 1:
        raise MalformedError("expected a wheel, found no RECORD of its files")
    return found[0].removesuffix(".dist-info/RECORD")


def _check(info: zipfile.ZipInfo) -> None:
    """Refuse an entry that no wheel has."""
    path = info.orig_filename
    checked_path(path)
    if "\\" in path:
        raise MalformedError(f"expected / in a path of a wheel, found {path[:80]!r}")
    if stat.S_ISLNK(info.external_attr >> 16):
        raise MalformedError(f"expected no link in a wheel, found {path[:80]!r}")
    if info.flag_bits & _ENCRYPTED or info.compress_type not in _PACKINGS:
        raise MalformedError(f"expected {path[:80]!r} stored or deflated, in a wheel")


def _place(path: str, aside: str) -> str | None:
    """Return where a file is installed; None outside of the folder of packages."""
    top, _, rest = path.partition("/")
    if top != aside:
        return path
    scheme, _, inner = rest.partition("/")
    if scheme not in _IN_PLACE and scheme not in _ELSEWHERE:
        raise MalformedError(f"expected a known place in a wheel, found {path[:80]!r}")
    return inner if scheme in _IN_PLACE else None


def _entries(
    archive: zipfile.ZipFile, found: dict[str, zipfile.ZipInfo], progress: Progress
) -> Iterator[Entry]:
    for number, (path, info) in enumerate(found.items(), 1):
        digest, size = hashlib.sha256(), 0
        with archive.open(info) as file:
            while data := file.read(_CHUNK):
                digest.update(data)
                size += len(data)
        progress(number)
        yield Entry(path, digest.digest(), size)
