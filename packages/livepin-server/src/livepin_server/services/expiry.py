"""What expires, and what to say of it in time. Pure, but for the reading."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from .model import ApiKeyView

SOON = timedelta(days=90)  # a root is signed by people, and delivery keys must reach every app
LIFETIME = timedelta(days=14)  # of a config; it is signed again at half
AHEAD = timedelta(minutes=5)  # of the clock, as much as clients put up with
_LATE = timedelta(hours=12)  # after a config was due to be signed again
_KEY_SOON = timedelta(days=14)
_UNUSED = timedelta(days=90)


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
            next_one = f"livepin root prepare --account {self.account}"
            return said and f"root {self.version} of {self.account} {said}: {next_one}"
        name = f"config {self.version} of {self.account}/{self.stream}"
        if self.issued - now > AHEAD:
            return f"{name} was issued at {self.issued:%Y-%m-%d %H:%M}, which is in the future"
        due = self.issued + min(self.expires - self.issued, LIFETIME) / 2
        if now - due < _LATE:
            return self._of_a_clock_ahead(name)
        return f"{name} was not signed again, the log says why; it {_said(self.expires, now)}"

    def _of_a_clock_ahead(self, name: str) -> str | None:
        if self.expires - self.issued <= LIFETIME + AHEAD:
            return None
        return (
            "the clock of a server was ahead once: apps go by that time until there is a new root, "
            f"so {name} expires only on {self.expires:%Y-%m-%d}"
        )


def delivery_warning(expires: datetime, now: datetime) -> str | None:
    """Return what there is to say of the certificate of delivery."""
    if expires - now >= SOON:
        return None
    return f"the certificate of delivery {_said(expires, now)}: livepin delivery renew-keys"


def root_warnings(root: Expiry, now: datetime, *, online: bool) -> list[str]:
    """Return what there is to say of the newest root of an account, and of where its key is."""
    found = [f"the root key of {root.account} is on the server"] if online else []
    return [*found, *warnings([root], now)]


def warnings(found: Iterable[Expiry], now: datetime) -> list[str]:
    """Return what there is to say of these."""
    return [text for each in found if (text := each.warning(now)) is not None]


def key_warnings(keys: Iterable[ApiKeyView], now: datetime) -> list[str]:
    """Return what there is to say of API keys: which expire, and which nobody uses."""
    return [
        f"the API key {key.name}{'' if key.account is None else f' of {key.account}'} {text}"
        for key in keys
        if key.revoked is None and (text := _of_key(key, now)) is not None
    ]


def _of_key(key: ApiKeyView, now: datetime) -> str | None:
    if key.expires is not None and key.expires - now < _KEY_SOON:
        return _said(key.expires, now)
    since = max(each for each in (key.created, key.rotated, key.last_used) if each is not None)
    if now - since < _UNUSED:
        return None
    return f"was not used since {since:%Y-%m-%d}: revoke it unless somebody needs it"


def _said(expires: datetime, now: datetime) -> str:
    return f"{'expires' if expires > now else 'expired'} on {expires:%Y-%m-%d}"
