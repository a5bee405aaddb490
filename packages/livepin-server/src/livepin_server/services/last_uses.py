"""When and from where API keys were last used: in memory, until somebody writes it down."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Use:
    """A use of a key."""

    moment: datetime
    origin: str


class LastUses:
    """The last use of each key; only keys that were right come here, so they are bounded."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._uses: dict[str, Use] = {}

    def note(self, key_id: str, use: Use) -> None:
        """Remember a use."""
        with self._lock:
            self._uses[key_id] = use

    def of(self, key_id: str) -> Use | None:
        """Return the last use of a key that is not written down yet."""
        with self._lock:
            return self._uses.get(key_id)

    def take(self) -> dict[str, Use]:
        """Return what is to be written down, and forget it."""
        with self._lock:
            taken, self._uses = self._uses, {}
        return taken

    def give_back(self, taken: dict[str, Use]) -> None:
        """Remember what could not be written down, unless there was a later use."""
        with self._lock:
            self._uses = taken | self._uses
