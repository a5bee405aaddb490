"""The mark of a restored server: what its first start has to publish, and what was found of it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import msgspec
from msgspec import Struct

from livepin_server.custody.files import write_secret
from livepin_server.errors import ServiceError
from livepin_server.folder import Folder
from livepin_server.services.model import Intent
from livepin_server.telemetry.attention import Note

FILE = "restored.json"
_MOST = 1024 * 1024  # bytes

logger = logging.getLogger("livepin.backups")


class MarkedAccount(Struct, frozen=True, kw_only=True):
    """The number above which an account goes on, and its newest root when it was restored.

    `foreign` is the version of a config that its keys have signed and its server has not.
    """

    floor: int
    root_version: int
    foreign: int | None = None


class Mark(Struct, frozen=True, kw_only=True):
    """When the backup was made, and what became of its accounts."""

    backup: datetime
    accounts: dict[str, MarkedAccount]


def write(data: Path, mark: Mark) -> None:
    """Mark a data folder that was just made."""
    write_secret(data / FILE, msgspec.json.format(msgspec.json.encode(mark), indent=2) + b"\n")


def go_on(opened: Folder) -> None:
    """Publish what a restored server has to publish, above everything that apps may have seen.

    What cannot be published now is tried again at the next start. The mark goes when nothing is
    left of it.
    """
    found = _read(opened.data)
    if found is None:
        return
    intent = Intent(
        author="livepin restore",
        reason=f"restored from the backup of {found.backup:%Y-%m-%d %H:%M}",
    )
    left = {}
    newest = {each.name: each.root_version for each in opened.services.accounts.all()}
    for name, account in found.accounts.items():
        try:
            opened.services.versions.go_on(name, account.floor, intent)
            # Of what was in force when the backup was made nobody knows whether it was ended since.
            opened.services.overrides.end_up_to(name, account.floor, intent)
            done = account.foreign is None or newest.get(name) != account.root_version
        except ServiceError as exc:
            logger.warning("nothing can be published for %s: %s", name, exc)
            done = False
        if not done:
            left[name] = account
    if not left:
        with suppress(OSError):  # then it is done again, which changes nothing
            (opened.data / FILE).unlink()


def notes(opened: Folder) -> Iterator[Note]:
    """Give what there is to say of a restored server: keys in other hands, until a new root."""
    found = _read(opened.data)
    if found is None:
        return
    newest = {each.name: each.root_version for each in opened.services.accounts.all()}
    for name, account in found.accounts.items():
        if account.foreign is not None and newest.get(name) == account.root_version:
            yield Note(foreign(name, account.foreign), name)


def foreign(account: str, version: int) -> str:
    """Say that somebody else signs."""
    return (
        f"config {version} of {account} is signed by its key, but no server of yours made it: the "
        "key is in other hands. Replace it by a new root: livepin root prepare"
    )


def _read(data: Path) -> Mark | None:
    try:
        with (data / FILE).open("rb") as file:
            return msgspec.json.decode(file.read(_MOST), type=Mark)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as exc:  # a DecodeError is one, too
        logger.warning("cannot read %s: %s", data / FILE, exc)
        return None
