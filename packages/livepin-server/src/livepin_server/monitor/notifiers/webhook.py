"""Webhooks: a notice as JSON, signed as standardwebhooks has it.

The body is `{"type": "incident.opened", "version": 1, "timestamp": ..., "data": NOTICE}`; `type`
ends with the event of the notice; of what only happened it is `event.KIND`. `webhook-id` is the
same for all attempts at one notice.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone

import msgspec
from standardwebhooks.webhooks import Webhook as Signing

from livepin_server.services.monitoring.channel_kinds import Webhook
from livepin_server.services.monitoring.model import Notice
from livepin_server.services.monitoring.outbox import Posted

from .calling import Call, Calling
from .telling import settings_of

VERSION = 1  # of the body; members may be added to one


class WebhookNotifier:
    """Tells webhooks."""

    again = None

    def __init__(self, calling: Calling, *, clock: Callable[[], datetime]) -> None:
        self._calling = calling
        self._clock = clock

    async def tell(self, posted: Posted) -> None:
        """Send a signed request.

        Raises:
            TellError: it was not taken.
        """
        settings = settings_of(posted, Webhook)
        body = body_of(posted.notice)
        moment = self._clock().astimezone(timezone.utc)
        headers = {
            "webhook-id": posted.key,
            "webhook-timestamp": str(int(moment.timestamp())),
            "webhook-signature": Signing(settings.secret or "").sign(
                posted.key, moment, body.decode()
            ),
        }
        call = Call(
            url=settings.url, body=body, headers=headers, ca=settings.ca,
            allow_private=settings.allow_private,
        )  # fmt: skip
        await self._calling.post(call)


def body_of(notice: Notice) -> bytes:
    """Return the body of a notice; its time is that of the event, not of the attempt."""
    types = {"test": "test", "happened": f"event.{notice.kind}"}
    return msgspec.json.encode(
        {
            "type": types.get(notice.event, f"incident.{notice.event}"),
            "version": VERSION,
            "timestamp": notice.moment,
            "data": notice,
        }
    )
