"""Self-healing: after an emergency certificate change the very first request succeeds.

A mismatch may be an attack or a certificate that changed before its pin was published. So the
newest config is fetched, past all caches, until the same chain passes or five seconds are over.
Then this chain is refused at once for a while. That no handshake waits does not mean that nobody
looks: as long as connections are tried, newer pins are fetched beside them, at a slower pace.
Where the newest config does not help, an override of this installation may.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future

from livepin.errors import PinMismatchError

from .backoff import spread
from .threads import Background, resting

DEADLINE = 5.0  # seconds that a handshake waits at most
_PAUSE = 1.0  # seconds at most between fetches, for all waiting handshakes together
_LOOK = 15.0  # seconds at most between fetches while nobody waits
_BURST, _PER_SECOND = 20.0, 0.2  # fetches: an attacker cannot make the app hammer the service
_FIRST_BACKOFF, _LONGEST_BACKOFF = 5.0, 300.0  # seconds, per host and chain
_MOST_REMEMBERED = 256


class Healing:
    """Waits for pins that make a refused chain right.

    `refresh(timeout)` fetches the newest config past all caches, or joins a fetch under way.
    `ask(timeout)` asks for an override of this installation, where there can be one. `changed` is
    notified whenever the trusted state changes.
    """

    def __init__(
        self,
        refresh: Callable[[float], object],
        changed: threading.Condition,
        *,
        ask: Callable[[float], object] = lambda _: None,
    ) -> None:
        self._refresh = refresh
        self._ask = ask
        self._changed = changed
        self._lock = threading.Lock()
        self._tokens, self._filled = _BURST, time.monotonic()
        self._next_fetch = 0.0
        self._next_look = 0.0
        self._blocked: dict[tuple[str, str], tuple[float, float]] = {}
        self._waiting: dict[tuple[str, tuple[str, ...]], list[Future[bool]]] = {}

    def heal(self, error: PinMismatchError, passes: Callable[[], bool]) -> bool:
        """Return whether the chain of `error` passes by newer pins, within the deadline.

        A chain that stayed wrong is not waited for again until its back-off is over: another
        host or another chain is not held back by it.
        """
        key = error.host, error.chain[0]
        if self._is_blocked(key):
            return passes() or self._look(passes)
        deadline = time.monotonic() + DEADLINE
        asked = False
        while not passes():
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                self._block(key)
                return False
            if self._may_fetch():
                self._fetch(remaining, passes, ask=not asked)
                asked = True
            else:
                with self._changed, resting():
                    self._changed.wait(min(_PAUSE / 4, remaining))
        with self._lock:
            self._blocked.pop(key, None)
        return True

    def start(self, error: PinMismatchError, passes: Callable[[], bool]) -> Future[bool]:
        """Do what `heal` does in a thread, one for all who wait for this chain of a host.

        It is no thread of an event loop's pool: there, names are looked up for everybody.
        """
        mine: Future[bool] = Future()
        key = error.host, error.chain
        with self._lock:
            waiting = self._waiting.setdefault(key, [])
            waiting.append(mine)
            leading = len(waiting) == 1
        if leading:
            run = Background(lambda: self._heal_all(key, error, passes), name="livepin-heal")
            try:
                run.start()
            except RuntimeError:  # no more threads: whoever waits must not wait for ever
                self._tell(key, healed=False)
        return mine

    def _heal_all(
        self,
        key: tuple[str, tuple[str, ...]],
        error: PinMismatchError,
        passes: Callable[[], bool],
    ) -> None:
        healed = False
        try:
            healed = self.heal(error, passes)
        finally:
            self._tell(key, healed=healed)

    def _tell(self, key: tuple[str, tuple[str, ...]], *, healed: bool) -> None:
        with self._lock:
            waiting = self._waiting.pop(key)
        for each in waiting:
            if each.set_running_or_notify_cancel():
                each.set_result(healed)

    def _fetch(self, seconds: float, passes: Callable[[], bool], *, ask: bool = True) -> None:
        """Fetch the newest config; where it does not help, ask for an override."""
        deadline = time.monotonic() + seconds
        self._refresh(seconds)
        remaining = deadline - time.monotonic()
        if ask and remaining > 0 and not passes():
            self._ask(remaining)

    def _look(self, passes: Callable[[], bool]) -> bool:
        """Fetch beside a connection that is refused, for the next one; false, as this one is."""
        with self._lock:
            now = time.monotonic()
            if now < self._next_look or not self._takes_token(now):
                return False
            self._next_look = now + spread(_LOOK)
        run = Background(lambda: self._fetch(DEADLINE, passes), name="livepin-look")
        with contextlib.suppress(RuntimeError):  # no more threads: the next connection tries
            run.start()
        return False

    def _may_fetch(self) -> bool:
        with self._lock:
            now = time.monotonic()
            if now < self._next_fetch or not self._takes_token(now):
                return False
            self._next_fetch = now + spread(_PAUSE)
            return True

    def _takes_token(self, now: float) -> bool:
        self._tokens = min(_BURST, self._tokens + (now - self._filled) * _PER_SECOND)
        self._filled = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def _is_blocked(self, key: tuple[str, str]) -> bool:
        with self._lock:
            until, _ = self._blocked.get(key, (0.0, 0.0))
            return time.monotonic() < until

    def _block(self, key: tuple[str, str]) -> None:
        with self._lock:
            until, last = self._blocked.get(key, (0.0, 0.0))
            if time.monotonic() < until:
                return  # by another handshake that waited just as long
            while len(self._blocked) >= _MOST_REMEMBERED:
                self._blocked.pop(next(iter(self._blocked)))
            backoff = min(max(2 * last, _FIRST_BACKOFF), _LONGEST_BACKOFF)
            self._blocked[key] = time.monotonic() + backoff, backoff
            self._next_look = time.monotonic() + spread(_LOOK)
