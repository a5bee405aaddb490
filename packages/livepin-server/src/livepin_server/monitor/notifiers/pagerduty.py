"""PagerDuty, by its Events API v2: an incident there for each of ours, which ends with it."""

from __future__ import annotations

import msgspec

from livepin_server.services.monitoring.channel_kinds import PagerDuty
from livepin_server.services.monitoring.model import Notice
from livepin_server.services.monitoring.outbox import Posted

from .calling import Call, Calling
from .telling import details, further, headline, mending, plain, purpose, settings_of

URL = "https://events.pagerduty.com/v2/enqueue"
_SUMMARY = 1024  # characters (Events API v2)
_DETAIL = 2000  # characters of each; an event has at most 512 KB


class PagerDutyNotifier:
    """Tells PagerDuty. `url`, `ca` and `allow_private` are for tests alone."""

    again = None

    def __init__(
        self,
        calling: Calling,
        *,
        url: str = URL,
        ca: str | None = None,
        allow_private: bool = False,
    ) -> None:
        self._calling = calling
        self._url = url
        self._ca = ca
        self._allow_private = allow_private

    async def tell(self, posted: Posted) -> None:
        """Trigger an incident, or resolve it.

        Raises:
            TellError: it was not taken.
        """
        settings = settings_of(posted, PagerDuty)
        event = {"routing_key": settings.routing_key, **event_of(posted)}
        call = Call(
            url=self._url, body=msgspec.json.encode(event), headers={}, ca=self._ca,
            allow_private=self._allow_private,
        )  # fmt: skip
        await self._calling.post(call)


def event_of(posted: Posted) -> dict[str, object]:
    """Return the event of a notice. What has the same `dedup_key` is one incident there."""
    notice = posted.notice
    return {
        "event_action": "resolve" if notice.event == "resolved" else "trigger",
        "dedup_key": dedup_key(posted),
        "client": "Livepin",
        "payload": {
            "summary": headline(notice)[:_SUMMARY],
            "source": plain(notice.domain) or "livepin",
            "severity": notice.severity,  # their words are error, and these three
            "timestamp": notice.since.isoformat(),
            "class": notice.kind,
            "component": plain(notice.stream),
            "group": notice.account,
            "custom_details": _custom(notice),
        },
    }


def dedup_key(posted: Posted) -> str:
    """Return the key of an incident, of at most 255 characters; a test has one of its own.

    What only happened has that of its subject: while nobody has resolved it there, it wakes nobody
    once more. Nothing here ever resolves it.
    """
    notice = posted.notice
    of_incident = None if notice.incident is None else str(notice.incident)
    return f"livepin-{posted.account}-{of_incident or notice.subject or posted.key}"


def _custom(notice: Notice) -> dict[str, str]:
    commands = "\n".join(mending(notice, most=_DETAIL))
    found = {"what": plain(notice.sentence), purpose(notice): commands}
    found |= dict(details(notice)) | {"more": "\n".join(further(notice))}
    return {name: value[:_DETAIL] for name, value in found.items() if value}
