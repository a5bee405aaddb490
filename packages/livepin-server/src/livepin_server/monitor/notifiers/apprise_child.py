"""A child process that has apprise send one message, and can do little else.

Before apprise reads the URL, an audit hook (PEP 578) is set that stays until the end: each address
that is connected to is judged as that of a webhook is, whoever resolved or redirected to it, and no
program is started. It guards against what URLs and answers bring apprise to do, not against code of
its own that would evade hooks.
"""

from __future__ import annotations

import logging
import socket
import sys
from collections.abc import Callable
from typing import Any

import msgspec

from livepin_server.errors import InvalidError
from livepin_server.services.monitoring.channel_kinds import CLEARTEXT, SCHEMAS
from livepin_server.services.monitoring.targets import require_address

_MOST = 1024 * 1024  # bytes of a message
_PROGRAMS = (
    "subprocess.Popen", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn",
    "os.system", "os.startfile", "pty.spawn",
)  # fmt: skip
_SENDS = ("socket.connect", "socket.sendto", "socket.sendmsg")


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be sent, and to where."""

    url: str
    allow_private: bool
    title: str
    body: str
    type: str

    def __repr__(self) -> str:
        return "Message(...)"


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of it: no trouble, or why it was not sent."""

    trouble: str | None = None
    permanent: bool = False


class RefusedError(BaseException):
    """The guard refused what was attempted; no `except Exception` of a library hides that."""


def guard(message: Message) -> Callable[[str, tuple[Any, ...]], None]:
    """Return the audit hook under which a message is sent."""
    schema = message.url.partition("://")[0]
    cleartext = schema in CLEARTEXT

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in _PROGRAMS:
            raise RefusedError("apprise may start no program")
        if event not in _SENDS:
            return
        sock, address = arguments
        if sock.family not in (socket.AF_INET, socket.AF_INET6) or not isinstance(address, tuple):
            raise RefusedError("apprise may connect to the network alone")
        try:
            require_address(
                str(address[0]), allow_private=message.allow_private, cleartext=cleartext
            )
        except InvalidError as exc:
            raise RefusedError(str(exc)) from None

    return hook


def send(message: Message) -> Answer:
    """Send a message under the guard, which stays for as long as this process lives."""
    if message.url.partition("://")[0] not in SCHEMAS:
        return Answer(trouble="apprise may not be asked for this service", permanent=True)
    # Imported before the guard: imports of what apprise needs look at the machine by programs.
    try:
        import apprise
    except ImportError:
        return Answer(trouble="apprise is not installed: install livepin-server[apprise]")
    asset = apprise.AppriseAsset(plugin_paths=[], secure_logging=True, storage_mode="memory")
    sys.addaudithook(guard(message))
    sending = apprise.Apprise(asset=asset)
    if not sending.add(message.url):
        return Answer(trouble="apprise cannot read the URL", permanent=True)
    # How apprise itself has read the URL decides.
    if any(not each.verify_certificate or getattr(each, "template", None) for each in sending):
        return Answer(trouble="the URL would turn off a guard, or have a file read", permanent=True)
    try:
        sent = sending.notify(
            title=message.title, body=message.body, notify_type=message.type, body_format="text"
        )
    except RefusedError as exc:
        return Answer(trouble=str(exc))
    return Answer() if sent else Answer(trouble="the service did not take it, says apprise")


def main() -> None:
    """Read a message from standard input; write what became of it."""
    logging.disable()  # apprise writes URLs to its log
    message = msgspec.json.decode(sys.stdin.buffer.read(_MOST), type=Message)
    answer = send(message)
    sys.stdout.buffer.write(msgspec.json.encode(answer))


if __name__ == "__main__":
    main()
