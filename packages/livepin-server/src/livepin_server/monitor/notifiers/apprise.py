"""Everything else, through apprise, in a child process that is ended when its time is up.

apprise blocks, and sends whatever its URL says. The child guards itself; see `apprise_child`.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec

import msgspec

from livepin_server.services.monitoring.channel_kinds import Apprise
from livepin_server.services.monitoring.outbox import Posted

from .apprise_child import Answer, Message
from .telling import TellError, details, further, headline, mending, plain, settings_of

PATIENCE = 18.0  # seconds, of which the start takes one
_KEPT = ("PATH", "LANG", "LC_ALL", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR", "VIRTUAL_ENV")
COMMAND = (
    sys.executable,
    "-P",  # never a module that lies in the folder where the server was started
    "-m",
    "livepin_server.monitor.notifiers.apprise_child",
)


class AppriseNotifier:
    """Tells services that apprise knows."""

    again = None

    def __init__(self, *, patience: float = PATIENCE, command: Sequence[str] = COMMAND) -> None:
        self._patience = patience
        self._command = command

    async def tell(self, posted: Posted) -> None:
        """Have a child send a message.

        Raises:
            TellError: it was not sent, or nobody knows.
        """
        settings = settings_of(posted, Apprise)
        notice = posted.notice
        message = Message(
            url=settings.url,
            allow_private=settings.allow_private,
            title=headline(notice),
            body="\n".join(_lines(posted)),
            type="success" if notice.event == "resolved" else _TYPES[notice.severity],
        )
        answer = await self._sent(msgspec.json.encode(message))
        if answer.trouble is not None:
            raise TellError(answer.trouble, permanent=answer.permanent)

    async def _sent(self, message: bytes) -> Answer:
        child = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.PIPE,  # never as an argument: anybody may list those
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={name: os.environ[name] for name in _KEPT if name in os.environ},
        )
        try:
            async with asyncio.timeout(self._patience):
                output, _ = await child.communicate(message)
            return msgspec.json.decode(output, type=Answer)
        except TimeoutError:
            raise TellError(f"apprise did not end within {self._patience:g} seconds") from None
        except msgspec.MsgspecError:
            raise TellError("apprise did not end well") from None
        finally:
            if child.returncode is None:
                child.kill()
                await child.wait()


def is_installed() -> bool:
    """Tell whether apprise is here: it is an extra."""
    return find_spec("apprise") is not None


def _lines(posted: Posted) -> list[str]:
    notice = posted.notice
    found = [plain(notice.sentence)]
    commands = mending(notice)
    if commands:
        found += ["", *commands]
    found += ["", *(f"{name}: {value}" for name, value in details(notice))]
    return [*found, *further(notice)]


_TYPES = {"info": "info", "warning": "warning", "critical": "failure"}
