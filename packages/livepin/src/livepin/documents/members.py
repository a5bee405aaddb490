"""Typed access to the members of a JSON object: rule 4, in one place.

Unknown members are ignored, so that documents can grow; `critical` lists those that a reader
must know, else it refuses.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import datetime, timedelta, timezone
from typing import Any

from livepin import jsontext
from livepin.errors import MalformedError, VerificationError

MAX_VERSION = 2**53 - 1  # the largest integer that every JSON reader keeps exactly (RFC 8259, 6)
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MAX_TIME = 253_402_300_799  # 9999-12-31T23:59:59Z
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\Z")


def name(text: str, *, what: str) -> str:
    """Return an account or stream name: 1 to 63 of a-z, 0-9 and inner hyphens.

    Raises:
        MalformedError: anything else.
    """
    if not _NAME.match(text):
        raise MalformedError(
            f"expected {what} name of a-z, 0-9 and hyphens, at most 63, found {text[:80]!r}"
        )
    return text


def seconds(moment: datetime) -> int:
    """Return an aware datetime as whole seconds since 1970 (RFC 7519, NumericDate)."""
    return int(moment.timestamp())


class Members:
    """The members of one object of a document; every reader refuses by rule 4."""

    __slots__ = ("_found", "_where")

    def __init__(self, found: Any, *, where: str, known: Collection[str]) -> None:
        if not isinstance(found, dict):
            raise _refused(where, "an object", found)
        if "critical" in found:
            _check_critical(found["critical"], where, known)
        self._found = found
        self._where = where

    @classmethod
    def parse(cls, payload: bytes, *, where: str, known: Collection[str]) -> Members:
        """Return the members of a payload.

        Raises:
            VerificationError: rule 1 if nested too deep, rule 4 if no unambiguous JSON object.
        """
        try:
            jsontext.check_depth(payload)
        except MalformedError as exc:
            raise VerificationError(1, str(exc)) from exc
        try:
            return cls(jsontext.parse_object(payload), where=where, known=known)
        except MalformedError as exc:
            raise VerificationError(4, str(exc)) from exc

    def has(self, member: str) -> bool:
        """Tell whether the member is there."""
        return member in self._found

    def text(self, member: str, default: str | None = None) -> str:
        """Return a string member."""
        value = self._found.get(member, default)
        if not isinstance(value, str):
            raise self.refused(member, "a string")
        return value

    def name(self, member: str) -> str:
        """Return an account or stream name."""
        try:
            return name(self.text(member), what=member)
        except MalformedError as exc:
            raise VerificationError(4, str(exc)) from exc

    def boolean(self, member: str, default: bool) -> bool:
        """Return a boolean member."""
        value = self._found.get(member, default)
        if not isinstance(value, bool):
            raise self.refused(member, "true or false")
        return value

    def integer(self, member: str, low: int, high: int, default: int | None = None) -> int:
        """Return an integer member from `low` to `high`."""
        value = self._found.get(member, default)
        if type(value) is not int or not low <= value <= high:
            raise self.refused(member, f"an integer from {low} to {high}")
        return value

    def version(self, member: str = "version") -> int:
        """Return a version, 1 to 2^53-1."""
        return self.integer(member, 1, MAX_VERSION)

    def time(self, member: str) -> datetime:
        """Return a time, in the document as seconds since 1970."""
        # Not fromtimestamp: it ends with the year 3000 on Windows.
        return _EPOCH + timedelta(seconds=self.integer(member, 0, _MAX_TIME))

    def optional_time(self, member: str) -> datetime | None:
        """Return a time, or None where the member is absent."""
        return self.time(member) if member in self._found else None

    def texts(self, member: str) -> list[str]:
        """Return a list of strings, empty where the member is absent."""
        value = self._found.get(member, [])
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise self.refused(member, "a list of strings")
        return value

    def items(self, member: str) -> list[Any]:
        """Return a list, empty where the member is absent; its elements are not yet checked."""
        value = self._found.get(member, [])
        if not isinstance(value, list):
            raise self.refused(member, "a list")
        return value

    def mapping(self, member: str) -> dict[str, Any]:
        """Return an object, empty where the member is absent; its values are not yet checked."""
        value = self._found.get(member, {})
        if not isinstance(value, dict):
            raise self.refused(member, "an object")
        return value

    def refused(self, member: str, expected: str) -> VerificationError:
        """Return the error for a member that is not as expected."""
        if member not in self._found:
            return VerificationError(4, f"{self._where}: expected the member {member}")
        return _refused(f"{self._where}.{member}", expected, self._found[member])


def _check_critical(critical: object, where: str, known: Collection[str]) -> None:
    if not isinstance(critical, list):
        raise _refused(f"{where}.critical", "a list of member names", critical)
    for each in critical:
        if not isinstance(each, str) or each not in known:
            raise VerificationError(
                4,
                f"{where}: the critical member {str(each)[:80]!r} is not known to this version",
                hint="update the Livepin library",
            )


def _refused(where: str, expected: str, found: object) -> VerificationError:
    return VerificationError(4, f"{where}: expected {expected}, found {str(found)[:80]!r}")
