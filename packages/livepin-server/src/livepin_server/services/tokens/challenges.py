"""Challenges: each is good for one request of one installation (`spec/tokens.md`, The challenge).

Nothing is kept of those that are open: what one says is under a MAC. Of those that are spent the
nonce is kept until their time is over.
"""

from __future__ import annotations

import hmac
import secrets
import struct
from collections.abc import Iterable
from datetime import datetime, timedelta

from livepin.errors import MalformedError
from livepin.jose import b64url_decode, b64url_encode

LIFETIME = timedelta(minutes=15)
AHEAD = timedelta(seconds=5)  # by which the clock of another node may be wrong
SPENT = struct.Struct(">IQ")  # what nodes tell each other: when it was issued, and its nonce

_TAG = b"livepin-challenge\x00"
_SAYS = struct.Struct(">IIQ")  # who made it, when in seconds since 1970, nonce
_MAC = 16  # bytes
_BUCKET = 60  # seconds
_LIVES, _AHEAD = (int(each.total_seconds()) for each in (LIFETIME, AHEAD))


class Challenges:
    """Makes challenges, and takes each once. For one thread.

    `key` is the same on all nodes. What another process made is taken while this one hears what
    is spent elsewhere, and only if it was made after that had begun.
    """

    def __init__(self, key: bytes) -> None:
        self.key = key
        self._maker = secrets.randbits(32)
        self._heard_since: int | None = None
        self._spent: dict[int, set[int]] = {}  # by the minute of their issue
        self._forgotten = -1  # the latest minute of which it is not known any more
        self.fresh: list[bytes] = []  # spent here, and not told to other nodes yet

    def make(self, account: str, thumbprint: str, now: datetime) -> str:
        """Return a challenge for an installation."""
        says = _SAYS.pack(self._maker, int(now.timestamp()), secrets.randbits(64))
        return b64url_encode(says + self._mac(says, account, thumbprint)).decode()

    def spend(self, challenge: str, account: str, thumbprint: str, now: datetime) -> bool:
        """Take a challenge if it is good, and tell whether it was. It is spent from then on."""
        says = self._verified(challenge, account, thumbprint)
        if says is None:
            return False
        maker, issued, nonce = _SAYS.unpack(says)
        moment = int(now.timestamp())
        self._forget(moment)
        if not self._is_timely(maker, issued, moment) or not self._keep(issued, nonce):
            return False
        self.fresh.append(SPENT.pack(issued, nonce))
        return True

    def spent_elsewhere(self, told: Iterable[bytes], now: datetime) -> None:
        """Take note of what other nodes have spent."""
        moment = int(now.timestamp())
        self._forget(moment)
        for each in told:
            issued, nonce = SPENT.unpack(each)
            if self._is_of_our_time(issued, moment):
                self._keep(issued, nonce)

    def hears(self, found: bool, now: datetime) -> None:
        """Take note that from now on nothing that other nodes spend is missed, or that it is.

        Of its own that are open, some may have been spent elsewhere before: they are not its own
        any more.
        """
        self._maker = secrets.randbits(32)
        self._heard_since = int(now.timestamp()) + _AHEAD if found else None

    def _mac(self, says: bytes, account: str, thumbprint: str) -> bytes:
        # Neither a name nor a thumbprint holds a zero byte.
        data = _TAG + says + account.encode() + b"\x00" + thumbprint.encode()
        return hmac.digest(self.key, data, "sha256")[:_MAC]

    def _verified(self, challenge: str, account: str, thumbprint: str) -> bytes | None:
        try:
            raw = b64url_decode(challenge.encode("ascii"))
        except (MalformedError, UnicodeEncodeError):
            return None
        says, mac = raw[: _SAYS.size], raw[_SAYS.size :]
        good = hmac.compare_digest(self._mac(says, account, thumbprint), mac)
        return says if good and len(says) == _SAYS.size else None

    def _is_timely(self, maker: int, issued: int, now: int) -> bool:
        if not self._is_of_our_time(issued, now) or issued // _BUCKET <= self._forgotten:
            return False
        # Before this process heard anything, others may have been spent that it knows nothing of.
        return maker == self._maker or (
            self._heard_since is not None and issued >= self._heard_since
        )

    def _is_of_our_time(self, issued: int, now: int) -> bool:
        return now - _LIVES < issued <= now + _AHEAD

    def _keep(self, issued: int, nonce: int) -> bool:
        """Keep what is spent; tell whether it was not before."""
        spent = self._spent.setdefault(issued // _BUCKET, set())
        if nonce in spent:
            return False
        spent.add(nonce)
        return True

    def _forget(self, now: int) -> None:
        """Forget what is too old to be taken. If the clock is set back, it is not taken either."""
        oldest = (now - _LIVES) // _BUCKET
        if self._spent and min(self._spent) < oldest:
            for each in [each for each in self._spent if each < oldest]:
                del self._spent[each]
                self._forgotten = max(self._forgotten, each)
