"""The one place that holds what a process trusts now, and keeps the store in step."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from livepin.bootstrap import Bootstrap
from livepin.errors import StoreError, VerificationError
from livepin.trust import TrustedState

from .judge import Clock
from .store import Store

logger = logging.getLogger("livepin")


class Trusted:
    """The active `TrustedState`; it only ever moves up.

    `changed` is notified, and `on_change` called, after each move. `problem` says why the store
    could not be used, or None.
    """

    def __init__(
        self,
        bootstrap: Bootstrap,
        store: Store,
        *,
        clock: Clock,
        on_change: Callable[[], None],
    ) -> None:
        self.changed = threading.Condition()
        self.problem: str | None = None
        self._bootstrap = bootstrap
        self._store = store
        self._clock = clock
        self._on_change = on_change
        self._state = TrustedState.from_bootstrap(bootstrap)
        stored = self._stored()
        if stored is not None:
            self._state = stored

    def __call__(self) -> TrustedState:
        """Return the active state."""
        return self._state

    def adopt(self, state: TrustedState) -> bool:
        """Make `state` the active one if it is newer, store it, and tell whether it was.

        Another process may have stored a newer one meanwhile: then that is adopted instead, so
        that the last writer never lowers the store.
        """
        with self.changed:
            if _order(state) <= _order(self._state):
                return False
            self._state = self._store_or_newer(state)
            self.changed.notify_all()
        self._on_change()
        return True

    def reset_lock(self) -> None:
        """Forget locks that another thread held when this process was forked."""
        self.changed = threading.Condition()

    def _store_or_newer(self, state: TrustedState) -> TrustedState:
        try:
            with self._store.locked():
                other = self._stored()
                if other is not None and _order(other) > _order(state):
                    return other
                self._store.save(state.dump())
            self.problem = None
        except StoreError as exc:
            self._report(exc)
        return state

    def _stored(self) -> TrustedState | None:
        """Return what the store holds, if the rules accept it; damage is set aside (rule 10)."""
        try:
            data = self._store.load()
            if data is None:
                return None
            return TrustedState.load(data, self._bootstrap, now=self._clock())
        except VerificationError as exc:
            logger.warning("the stored state is not used, the bootstrap replaces it: %s", exc)
            self.problem = f"the stored state was not used: {exc}"
        except StoreError as exc:
            self._report(exc)
            return None
        try:
            self._store.set_aside()
        except StoreError as exc:
            self._report(exc)
        return None

    def _report(self, exc: StoreError) -> None:
        if self.problem != str(exc):
            logger.warning("%s", exc)
        self.problem = str(exc)


def _order(state: TrustedState) -> tuple[int, tuple[int, int]]:
    return state.root.version, state.order
