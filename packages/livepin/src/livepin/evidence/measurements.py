"""Which release a process runs: a digest of its files, as `livepin app measure` gives it.

The files are read once, not what was loaded of them, and a process that was taken over can send
any digest. So this tells a file that was exchanged or forgotten, not an attacker who knows of it.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from functools import partial
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import Any

from livepin.errors import ConfigurationError, MalformedError

from .manifest import (
    MAX_FILES,
    MAX_TEXT,
    WHOLE,
    File,
    Manifest,
    check_path,
    counts,
    shown,
    too_many_files,
)
from .reading import read
from .wheel import of_wheel


class Measurements:
    """Evidence of the files of a release: all below a folder, or one file such as a zipapp.

    They are measured when first asked, which reads each of them, and never again in this process.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._measure = partial(measure, Path(path).absolute())
        self._evidence: dict[str, Any] | None = None

    @classmethod
    def of_distribution(cls, name: str) -> Measurements:
        """Return evidence of an installed distribution: the files that its wheel brought."""
        made = cls(".")
        made._measure = partial(of_distribution, name)
        return made

    def collect(self, nonce: bytes) -> dict[str, Any]:
        """Return the digest of the manifest, and how many files it has.

        The nonce is not in it: the signature of the request binds it.

        Raises:
            LivepinError: the files cannot be measured; `measure` and `of_distribution` say why.
            OSError: one cannot be read.
        """
        if self._evidence is None:
            found = self._measure()
            files = len(found.files)
            self._evidence = {"format": "measurements", "digest": found.digest, "files": files}
        return dict(self._evidence)


def measure(path: str | os.PathLike[str]) -> Manifest:
    """Return the manifest of a folder, a wheel, a zipapp or any other file.

    Of a wheel it is that of the distribution once installed. Any other file is one, whatever its
    name. A link to a file in the folder is that file; one that leads out is refused.

    Raises:
        MalformedError: a limit is broken, a name is refused, or something is no file.
        OSError: a file cannot be read.
    """
    path = Path(path)
    if path.is_dir():
        return Manifest.of(_below(path))
    if path.suffix == ".whl":
        return of_wheel(path)
    return Manifest.of([(WHOLE, read(path))])


def of_distribution(name: str) -> Manifest:
    """Return the manifest of an installed distribution.

    It is of the files in its RECORD below `site-packages`, and of whatever else there is in the
    packages among them. Scripts and data elsewhere depend on the installation.

    Raises:
        ConfigurationError: it is not installed as files, by an installer that keeps RECORD.
        MalformedError: as for `measure`.
        OSError: a file cannot be read, or is missing.
    """
    try:
        distribution = metadata.distribution(name)
    except (metadata.PackageNotFoundError, ValueError) as exc:
        raise ConfigurationError(
            f"expected an installed distribution, found none named {shown(name)}",
            hint="name a folder or file instead: Measurements(path)",
        ) from exc
    folder, record = distribution.locate_file(""), distribution.read_text("RECORD")
    if record is None or not isinstance(folder, Path):
        raise ConfigurationError(
            f"expected {shown(name)} installed as files, with a RECORD of them",
            hint="name a folder or file instead: Measurements(path)",
        )
    paths = set(_recorded(record))
    for package in _packages(paths):
        paths.update(f"{package}/{each}" for each in _walk(folder / package))
    return Manifest.of((each, read(folder / each)) for each in sorted(paths) if counts(each))


def _recorded(record: str) -> Iterator[str]:
    """Give the paths of a RECORD that are below `site-packages`."""
    if len(record) > MAX_TEXT:
        raise MalformedError(f"expected a RECORD of at most {MAX_TEXT} bytes")
    try:
        for row in csv.reader(record.splitlines()):
            if row and not row[0].startswith("../") and not Path(row[0]).is_absolute():
                check_path(row[0])
                yield row[0]
    except csv.Error as exc:
        raise MalformedError(f"expected a RECORD: {exc}") from exc


def _packages(paths: set[str]) -> Iterator[str]:
    """Give the folders of packages, without those within others.

    Python prefers `core.so` to `core.py`: a file more is a change, too.
    """
    found = {each.rpartition("/")[0] for each in paths if each.endswith("/__init__.py")}
    for each in found:
        if found.isdisjoint(map(str, PurePosixPath(each).parents)):
            yield each


def _below(folder: Path) -> Iterator[tuple[str, File]]:
    root = folder.resolve()
    for each in _walk(folder):
        path = folder / each
        if path.is_symlink() and not path.resolve().is_relative_to(root):
            raise MalformedError(f"expected files of the folder, found a link: {shown(each)}")
        yield each, read(path)


def _walk(folder: Path) -> Iterator[str]:
    """Give the paths of what is no folder below a folder; links are given, not followed."""
    waiting = [""]
    seen = 0
    while waiting:
        below = waiting.pop()
        with os.scandir(folder / below) as entries:
            for entry in entries:
                seen += 1
                if seen > MAX_FILES:
                    raise too_many_files()
                path = f"{below}{entry.name}"
                if not entry.is_dir(follow_symlinks=False):
                    if counts(path):
                        yield path
                elif entry.name != "__pycache__":
                    waiting.append(f"{path}/")
