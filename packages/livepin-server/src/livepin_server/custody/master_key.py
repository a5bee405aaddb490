"""The master key: in a file or in the environment, and a new one beside it until it is in force.

Which of the two is in force is known to what they seal, and to nothing else: that is asked before
one of them is given up. So a change that is cut off at any moment is finished or undone later.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Callable
from pathlib import Path

from livepin_server.errors import CustodyError

from .files import read_secret, sync_folder, write_secret

VARIABLE = "LIVEPIN_MASTER_KEY"
SIZE = 32  # bytes


class MasterKey:
    """Where a master key is kept. It is never shown."""

    def __init__(self, path: Path, from_environment: str | None) -> None:
        self._path = path
        self._from_environment = from_environment or None

    @property
    def pending(self) -> Path:
        """The file of a new master key that is not yet, or not yet everywhere, in force."""
        return self._path.with_name(f"{self._path.name}.new")

    @property
    def where(self) -> str:
        """Where it is, for people."""
        return VARIABLE if self._from_environment else str(self._path)

    def read(self) -> list[bytes]:
        """Return the master key, and the new one that waits beside it, if one does.

        Raises:
            CustodyError: no such file, open to others, or not a key in base64.
        """
        waiting = self._waiting()  # first: it may take the place of the other between the two
        if self._from_environment is None and not self._path.exists():
            raise CustodyError(
                f"cannot read {self._path}: No such file or directory",
                hint=f"put it back, or give the master key as {VARIABLE}",
            )
        text = self._from_environment or read_secret(self._path, limit=256).decode(
            "ascii", "replace"
        )
        return [_decoded(text, self.where), *([] if waiting is None else [waiting])]

    def begin(self) -> bytes:
        """Write a new master key beside the one in force, and return it.

        Raises:
            CustodyError: one waits there already, or it cannot be written.
        """
        if self.pending.exists():
            raise CustodyError(
                f"a new master key waits in {self.pending}",
                hint=f"put it in the place of {self.where} and restart the server, then try again",
            )
        master = os.urandom(SIZE)
        write_secret(self.pending, _encoded(master))
        return master

    def settle(self, opened_by: Callable[[bytes], int] | None) -> None:
        """Finish or undo a change: keep the master key that opens what is sealed, not the other.

        `opened_by` tells how many keys a master key opens; None that none is sealed. A file of
        which anything sealed needs the key is never removed.

        Raises:
            CustodyError: neither opens anything, or the folder cannot be written.
        """
        if not self.pending.exists():
            return
        try:
            self._settle(opened_by)
        except OSError as exc:
            raise CustodyError(
                f"cannot settle which master key is in force: {self.pending}: {exc.strerror}",
                hint="nothing was removed that opens a key",
            ) from exc

    def _settle(self, opened_by: Callable[[bytes], int] | None) -> None:
        current, new = self.read()[0], self._waiting()
        if new == current or opened_by is None:
            self._give_up()
            return
        by_current, by_new = opened_by(current), 0 if new is None else opened_by(new)
        if not by_current and not by_new:
            raise CustodyError(
                f"neither {self.where} nor {self.pending} opens the keys in the database",
                hint="put the right master key back; both were left as they are",
            )
        if not by_new:
            self._give_up()
        elif not by_current and self._from_environment is None:
            self.pending.replace(self._path)
            sync_folder(self._path.parent)

    def _give_up(self) -> None:
        """Remove the new one, which seals nothing."""
        self.pending.unlink()
        sync_folder(self._path.parent)

    def _waiting(self) -> bytes | None:
        """Return the new master key, or None where there is none, or half a one."""
        if not self.pending.exists():
            return None
        try:
            text = read_secret(self.pending, limit=256).decode("ascii", "replace")
            return _decoded(text, str(self.pending))
        except CustodyError:
            return None


def create(path: Path) -> None:
    """Write a master key to a new file, mode 0600."""
    write_secret(path, _encoded(os.urandom(SIZE)))


def _encoded(master: bytes) -> bytes:
    return base64.b64encode(master) + b"\n"


def _decoded(text: str, source: str) -> bytes:
    try:
        found = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError) as exc:
        raise CustodyError(f"expected a master key in base64 in {source}") from exc
    if len(found) != SIZE:
        raise CustodyError(f"expected a master key of {SIZE} bytes, found {len(found)}")
    return found
