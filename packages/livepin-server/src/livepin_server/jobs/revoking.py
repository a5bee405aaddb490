"""Keeping the list of revoked keys of Android devices: fetched, kept in a file, and told when old.

Asked for is only while somebody has an Android app registered: a server without a way to the
internet has nothing to complain of otherwise. What is held counts until a newer one has come;
how old it may be is said in `attestation.revoked`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
from livepin.errors import MalformedError

from livepin_server.attestation.asking import Answer, AskError, Asking
from livepin_server.attestation.revoked import MOST_AGE, MOST_BYTES, OLD, URL, Revoked
from livepin_server.custody.files import replace_secret
from livepin_server.errors import CustodyError
from livepin_server.telemetry.attention import Note

SECONDS = 60.0  # between two looks at whether it is time
EVERY = timedelta(hours=6)
PAUSE, LONGEST_PAUSE = (
    timedelta(minutes=1),
    timedelta(hours=1),
)  # after a failure, doubled each time

_MOST_KEPT = MOST_BYTES + 4096

Clock = Callable[[], datetime]

logger = logging.getLogger("livepin.revoked")


class _Kept(msgspec.Struct, frozen=True, kw_only=True):
    """The file: the list as it came, when it was last said to be the newest, and from where."""

    url: str
    etag: str | None
    as_of: datetime
    status: msgspec.Raw


class RevocationRefresh:
    """Holds the list; `run` is to be called every `SECONDS`.

    `wanted` tells whether any app needs it.
    """

    def __init__(
        self,
        path: Path,
        wanted: Callable[[], bool],
        *,
        clock: Clock,
        url: str = URL,
        make_asking: Callable[[], Asking] = Asking,
    ) -> None:
        self._path = path
        self._wanted = wanted
        self._clock = clock
        self._url = url
        self._make_asking = make_asking
        self._asking: Asking | None = None
        self._kept: _Kept | None = None
        self._revoked: Revoked | None = None
        self._next: datetime | None = None
        self._pause = PAUSE
        self._trouble: str | None = None
        self._read()

    @property
    def revoked(self) -> Revoked | None:
        """The newest list that is known, however old it is."""
        return self._revoked

    def run(self) -> None:
        """Fetch a newer list if it is wanted, and time."""
        now = self._clock()
        if not self._wanted() or not self._is_time(now):
            return
        try:
            self._take(self._ask(), now)
        except (AskError, MalformedError, CustodyError) as exc:
            self._next, self._pause = now + self._pause, min(2 * self._pause, LONGEST_PAUSE)
            self._report(str(exc))
            return
        self._next, self._pause = now + EVERY, PAUSE
        self._report(None)

    def notes(self) -> Iterator[Note]:
        """Give what there is to say of a list that is missing or old."""
        if not self._wanted():
            return
        revoked, reason = self._revoked, f": {self._trouble}" if self._trouble else ""
        if revoked is None:
            yield Note(
                "there is no list of revoked Android keys yet, so Android Key Attestation is "
                f"refused{reason}"
            )
        elif revoked.age(self._clock()) > OLD:
            refused = "is" if revoked.is_too_old(self._clock()) else "will be"
            yield Note(
                f"the list of revoked Android keys is of {revoked.as_of:%Y-%m-%d %H:%M}, and "
                f"Android Key Attestation {refused} refused after {MOST_AGE.days} days{reason}"
            )

    def _is_time(self, now: datetime) -> bool:
        if self._next is None:
            return True
        left = self._next - now
        return not timedelta(0) < left <= EVERY  # more is left where a wrong clock was set right

    def _ask(self) -> Answer:
        if self._asking is None:
            self._asking = self._make_asking()  # not before somebody wants it
        kept = self._kept
        known = {} if kept is None or kept.etag is None else {"if-none-match": kept.etag}
        answer = self._asking.ask("GET", self._url, limit=MOST_BYTES, headers=known)
        if answer.status not in ((200, 304) if known else (200,)):
            raise AskError(f"{self._url} answers {answer.status}")
        return answer

    def _take(self, answer: Answer, now: datetime) -> None:
        """Hold what came, then keep it: a full disk makes nobody trust a revoked key."""
        if answer.status == 304 and self._kept is not None:
            kept = msgspec.structs.replace(self._kept, as_of=now)
        else:
            raw = msgspec.Raw(answer.body)
            kept = _Kept(url=self._url, etag=answer.etag, as_of=now, status=raw)
        revoked = Revoked.parse(bytes(kept.status), now)
        self._kept, self._revoked = kept, revoked
        replace_secret(self._path, msgspec.json.encode(kept))

    def _read(self) -> None:
        try:
            with self._path.open("rb") as file:
                kept = msgspec.json.decode(file.read(_MOST_KEPT), type=_Kept)
            # From the future: the clock was wrong then, and would be believed for too long.
            as_of = min(kept.as_of, self._clock())
            self._revoked = Revoked.parse(bytes(kept.status), as_of)
        except FileNotFoundError:
            return
        except (OSError, TypeError, ValueError, MalformedError) as exc:
            logger.warning("cannot read %s, and will fetch it anew: %s", self._path, exc)
            return
        self._next = as_of + EVERY
        if kept.url == self._url:
            self._kept = msgspec.structs.replace(kept, status=kept.status.copy())

    def _report(self, trouble: str | None) -> None:
        """Say how it goes when that changes; the log would fill up otherwise."""
        if trouble not in (None, self._trouble):
            logger.warning("cannot refresh the list of revoked Android keys: %s", trouble)
        elif trouble is None and self._trouble is not None:
            logger.info("the list of revoked Android keys is refreshed again")
        self._trouble = trouble
