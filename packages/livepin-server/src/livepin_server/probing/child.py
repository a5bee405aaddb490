"""Probing in a child process, so that TLS work never delays the server."""

from __future__ import annotations

import asyncio
import sys

import msgspec

from .probe import TIMEOUT, Observation, Target

LONGEST = 2 * TIMEOUT + 10.0  # seconds for two looks, and to start on a busy machine
_MOST_OUTPUT = 1024 * 1024  # bytes


async def probe_in_child(target: Target, *, timeout: float = LONGEST) -> Observation:
    """Return what a child process sees; it is killed when its time is up."""
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "livepin_server.probing",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        limit=_MOST_OUTPUT,
    )
    try:
        async with asyncio.timeout(timeout):
            output, _ = await child.communicate(msgspec.json.encode(target))
        return msgspec.json.decode(output, type=Observation)
    except (TimeoutError, msgspec.DecodeError):
        return Observation(host=target.host, port=target.port, error="the probe did not end well")
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
