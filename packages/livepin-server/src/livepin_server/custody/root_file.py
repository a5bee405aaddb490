"""The root key file: a private key encrypted under a passphrase, kept off the server."""

from __future__ import annotations

import base64
import binascii
import os
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from livepin import jsontext
from livepin.errors import MalformedError
from livepin.jose import PrivateKey

from livepin_server.errors import CustodyError

from .files import read_secret, write_secret

FORMAT = "livepin-root-key/1"
SHORTEST_PASSPHRASE = 12  # characters

# RFC 9106, section 4: the second recommended option, for where memory is limited.
_ITERATIONS, _LANES, _MEMORY = 3, 4, 64 * 1024  # memory in KiB
_MOST_ITERATIONS, _MOST_LANES, _MOST_MEMORY = 64, 64, 2 * 1024 * 1024
_MOST_BYTES = 16 * 1024


def write_root_key(path: Path, key: PrivateKey, *, account: str, passphrase: str) -> None:
    """Write a new root key file.

    Raises:
        CustodyError: the passphrase is too short, or the file exists or cannot be written.
    """
    if len(passphrase) < SHORTEST_PASSPHRASE:
        raise CustodyError(
            f"expected a passphrase of at least {SHORTEST_PASSPHRASE} characters",
            hint="six random words are long enough, and can be remembered",
        )
    salt, nonce = os.urandom(16), os.urandom(12)
    cipher = AESGCM(_derive(passphrase, salt, _ITERATIONS, _LANES, _MEMORY))
    kid = key.public.kid
    members = {
        "format": FORMAT,
        "account": account,
        "kid": kid,
        "kdf": {
            "name": "argon2id",
            "salt": _text(salt),
            "iterations": _ITERATIONS,
            "lanes": _LANES,
            "memory_kib": _MEMORY,
        },
        "nonce": _text(nonce),
        "key": _text(cipher.encrypt(nonce, key.pkcs8(), _bound(account, kid))),
    }
    write_secret(path, jsontext.dump(members) + b"\n")


def read_root_key(path: Path, *, passphrase: str) -> tuple[str, PrivateKey]:
    """Return the account and key of a root key file.

    Raises:
        CustodyError: not such a file, or not its passphrase.
    """
    try:
        data = read_secret(path, limit=_MOST_BYTES)
        jsontext.check_depth(data)
        members = jsontext.parse_object(data)
        if members.get("format") != FORMAT:
            raise ValueError("another format")
        account, kid, kdf = str(members["account"]), str(members["kid"]), members["kdf"]
        secret = _derive(passphrase, _bytes(kdf["salt"]), *_cost(kdf))
        nonce, box = _bytes(members["nonce"]), _bytes(members["key"])
    except (MalformedError, LookupError, TypeError, ValueError, binascii.Error) as exc:
        raise CustodyError(f"{path} is not a root key file: {exc}") from exc
    try:
        return account, PrivateKey.from_pkcs8(
            AESGCM(secret).decrypt(nonce, box, _bound(account, kid))
        )
    except (InvalidTag, ValueError, MalformedError) as exc:
        raise CustodyError(f"{path} does not open with this passphrase") from exc


def _derive(passphrase: str, salt: bytes, iterations: int, lanes: int, memory: int) -> bytes:
    kdf = Argon2id(salt=salt, length=32, iterations=iterations, lanes=lanes, memory_cost=memory)
    return kdf.derive(passphrase.encode())


def _cost(kdf: dict[str, Any]) -> tuple[int, int, int]:
    """Return the cost parameters, bounded: a file must not use up the machine."""
    found = int(kdf["iterations"]), int(kdf["lanes"]), int(kdf["memory_kib"])
    most = _MOST_ITERATIONS, _MOST_LANES, _MOST_MEMORY
    if kdf["name"] != "argon2id" or any(not 1 <= f <= m for f, m in zip(found, most, strict=True)):
        raise ValueError("parameters of the key derivation out of bounds")
    return found


def _bound(account: str, kid: str) -> bytes:
    return f"{FORMAT}\n{account}\n{kid}".encode()


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes(text: object) -> bytes:
    return base64.b64decode(str(text), validate=True)
