"""Where documents are exported to: what a target can do, and which one a text names."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from livepin.errors import ConfigurationError

from .documents import StaticFile

STORES = {"s3": "AWS", "gs": "GOOGLE", "az": "AZURE"}  # and how their variables begin


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What a target holds at a path; `tag` tells this content from what comes after it."""

    body: bytes
    tag: Any = None


class ChangedError(Exception):
    """Another process has written there meanwhile."""


class Target(Protocol):
    """A folder or object store. Each file is written whole or not at all."""

    @property
    def name(self) -> str:
        """What people call it."""

    def working(self) -> AbstractContextManager[None]:
        """Hold it while documents are read and written."""

    def read(self, path: str, *, limit: int) -> Held | None:
        """Return what is there, at most `limit` bytes and one more; None if there is nothing.

        Raises:
            ExportError: it cannot be read.
        """

    def write(self, file: StaticFile, *, over: Held | None) -> None:
        """Write a file in the place of what was read, and of nothing else.

        Raises:
            ExportError: it cannot be written. ChangedError: something else is there by now.
        """

    def remove(self, path: str) -> None:
        """Remove what is there, if anything is.

        Raises:
            ExportError: it cannot be removed.
        """


def target(text: str, environment: Mapping[str, str]) -> Target:
    """Return the target that a text names: a folder, or s3://, gs://, az:// and a bucket.

    Raises:
        ConfigurationError: it names none, or cannot be used here.
    """
    scheme, found, _ = text.partition("://")
    if not found:
        return _folder(text)
    if scheme not in STORES:
        raise ConfigurationError(
            f"expected a folder, or a URL of s3, gs or az, found one of {scheme[:20]!r}",
            hint="such as /srv/www/livepin or s3://bucket/prefix",
        )
    check_store(text)
    try:
        from .store import StoreTarget
    except ImportError as exc:
        raise ConfigurationError(
            "what speaks to object stores is not installed",
            hint="install livepin-server[objectstore]",
        ) from exc
    return StoreTarget(text, variables=STORES[scheme], environment=environment)


def check_store(url: str) -> None:
    """Refuse a URL that holds more than a bucket and a prefix: it is shown in logs and metrics.

    Raises:
        ConfigurationError: it has a password, a query or a port, or names no bucket.
    """
    parts = urlsplit(url)
    if "@" in url or "?" in url or "#" in url or ":" in parts.netloc:
        raise ConfigurationError(
            f"expected {parts.scheme}://BUCKET/PREFIX and nothing else",
            hint="credentials come from the environment, or from the role of the machine",
        )
    if not parts.netloc or not url.isascii() or not url.isprintable() or " " in url:
        raise ConfigurationError(f"expected {parts.scheme}://BUCKET/PREFIX, found no bucket")


def _folder(text: str) -> Target:
    from .folder import FolderTarget

    return FolderTarget(Path(text))
