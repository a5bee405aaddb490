"""What all notifiers share: their protocol, their one error, and the sentences that people read."""

from __future__ import annotations

import asyncio
import ssl
import unicodedata
from datetime import timedelta
from typing import Protocol, TypeVar

from livepin_server.services.monitoring.channel_kinds import ChannelSettings
from livepin_server.services.monitoring.model import Notice
from livepin_server.services.monitoring.outbox import Posted

_T = TypeVar("_T", bound=ChannelSettings)
_UNSEEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # categories of what does something, or hides
_SAID = {
    "opened": "", "grew": "more of it: ", "again": "still: ", "worse": "worse: ",
    "resolved": "resolved: ", "test": "", "happened": "",
}  # fmt: skip
_MOST_LINES = 100


class TellError(Exception):
    """A channel was not told. The message holds nothing that was sent, and nothing secret.

    `permanent` says that the same would fail again; `retry_after` is what was asked for, in
    seconds; with `disable` the channel wants nothing any more.
    """

    def __init__(
        self,
        trouble: str,
        *,
        permanent: bool = False,
        retry_after: float | None = None,
        disable: bool = False,
    ) -> None:
        super().__init__(trouble)
        self.permanent = permanent
        self.retry_after = retry_after
        self.disable = disable


class Notifier(Protocol):
    """Tells channels of one kind. `again` is after how long what goes on is told once more."""

    @property
    def again(self) -> timedelta | None:
        """None where once is enough."""

    async def tell(self, posted: Posted) -> str | None:
        """Tell a notice to its channel; return who of it was not told, where others were.

        Raises:
            TellError: it was not told, as far as is known.
        """


async def anchored(ca: str | None) -> ssl.SSLContext:
    """Return a context that verifies by a CA in PEM, or by the system's, as these are now.

    In a thread: to read the system's takes tens of milliseconds, in which nobody would be served.
    """
    return await asyncio.to_thread(ssl.create_default_context, cadata=ca)


def settings_of(posted: Posted, kind: type[_T]) -> _T:
    """Return the settings of a notice's channel, which are of this kind."""
    if not isinstance(posted.settings, kind):
        raise TellError("the settings of the channel are of another kind", permanent=True)
    return posted.settings


def unverified(exc: BaseException) -> str | None:
    """Return what is wrong with TLS, if that is why something failed."""
    cause: BaseException | None = exc
    for _ in range(10):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate is not verified: {cause.verify_message}"
        if isinstance(cause, ssl.SSLError):
            return f"no TLS: {cause.reason or 'the handshake failed'}"
        if cause is None:
            break
        cause = cause.__cause__ or cause.__context__
    return None


def plain(text: str) -> str:
    """Return a text on one line, without what a terminal, a header or a reader would obey.

    Names in certificates are what strangers chose: a line break, a colour, a change of direction.
    """
    return "".join("?" if unicodedata.category(each) in _UNSEEN else each for each in text)


def headline(notice: Notice) -> str:
    """Return what happened, in one line that names the domain."""
    title = plain(notice.title)
    domain = plain(notice.domain)
    named = f"{domain}: {title}" if domain and domain not in title else title
    return f"{_SAID[notice.event]}{named}"


def mending(notice: Notice, *, most: int | None = None) -> list[str]:
    """Return the commands that mend it, each of which runs as it stands.

    A line that does not begin as our commands do is none, whoever brought it there. With `most`, as
    many as have that many characters together: half a command does something else.
    """
    whole: list[str] = []
    for each in map(plain, notice.command.split("\n")):
        if most is not None and sum(len(one) + 1 for one in whole) + len(each) > most:
            break
        whole += [each] if each.startswith("livepin ") else []
    return whole


def details(notice: Notice) -> list[tuple[str, str]]:
    """Return what more there is to say, each with its name."""
    since = f"{notice.since:%Y-%m-%d %H:%M} UTC"
    if notice.duration is not None:
        since += f", for {lasting(notice.duration)}"
    found = [
        ("domain", notice.domain),
        ("apps", notice.apps),
        ("stream", notice.stream),
        ("addresses", ", ".join(notice.addresses)),
        ("served", " ".join(notice.fingerprints)),
        ("pinned", " ".join(notice.pinned)),
        ("since", since),
        ("severity", notice.severity),
        ("account", notice.account),
        ("incident", "" if notice.incident is None else str(notice.incident)),
        ("endpoints", str(notice.endpoints) if notice.endpoints > 1 else ""),
    ]
    return [(name, plain(value)) for name, value in found if value]


def purpose(notice: Notice) -> str:
    """Return what the command of a notice is for."""
    return "to see why" if notice.event == "happened" else "to mend it"


def further(notice: Notice) -> list[str]:
    """Return the further sentences."""
    lines = [plain(each) for each in notice.lines[:_MOST_LINES]]
    left = len(notice.lines) - len(lines)
    return [*lines, f"and {left} more"] if left else lines


def lasting(seconds: int) -> str:
    """Return a duration in words."""
    for name, size in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= size:
            count = seconds // size
            return f"{count} {name}{'' if count == 1 else 's'}"
    return f"{seconds} second{'' if seconds == 1 else 's'}"
