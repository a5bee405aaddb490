"""Asking services elsewhere over HTTPS: bounded in time and bytes, and following no redirect.

What asks it in a verifier is handed in, so that verifiers themselves do no I/O.
"""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass

import httpx
from livepin.documents.config import check_url
from livepin.errors import MalformedError

_PATIENCE = 5.0  # seconds for an answer to begin, and for each further piece of it
_IN_ALL = 15.0  # seconds for the whole of an answer
_LONGEST = 200  # characters of a reason, which may quote the answer
_ETAG = re.compile(r'(?:W/)?"[!#-~]{0,200}"\Z')


class AskError(Exception):
    """A service does not answer, or not within bounds. The message holds nothing that was sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a service answered, whatever its status is."""

    status: int
    etag: str | None
    body: bytes


class Asking:
    """Asks over HTTPS, by connections that are kept; threads may share it.

    `ca` is the only anchor, if it is given.
    """

    def __init__(self, *, ca: str | None = None, in_all: float = _IN_ALL) -> None:
        context = ssl.create_default_context(cadata=ca)
        self._client = httpx.Client(verify=context, timeout=_PATIENCE, trust_env=False)
        self._in_all = in_all

    def close(self) -> None:
        """Close what is kept open."""
        self._client.close()

    def ask(
        self,
        method: str,
        url: str,
        *,
        limit: int,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> Answer:
        """Return the answer, of at most `limit` bytes.

        Raises:
            AskError: there is none, or it is larger, or compressed.
        """
        until = time.monotonic() + self._in_all
        sent = {"accept-encoding": "identity", **(headers or {})}
        try:
            check_url(url, schemes=("https",))
            with self._client.stream(method, url, headers=sent, content=body) as answer:
                found = _body(answer, limit, until)
                return Answer(status=answer.status_code, etag=_etag(answer), body=found)
        except (httpx.HTTPError, OSError, ValueError, MalformedError) as exc:
            raise AskError(str(exc)[:_LONGEST] or type(exc).__name__) from exc


def _etag(answer: httpx.Response) -> str | None:
    """Return the ETag, if it is one that can be sent back (RFC 9110, 8.8.3)."""
    found = answer.headers.get("etag", "")
    return found if _ETAG.match(found) else None


def _body(answer: httpx.Response, limit: int, until: float) -> bytes:
    if answer.headers.get("content-encoding", "identity") != "identity":
        raise AskError("expected no content encoding")  # a small answer may expand without end
    body = bytearray()
    for chunk in answer.iter_raw():
        body += chunk
        if len(body) > limit:
            raise AskError(f"expected at most {limit} bytes")
        if time.monotonic() > until:
            raise AskError("no complete answer in time")
    return bytes(body)
