"""Reading the files of an app: a folder, one file, or an installed distribution.

What was put into a folder, or beside the files of a distribution, is read with them: it would be
imported like them. Links are not followed, so nothing leads out of the folder.
"""

from __future__ import annotations

import csv
import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from livepin.errors import ConfigurationError, MalformedError

from .manifest import ITSELF, Entry, Manifest, check_number, is_left_out

MOST_BYTES = 4 * 1024**3  # in all files
_CHUNK = 1024 * 1024  # bytes read at once
_MOST_SEEN = 100_000  # files and folders, those included that are left out

Progress = Callable[[int], None]  # told how many files are read


class _Read(NamedTuple):
    """A file that was read, and by what one sees whether it has changed since."""

    stamp: tuple[int, ...]
    entry: Entry


class Reader:
    """Reads files below a folder, and again only those that have changed.

    `base` may also be an app that is one file.
    """

    def __init__(self, base: Path, *, progress: Progress = lambda _: None) -> None:
        self._base = os.fspath(base)
        self._progress = progress
        self._known: dict[str, _Read] = {}

    def read(self, paths: Iterable[str] = (ITSELF,)) -> Manifest:
        """Return the manifest of these paths, and of what is below them.

        A path that is not there is none of its files.

        Raises:
            MalformedError: no file, too many, too much in them, or one of another kind.
            OSError: one cannot be read.
        """
        found: dict[str, _Read] = {}
        left = MOST_BYTES
        for path, status in self._walk(paths):
            read = found[path] = self._one(path, status, left)
            left -= read.entry.size or 0
            check_number(len(found))
            self._progress(len(found))
        self._known = found
        return Manifest(each.entry for each in found.values())

    def _walk(self, paths: Iterable[str]) -> Iterator[tuple[str, os.stat_result]]:
        waiting, seen = list(paths), 0
        while waiting:
            path = waiting.pop()
            seen += 1
            if seen + len(waiting) > _MOST_SEEN:
                raise MalformedError(f"expected at most {_MOST_SEEN} files and folders")
            try:
                status = os.lstat(self._full(path))
            except (FileNotFoundError, NotADirectoryError):
                continue
            if stat.S_ISDIR(status.st_mode):
                waiting += self._below(path)
            elif is_left_out(path):
                continue
            elif stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode):
                yield path, status
            else:
                raise MalformedError(f"expected files, folders and links, found {path[:80]!r}")

    def _below(self, folder: str) -> Iterator[str]:
        before = "" if folder == ITSELF else f"{folder}/"
        for name in os.listdir(self._full(folder)):  # noqa: PTH208 - all of them are texts
            yield before + name

    def _one(self, path: str, status: os.stat_result, left: int) -> _Read:
        # Who sets the time of a change back cannot set back that of its status.
        stamp = status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
        known = self._known.get(path)
        if known is not None and known.stamp == stamp:
            return known
        if stat.S_ISLNK(status.st_mode):
            target = os.fsencode(os.readlink(self._full(path)))  # noqa: PTH115
            return _Read(stamp, Entry(path, hashlib.sha256(target).digest(), None))
        digest, size = _content(self._full(path), left)
        return _Read(stamp, Entry(path, digest, size))

    def _full(self, path: str) -> str:
        return self._base if path == ITSELF else f"{self._base}{os.sep}{path}"


def of_distribution(name: str) -> tuple[Path, list[str]]:
    """Return where an installed distribution is, and the folders and files there that are its.

    Raises:
        ConfigurationError: it is not installed here, or does not say what its files are.
    """
    try:
        found = metadata.distribution(name)
    except metadata.PackageNotFoundError as exc:
        raise ConfigurationError(f"the distribution {name} is not installed here") from exc
    record = found.read_text("RECORD")
    if record is None:
        raise ConfigurationError(
            f"the distribution {name} has no RECORD of its files", hint="measure its folder"
        )
    listed = [row[0] for row in csv.reader(record.splitlines()) if row]
    return Path(str(found.locate_file(""))).resolve(), _roots(listed)


def _roots(listed: Iterable[str]) -> list[str]:
    """Return the outermost folders of files, and the files that are in none."""
    inside = [each for each in listed if _is_inside(each)]
    folders = {each.rpartition("/")[0] for each in inside} - {""}
    outermost = [each for each in folders if folders.isdisjoint(_around(each))]
    return sorted({*outermost, *(each for each in inside if "/" not in each)})


def _is_inside(path: str) -> bool:
    """Tell whether a path is inside of where the distribution is; its scripts are not."""
    leads_out = ".." in path.split("/") or Path(path).is_absolute()
    return not is_left_out(path) and not leads_out


def _around(folder: str) -> Iterator[str]:
    while folder := folder.rpartition("/")[0]:
        yield folder


def _content(path: str, left: int) -> tuple[bytes, int]:
    """Return the SHA-256 of what is in a file, and its size."""
    digest, size = hashlib.sha256(), 0
    with open(path, "rb") as file:  # noqa: PTH123
        while data := file.read(_CHUNK):
            digest.update(data)
            size += len(data)
            if size > left:
                raise MalformedError(f"expected at most {MOST_BYTES} bytes in all files")
    return digest.digest(), size
