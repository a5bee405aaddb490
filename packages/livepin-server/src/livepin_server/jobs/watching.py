"""Looking at where configs are delivered, as apps do: an app that is refused there cannot say so.

Told is who is refused, not who does not answer: many a server cannot reach its own public URLs.
"""

from __future__ import annotations

from collections.abc import Iterator

from livepin_server.services.publishing.channel import looked_at, places
from livepin_server.services.publishing.published import Published
from livepin_server.services.publishing.publisher import Look
from livepin_server.services.publishing.served import MOST_LOOKED_AT
from livepin_server.telemetry.attention import Note


class DeliveryWatch:
    """Looks at the delivery URLs of all accounts."""

    def __init__(self, published: Published, look: Look) -> None:
        self._published = published
        self._look = look
        self._notes: list[Note] = []

    def run(self) -> None:
        """Look once. What was seen before is said until then."""
        accounts = self._published.accounts()
        deliveries = {each: self._published.delivery(each).document() for each in accounts}
        targets = [target for each in deliveries.values() for target in looked_at(each).values()]
        seen = self._look([*dict.fromkeys(targets)][:MOST_LOOKED_AT])
        self._notes = [
            Note(f"apps of {account} are refused at {place.url}: {place.trouble}", account)
            for account, delivery in deliveries.items()
            for place in places(delivery, seen)
            if place.trouble is not None
        ]

    def notes(self) -> Iterator[Note]:
        """Give what there is to say of the endpoints."""
        yield from self._notes
