"""Sealed private keys and secrets: AES-256-GCM under a master key, bound to account, role, kid."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from livepin.errors import MalformedError
from livepin.jose import PrivateKey, Signer

from livepin_server.errors import CustodyError

from . import master_key
from .label import SEALED, Kept, Label
from .master_key import MasterKey

_DERIVED = 32  # bytes
_NONCE = 12  # bytes, random for each sealing (NIST SP 800-38D, 8.2.2)


class Vault:
    """Seals and opens secret bytes under one master key, which it never shows."""

    def __init__(self, master: bytes) -> None:
        if len(master) != master_key.SIZE:
            raise CustodyError(
                f"expected a master key of {master_key.SIZE} bytes, found {len(master)}"
            )

        def expand(purpose: bytes) -> bytes:
            return HKDFExpand(hashes.SHA256(), _DERIVED, purpose).derive(master)

        self._cipher, self._expand = AESGCM(master), expand

    def seal(self, secret: bytes, label: Label) -> bytes:
        """Return `secret` sealed for `label`."""
        nonce = os.urandom(_NONCE)
        return SEALED + nonce + self._cipher.encrypt(nonce, secret, label.encoded())

    def open(self, sealed: bytes, label: Label) -> bytes:
        """Return what was sealed for `label`.

        Raises:
            CustodyError: another master key, another label, or damage.
        """
        try:
            if sealed[:1] != SEALED:
                raise ValueError
            nonce, box = sealed[1 : 1 + _NONCE], sealed[1 + _NONCE :]
            return self._cipher.decrypt(nonce, box, label.encoded())
        except (InvalidTag, ValueError) as exc:
            raise CustodyError(
                f"the {label.role} key {label.kid} of {label.account} does not open",
                hint="is this the master key of this data folder?",
            ) from exc

    def derive(self, purpose: bytes) -> bytes:
        """Return 32 bytes for a purpose, which tell nothing of the master key (RFC 5869, 2.3)."""
        return self._expand(purpose)


class Sealed:
    """Keeps private keys sealed under the master key, also while it changes: see `begin`."""

    where = "sealed on the server"

    def __init__(self, master: MasterKey) -> None:
        self._master = master
        self._vaults = self._read()

    def new(self, account: str, role: str) -> PrivateKey:
        """Make a key."""
        return PrivateKey.generate()

    def keep(self, key: Signer, label: Label, *, beside: Kept | None) -> bytes:
        """Return `key` sealed for `label`, under the master key that opens the one beside it.

        Raises:
            CustodyError: that one does not open: another server has changed the master key.
        """
        if not isinstance(key, PrivateKey):
            raise TypeError("expected a key that can be sealed")
        return self.keep_secret(key.pkcs8(), label, beside=beside)

    def open(self, sealed: bytes, label: Label) -> PrivateKey:
        """Return the key that was sealed for `label`.

        Raises:
            CustodyError: another master key, another label, or damage.
        """
        try:
            return PrivateKey.from_pkcs8(self.open_secret(sealed, label))
        except MalformedError as exc:
            raise CustodyError(
                f"the {label.role} key {label.kid} of {label.account} is no P-256 key"
            ) from exc

    def keep_secret(self, secret: bytes, label: Label, *, beside: Kept | None) -> bytes:
        """Return `secret` sealed for `label`; as `keep`."""
        vault = self._vaults[0] if beside is None else self._opening(beside.data, beside.label)[0]
        return vault.seal(secret, label)

    def derive(self, purpose: bytes) -> bytes:
        """Return 32 bytes for a purpose, the same on each server that has this master key."""
        return self._vaults[0].derive(purpose)

    def open_secret(self, sealed: bytes, label: Label) -> bytes:
        """Return what was sealed for `label`; as `open`."""
        return self._opening(sealed, label)[1]

    def forget(self, kept: bytes, label: Label) -> None:
        """Do nothing: there was no more of it than what was kept."""

    # -- a new master key -----------------------------------------------------------------------

    @property
    def is_changing(self) -> bool:
        """Whether a new master key waits beside that of now."""
        return self._master.pending.exists()

    def begin(self) -> Vault:
        """Write a new master key beside that of now; return its vault. From here on both open.

        Call this, and `settle`, inside a write transaction: one at a time.

        Raises:
            CustodyError: a new one waits already, or it cannot be written.
        """
        fresh = Vault(self._master.begin())
        self._vaults = [*self._vaults, fresh]
        return fresh

    def settle(self, found: Sequence[Kept]) -> None:
        """Finish or undo a change of the master key, by which of both opens what is sealed.

        Raises:
            CustodyError: neither opens anything.
        """

        def opened_by(master: bytes) -> int:
            vaults = [Vault(master)]
            return sum(_first(vaults, each.data, each.label) is not None for each in found)

        self._master.settle(opened_by if found else None)
        self._vaults = self._read()

    def warning(self, one: Kept | None) -> str | None:
        """Return what there is to say of the master key, given one of the keys that are sealed."""
        try:
            if one is not None:
                self.open_secret(one.data, one.label)
        except CustodyError as exc:
            return f"{exc}; {exc.hint}"
        if self.is_changing:
            return (
                f"{self._master.where} is the master key of before: put the new one there, "
                f"which is in {self._master.pending}, restart, and that file goes"
            )
        return None

    def _read(self) -> list[Vault]:
        return [Vault(each) for each in self._master.read()]

    def _opening(self, sealed: bytes, label: Label) -> tuple[Vault, bytes]:
        """Return what is sealed, and the vault that opens it; if none does, read the file again."""
        found = _first(self._vaults, sealed, label)
        if found is None:
            # Somebody may have put the new master key into the folder of this server.
            self._vaults = self._read()
            found = _first(self._vaults, sealed, label)
        if found is not None:
            return found
        raise CustodyError(
            f"the {label.role} key {label.kid} of {label.account} does not open",
            hint=f"is {self._master.where} the master key in force? after livepin custody rekey "
            "on another server, take that one's",
        )


def _first(vaults: Sequence[Vault], sealed: bytes, label: Label) -> tuple[Vault, bytes] | None:
    for each in vaults:
        with suppress(CustodyError):
            return each, each.open(sealed, label)
    return None


def new_master_key(path: Path) -> Sealed:
    """Write a new master key to `path`, mode 0600, and return what seals under it."""
    master_key.create(path)
    return load_master_key(path, None)


def load_master_key(path: Path, from_environment: str | None) -> Sealed:
    """Return what seals under a master key, from the environment where it is given there.

    Raises:
        CustodyError: no such file, open to others, or not a key in base64.
    """
    return Sealed(MasterKey(path, from_environment))
