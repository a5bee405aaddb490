"""The keys of Android devices that Google has revoked: its status list, and how old it may be.

Keys that were taken out of devices are sold, and attest whatever their buyer wants. So without
this list an attestation is worth nothing, and with a list that is too old not much: past
`MOST_AGE` evidence of Android's hardware is refused. That is long enough for a failed network
to be mended (a server tells its operator after `OLD`), and shorter than leaked keys need to
spread. Who fetches the list is `livepin_server.jobs.revoking`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec
from livepin.errors import MalformedError

URL = "https://android.googleapis.com/attestation/status"
MOST_BYTES = 8 * 1024 * 1024
OLD, MOST_AGE = timedelta(days=1), timedelta(days=7)

_LONGEST = 60  # characters of a status, and of a reason


class _Entry(msgspec.Struct):
    status: str
    reason: str = ""


class _Status(msgspec.Struct):
    entries: dict[str, _Entry]


@dataclass(frozen=True, slots=True, kw_only=True)
class Revoked:
    """What Google's list said at `as_of`: serial numbers in hexadecimal, and why."""

    entries: Mapping[str, str]
    as_of: datetime

    @classmethod
    def parse(cls, body: bytes, as_of: datetime) -> Revoked:
        """Return what a list says.

        A list without entries is refused: Google's never was, and it would let everything pass.

        Raises:
            MalformedError: it is not a status list, or over 8 MiB.
        """
        if len(body) > MOST_BYTES:
            raise MalformedError(f"expected a status list of at most {MOST_BYTES} bytes")
        try:
            found = msgspec.json.decode(body, type=_Status).entries
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            raise MalformedError(f"expected a status list: {exc}") from exc
        if not found:
            raise MalformedError("expected a status list with entries, found none")
        entries = {serial.lower().lstrip("0"): _reason(each) for serial, each in found.items()}
        return cls(entries=entries, as_of=as_of)

    def reason(self, serial: int) -> str | None:
        """Return why a certificate is not to be trusted. What is listed at all never is."""
        return self.entries.get(f"{serial:x}")

    def age(self, now: datetime) -> timedelta:
        """Return how far from now the list is. One of the future was fetched by a wrong clock."""
        return abs(now - self.as_of)

    def is_too_old(self, now: datetime) -> bool:
        """Tell whether nothing may be decided by this list any more."""
        return self.age(now) > MOST_AGE


def _reason(entry: _Entry) -> str:
    words = f"{entry.status[:_LONGEST]} {entry.reason[:_LONGEST]}".strip()
    return words if words.isascii() and words.isprintable() else "listed"
