"""Claims of clients to hold a newer config than there is: hints that an older backup was put back.

Anybody can claim anything, so nothing is done because of one: an operator is told, and how to find
out. What is kept is bounded, and forgotten when it is not repeated.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

from livepin_server.services.numbering import HIGHEST
from livepin_server.telemetry.attention import Note
from livepin_server.telemetry.metrics import Metrics

from .snapshot import Snapshot

KEPT = 3600.0  # seconds; clients ask at least that often, unless told otherwise
_MOST = 16  # versions of a stream: the one that many claim is not lost among inventions


class Claims:
    """The versions that clients claim to hold, above those that the snapshot has."""

    def __init__(
        self,
        snapshot: Snapshot,
        metrics: Metrics,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._snapshot = snapshot
        self._metrics = metrics
        self._monotonic = monotonic
        self._lock = threading.Lock()
        # By account and stream, then by root and version: how often, and when last.
        self._found: dict[tuple[str, str], dict[tuple[int, int], tuple[int, float]]] = {}

    def note(self, account: str, stream: str, root_version: int, version: int) -> None:
        """Note a claim, of a stream that there is, under the root of its newest config."""
        if not self._is_above(account, stream, (root_version, version)):
            return
        order = (root_version, version)
        with self._lock:
            found = self._found.setdefault((account, stream), {})
            count = found.pop(order, (0, 0.0))[0]
            if len(found) >= _MOST:
                del found[min(found, key=lambda each: found[each])]
            found[order] = (count + 1, self._monotonic())

    def notes(self) -> Iterator[Note]:
        """Give what to say of each stream; the metrics follow."""
        for account, stream in list(self._found):
            held = self._most_claimed(account, stream)
            self._metrics.claimed.labels(account, stream).set(held or 0)
            if held is not None:
                yield Note(self._words(account, stream, held), account)

    def _is_above(self, account: str, stream: str, order: tuple[int, int]) -> bool:
        """Tell whether it is above ours under the same root; of another root nothing is known."""
        ours = (self._snapshot.versions(account) or {}).get(stream)
        return ours is not None and ours[0] == order[0] and ours[1] < order[1]

    def _most_claimed(self, account: str, stream: str) -> int | None:
        """Return the version that was claimed most often, of those that are still news.

        Another process may have published a version before this one has loaded it.
        """
        since = self._monotonic() - KEPT
        with self._lock:
            found = self._found[account, stream]
            for order, (_, last) in list(found.items()):
                if last < since or not self._is_above(account, stream, order):
                    del found[order]
            return max(found, key=lambda order: found[order])[1] if found else None

    def _words(self, account: str, stream: str, held: int) -> str:
        _, ours = (self._snapshot.versions(account) or {})[stream]
        cure = f"livepin config raise {held} --account {account}"
        if held > HIGHEST:
            cure = "a new root, which starts the count anew: livepin root prepare"
        return (
            f"apps say that they hold config {held} of {account}/{stream}, and the newest here is "
            f"{ours}. Anybody can say so; but if an older backup was put back, the cure is {cure}"
        )
