"""Where documents of a lost server may still lie: URLs, folders and object stores.

Whatever comes from there is only bytes: who judges them is `looking`. Time and bytes are bounded,
and redirects are not followed.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import httpx
from livepin.documents.config import check_url
from livepin.errors import ConfigurationError, MalformedError

from livepin_server.errors import BackupError, ExportError
from livepin_server.exports.static import Target, target

_PATIENCE = 5.0  # seconds for an answer to begin, and for each further piece of it


class SourceError(Exception):
    """A source does not answer, or not with a document."""


class Source(Protocol):
    """A place to look for documents."""

    @property
    def name(self) -> str:
        """What people call it."""

    @property
    def live(self) -> bool:
        """Whether it is a server's own, not a copy."""

    def read(self, path: str, *, limit: int, until: float) -> bytes | None:
        """Return what is at a path, or None if there is nothing.

        Raises:
            SourceError: it does not answer before `until`, on the monotonic clock, or with more.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Web:
    """A base URL; `ca` is the only anchor for it, if it is given."""

    name: str
    live: bool = False
    ca: str | None = None

    def read(self, path: str, *, limit: int, until: float) -> bytes | None:
        """Return what is at a path."""
        url = f"{self.name.rstrip('/')}/{path}"
        try:
            with httpx.Client(verify=self._context(), timeout=_PATIENCE, trust_env=False) as client:
                headers = {"accept-encoding": "identity", "cache-control": "no-cache"}
                with client.stream("GET", url, headers=headers) as answer:
                    return _body(answer, limit, until)
        except (httpx.HTTPError, OSError, ValueError) as exc:
            raise SourceError(str(exc) or type(exc).__name__) from exc

    def _context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cadata=self.ca)


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """A folder or object store that documents were exported to."""

    target: Target
    live: bool = False

    @property
    def name(self) -> str:
        """The path or URL."""
        return self.target.name

    def read(self, path: str, *, limit: int, until: float) -> bytes | None:
        """Return what is at a path."""
        try:
            found = self.target.read(path, limit=limit)
        except ExportError as exc:
            raise SourceError(str(exc)) from exc
        if found is not None and len(found.body) > limit:
            raise SourceError(f"expected at most {limit} bytes")
        return None if found is None else found.body


@dataclass(frozen=True, slots=True, kw_only=True)
class Unusable:
    """A place that cannot be looked at from here."""

    name: str
    reason: str
    live: bool = False

    def read(self, path: str, *, limit: int, until: float) -> bytes | None:
        """Say why."""
        raise SourceError(self.reason)


def copy_of(text: str, environment: Mapping[str, str]) -> Source:
    """Return what a server exported to, which need not be there or usable here."""
    try:
        return source(text, environment)
    except BackupError as exc:
        return Unusable(name=text, reason=str(exc))


def source(text: str, environment: Mapping[str, str]) -> Source:
    """Return the source that a person names: a folder, or a URL.

    Raises:
        BackupError: it is neither.
    """
    try:
        if text.startswith(("http://", "https://")):
            check_url(text, schemes=("http", "https"))
            return Web(name=text)
        return Copy(target=target(text, environment))
    except (ConfigurationError, MalformedError) as exc:
        raise BackupError(f"cannot look at {text[:200]}: {exc}", hint=exc.hint) from exc


def _body(answer: httpx.Response, limit: int, until: float) -> bytes | None:
    if answer.status_code in (404, 410):
        return None
    if answer.status_code != 200:
        raise SourceError(f"expected the status 200 or 404, found {answer.status_code}")
    if answer.headers.get("content-encoding", "identity") != "identity":
        raise SourceError("expected no content encoding")  # a small answer may expand without end
    body = bytearray()
    for chunk in answer.iter_raw():
        body += chunk
        if len(body) > limit:
            raise SourceError(f"expected at most {limit} bytes")
        if time.monotonic() > until:
            raise SourceError("no complete answer in time")
    return bytes(body)
