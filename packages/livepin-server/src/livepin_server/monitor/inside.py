"""`Inside`: monitoring in the process of a command, where no server runs. It ends with the command.

What is on its way at the end goes on when a server runs.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from datetime import datetime
from types import TracebackType

from livepin_server.bus.memory import Bus
from livepin_server.probing.prober import Prober
from livepin_server.services.monitoring.channels import Channels
from livepin_server.services.monitoring.composition import Monitoring
from livepin_server.services.monitoring.model import HERE
from livepin_server.settings import MailServer

from . import running
from .running import Monitor

_PROCESSES = 1  # that look, of each algorithm: a command looks once


class Inside:
    """Looks and tells in a thread, from its start to the end of the block."""

    def __init__(
        self,
        monitoring: Monitoring,
        channels: Channels,
        bus: Bus,
        mail: MailServer | None,
        *,
        clock: Callable[[], datetime],
    ) -> None:
        self._monitoring = monitoring
        self._channels = channels
        self._bus = bus
        self._mail = mail
        self._clock = clock
        self._thread = threading.Thread(target=self._run, name="livepin-inside")
        self._started = threading.Event()

    def __enter__(self) -> Inside:
        """Start, once endpoints can be made due from here."""
        self._monitoring.endpoints.ensure_vantage(HERE)
        self._thread.start()
        self._started.wait()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Have what is under way end, and wait for that."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _run(self) -> None:
        asyncio.run(self._until_stopped())

    async def _until_stopped(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        prober = Prober(processes=_PROCESSES)
        monitor = Monitor(self._monitoring, prober, self._bus, clock=self._clock)
        notifying = running.notifying_by(
            self._monitoring.outbox, self._channels, self._mail, clock=self._clock
        )
        both = (monitor.run(), running.notify(notifying, self._bus))
        tasks = [asyncio.create_task(each) for each in both]
        self._started.set()
        await self._stop.wait()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
