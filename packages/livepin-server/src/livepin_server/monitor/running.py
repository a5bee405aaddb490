"""`Monitor`: what looks while a server or a worker runs; who tells of it; jobs that hang on time.

Endpoints follow what is published, whichever process publishes it. What is announced and not heard
is found by the next look at all accounts.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial

from livepin_server.bus.memory import Announcement, Bus, MonitorWanted
from livepin_server.jobs.runner import Job
from livepin_server.probing.prober import Looking
from livepin_server.services.monitoring.channels import Channels
from livepin_server.services.monitoring.composition import Monitoring
from livepin_server.services.monitoring.model import HERE, ChannelKind
from livepin_server.services.monitoring.outbox import Outbox
from livepin_server.settings import MailServer

from .notifiers.alertmanager import AlertmanagerNotifier
from .notifiers.apprise import AppriseNotifier
from .notifiers.calling import Calling
from .notifiers.email import EmailNotifier
from .notifiers.pagerduty import PagerDutyNotifier
from .notifiers.telling import Notifier
from .notifiers.webhook import WebhookNotifier
from .notifying import Notifying
from .sweeping import Sweeping

_SYNC_EVERY = 60.0  # seconds
_REMIND_EVERY = 10.0
_SILENCE_EVERY = 30.0
_FORGET_EVERY, _FORGET_FIRST = 24 * 60 * 60.0, 600.0  # a server may be restarted each night
_CHANGES_KEPT = timedelta(days=800)  # of certificates: two years, and some to compare with
_INCIDENTS_KEPT = _CHANGES_KEPT
_WORKERS_KEPT = timedelta(days=7)  # each that starts has a name of its own
_NOTICES_KEPT = timedelta(days=30)
_LEAVE = 10.0  # seconds to end what is under way
_LONGEST = 63  # characters of a worker's name

logger = logging.getLogger("livepin.monitor")


class Monitor:
    """Looks from a vantage in a thread of its own, and keeps endpoints in step."""

    def __init__(
        self,
        monitoring: Monitoring,
        prober: Looking,
        bus: Bus,
        *,
        clock: Callable[[], datetime],
        vantage: str = HERE,
    ) -> None:
        self._monitoring = monitoring
        self._prober = prober
        self._bus = bus
        self._vantage = vantage
        self._sweeping = Sweeping(
            monitoring.schedule, monitoring.beats, prober,
            vantage=vantage, worker=worker_name(), clock=clock,
        )  # fmt: skip
        self._news = asyncio.Event()
        self._changed: set[str | None] = set()  # accounts, or None: all
        self._loop: asyncio.AbstractEventLoop | None = None

    def heard(self, news: Announcement | MonitorWanted) -> None:
        """Bring the endpoints of an account in step now, and look; from any thread."""
        self._wake(news.account)

    def in_step(self, hears: bool) -> None:
        """Bring everything in step: what was announced before may not have been heard."""
        if hears:
            self._wake(None)

    async def run(self) -> None:
        """Monitor until cancelled; then give back what was claimed and not seen."""
        self._loop = asyncio.get_running_loop()
        sweeping = threading.Thread(target=self._sweeping.run, name="livepin-sweeping", daemon=True)
        kinds = (Announcement, MonitorWanted)
        ends = [self._bus.subscribe(self.heard, each) for each in kinds]
        try:
            await self._try(partial(self._monitoring.endpoints.ensure_vantage, self._vantage))
            sweeping.start()
            while True:
                await self._follow()
        finally:
            self._loop = None
            for end in ends:
                end()
            self._sweeping.stop()
            await asyncio.to_thread(self._end, sweeping)

    async def _follow(self) -> None:
        """Wait for news, or a while, and bring endpoints in step."""
        changed: set[str | None] = {None}
        with suppress(TimeoutError):
            async with asyncio.timeout(_SYNC_EVERY):
                await self._news.wait()
                self._news.clear()
                changed, self._changed = self._changed, set()
        if None in changed:  # the vantage too: it may have been forgotten while nobody looked
            await self._try(partial(self._monitoring.endpoints.ensure_vantage, self._vantage))
        else:
            for account in sorted(filter(None, changed)):
                await self._try(partial(self._monitoring.endpoints.sync, account))
        self._sweeping.wake()

    def _wake(self, account: str | None) -> None:
        loop = self._loop
        if loop is not None:
            with suppress(RuntimeError):  # it has ended just now
                loop.call_soon_threadsafe(self._note, account)

    def _note(self, account: str | None) -> None:
        self._changed.add(account)
        self._news.set()

    async def _try(self, change: Callable[[], object]) -> None:
        try:
            await asyncio.to_thread(change)
        except Exception:
            logger.exception("what is to be looked at is not in step; it is tried again")

    def _end(self, sweeping: threading.Thread) -> None:
        if sweeping.ident is not None:
            sweeping.join(_LEAVE)
        self._prober.close()


async def notify(notifying: Notifying, bus: Bus) -> None:
    """Tell notices until cancelled; what is under way then may end, if that takes not long."""
    end = bus.subscribe(lambda _: notifying.wake(), MonitorWanted)
    telling = asyncio.create_task(notifying.run())
    try:
        await asyncio.shield(telling)
    finally:
        end()
        notifying.stop()
        await asyncio.wait([telling], timeout=_LEAVE)
        telling.cancel()
        with suppress(asyncio.CancelledError):
            await telling


def notifying_by(
    outbox: Outbox,
    channels: Channels,
    mail: MailServer | None,
    *,
    clock: Callable[[], datetime],
) -> Notifying:
    """Return what tells the notices of an outbox by all kinds of channels."""
    calling = Calling(clock=clock)
    notifiers: dict[ChannelKind, Notifier] = {
        "email": EmailNotifier(mail),
        "webhook": WebhookNotifier(calling, clock=clock),
        "pagerduty": PagerDutyNotifier(calling),
        "alertmanager": AlertmanagerNotifier(calling, clock=clock),
        "apprise": AppriseNotifier(),
    }
    return Notifying(outbox, channels, notifiers, clock=clock)


def jobs(monitoring: Monitoring, *, clock: Callable[[], datetime]) -> list[Job]:
    """Return what hangs on time, of all vantages: a server does it, whether it looks or not."""

    def forget() -> None:
        now = clock()
        monitoring.watching.forget(now - _CHANGES_KEPT)
        monitoring.outbox.forget(now - _NOTICES_KEPT)
        monitoring.incidents.forget_past(now - _INCIDENTS_KEPT)
        monitoring.beats.forget(now - _WORKERS_KEPT)

    incidents = monitoring.incidents
    return [
        Job(name="remind", seconds=_REMIND_EVERY, run=incidents.remind),
        Job(name="silence", seconds=_SILENCE_EVERY, run=incidents.silence, first=_SILENCE_EVERY),
        Job(name="monitor-history", seconds=_FORGET_EVERY, run=forget, first=_FORGET_FIRST),
    ]


def worker_name() -> str:
    """Return what this process is called among workers: its machine and its id."""
    number = str(os.getpid())
    return f"{socket.gethostname()[: _LONGEST - 1 - len(number)]}-{number}"
