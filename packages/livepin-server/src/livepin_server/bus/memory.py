"""The bus of one process, for a database that has one process."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from sqlalchemy import Connection

logger = logging.getLogger("livepin.bus")


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcement:
    """A config version was committed, or a new account's first documents."""

    account: str
    stream: str
    root_version: int
    version: int


Subscriber = Callable[[Announcement], None]


class Bus(Protocol):
    """Carries announcements; a lost one is repaired by the next, so they hold no content."""

    def enclose(self, connection: Connection, announcement: Announcement) -> None:
        """Have the commit of a transaction tell the other processes, if there may be any."""

    def announce(self, announcement: Announcement) -> None:
        """Tell every subscriber in this process, after the commit."""

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """Call `subscriber` for each announcement, on the announcing thread; return the end."""

    async def listen(self, in_step: Callable[[bool], None]) -> None:
        """Hear the other processes until cancelled.

        `in_step` is told True when from now on nothing is missed, so that what was missed before
        can be fetched, and False when that has ended.
        """


class MemoryBus:
    """A bus within one process; safe from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._subscribers: list[Subscriber] = []

    def enclose(self, connection: Connection, announcement: Announcement) -> None:
        """Do nothing: there is no other process."""

    def announce(self, announcement: Announcement) -> None:
        """Tell every subscriber, in the order of their subscription.

        What one of them raises is logged: the version is committed, and the others must know.
        """
        with self._lock:
            subscribers = list(self._subscribers)
        for each in subscribers:
            try:
                each(announcement)
            except Exception:
                logger.exception("a subscriber did not take %s", announcement)

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """Call `subscriber` for each announcement until the returned function is called."""
        with self._lock:
            self._subscribers.append(subscriber)

        def unsubscribe() -> None:
            with self._lock:
                if subscriber in self._subscribers:
                    self._subscribers.remove(subscriber)

        return unsubscribe

    async def listen(self, in_step: Callable[[bool], None]) -> None:
        """Return at once: nothing can be missed."""
