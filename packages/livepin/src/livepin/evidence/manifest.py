"""`Manifest`: which files an app has, and what is in them. Pure: no file is read here.

A manifest is a text in UTF-8, with a line for each file, in the order of the bytes of their paths:

    sha256 size path

The SHA-256 of the content is in lower-case hexadecimal, the size in decimal, the path relative,
with `/` between its parts; one space stands between, and every line ends with a line feed. Of a
symbolic link, which is never followed, `link` stands for the size, and the SHA-256 is that of
where it leads, as text. An app that is one file, whatever it is called, has the path `.`.

What identifies a manifest is its digest: the SHA-256 of the text, in base64url. Modes, owners and
times are no part of it, as installers set them; nor is what `is_left_out` names.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import NamedTuple

from livepin.errors import MalformedError
from livepin.jose import b64url_encode

MAX_FILES = 20_000
MAX_TEXT = 4 * 1024 * 1024  # bytes of a manifest
ITSELF = "."  # the path of an app that is one file

_LONGEST = 1024  # bytes of a path
_LINE = re.compile(r"([0-9a-f]{64}) (0|[1-9][0-9]{0,14}|link) (.+)\Z")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
# Of the metadata of an installed distribution: what its wheel has, and no installer writes.
_OF_METADATA = frozenset({"METADATA", "entry_points.txt"})


class Entry(NamedTuple):
    """A file: its path, the SHA-256 of its content, and its size; None for a symbolic link."""

    path: str
    sha256: bytes
    size: int | None


class Manifest:
    """The files of an app. It exists only if its paths are sound, each of them once."""

    __slots__ = ("digest", "files", "text")

    def __init__(self, entries: Iterable[Entry]) -> None:
        """Put entries in order.

        Raises:
            MalformedError: none, too many, a path twice, or one that leads elsewhere.
        """
        found: dict[bytes, Entry] = {}
        for each in entries:
            path = checked_path(each.path)
            if path in found:
                raise MalformedError(f"expected each file once, found {each.path!r} twice")
            found[path] = each
            check_number(len(found))
        if not found:
            raise MalformedError("expected files, found none")
        self.files = tuple(found[path] for path in sorted(found))
        self.text = "".join(map(_line, self.files))
        data = self.text.encode()
        if len(data) > MAX_TEXT:
            raise MalformedError(f"expected a manifest of at most {MAX_TEXT} bytes")
        self.digest = b64url_encode(hashlib.sha256(data).digest()).decode()

    @classmethod
    def parse(cls, text: str) -> Manifest:
        """Return the manifest that a text is, to the byte.

        Raises:
            MalformedError: it is none.
        """
        if len(text) > MAX_TEXT:
            raise MalformedError(f"expected a manifest of at most {MAX_TEXT} bytes")
        lines = text.split("\n")
        if lines.pop():
            raise MalformedError("expected a line feed at the end of a manifest")
        check_number(len(lines))
        found = cls(_entry(number, line) for number, line in enumerate(lines, 1))
        if found.text != text:
            raise MalformedError("expected the lines of a manifest in the order of their paths")
        return found

    @property
    def size(self) -> int:
        """The bytes in all files."""
        return sum(each.size or 0 for each in self.files)


def is_left_out(path: str) -> bool:
    """Tell whether a file is no part of a manifest, wherever it is.

    That is bytecode in `__pycache__`, which every interpreter writes for itself; and of the folders
    `*.dist-info` all that is not as in the wheel once an installer was there.
    """
    *folders, name = path.split("/")
    if "__pycache__" in folders:
        return True
    in_metadata = any(each.endswith(".dist-info") for each in folders)
    return in_metadata and not (folders[-1].endswith(".dist-info") and name in _OF_METADATA)


def checked_path(path: str) -> bytes:
    """Return a path as the bytes that it is ordered by.

    Raises:
        MalformedError: it is absolute, leads out of its folder, or cannot stand in a manifest.
    """
    try:
        data = path.encode()
    except UnicodeEncodeError as exc:
        raise MalformedError(f"expected a path in UTF-8, found {path[:80]!r}") from exc
    parts = path.split("/")
    sound = path == ITSELF or not any(part in ("", ".", "..") for part in parts)
    if not sound or _CONTROL.search(path) or len(data) > _LONGEST:
        raise MalformedError(f"expected a relative path in one line, found {path[:80]!r}")
    return data


def check_number(files: int) -> None:
    """Refuse more files than a manifest may have.

    Raises:
        MalformedError: there are more.
    """
    if files > MAX_FILES:
        raise MalformedError(
            f"expected at most {MAX_FILES} files", hint="measure the app alone, not all around it"
        )


def _line(entry: Entry) -> str:
    size = "link" if entry.size is None else entry.size
    return f"{entry.sha256.hex()} {size} {entry.path}\n"


def _entry(number: int, line: str) -> Entry:
    match = _LINE.match(line)
    if match is None:
        raise MalformedError(
            f"line {number} of a manifest: expected SHA-256, size and path, found {line[:80]!r}",
            hint="livepin app measure PATH --manifest FILE makes one",
        )
    size = None if match[2] == "link" else int(match[2])
    return Entry(match[3], bytes.fromhex(match[1]), size)
