"""The files of a wheel, under the paths that they have once it is installed.

A wheel is a zip, which may be made to cost whoever reads it: what it declares is checked before
any file of it is unpacked, and nothing is written.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from livepin.errors import MalformedError

from .manifest import (
    MAX_FILES,
    MAX_SIZE,
    File,
    Manifest,
    check_path,
    counts,
    shown,
    too_many_files,
    too_much,
)
from .reading import content

_LONGEST_READ = MAX_FILES * 128  # bytes, of which a directory of so many files has some 100 each
_ENCRYPTED = 0x1
# The others give any amount of output for a little input at once.
_COMPRESSIONS = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED


class _Bounded(io.BufferedReader):
    """A file of which `zipfile` reads the directory at once only where that is not too large."""

    def read(self, size: int | None = -1, /) -> bytes:
        most = _LONGEST_READ + 1
        found = super().read(most if size is None or size < 0 else min(size, most))
        if len(found) == most:
            raise too_many_files()
        return found


def of_wheel(path: Path) -> Manifest:
    """Return the manifest of a wheel: of what is installed into `site-packages`.

    Raises:
        MalformedError: it is no wheel, or one that breaks a limit.
        OSError: it cannot be read.
    """
    with _Bounded(io.FileIO(path)) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                return Manifest.of(_files(archive))
        except (
            zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError, EOFError, zlib.error,
            ValueError,
        ) as exc:  # fmt: skip
            raise MalformedError(f"expected a wheel: {shown(str(exc))}") from exc


def _files(archive: zipfile.ZipFile) -> Iterator[tuple[str, File]]:
    entries = [each for each in archive.infolist() if not each.is_dir()]
    if len(entries) > MAX_FILES:
        raise too_many_files()
    size = sum(each.file_size for each in entries)
    if size > MAX_SIZE:
        raise too_much(size)
    data = _data_folder(entries)
    for each in entries:
        check_path(each.filename)
        path = _installed(each.filename, data)
        if path is None or not counts(path):
            continue
        if each.flag_bits & _ENCRYPTED or each.compress_type not in _COMPRESSIONS:
            raise MalformedError(f"expected {shown(each.filename)} stored or deflated")
        with archive.open(each) as file:
            yield path, content(file)


def _data_folder(entries: list[zipfile.ZipInfo]) -> str:
    """Return the name of the folder of what goes to other places (PEP 427)."""
    found = {each.filename.split("/", 1)[0] for each in entries if "/" in each.filename}
    names = [each for each in found if each.endswith(".dist-info")]
    if len(names) != 1:
        raise MalformedError(f"expected a wheel, with one .dist-info, found {len(names)}")
    return names[0].removesuffix(".dist-info") + ".data"


def _installed(path: str, data: str) -> str | None:
    """Return where a file is below `site-packages`, or None where it goes elsewhere."""
    folder, _, rest = path.partition("/")
    if folder != data:
        return path
    scheme, _, rest = rest.partition("/")
    return rest if scheme in ("purelib", "platlib") else None
