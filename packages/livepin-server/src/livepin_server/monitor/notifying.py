"""`Notifying`: tells what is in the outbox, several channels at once, until it is stopped.

It holds nothing that is not in the outbox: killed at any moment, the next one goes on, and tells
once more what was told and not noted.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Literal, Protocol

from livepin.errors import LivepinError

from livepin_server.errors import ServiceError
from livepin_server.services.monitoring.model import ChannelKind
from livepin_server.services.monitoring.outbox import Posted

from .notifiers.telling import Notifier, TellError

AT_ONCE = 8
PATIENCE = 150.0  # seconds for one: a mail server may take that long (`email`), others end before
LEASE = timedelta(seconds=180)  # longer than that, and to note it
_EVERY = 1.0  # seconds

Outcome = Literal["delivered", "failed", "dead"]
Told = Callable[[ChannelKind, Outcome, timedelta], None]  # how long after it was put

logger = logging.getLogger("livepin.monitor")


class Posting(Protocol):
    """The outbox, as far as it is used here."""

    def claim(self, most: int, *, lease: timedelta) -> list[Posted]:
        """Return what is to be told."""

    def delivered(
        self, posted: Posted, *, again: timedelta | None = None, trouble: str | None = None
    ) -> bool:
        """Note that it was."""

    def failed(
        self,
        posted: Posted,
        trouble: str,
        *,
        permanent: bool = False,
        retry_after: float | None = None,
        disable: bool = False,
    ) -> bool:
        """Note that it was not; tell whether it is given up."""


class Opening(Protocol):
    """The channels, as far as they are used here."""

    def opened(self, posted: Posted) -> Posted:
        """Return a notice with the settings of its channel."""


class Notifying:
    """Tells notices by the notifier of each kind of channel.

    `told` is called with each that was told or not, for metrics.
    """

    def __init__(
        self,
        outbox: Posting,
        channels: Opening,
        notifiers: Mapping[ChannelKind, Notifier],
        *,
        clock: Callable[[], datetime],
        at_once: int = AT_ONCE,
        patience: float = PATIENCE,
        lease: timedelta = LEASE,
        every: float = _EVERY,
        told: Told = lambda *_: None,
    ) -> None:
        if lease.total_seconds() <= patience:
            raise ValueError("expected a lease that is longer than the patience for one notice")
        self._outbox = outbox
        self._channels = channels
        self._notifiers = notifiers
        self._clock = clock
        self._at_once = at_once
        self._patience = patience
        self._lease = lease
        self._every = every
        self._told = told
        self._under_way: set[asyncio.Task[None]] = set()
        self._woken = asyncio.Event()
        self._stopped = False
        self._loop: asyncio.AbstractEventLoop | None = None

    async def round(self) -> int:
        """Claim what is to be told now, tell it, and note that; return how many it was."""
        claimed = await self._claim()
        await asyncio.gather(*map(self._one, claimed))
        return len(claimed)

    async def run(self) -> None:
        """Tell until `stop`; then wait for what is under way, no longer than one takes.

        What hangs takes one place, and the others go on.
        """
        self._loop = asyncio.get_running_loop()
        try:
            while not self._stopped:
                self._woken.clear()
                for posted in await self._claim():
                    task = asyncio.create_task(self._one(posted))
                    self._under_way.add(task)
                    task.add_done_callback(self._ended)
                try:
                    async with asyncio.timeout(self._every):
                        await self._woken.wait()
                except TimeoutError:
                    pass
            if self._under_way:
                await asyncio.wait(self._under_way)  # each has a deadline of its own
        finally:
            for each in self._under_way:
                each.cancel()
            await asyncio.gather(*self._under_way, return_exceptions=True)

    def wake(self) -> None:
        """Look into the outbox now; from any thread."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._woken.set)

    def stop(self) -> None:
        """End `run`; from any thread. What is under way is told to its end."""
        self._stopped = True
        self.wake()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        self._woken.set()  # its channel may have more

    async def _claim(self) -> list[Posted]:
        free = self._at_once - len(self._under_way)
        if free < 1:
            return []
        try:
            return await asyncio.to_thread(self._outbox.claim, free, lease=self._lease)
        except ServiceError as exc:
            logger.error("the outbox cannot be read: %s", exc)
            return []

    async def _one(self, posted: Posted) -> None:
        """Tell one notice, and note what came of it."""
        trouble = await self._trouble(posted)
        try:
            outcome = await asyncio.to_thread(self._note, posted, trouble)
        except ServiceError as exc:
            # It is told again once its lease has ended.
            logger.error("what became of notice %d cannot be noted: %s", posted.id, exc)
            return
        if trouble is not None:
            how = "not told" if isinstance(trouble, TellError) else "told, but not all of it"
            logger.warning(
                "the channel %s of %s was %s: %s", posted.channel, posted.account, how, trouble
            )
        self._told(posted.kind, outcome, self._clock() - posted.created)

    async def _trouble(self, posted: Posted) -> TellError | str | None:
        """Tell a notice; return why it was not told, or who of the channel was not, if so."""
        notifier = self._notifiers.get(posted.kind)
        if notifier is None:
            return TellError(f"nothing here tells channels of the kind {posted.kind}")
        try:
            async with asyncio.timeout(self._patience):
                opened = await asyncio.to_thread(self._channels.opened, posted)
                return await notifier.tell(opened)
        except TellError as exc:
            return exc
        except TimeoutError:
            return TellError(f"no answer within {self._patience:g} seconds")
        except (ServiceError, LivepinError) as exc:
            return TellError(str(exc))
        except Exception as exc:  # noqa: BLE001 - whatever a library raises, others are told
            # Its kind alone: an error of a library may quote what was sent.
            return TellError(f"it failed: {type(exc).__name__}")

    def _note(self, posted: Posted, trouble: TellError | str | None) -> Outcome:
        if not isinstance(trouble, TellError):
            again = self._notifiers[posted.kind].again
            self._outbox.delivered(posted, again=again, trouble=trouble)
            return "delivered"
        dead = self._outbox.failed(
            posted,
            str(trouble),
            permanent=trouble.permanent,
            retry_after=trouble.retry_after,
            disable=trouble.disable,
        )
        return "dead" if dead else "failed"
