"""What a backend remembers: tokens that it has verified, and proofs that it has taken.

Both are bounded, forget what is over by the clock that judges tokens, and hold digests: no token
and no proof can be read out of them.
"""

from __future__ import annotations

import threading
from datetime import datetime
from hashlib import sha256

from livepin.tokens import PROOF_AGE, Claims, TokenError, TokenKey

MAX_TOKENS = 10_000
MAX_PROOFS = 100_000


class VerifiedTokens:
    """Claims by token until these end. Where there are too many, the oldest is forgotten."""

    def __init__(self, limit: int = MAX_TOKENS) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._found: dict[bytes, tuple[Claims, TokenKey]] = {}

    def get(self, token: str, keys: tuple[TokenKey, ...], *, now: datetime) -> Claims | None:
        """Return what `token` says, if it lives and one of `keys` verified it.

        A key that has left the JWKS, or is another one under the same name, takes its tokens along.
        """
        name = _digest(token)
        with self._lock:
            claims, by = self._found.get(name, (None, None))
            if claims is None:
                return None
            if claims.expires > now and any(by is key for key in keys):
                return claims
            del self._found[name]
        return None

    def put(self, token: str, claims: Claims, key: TokenKey) -> None:
        """Remember a token that `key` has verified."""
        with self._lock:
            self._found[_digest(token)] = claims, key
            if len(self._found) > self._limit:
                del self._found[next(iter(self._found))]


class SeenProofs:
    """The proofs that were taken, for as long as any of them could be taken again."""

    def __init__(self, limit: int = MAX_PROOFS) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._until: dict[bytes, datetime] = {}  # in the order in which they end

    def spend(self, jti: str, claims: Claims, *, now: datetime) -> None:
        """Take a proof, which an installation may use once.

        Raises:
            TokenError: reason `replayed`; or `full`, as to forget one would let it be used again.
        """
        # Of one installation: nobody uses up the names of another's proofs.
        name = _digest(f"{claims.thumbprint} {jti}")
        with self._lock:
            self._forget(now)
            if name in self._until:
                raise TokenError("replayed", "expected a proof that was not seen before")
            if len(self._until) >= self._limit:
                raise TokenError("full", f"expected at most {self._limit} proofs in two minutes")
            # It may be dated ahead by its age, and lives as long again.
            self._until[name] = now + 2 * PROOF_AGE

    def _forget(self, now: datetime) -> None:
        while self._until:
            oldest = next(iter(self._until))
            if self._until[oldest] >= now:
                return
            del self._until[oldest]


def _digest(text: str) -> bytes:
    return sha256(text.encode()).digest()
