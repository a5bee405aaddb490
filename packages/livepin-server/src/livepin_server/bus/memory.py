"""The bus of one process, for a database that has one process."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy import Connection

logger = logging.getLogger("livepin.bus")


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcement:
    """A config version was committed, or a new account's first documents."""

    account: str
    stream: str
    root_version: int
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TokensChanged:
    """How tokens of an account are made was changed, or what is decided of an installation."""

    account: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OverridesChanged:
    """An override of an account was signed, or has ended by itself."""

    account: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitorWanted:
    """Endpoints of an account are to be looked at at once, or a notice is to be told."""

    account: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """Challenges that were spent, at most `MOST_SPENT`; 12 bytes each."""

    challenges: tuple[bytes, ...]


MOST_SPENT = 400
News = Announcement | TokensChanged | OverridesChanged | MonitorWanted | Spent
Subscriber = Callable[[Any], None]


class Bus(Protocol):
    """Carries news. What is lost is loaded anew by who hears again; spent challenges are not."""

    def enclose(self, connection: Connection, news: News) -> None:
        """Have the commit of a transaction tell the other processes, if there may be any."""

    def announce(self, news: News) -> None:
        """Tell every subscriber in this process, after the commit."""

    def subscribe(
        self, subscriber: Subscriber, kind: type[News] = Announcement
    ) -> Callable[[], None]:
        """Call `subscriber` for each news of a kind, on the announcing thread; return the end."""

    async def tell(self, news: News) -> None:
        """Tell the other processes what is in no transaction. Raises `OSError`: it cannot be."""

    async def listen(self, in_step: Callable[[bool], None]) -> None:
        """Hear the other processes until cancelled.

        `in_step` is told True when from now on nothing is missed, so that what was missed before
        can be fetched, and False when that has ended.
        """


class MemoryBus:
    """A bus within one process; safe from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._subscribers: list[tuple[type[News], Subscriber]] = []

    def enclose(self, connection: Connection, news: News) -> None:
        """Do nothing: there is no other process."""

    def announce(self, news: News) -> None:
        """Tell every subscriber of its kind, in the order of their subscription.

        What one of them raises is logged: the version is committed, and the others must know.
        """
        with self._lock:
            subscribers = [each for kind, each in self._subscribers if isinstance(news, kind)]
        for each in subscribers:
            try:
                each(news)
            except Exception:
                logger.exception("a subscriber did not take %s", news)

    def subscribe(
        self, subscriber: Subscriber, kind: type[News] = Announcement
    ) -> Callable[[], None]:
        """Call `subscriber` for each news of a kind until the returned function is called."""
        entry = (kind, subscriber)
        with self._lock:
            self._subscribers.append(entry)

        def unsubscribe() -> None:
            with self._lock:
                if entry in self._subscribers:
                    self._subscribers.remove(entry)

        return unsubscribe

    async def tell(self, news: News) -> None:
        """Do nothing: there is no other process."""

    async def listen(self, in_step: Callable[[bool], None]) -> None:
        """Return at once: nothing can be missed."""
