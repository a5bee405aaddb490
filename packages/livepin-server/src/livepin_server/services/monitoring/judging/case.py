"""`Case`: one endpoint against one domain that apps follow, and how a finding on it is written."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from msgspec import Struct

from livepin_server.services.monitoring.model import (
    SEVERITIES,
    Finding,
    Following,
    Judging,
    Kind,
    Severity,
    Sighted,
)
from livepin_server.services.publishing.lasting import minute

from .place import Place
from .seeing import Matching, Seen, addresses

URGENT = timedelta(days=3)  # what ends before then is critical
_MOST = 20  # addresses, fingerprints or pins in a finding
_MOST_NAMED = 3  # in a sentence


class Case(Struct, frozen=True, kw_only=True):
    """What was seen of an endpoint, and what one stream's newest config says to it."""

    place: Place
    seen: Seen
    following: Following
    matching: Matching
    by: Judging
    now: datetime

    @property
    def enforced(self) -> bool:
        """Whether apps refuse what does not match."""
        return self.following.mode == "enforce"

    @property
    def pattern(self) -> str:
        """The domain that decides at this endpoint."""
        return self.following.pattern

    def command(self, words: str, *more: str, target: str | None = None) -> str:
        """Return what to type about the domain, or a host, in the stream of this case."""
        stream = self.following.stream
        where = [] if stream == "main" else ["--stream", stream]
        return plain(words, self.pattern if target is None else target, *more, *where)

    def check(self) -> str:
        """Return the command that shows what the host serves, and what the pins say to it."""
        port = [] if self.place.port == 443 else ["--port", str(self.place.port)]
        return self.command("domain check", *port, target=self.place.host)

    def run(self) -> str:
        """Return the command that looks again at once."""
        return plain("monitor run", self.pattern)

    def new_backup(self) -> str:
        """Return the command that makes the key of a later certificate, and pins it."""
        name = self.pattern.removeprefix("*.")
        return self.command("pin new-backup", "--out", f"{name}-backup.key")

    def finding(
        self,
        kind: Kind,
        code: str,
        severity: Severity,
        sentence: str,
        *,
        cause: str,
        command: str,
        sights: Iterable[Sighted] = (),
        fingerprints: Sequence[str] = (),
        mark: str = "",
    ) -> Finding:
        """Return a finding. `mark` tells it from others of its kind, of which there are several."""
        following = self.following
        what = f"{kind}:{mark}" if mark else kind
        return Finding(
            kind=kind,
            code=code,
            severity=severity,
            key=f"{what}:{following.stream}:{following.pattern}",
            cause=cause,
            host=self.place.host,
            port=self.place.port,
            sentence=sentence,
            pattern=following.pattern,
            stream=following.stream,
            apps=following.apps,
            command=command,
            addresses=addresses(sights)[:_MOST],
            fingerprints=list(fingerprints[:_MOST]),
            pinned=list(following.pins.texts(now=self.now)[:_MOST]),
            tags=list(following.settings.tags),
        )

    def by_mode(self, severity: Severity) -> Severity:
        """Return how bad it is where pins are enforced, or only reported, or off."""
        if self.enforced:
            return severity
        return least(severity, "warning" if self.following.mode == "report" else "info")


def plain(words: str, *more: str) -> str:
    """Return a command whose words a shell takes as they are."""
    return " ".join(["livepin", words, *map(shlex.quote, more)])


def least(one: Severity, other: Severity) -> Severity:
    """Return the lower one of two severities."""
    return min(one, other, key=SEVERITIES.index)


def listed(words: Sequence[str]) -> str:
    """Return words as people list them: the first few, and how many more."""
    if not words:
        return "no address"
    if len(words) > _MOST_NAMED:
        more = len(words) - _MOST_NAMED
        return f"{', '.join(words[:_MOST_NAMED])} and {more} more"
    return " and ".join([*([", ".join(words[:-1])] if words[:-1] else []), words[-1]])


def within(left: timedelta) -> str:
    """Return how long that is, as people say it."""
    hours = int(left.total_seconds() // 3600)
    if hours < 1:
        return "within the hour"
    if hours < 48:
        return f"in {hours} {'hour' if hours == 1 else 'hours'}"
    return f"in {hours // 24} days"


__all__ = ["URGENT", "Case", "least", "listed", "minute", "plain", "within"]
