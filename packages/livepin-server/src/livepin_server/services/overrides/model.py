"""The values of overrides that use cases take and return."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from livepin.documents.override import MAX_LIFETIME
from msgspec import Meta, Struct

from livepin_server.services.model import Mode, Name, Pattern

LONGEST = int(MAX_LIFETIME.total_seconds())
LIVES = 24 * 60 * 60  # seconds, unless said
SHORTEST = 60
MOST_HOSTS = 32
MOST_PINS = 100


class NewOverride(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An override to sign, for an installation: its id, its key's thumbprint, or `latest`.

    Without `pins` the mode is `off` or `report`; with pins of its own `enforce`, or `report`.
    `stream` is that of its app, by which the domains are judged; else that of its last token
    request, or `main`.
    """

    installation: Annotated[str, Meta(max_length=80)]
    domains: Annotated[list[Pattern], Meta(min_length=1, max_length=MOST_HOSTS)]
    mode: Mode | None = None
    pins: Annotated[list[Annotated[str, Meta(max_length=100)]], Meta(max_length=MOST_PINS)] = []
    lives: Annotated[int, Meta(ge=SHORTEST, le=LONGEST)] = LIVES  # seconds
    stream: Name | None = None


class OverrideView(Struct, frozen=True, kw_only=True):
    """An override: for whom, what it changes where, until when, by whom and why.

    `version` is its number. `ended` tells when it ended before it expired, and `ended_by` through
    whom: an API key, or a new root.
    """

    version: int
    installation: str
    thumbprint: str
    stream: str
    root_version: int
    domains: list[str]
    mode: str
    pins: list[str]
    issued: datetime
    expires: datetime
    author: str
    reason: str
    ended: datetime | None
    ended_by: str | None
    in_force: bool

    @property
    def effect(self) -> str:
        """What it does, in words that go before the installation."""
        return "gives other pins to" if self.mode == "enforce" else "unpins"
