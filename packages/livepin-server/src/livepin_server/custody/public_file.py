"""The public half of a root key, as a JWK in a file of its own: what is carried to the server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from livepin import jsontext
from livepin.errors import MalformedError
from livepin.jose import PublicKey

from livepin_server.errors import CustodyError

_MOST = 16 * 1024  # bytes
_HINT = "livepin root new-key writes such a file beside the key"
_PRIVATE = {"d", "k", "key"}  # members that only a private key has, or one of our root key files


def write_public(path: Path, key: PublicKey) -> None:
    """Write a new file.

    Raises:
        CustodyError: it exists, or cannot be written.
    """
    try:
        with path.open("xb") as file:
            file.write(jsontext.dump(key.jwk() | {"kid": key.kid}) + b"\n")
    except FileExistsError as exc:
        raise CustodyError(f"{path} exists already", hint="name a new file") from exc
    except OSError as exc:
        raise CustodyError(f"cannot write {path}: {exc.strerror}") from exc


def read_public(path: Path) -> dict[str, Any]:
    """Return the key in a file as JWK, the public members alone.

    Raises:
        CustodyError: it cannot be read, or is no such file, or holds a private key.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MOST + 1)
        if len(data) > _MOST:
            raise MalformedError(f"expected at most {_MOST} bytes")
        jsontext.check_depth(data)
        members = jsontext.parse_object(data)
        if members.keys() & _PRIVATE:
            raise CustodyError(
                f"{path} holds a private key, and only the public half is needed here",
                hint=f"it must not be on this machine. {_HINT}",
            )
        return dict(PublicKey.from_jwk(members).jwk())
    except OSError as exc:
        raise CustodyError(f"cannot read {path}: {exc.strerror}", hint=_HINT) from exc
    except MalformedError as exc:
        raise CustodyError(f"{path} is not the public half of a key: {exc}", hint=_HINT) from exc
