"""Documents as they are served, by delivery and by copies: path, type, and how long to keep."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

CONFIG_TYPE, ROOT_TYPE = "application/jose", "application/jose+json"
# A cache may answer for a minute; clients pass it by when it matters.
CONFIG_CACHING = "public, max-age=60, stale-if-error=1209600"
# A cache asks each time: an override ends at once.
OVERRIDE_CACHING = "no-cache"
ROOT_CACHING = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Documents:
    """The roots of an account by version, and the newest config of streams of it, as signed.

    `overrides` are by the thumbprint that each is for; of those in `gone` there is none any more.
    """

    account: str
    roots: Mapping[int, bytes]
    configs: Mapping[str, bytes]
    overrides: Mapping[str, bytes] = field(default_factory=dict)
    gone: Collection[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StaticFile:
    """A document as a file. `path` is relative to the base URL."""

    path: str
    body: bytes
    content_type: str
    caching: str


def config_path(account: str, stream: str) -> str:
    """Return the path of the config of a stream."""
    return f"v1/{account}/config/{stream}"


def root_path(account: str, version: int) -> str:
    """Return the path of a root."""
    return f"v1/{account}/root/{version}"


def override_path(account: str, thumbprint: str) -> str:
    """Return the path of the override of an installation."""
    return f"v1/{account}/override/{thumbprint}"


def config_file(account: str, stream: str, raw: bytes) -> StaticFile:
    """Return a config as a file."""
    path = config_path(account, stream)
    return StaticFile(path=path, body=raw, content_type=CONFIG_TYPE, caching=CONFIG_CACHING)


def root_file(account: str, version: int, raw: bytes) -> StaticFile:
    """Return a root as a file."""
    path = root_path(account, version)
    return StaticFile(path=path, body=raw, content_type=ROOT_TYPE, caching=ROOT_CACHING)


def override_file(account: str, thumbprint: str, raw: bytes) -> StaticFile:
    """Return an override as a file."""
    path = override_path(account, thumbprint)
    return StaticFile(path=path, body=raw, content_type=CONFIG_TYPE, caching=OVERRIDE_CACHING)
