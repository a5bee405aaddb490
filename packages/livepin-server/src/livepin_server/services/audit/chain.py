"""How entries follow from each other, and the walk along a log that finds what does not.

The digest of an entry is taken over the digest of the one before and the exact bytes of its own, so
the newest digest, the head, stands for all of them. Who can write the database can write a whole
chain anew; what they cannot change is a head that a signed config has carried away. Pure: lines
come in one by one, and none is kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

import msgspec
from livepin.jose import b64url_encode
from msgspec import Struct

from livepin_server.errors import TamperedError

FIRST = bytes(32)  # stands before the first entry
LONGEST_LINE = 64 * 1024  # bytes; an entry has at most half of it
UNREADABLE = (msgspec.DecodeError, UnicodeError, RecursionError)

_TAG = b"livepin audit log\n"  # no other digest of Livepin's is taken over this


def digest(before: bytes, entry: bytes) -> bytes:
    """Return the digest of an entry that follows the one with the digest `before`."""
    return sha256(_TAG + before + entry).digest()


def text(head: bytes) -> str:
    """Return a digest as documents and lines hold it."""
    return b64url_encode(head).decode()


class Line(Struct, frozen=True, forbid_unknown_fields=True):
    """An entry as it is exported: with its place, and the entry itself to the byte."""

    number: int
    previous: str
    digest: str
    entry: msgspec.Raw


def line(number: int, before: bytes, found: bytes, entry: bytes) -> bytes:
    """Return the line of an entry."""
    place = f'{{"number":{number},"previous":"{text(before)}","digest":"{text(found)}","entry":'
    return place.encode() + entry + b"}\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seal:
    """A head that was carried out of the log, and what carries it.

    `version` is that of the config that does, None where another log does.
    """

    head: str
    where: str
    version: int | None = None


class Proven(Struct, frozen=True, kw_only=True):
    """An entry that a seal proves, and with it every one before."""

    entry: int
    moment: datetime
    by: str


class _Known(Struct, frozen=True):
    """What the walk reads of an entry."""

    account: str
    moment: datetime
    config: int | None = None
    server: str | None = None


_line_of = msgspec.json.Decoder(Line)
_known_of = msgspec.json.Decoder(_Known)


class Walk:
    """A walk along a log, from its first entry on, against everything that seals it.

    `kept` gives the seals of all configs that the server keeps, by version: each must meet the
    entry that published it, and each such entry its config. `seals` come from elsewhere. Without
    `account` the first entry says whose log it is.
    """

    def __init__(
        self,
        account: str | None = None,
        *,
        kept: Iterator[Seal] | None = None,
        seals: Iterable[Seal] = (),
    ) -> None:
        self.account = account
        self.number = 0
        self.head = text(FIRST)
        self.proven: list[Proven] = []  # by seals from elsewhere
        self.kept: Proven | None = None  # by the newest config that the server keeps
        self.configs = 0  # that the server keeps, and that were met
        self.servers: dict[str, int] = {}  # heads of the server's log, by the last entry with each
        self._digest = FIRST
        self._kept = kept
        self._next: Seal | None = None  # of those kept
        self._seals: dict[int | str | None, list[Seal]] = {}
        for each in seals:
            self._seals.setdefault(each.version or each.head, []).append(each)

    def take(self, data: bytes) -> None:
        """Take the next line.

        Raises:
            TamperedError: it is none, or does not follow; or a seal says that it was another.
        """
        found = _line(data, self.number + 1)
        entry = bytes(found.entry)
        after = digest(self._digest, entry)
        head = text(after)
        self._require_next(found, head)
        known = self._known(entry)
        self.number, self.head, self._digest = found.number, head, after
        if known.server is not None:
            self.servers[known.server] = found.number
        for place in (head, known.config):
            for seal in self._seals.pop(place, ()):
                self.proven.append(self._proven(seal, known.moment))
        if known.config is not None and self._kept is not None:
            self.kept = self._proven(self._next_kept(known.config), known.moment)
            self.configs += 1

    def is_behind(self) -> bool:
        """Tell whether the server keeps a config that none of the entries so far has published.

        It may have come in meanwhile; then its entry has, too.
        """
        return self._peek() is not None

    def end(self) -> None:
        """End the walk.

        Raises:
            TamperedError: a seal was not met.
        """
        left = [each for found in self._seals.values() for each in found]
        for seal in [*left, *([] if self._next is None else [self._next])]:
            raise TamperedError(
                f"{seal.where} carries a head that is not in the log of {name(self.account)}, "
                f"which ends at entry {self.number}",
                hint="entries were cut off, or the log was written anew; keep what carries it",
            )

    def _require_next(self, found: Line, head: str) -> None:
        number = self.number + 1
        if found.number != number:
            raise TamperedError(
                f"expected entry {number}, found entry {found.number}",
                hint="entries were removed, put in, or brought into another order",
            )
        if found.previous != self.head:
            raise TamperedError(
                f"entry {number} does not follow entry {self.number}",
                hint=f"entry {self.number} was changed, or another one stood there",
            )
        if found.digest != head:
            raise TamperedError(
                f"entry {number} does not have its digest",
                hint="it was changed, or the one before it; earlier ones follow from each other",
            )

    def _known(self, entry: bytes) -> _Known:
        number = self.number + 1
        try:
            known = _known_of.decode(entry)
        except UNREADABLE as exc:
            raise TamperedError(f"entry {number} says nothing that can be read: {exc}") from exc
        if self.account is None:
            self.account = known.account
        if known.account != self.account:
            raise TamperedError(
                f"entry {number} is of {name(known.account)}, not of {name(self.account)}",
                hint="it was brought over from another log",
            )
        return known

    def _peek(self) -> Seal | None:
        if self._next is None and self._kept is not None:
            self._next = next(self._kept, None)
        return self._next

    def _next_kept(self, version: int) -> Seal:
        """Return the seal of the config that an entry published: it is the next one."""
        seal, self._next = self._peek(), None
        if seal is None or seal.version != version:
            found = "no newer config" if seal is None else f"config {seal.version} next"
            raise TamperedError(
                f"entry {self.number} published config {version}, the server keeps {found}",
                hint="configs were removed, or entries: each version has one of both",
            )
        return seal

    def _proven(self, seal: Seal, moment: datetime) -> Proven:
        if seal.head != self.head:
            raise TamperedError(
                f"entry {self.number} published config {seal.version}, but its digest is not the "
                f"head that {seal.where} carries",
                hint="it was written anew, or one before it was; keep that config: it is signed",
            )
        return Proven(entry=self.number, moment=moment, by=seal.where)


def account_of(data: bytes) -> str:
    """Return whose log a line is of; nothing vouches for it yet.

    Raises:
        TamperedError: it is none.
    """
    try:
        return _known_of.decode(_line_of.decode(data).entry).account
    except UNREADABLE as exc:
        raise TamperedError(
            f"expected a line of an audit log, found none: {exc}",
            hint="expected what livepin audit export gives",
        ) from exc


def name(account: str | None) -> str:
    """Return whose log it is, in words."""
    return f"the account {account}" if account else "the server"


def _line(data: bytes, number: int) -> Line:
    if not data.endswith(b"\n"):
        raise TamperedError(f"entry {number} is cut off", hint="is the export whole?")
    try:
        return _line_of.decode(data)
    except UNREADABLE as exc:
        raise TamperedError(
            f"expected entry {number}, found a line that is none: {exc}",
            hint="each must be as it was exported: other tools write the same in other bytes",
        ) from exc
