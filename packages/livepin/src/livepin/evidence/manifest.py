"""The manifest of a release: which files it has, of which content. Pure; nothing is read here.

Its text has a line for each file, `sha256 size path`, sorted by the bytes of the path. What an
interpreter or an installer writes beside the files of a release is no part of it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NoReturn

from livepin.errors import MalformedError
from livepin.jose import b64url_encode

MAX_FILES = 100_000
MAX_SIZE = 4 * 2**30  # bytes of all files
MAX_PATH = 1024  # bytes
MAX_TEXT = 16 * 2**20  # bytes
WHOLE = "."  # the path of what is one file, whatever its name is

# Of `*.dist-info`: what pip, uv and others write when they install, and signatures of RECORD.
_OF_INSTALLERS = frozenset(
    {
        "RECORD", "RECORD.jws", "RECORD.p7s", "INSTALLER", "REQUESTED", "direct_url.json",
        "uv_build.json", "uv_cache.json",
    }
)  # fmt: skip
_LINE = re.compile(r"([0-9a-f]{64}) (0|[1-9][0-9]{0,15}) (.+)", re.DOTALL)
# A path that means the same on each system: no drive, no backslash, nothing a terminal obeys.
_NO_PATH = re.compile(r"[A-Za-z]:|.*[\x00-\x1f\x7f-\x9f\\\u2028\u2029\ud800-\udfff]", re.DOTALL)
_SHOWN = 100  # characters of a path or line in a message


@dataclass(frozen=True, slots=True)
class File:
    """The content of a file: the SHA-256 in hexadecimal, and the size in bytes."""

    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """The files of a release by their paths, sorted; there is at least one."""

    files: Mapping[str, File]

    @classmethod
    def of(cls, found: Iterable[tuple[str, File]]) -> Manifest:
        """Return the manifest of files in any order, which are taken while they keep the limits.

        Raises:
            MalformedError: none, too many, too much, a path twice, or one that is refused.
        """
        files: dict[str, File] = {}
        size = text = 0
        for path, file in found:
            check_path(path)
            if path in files:
                raise MalformedError(f"expected each file once, found {shown(path)} twice")
            files[path] = file
            size += file.size
            text += len(_line(path, file).encode())
            if len(files) > MAX_FILES:
                raise too_many_files()
            if size > MAX_SIZE:
                raise too_much(size)
            if text > MAX_TEXT:
                raise MalformedError(f"expected a manifest of at most {MAX_TEXT} bytes")
        if not files:
            raise MalformedError("expected at least one file, found none")
        if WHOLE in files and len(files) > 1:
            _refuse(WHOLE, "a path")
        # The order of code points is that of the bytes of UTF-8.
        return cls({path: files[path] for path in sorted(files)})

    @classmethod
    def parse(cls, text: str) -> Manifest:
        """Return the manifest that has this text, to the letter.

        Raises:
            MalformedError: it is none, or breaks a limit.
        """
        if len(text) > MAX_TEXT:
            raise MalformedError(f"expected a manifest of at most {MAX_TEXT} bytes")
        if not text.endswith("\n"):
            raise MalformedError("expected a manifest, whose last line is ended")
        found = cls.of(_files(text))
        if found.text != text:
            raise MalformedError("expected a manifest that is sorted by the bytes of its paths")
        return found

    @property
    def text(self) -> str:
        """The canonical text."""
        return "".join(_line(path, file) for path, file in self.files.items())

    @property
    def digest(self) -> str:
        """The SHA-256 of the canonical text, in base64url without padding."""
        return b64url_encode(hashlib.sha256(self.text.encode()).digest()).decode()

    @property
    def size(self) -> int:
        """The bytes of all files."""
        return sum(each.size for each in self.files.values())


def counts(path: str) -> bool:
    """Tell whether a file is of the release, and not what was made of it where it is."""
    *folders, name = path.split("/")
    if name.endswith(".pyc") or "__pycache__" in folders:
        return False
    return not (folders and folders[-1].endswith(".dist-info") and name in _OF_INSTALLERS)


def check_path(path: str) -> None:
    """Refuse a path that leads elsewhere, or is another one on another system.

    Raises:
        MalformedError: it is refused.
    """
    if len(path) > MAX_PATH or len(path.encode("utf-8", "surrogatepass")) > MAX_PATH:
        _refuse(path, f"a path of at most {MAX_PATH} bytes")
    if path == WHOLE:
        return
    if _NO_PATH.match(path) or not {"", ".", ".."}.isdisjoint(path.split("/")):
        _refuse(path, "a relative path with /, in printable characters")


def shown(text: str) -> str:
    """Return what a stranger may have written, for a message: quoted, and not long."""
    return ascii(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")


def too_many_files() -> MalformedError:
    """Return the error of what has no end."""
    return MalformedError(f"expected at most {MAX_FILES} files and folders")


def too_much(size: int) -> MalformedError:
    """Return the error of files that take too long to read."""
    return MalformedError(f"expected files of at most {MAX_SIZE} bytes in all, found {size}")


def _files(text: str) -> Iterator[tuple[str, File]]:
    start = 0
    while start < len(text):
        end = text.index("\n", start)
        line = text[start:end]
        found = _LINE.fullmatch(line)
        if found is None:
            raise MalformedError(f"expected a line `sha256 size path`, found {shown(line)}")
        yield found[3], File(found[1], int(found[2]))
        start = end + 1


def _line(path: str, file: File) -> str:
    return f"{file.sha256} {file.size} {path}\n"


def _refuse(path: str, expected: str) -> NoReturn:
    raise MalformedError(f"expected {expected}, found {shown(path)}")
