"""The key of this installation: what it asks for tokens with, and what its id comes from.

It is made when it is first needed, and kept in a file that its owner alone can read. A copied key
is a clone that nobody can tell from the first: what stands here keeps other users of the machine
out, and nobody else.
"""

from __future__ import annotations

import contextlib
import logging
import os
import stat
import threading
from pathlib import Path

from livepin.errors import MalformedError, StoreError
from livepin.jose import PrivateKey, Signer

from .store import FileStore

logger = logging.getLogger("livepin")

_MAX_SIZE = 1024  # bytes; a P-256 key in PKCS#8 has 138
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
# A link or a pipe that somebody laid there is not followed, and not waited for.
_FLAGS = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_HAS_MODES = os.name == "posix"


class KeyFile(FileStore):
    """A file with a private key, PKCS#8 in DER; mode 0600.

    One that others may read is closed to them, and `was_open` is true then. One that belongs to
    another user, or is no file, is neither used nor touched: whoever put it there has the key.
    `<name>.lock` holds the thumbprint of the key, by which its loss is noticed.
    """

    hint = "tokens are asked for with a key in memory, by another installation after each start"
    was_open = False

    def load(self) -> bytes | None:
        """Return what is in the file, or None where there is none. Raises `StoreError`."""
        try:
            with os.fdopen(os.open(self.path, _FLAGS), "rb") as file:
                self._close_to_others(file.fileno())
                return file.read(_MAX_SIZE + 1)
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise self._error("read", exc) from exc

    @property
    def last(self) -> str:
        """The thumbprint of the key that was here last; empty if nobody knows."""
        with contextlib.suppress(OSError, UnicodeDecodeError):
            return self._lock.read_text("ascii")[:64]
        return ""

    def remember(self, thumbprint: str) -> None:
        """Note whose key is here."""
        with contextlib.suppress(OSError):  # a notice less
            self._lock.write_text(thumbprint, "ascii")

    @property
    def _lock(self) -> Path:
        return self.path.with_name(f"{self.path.name}.lock")

    def _close_to_others(self, descriptor: int) -> None:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise OSError("it is no file")
        if not _HAS_MODES:
            return
        if found.st_uid != os.geteuid():
            raise OSError("it belongs to another user")
        if found.st_mode & _OTHERS:
            os.fchmod(descriptor, 0o600)
            self.was_open = True


class Installation:
    """The key of one app on one device: `source` is where it is kept, or what signs in its place.

    None keeps it in memory. `problem` is what whoever runs the app should know of it, or None. It
    never prints itself.
    """

    def __init__(self, source: KeyFile | Signer | None) -> None:
        self.problem: str | None = None
        self._file = source if isinstance(source, KeyFile) else None
        self._held: Signer | None = None if isinstance(source, KeyFile) else source
        self.reset_lock()

    def key(self) -> Signer:
        """Return the key, made now if there was none. It may wait for another process."""
        if self._held is None:
            with self._making:
                if self._held is None:
                    self._held = self._made()
        return self._held

    @property
    def thumbprint(self) -> str | None:
        """The thumbprint of the key, None as long as it was not needed."""
        return None if self._held is None else self._held.public.kid

    def existing(self) -> str | None:
        """Return the thumbprint of the key if there is one by now; none is made for this."""
        if self._held is None and self._file is not None:
            with self._making:
                if self._held is None:
                    with contextlib.suppress(StoreError):  # told when the key is needed
                        self._held = self._read(self._file)
        return self.thumbprint

    @property
    def is_in_memory(self) -> bool:
        """Whether the key is here by now, and signs without waiting for anything."""
        return isinstance(self._held, PrivateKey)

    def reset_lock(self) -> None:
        """Forget a lock that another thread held when this process was forked."""
        self._making = threading.Lock()

    def _made(self) -> Signer:
        if self._file is None:
            return PrivateKey.generate()
        try:
            return self._read(self._file) or self._replaced(self._file)
        except StoreError as exc:
            self._notice(f"{exc}; {exc.hint}")
            return PrivateKey.generate()

    def _read(self, file: KeyFile) -> PrivateKey | None:
        data = file.load()
        if file.was_open:
            self._notice(
                f"{file.path} could be read by others, who may have copied the key; it is closed "
                "to them now, and whoever deletes it gets another key"
            )
        return None if data is None else _parsed(data)

    def _replaced(self, file: KeyFile) -> PrivateKey:
        """Make a key and store it, unless another process did meanwhile: all have one."""
        with file.locked():
            found = self._read(file)
            if found is not None:
                return found
            found, last = PrivateKey.generate(), file.last
            if file.load() is not None:
                file.set_aside()
                self._notice(f"{file.path} was damaged, and is kept beside; {_ANOTHER}")
            elif last:
                self._notice(f"{file.path} was lost, with the key {last}; {_ANOTHER}")
            file.save(found.pkcs8())
            file.remember(found.public.kid)
        return found

    def _notice(self, text: str) -> None:
        if self.problem != text:
            logger.warning("the key of this installation: %s", text)
        self.problem = text

    def __repr__(self) -> str:
        return f"Installation({self.thumbprint})"


_ANOTHER = "a new key was made, and the app is another installation from now on"


def _parsed(data: bytes) -> PrivateKey | None:
    try:
        return PrivateKey.from_pkcs8(data)
    except MalformedError:
        return None
