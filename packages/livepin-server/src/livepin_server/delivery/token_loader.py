"""Keeps what tokens are made of in step with the database, and challenges with other servers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Any

from livepin_server.bus.memory import MOST_SPENT, Bus, OverridesChanged, Spent, TokensChanged
from livepin_server.errors import NotFoundError, UnavailableError
from livepin_server.services.tokens.loading import Tokens

from .tokens import TokenDesk

_AGAIN = 1.0  # seconds until what could not be loaded is tried again
_TELL_EVERY = 0.25  # seconds, until other servers hear which challenges were taken
_MOST_UNTOLD = 100_000  # challenges, while nobody hears

logger = logging.getLogger("livepin.tokens")


class TokenLoader:
    """Loads accounts for a desk, on the loop. `report` is called when `missed` has changed.

    While the database is away, tokens are issued as before. Where a key does not open, none are:
    what was decided of an installation meanwhile would not hold.
    """

    def __init__(
        self,
        desk: TokenDesk,
        tokens: Tokens,
        bus: Bus,
        *,
        clock: Callable[[], datetime],
        report: Callable[[], None],
    ) -> None:
        self._desk = desk
        self._tokens = tokens
        self._bus = bus
        self._clock = clock
        self._report = report
        self._loop = asyncio.get_running_loop()
        self._order = asyncio.Lock()  # so that an older reading never replaces a newer one
        self._wanted: set[str] = set()
        self._loading: set[asyncio.Task[None]] = set()
        self.missed: set[str] = set()

    def subscribe(self) -> list[Callable[[], None]]:
        """Hear the news; return what ends that."""
        return [
            self._bus.subscribe(self._changed, TokensChanged),
            self._bus.subscribe(self._changed, OverridesChanged),
            self._bus.subscribe(self._spent, Spent),
        ]

    def hears(self, found: bool) -> None:
        """Take note that from now on nothing that other servers tell is missed, or that it is."""
        self._desk.challenges.hears(found, self._clock())

    def want(self, account: str) -> None:
        """Load an account soon, once, however often it is wanted before that begins."""
        if account not in self._wanted:
            self._wanted.add(account)
            task = self._loop.create_task(self._load(account))
            self._loading.add(task)
            task.add_done_callback(self._loading.discard)

    def background(self) -> list[Coroutine[Any, Any, None]]:
        """Return what runs until it is cancelled."""
        return [self._catch_up(), self._tell()]

    async def load(self, account: str) -> None:
        """Load an account now; what cannot be loaded is tried again."""
        async with self._order:
            self._wanted.discard(account)
            try:
                issuing = await asyncio.to_thread(self._tokens.load, account)
                self._desk.challenges.key = await asyncio.to_thread(self._tokens.challenge_key)
                self._desk.replace(issuing)
                self.missed.discard(account)
            except NotFoundError:
                self._desk.forget(account)
                self.missed.discard(account)
            except UnavailableError as exc:
                if account not in self.missed:
                    logger.warning("tokens of %s are issued as before: %s", account, exc)
                self.missed.add(account)
            except Exception:  # whatever it is: nobody passes by what cannot be read
                if account not in self.missed:
                    logger.exception("no tokens of %s are issued", account)
                self._desk.forget(account)
                self.missed.add(account)
        self._report()

    async def _load(self, account: str) -> None:
        await self.load(account)

    def _changed(self, news: TokensChanged | OverridesChanged) -> None:
        self._loop.call_soon_threadsafe(self.want, news.account)

    def _spent(self, news: Spent) -> None:
        self._desk.challenges.spent_elsewhere(news.challenges, self._clock())

    async def _catch_up(self) -> None:
        while True:
            await asyncio.sleep(_AGAIN)
            for account in list(self.missed):
                await self.load(account)

    async def _tell(self) -> None:
        """Tell other servers which challenges were taken here."""
        fresh = self._desk.challenges.fresh
        while True:
            await asyncio.sleep(_TELL_EVERY)
            try:
                while fresh:
                    told = tuple(fresh[:MOST_SPENT])
                    await self._bus.tell(Spent(challenges=told))
                    del fresh[: len(told)]
            except OSError as exc:
                logger.warning("other servers do not hear which challenges were taken: %s", exc)
            except Exception:
                logger.exception("other servers do not hear which challenges were taken")
            del fresh[:-_MOST_UNTOLD]
