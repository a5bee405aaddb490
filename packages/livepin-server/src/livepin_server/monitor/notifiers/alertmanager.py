"""Prometheus Alertmanager, by its API v2: an alert for each incident, told again until it ends.

Alertmanager keeps no alerts over a restart, and ends what nobody repeats. So this notifier asks to
be called again, and says each time until when the alert holds.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import datetime, timedelta

import msgspec

from livepin_server.services.monitoring.channel_kinds import Alertmanager
from livepin_server.services.monitoring.model import SEVERITIES
from livepin_server.services.monitoring.outbox import Posted

from .calling import Call, Calling
from .telling import details, further, headline, mending, plain, settings_of

AGAIN = timedelta(minutes=2)
LASTS = timedelta(hours=1)  # an alert, if nobody repeats it: longer than a restart of this server
_TEST = timedelta(minutes=5)
# Longer than it waits for more of a group (`group_interval`, 5 minutes): else it is never sent.
_HAPPENED = timedelta(minutes=15)
_ONCE = {"test": _TEST, "happened": _HAPPENED}
_PATH = "/api/v2/alerts"
_LONGEST = 4000  # characters of an annotation


class AlertmanagerNotifier:
    """Tells an Alertmanager."""

    again = AGAIN

    def __init__(self, calling: Calling, *, clock: Callable[[], datetime]) -> None:
        self._calling = calling
        self._clock = clock

    async def tell(self, posted: Posted) -> None:
        """Post an alert, or its end.

        Raises:
            TellError: it was not taken.
        """
        settings = settings_of(posted, Alertmanager)
        call = Call(
            url=settings.url.rstrip("/") + _PATH,
            body=msgspec.json.encode(alerts_of(posted, self._clock())),
            headers=_authorization(settings),
            ca=settings.ca,
            allow_private=settings.allow_private,
        )
        await self._calling.post(call)


def alerts_of(posted: Posted, now: datetime) -> list[dict[str, object]]:
    """Return the alert of a notice, and the ends of those of other severities.

    The labels are what it is known by, and severity is one, by which people route: an incident
    that got worse is another alert, and the one of before ends. What has no end is let end soon.
    """
    notice = posted.notice
    lasts = _ONCE.get(notice.event, LASTS)
    ends = dict.fromkeys(SEVERITIES, now)
    if notice.event != "resolved":
        ends[notice.severity] = now + lasts
    if notice.event in _ONCE:
        ends = {notice.severity: ends[notice.severity]}
    starts = min(notice.since, now)
    return [
        {
            "labels": _labels(posted) | {"severity": severity},
            "annotations": _annotations(posted),
            "startsAt": starts.isoformat(),
            "endsAt": end.isoformat(),
        }
        for severity, end in ends.items()
    ]


def _labels(posted: Posted) -> dict[str, str]:
    notice = posted.notice
    if notice.event == "test":
        return {"alertname": "LivepinTest", "account": posted.account, "test": posted.key}
    of = (
        {"subject": notice.subject}
        if notice.event == "happened"
        else {"incident": str(notice.incident)}
    )
    return {
        "alertname": "Livepin",
        "account": posted.account,
        **of,
        "kind": notice.kind,
    } | ({"domain": plain(notice.domain)} if notice.domain else {})


def _annotations(posted: Posted) -> dict[str, str]:
    notice = posted.notice
    found = {
        "summary": headline(notice),
        "description": plain(notice.sentence),
        "command": "\n".join(mending(notice, most=_LONGEST)),
        "more": "\n".join(further(notice)),
    }
    found |= {name: value for name, value in details(notice) if name not in ("incident",)}
    return {name: value[:_LONGEST] for name, value in found.items() if value}


def _authorization(settings: Alertmanager) -> dict[str, str]:
    if settings.bearer is not None:
        return {"authorization": f"Bearer {settings.bearer}"}
    if settings.user is not None:
        both = f"{settings.user}:{settings.password}".encode()
        return {"authorization": f"Basic {base64.b64encode(both).decode()}"}
    return {}
