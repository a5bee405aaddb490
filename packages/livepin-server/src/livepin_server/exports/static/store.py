"""An object store as target: S3 and what speaks like it, Google Cloud Storage, Azure Blob Storage.

Each object is written on the condition that nothing else has been written there meanwhile, so
that of several servers none leaves an older document behind.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import obstore
from livepin.errors import ConfigurationError
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    NotSupportedError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)
from obstore.store import from_url

from livepin_server.errors import ExportError

from .documents import StaticFile
from .target import ChangedError, Held

_CONNECT, _REQUEST = timedelta(seconds=5), timedelta(seconds=30)
_RETRIES = 2  # of a request; whoever calls tries again later
_LONGEST = 300  # characters of a reason
_STATUS = re.compile(r"status code: (\d{3}[^:\n]*)")
_QUERY = re.compile(r"\?\S+")  # of a URL; a shared access signature of Azure stands there


class StoreTarget:
    """A bucket or container, and a prefix in it."""

    def __init__(self, url: str, *, variables: str, environment: Mapping[str, str]) -> None:
        self._url = url.rstrip("/")
        options: dict[str, Any] = {
            "connect_timeout": _CONNECT,
            "timeout": _REQUEST,
            # The store's own variable for it; what is given here counts for the library alone.
            "allow_http": environment.get(f"{variables}_ALLOW_HTTP", "").lower() == "true",
        }
        retries = {"max_retries": _RETRIES, "retry_timeout": _REQUEST}
        make: Any = from_url  # its overloads name every kind of store
        try:
            self._store = make(url, client_options=options, retry_config=retries)
        except (BaseError, ValueError) as exc:
            raise ConfigurationError(
                f"cannot use {self._url}: {_reason(exc)}",
                hint=f"the variables {variables}_... say how to reach it",
            ) from exc

    @property
    def name(self) -> str:
        """The URL, which holds no credentials."""
        return self._url

    @contextmanager
    def working(self) -> Iterator[None]:
        """Do nothing: each write has its own condition."""
        yield

    def read(self, path: str, *, limit: int) -> Held | None:
        """Return what is there."""
        try:
            found = obstore.get(self._store, path)
            meta = found.meta
            tag = {n: v for n in ("e_tag", "version") if (v := meta.get(n)) is not None}
            # What is too large is none of ours: its tag is all that is needed of it.
            body = bytes(limit + 1) if meta["size"] > limit else bytes(found.bytes())
            return Held(body=body, tag=tag)
        except FileNotFoundError:
            return None
        except (BaseError, OSError, ValueError) as exc:
            raise self._failed("read", exc) from exc

    def write(self, file: StaticFile, *, over: Held | None) -> None:
        """Write an object, with its type and its caching."""
        mode: Any = "create" if over is None else over.tag
        attributes: Any = {"Content-Type": file.content_type, "Cache-Control": file.caching}
        try:
            obstore.put(
                self._store,
                file.path,
                file.body,
                attributes=attributes,
                mode=mode,
                use_multipart=False,
            )
        except (AlreadyExistsError, PreconditionError) as exc:
            raise ChangedError from exc
        except (NotSupportedError, NotImplementedError) as exc:
            raise ExportError(
                f"{self._url} cannot write on a condition, so an older document might win",
                hint="use a store that knows If-Match and If-None-Match",
            ) from exc
        except (BaseError, OSError, ValueError) as exc:
            raise self._failed("write", exc) from exc

    def remove(self, path: str) -> None:
        """Remove an object; a store says nothing of one that is not there, or that it is not."""
        try:
            obstore.delete(self._store, path)
        except FileNotFoundError:
            return
        except (BaseError, OSError, ValueError) as exc:
            raise self._failed("write", exc) from exc

    def _failed(self, what: str, exc: Exception) -> ExportError:
        hint = None
        if isinstance(exc, FileNotFoundError):
            hint = "is there a bucket of that name?"
        if isinstance(exc, (PermissionDeniedError, UnauthenticatedError)):
            hint = "do the credentials in the environment allow it to read and write there?"
        return ExportError(f"cannot {what} {self._url}: {_reason(exc)}", hint=hint)


def _reason(exc: Exception) -> str:
    """Return what went wrong in a line, without the query of any URL."""
    line = str(exc).strip().partition("\n")[0]
    status = _STATUS.search(line)
    if status is not None:
        return f"it answers {status[1]}"
    if "HTTP error" in line:
        return "it does not answer"
    return _QUERY.sub("?...", line)[:_LONGEST]
