"""Proofs that whoever sends a token holds the key of its installation (DPoP, RFC 9449).

Each is for one request, and made when that is about to be sent: none is kept for another.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from datetime import datetime

from livepin import tokens
from livepin.errors import MalformedError

from .installation import Installation

_URL = re.compile(r"(https://[^/?#]+/[^?#]*)")  # and what follows is no part of a proof


class Proofs:
    """Makes proofs by the key of an installation. `now` is the time that they are made at."""

    def __init__(self, installation: Installation, *, now: Callable[[], datetime]) -> None:
        self._installation = installation
        self._now = now
        self._beginning: str | None = None  # of each proof by the key, once there was one

    def make(self, token: str, method: str, url: str) -> str:
        """Return a new proof for a request with `token`.

        Raises:
            MalformedError: not an https URL with a path.
        """
        found = _URL.match(url)
        if found is None:
            raise MalformedError(f"expected an https URL with a path, found {url[:200]!r}")
        proof = tokens.prove(
            token,
            self._installation.key(),
            method=method,
            url=found[1],
            jti=secrets.token_urlsafe(16),
            now=self._now(),
        )
        self._beginning = proof[: proof.index(".") + 1]
        return proof

    async def amake(self, token: str, method: str, url: str) -> str:
        """Return a new proof; a key that is elsewhere signs without blocking the event loop."""
        if self._installation.is_in_memory:
            return self.make(token, method, url)
        import asyncio  # late, as it would double what importing livepin costs

        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(None, lambda: self.make(token, method, url))

    def is_one(self, value: str) -> bool:
        """Tell whether this is a proof that was made here: all begin alike, with the public key."""
        return self._beginning is not None and value.startswith(self._beginning)
