"""Fetching a JWKS: https alone, no redirect, and every byte and every second bounded.

It is imported when a JWKS is first fetched; until then a backend needs no TLS.
"""

from __future__ import annotations

import http.client
import re
import socket
import ssl
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from livepin.errors import FetchError
from livepin.tokens import MAX_JWKS

_MAX_AGE = re.compile(r"(?:^|[\s,])max-age=([0-9]{1,9})(?=$|[\s,])", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Fetched:
    """A JWKS as it came, and for how many seconds it may be kept, if that was said."""

    body: bytes
    max_age: float | None


def fetch(url: str, *, ca: str | None, credential: str | None, timeout: float) -> Fetched:
    """Return what `url` answers within `timeout` seconds.

    `ca` is PEM with the only trust anchors, None for the system's; `credential` is sent as bearer.

    Raises:
        FetchError: no connection, no answer in time, another status than 200, or too large.
    """
    parts, deadline = urlsplit(url), time.monotonic() + timeout
    headers = {"Accept": "application/jwk-set+json", "Connection": "close"}
    if credential is not None:
        headers["Authorization"] = f"Bearer {credential}"
    try:
        connection = http.client.HTTPSConnection(
            parts.hostname or "",
            parts.port,
            timeout=timeout,
            context=ssl.create_default_context(cadata=ca),
        )
        return _exchange(connection, parts.path or "/", headers, timeout)
    except (OSError, http.client.HTTPException, ValueError, RuntimeError) as exc:
        raise FetchError(f"https://{parts.netloc}: {_reason(exc, deadline)}") from exc


def _exchange(
    connection: http.client.HTTPSConnection, path: str, headers: dict[str, str], timeout: float
) -> Fetched:
    watchdog = None
    try:
        connection.connect()
        # A server that drips single bytes never runs into a socket timeout.
        watchdog = threading.Timer(timeout, _cut, (connection.sock,))
        watchdog.daemon = True
        watchdog.start()
        connection.request("GET", path, headers=headers)
        with connection.getresponse() as response:
            # A redirect is no answer either: the keys come from where the backend says.
            if response.status != 200:
                raise http.client.HTTPException(f"expected status 200, found {response.status}")
            body = response.read(MAX_JWKS + 1)
            if len(body) > MAX_JWKS:
                raise http.client.HTTPException(f"expected at most {MAX_JWKS} bytes")
            if response.length:
                raise http.client.HTTPException("the answer ends early")
            return Fetched(body, _max_age(response.getheader("Cache-Control") or ""))
    finally:
        if watchdog is not None:
            watchdog.cancel()
        connection.close()


def _cut(sock: socket.socket) -> None:
    """Let the thread that reads go on; the socket stays its own, and may be closed already."""
    with suppress(OSError):
        socket.socket.shutdown(sock, socket.SHUT_RDWR)


def _max_age(said: str) -> float | None:
    if "no-store" in said.lower() or "no-cache" in said.lower():
        return 0.0
    found = _MAX_AGE.search(said)
    return None if found is None else float(found.group(1))


def _reason(exc: Exception, deadline: float) -> str:
    if isinstance(exc, TimeoutError) or time.monotonic() >= deadline:
        return "no complete answer in time"
    # It ends in logs, and whoever answered may have written it.
    return "".join(c if c.isprintable() else "?" for c in str(exc)[:300]) or type(exc).__name__
