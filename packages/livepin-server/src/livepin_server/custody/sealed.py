"""Sealed private keys: AES-256-GCM under a master key, bound to account, role and kid."""

from __future__ import annotations

import base64
import binascii
import os
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from livepin.errors import MalformedError
from livepin.jose import PrivateKey

from livepin_server.errors import CustodyError

from .files import read_secret, write_secret

_NONCE = 12  # bytes, random for each sealing (NIST SP 800-38D, 8.2.2)
_MASTER = 32
_VERSION = b"\x01"


@dataclass(frozen=True, slots=True)
class Label:
    """What a sealed key is for. A key sealed for one label does not open for another."""

    account: str
    role: str
    kid: str

    def encoded(self) -> bytes:
        """Return the associated data; no part can contain the separator."""
        return "\n".join(("livepin", self.account, self.role, self.kid)).encode()


class Vault:
    """Seals and opens private keys under one master key, which it never shows."""

    def __init__(self, master: bytes) -> None:
        if len(master) != _MASTER:
            raise CustodyError(f"expected a master key of {_MASTER} bytes, found {len(master)}")
        self._cipher = AESGCM(master)

    def seal(self, key: PrivateKey, label: Label) -> bytes:
        """Return `key` sealed for `label`."""
        nonce = os.urandom(_NONCE)
        return _VERSION + nonce + self._cipher.encrypt(nonce, key.pkcs8(), label.encoded())

    def open(self, sealed: bytes, label: Label) -> PrivateKey:
        """Return the key that was sealed for `label`.

        Raises:
            CustodyError: another master key, another label, or damage.
        """
        try:
            if sealed[:1] != _VERSION:
                raise ValueError
            nonce, box = sealed[1 : 1 + _NONCE], sealed[1 + _NONCE :]
            return PrivateKey.from_pkcs8(self._cipher.decrypt(nonce, box, label.encoded()))
        except (InvalidTag, ValueError, MalformedError) as exc:
            raise CustodyError(
                f"the {label.role} key {label.kid} of {label.account} does not open",
                hint="is this the master key of this data folder?",
            ) from exc


def new_master_key(path: Path) -> Vault:
    """Write a new master key to `path`, mode 0600, and return its vault."""
    master = os.urandom(_MASTER)
    write_secret(path, base64.b64encode(master) + b"\n")
    return Vault(master)


def load_master_key(path: Path, from_environment: str | None) -> Vault:
    """Return the vault of the master key, from the environment where it is given there.

    Raises:
        CustodyError: no such file, open to others, or not a key in base64.
    """
    source = "LIVEPIN_MASTER_KEY" if from_environment else str(path)
    if not from_environment and not path.exists():
        raise CustodyError(
            f"cannot read {path}: No such file or directory",
            hint="put it back, or give the master key as LIVEPIN_MASTER_KEY",
        )
    text = from_environment or read_secret(path, limit=256).decode("ascii", "replace")
    try:
        return Vault(base64.b64decode(text.strip(), validate=True))
    except (binascii.Error, ValueError) as exc:
        raise CustodyError(f"expected a master key in base64 in {source}") from exc
