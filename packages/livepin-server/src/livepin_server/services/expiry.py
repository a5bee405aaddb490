"""What expires, and what to say of it in time. Pure, but for the reading."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

SOON = timedelta(days=90)  # a root is signed by people, and delivery keys must reach every app
_LATE = timedelta(hours=12)  # after a config was due to be signed again
_AHEAD = timedelta(minutes=5)  # of the clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Expiry:
    """The newest root of an account, or the newest config of a stream, and when it expires."""

    kind: Literal["root", "config"]
    account: str
    stream: str
    version: int
    issued: datetime
    expires: datetime

    def warning(self, now: datetime) -> str | None:
        """Return what there is to say now, if anything."""
        if self.kind == "root":
            said = _said(self.expires, now) if self.expires - now < SOON else None
            return said and f"root {self.version} of {self.account} {said}"
        name = f"config {self.version} of {self.account}/{self.stream}"
        if self.issued - now > _AHEAD:
            return f"{name} was issued at {self.issued:%Y-%m-%d %H:%M}, which is in the future"
        due = self.issued + (self.expires - self.issued) / 2
        if now - due < _LATE:
            return None
        return f"{name} was not signed again, the log says why; it {_said(self.expires, now)}"


def delivery_warning(expires: datetime, now: datetime) -> str | None:
    """Return what there is to say of the certificate of delivery."""
    if expires - now >= SOON:
        return None
    return f"the certificate of delivery {_said(expires, now)}: livepin delivery renew-keys"


def warnings(found: Iterable[Expiry], now: datetime) -> list[str]:
    """Return what there is to say of these."""
    return [text for each in found if (text := each.warning(now)) is not None]


def _said(expires: datetime, now: datetime) -> str:
    return f"{'expires' if expires > now else 'expired'} on {expires:%Y-%m-%d}"
