"""Runs jobs on an interval, in threads; a job that fails is logged and tried again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

logger = logging.getLogger("livepin.jobs")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Something to do every `seconds`, for the first time after `first`."""

    name: str
    seconds: float
    run: Callable[[], object]
    first: float = 0.0


async def run_forever(job: Job) -> None:
    """Run a job at its first time and then on its interval, until cancelled."""
    await asyncio.sleep(job.first)
    while True:
        try:
            await asyncio.to_thread(job.run)
        except Exception:
            logger.exception("the job %s failed", job.name)
        await asyncio.sleep(job.seconds)
