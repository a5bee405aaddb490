"""`livepin monitor worker`: looks at endpoints from one vantage, and does nothing else.

It has the database and no key: it cannot sign, publish, or open what is sealed for channels. What
it finds is told by the servers.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable
from contextlib import suppress

from livepin_server.folder import Worker
from livepin_server.monitor.running import Monitor
from livepin_server.probing.prober import Prober

logger = logging.getLogger("livepin.monitor")


async def work(
    worker: Worker, *, vantage: str, started: Callable[[], object] | None = None
) -> None:
    """Look from a vantage until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for each in (signal.SIGTERM, signal.SIGINT):
        with suppress(ValueError, RuntimeError):  # not on the main thread
            loop.add_signal_handler(each, stop.set)
    monitor = Monitor(worker.monitoring, Prober(), worker.bus, clock=worker.clock, vantage=vantage)
    coroutines = (monitor.run(), worker.bus.listen(monitor.in_step))
    tasks = [asyncio.create_task(each) for each in coroutines]
    logger.info("looking", extra={"vantage": vantage})
    if started is not None:
        started()
    try:
        await stop.wait()
    finally:
        logger.info("stopping")
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
