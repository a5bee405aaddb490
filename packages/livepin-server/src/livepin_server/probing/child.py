"""Probing in a child process, so that TLS work never delays the server."""

from __future__ import annotations

import asyncio
import os
import sys

import msgspec

from .probe import TIMEOUT, Observation, Target

LONGEST = 2 * TIMEOUT + 10.0  # seconds for two looks, and to start on a busy machine
COMMAND = [
    sys.executable,
    "-P",  # never a module that lies in the folder where the server was started
    "-m",
    "livepin_server.probing",
]
# The variables that a child gets. Never all but some: any service may have its secret in one.
_KEPT = frozenset(
    (
        "PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "VIRTUAL_ENV",
        "PYTHONHOME", "PYTHONPATH", "PYTHONUTF8", "PYTHONHASHSEED", "PYTHONDONTWRITEBYTECODE",
        "LD_LIBRARY_PATH", "SSL_CERT_FILE", "SSL_CERT_DIR", "OPENSSL_CONF", "OPENSSL_MODULES",
        "LOCALDOMAIN", "RES_OPTIONS", "HOSTALIASES",  # resolver(5)
        "COVERAGE_PROCESS_CONFIG",  # tests measure children by it
    )
)  # fmt: skip


def environment() -> dict[str, str]:
    """Return the variables that a child gets: it reads what strangers send, so no secret."""
    return {name: value for name, value in os.environ.items() if name in _KEPT}


async def probe_in_child(target: Target, *, timeout: float = LONGEST) -> Observation:
    """Return what a child process sees; it is killed when its time is up."""
    child = await asyncio.create_subprocess_exec(
        *COMMAND,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=environment(),
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
