"""What a client is made from: paths, texts, or objects of the app's own."""

from __future__ import annotations

import os
from pathlib import Path

from livepin.bootstrap import MAX_SIZE, Bootstrap
from livepin.errors import ConfigurationError
from livepin.jose import Signer

from .installation import KeyFile
from .store import FileStore, MemoryStore, Store


def load_bootstrap(source: str | os.PathLike[str] | bytes | Bootstrap) -> Bootstrap:
    """Return the bootstrap from a path, its JSON text, or its one-string form."""
    if isinstance(source, Bootstrap):
        return source
    if isinstance(source, bytes) or _is_text(source):
        return Bootstrap.parse(source)  # type: ignore[arg-type]
    try:
        with Path(source).open("rb") as file:
            return Bootstrap.parse(file.read(MAX_SIZE + 1))
    except OSError as exc:
        raise ConfigurationError(
            f"cannot read the bootstrap {os.fspath(source)}: {exc.strerror or exc}",
            hint="make one with: livepin bootstrap --out bootstrap.json",
        ) from exc


def _is_text(source: object) -> bool:
    return isinstance(source, str) and source.lstrip().startswith(("{", "livepin:"))


def store_of(store: str | os.PathLike[str] | Store | None) -> Store:
    """Return the store itself, that in a file, or one in memory."""
    if store is None:
        return MemoryStore()
    return FileStore(store) if isinstance(store, (str, os.PathLike)) else store


def key_source(
    found: str | os.PathLike[str] | Signer | None, store: Store
) -> KeyFile | Signer | None:
    """Return where the installation's key is: beside a store that is a file, if nothing is said."""
    if isinstance(found, (str, os.PathLike)):
        return KeyFile(found)
    if found is None and isinstance(store, FileStore):
        return KeyFile(store.path.with_name(f"{store.path.name}.key"))
    return found
