"""Runs jobs on an interval, in threads; a job that fails is logged and tried again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

logger = logging.getLogger("livepin.jobs")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Something to do every `seconds`."""

    name: str
    seconds: float
    run: Callable[[], object]


async def run_forever(job: Job) -> None:
    """Run a job at once and then on its interval, until cancelled."""
    while True:
        try:
            await asyncio.to_thread(job.run)
        except Exception:
            logger.exception("the job %s failed", job.name)
        await asyncio.sleep(job.seconds)
