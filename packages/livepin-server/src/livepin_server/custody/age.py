"""Encryption of backups in the age format: to recipients, or under a passphrase.

A recipient is a public key: who has it can make a backup, and only who has its identity can read
one. Nothing is ever on disk in clear: what is encrypted and what is decrypted goes through memory.
"""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import IO, Any

import pyrage

from livepin_server.errors import BackupError

from .files import read_secret, write_secret
from .root_file import SHORTEST_PASSPHRASE

MAGIC = b"age-encryption.org/v1\n"
# The library takes a passphrase for what is in memory only.
MOST_UNDER_PASSPHRASE = 256 * 1024 * 1024
_PASSPHRASE = MAGIC + b"-> scrypt "
_IDENTITY = "AGE-SECRET-KEY-1"
_MOST_IDENTITY_FILE = 16 * 1024
_REFUSED = (pyrage.DecryptError, pyrage.EncryptError, OSError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seal:
    """Who can open what is sealed: the holders of `recipients`, or who knows the passphrase."""

    recipients: tuple[str, ...] = ()
    passphrase: str | None = field(default=None, repr=False)

    def checked(self) -> Seal:
        """Return the seal if it can be used.

        Raises:
            BackupError: neither or both are given, no such recipient, or too short a passphrase.
        """
        if bool(self.recipients) == (self.passphrase is not None):
            raise BackupError("expected either recipients or a passphrase")
        if self.passphrase is not None and len(self.passphrase) < SHORTEST_PASSPHRASE:
            raise BackupError(
                f"expected a passphrase of at least {SHORTEST_PASSPHRASE} characters",
                hint="six random words are long enough, and can be remembered",
            )
        for each in self.recipients:
            _recipient(each)
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """What opens a sealed file: identities, or a passphrase."""

    identities: tuple[str, ...] = field(default=(), repr=False)
    passphrase: str | None = field(default=None, repr=False)


def new_identity(path: Path, *, now: datetime) -> str:
    """Write a new identity to a file as `age-keygen` does, and return its recipient.

    Raises:
        CustodyError: the file exists, or cannot be written.
    """
    identity = pyrage.x25519.Identity.generate()
    recipient = str(identity.to_public())
    text = f"# created: {now:%Y-%m-%dT%H:%M:%SZ}\n# public key: {recipient}\n{identity}\n"
    write_secret(path, text.encode())
    return recipient


def read_identities(path: Path) -> tuple[str, ...]:
    """Return the identities in a file of `new_identity` or `age-keygen`.

    Raises:
        CustodyError: it cannot be read, or others can read it. BackupError: it holds none.
    """
    text = read_secret(path, limit=_MOST_IDENTITY_FILE).decode("ascii", "replace")
    found = tuple(line.strip() for line in text.splitlines() if line.startswith(_IDENTITY))
    if not found:
        raise BackupError(
            f"{path} holds no age identity", hint=f"expected a line that begins with {_IDENTITY}"
        )
    for each in found:
        _identity(each)
    return found


def needs_passphrase(sealed: IO[bytes]) -> bool:
    """Tell whether a sealed file is under a passphrase; it is read from its beginning again.

    Raises:
        BackupError: it is not in the age format.
    """
    sealed.seek(0)
    head = sealed.read(len(_PASSPHRASE))
    sealed.seek(0)
    if not head.startswith(MAGIC):
        raise BackupError(
            "it is not a file in the age format", hint="is it a backup that livepin backup made?"
        )
    return head == _PASSPHRASE


def seal(chunks: Iterable[bytes], target: IO[bytes], seal: Seal) -> None:
    """Write what the chunks hold to `target`, sealed.

    Raises:
        BackupError: it cannot be sealed. What the chunks or the target raise comes through.
    """
    if seal.passphrase is not None:
        plain = b"".join(_bounded(chunks))
        target.write(pyrage.passphrase.encrypt(plain, seal.passphrase))
        return
    source, sink = _Source(chunks), _Sink(target)
    try:
        pyrage.encrypt_io(source, sink, [_recipient(each) for each in seal.recipients])
    except pyrage.EncryptError as exc:
        failed = source.failed or sink.failed  # of which the library keeps the name, and no more
        if failed is None:
            raise BackupError(f"it cannot be sealed: {exc}") from exc
        raise failed from None
    if sink.failed is not None:  # the last write, of which it says nothing at all
        raise sink.failed


@contextmanager
def opened(sealed: IO[bytes], opening: Opening) -> Iterator[IO[bytes]]:
    """Give what a sealed file holds, to be read to its end: only then is it known to be whole.

    Raises:
        BackupError: it does not open with this, was changed, or ends early.
    """
    if needs_passphrase(sealed):
        yield io.BytesIO(_under_passphrase(sealed, opening))
        return
    if not opening.identities:
        raise BackupError("it is sealed to an age identity", hint="--identity FILE names its file")
    read_end, write_end = os.pipe()
    worker = _Worker(sealed, write_end, [_identity(each) for each in opening.identities])
    with os.fdopen(read_end, "rb") as plain:
        worker.start()
        try:
            yield io.BufferedReader(_Checked(plain, worker))
        finally:
            plain.close()  # a worker that has more to give ends with that
            worker.join()


class _Source:
    """Chunks as a file to read; what they raise is kept."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._rest = b""
        self.failed: BaseException | None = None

    def read(self, size: int) -> bytes:
        try:
            while not self._rest:
                self._rest = next(self._chunks)
        except StopIteration:
            return b""
        except BaseException as exc:
            self.failed = exc
            raise
        found, self._rest = self._rest[:size], self._rest[size:]
        return found


class _Sink:
    """A file to write; what it raises is kept."""

    def __init__(self, target: IO[bytes]) -> None:
        self._target = target
        self.failed: BaseException | None = None

    def write(self, data: bytes) -> int:
        try:
            return self._target.write(data)
        except BaseException as exc:
            self.failed = exc
            raise

    def flush(self) -> None:
        """Do nothing: whoever opened the file does that."""


class _Worker(threading.Thread):
    """Decrypts into a pipe; `failed` says why it did not get to the end."""

    def __init__(self, sealed: IO[bytes], write_end: int, identities: Sequence[Any]) -> None:
        super().__init__(name="livepin-age", daemon=True)
        self._sealed = sealed
        self._write_end = write_end
        self._identities = identities
        self.failed: BaseException | None = None

    def run(self) -> None:
        try:
            with os.fdopen(self._write_end, "wb") as plain:
                pyrage.decrypt_io(self._sealed, plain, self._identities)
        except BaseException as exc:  # noqa: BLE001 - whoever reads the plain text raises it
            self.failed = exc


class _Checked(io.RawIOBase):
    """The plain text of a worker; its end is an end only if the worker got there."""

    def __init__(self, plain: IO[bytes], worker: _Worker) -> None:
        self._plain = plain
        self._worker = worker

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        found = self._plain.read(len(buffer))
        if len(found) < len(buffer):
            self._worker.join()
            if self._worker.failed is not None:
                raise _unopened(self._worker.failed)
        buffer[: len(found)] = found
        return len(found)


def _under_passphrase(sealed: IO[bytes], opening: Opening) -> bytes:
    if opening.passphrase is None:
        raise BackupError("it is sealed under a passphrase", hint="--passphrase-file FILE gives it")
    data = sealed.read(MOST_UNDER_PASSPHRASE + 1)
    if len(data) > MOST_UNDER_PASSPHRASE:
        raise BackupError(f"expected at most {MOST_UNDER_PASSPHRASE} bytes under a passphrase")
    try:
        return bytes(pyrage.passphrase.decrypt(data, opening.passphrase))
    except _REFUSED as exc:
        raise _unopened(exc) from exc


def _unopened(exc: BaseException) -> BackupError:
    """Return why a file does not open: with another key, or because it is not whole."""
    text = str(exc).partition("\n")[0]
    if text in ("No matching keys found", "Decryption failed"):
        return BackupError(
            "it does not open with this key or passphrase", hint="is it the right one?"
        )
    if text.startswith("Excessive work"):
        return BackupError("its passphrase would take too long to try: it was made to do harm")
    return BackupError(
        "it is damaged or cut off: nothing of it is used", hint="take another backup"
    )


def _bounded(chunks: Iterable[bytes]) -> Iterator[bytes]:
    size = 0
    for each in chunks:
        size += len(each)
        if size > MOST_UNDER_PASSPHRASE:
            raise BackupError(
                f"expected at most {MOST_UNDER_PASSPHRASE // 2**20} MiB under a passphrase",
                hint="on another machine: livepin backup new-key FILE; then --recipient here",
            )
        yield each


def _recipient(text: str) -> Any:
    try:
        return pyrage.x25519.Recipient.from_str(text)
    except pyrage.RecipientError as exc:
        # What was meant is not repeated: it may be the identity, which is secret.
        raise BackupError(
            "expected an age recipient, which begins with age1",
            hint="livepin backup new-key FILE makes one, on another machine than this",
        ) from exc


def _identity(text: str) -> Any:
    try:
        return pyrage.x25519.Identity.from_str(text)
    except pyrage.IdentityError as exc:
        raise BackupError("an age identity is damaged: expected the line as it was made") from exc
