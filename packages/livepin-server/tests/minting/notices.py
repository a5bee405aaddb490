"""Notices as incidents make them, and as they are claimed for a channel."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

from livepin_server.services.monitoring import channel_kinds
from livepin_server.services.monitoring.channel_kinds import ChannelSettings
from livepin_server.services.monitoring.model import Notice
from livepin_server.services.monitoring.outbox import Posted

NOW = datetime(2026, 11, 23, 12, tzinfo=timezone.utc)  # where the clock of tests stands
COMMAND = "livepin pin add api.example.com sha256/7HIpactkIAq2Y49orFOOQKurWxmmSFZhBCoQYcRhJ3Y="

COMMANDS = f"{COMMAND}\nlivepin pin add '*.example.org' sha256/{'A' * 43}= --stream canary"


def notice(**members: Any) -> Notice:
    """Return a notice of an incident that was opened a minute ago."""
    said: dict[str, Any] = {
        "account": "acme", "event": "opened", "incident": 7, "kind": "pin_mismatch",
        "severity": "critical", "title": "apps cannot connect to api.example.com",
        "sentence": "Nothing that api.example.com presents is pinned: apps break now.",
        "moment": NOW, "since": NOW - timedelta(minutes=1), "domain": "api.example.com",
        "stream": "main", "apps": "apps that follow main", "command": COMMAND,
        "addresses": ["192.0.2.1:443"], "fingerprints": ["sha256/served"],
        "pinned": ["sha256/pinned"],
    }  # fmt: skip
    return Notice(**{**said, **members})


HAPPENED: dict[str, Any] = {  # a notice that has neither an incident nor an end
    "event": "happened", "incident": None, "kind": "installation_refused", "severity": "warning",
    "title": "an installation of shop was refused", "domain": "", "stream": "", "apps": "shop",
    "command": "livepin policy explain 1Zk0R4mVtq8XyPjB2nHdLw", "addresses": [],
    "fingerprints": [], "pinned": [], "subject": "signal-fail-abc", "tags": ["installations"],
}  # fmt: skip


def posted(settings: ChannelSettings, *, key: str = "k1", **members: Any) -> Posted:
    """Return a notice that was claimed for a channel of these settings."""
    return Posted(
        id=1, fence=1, account="acme", channel="ops", kind=channel_kinds.kind_of(settings),
        key=key, attempt=1, created=NOW, notice=notice(**members), settings=settings,
    )  # fmt: skip
