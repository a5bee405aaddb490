"""The one place that holds what a process trusts now, and keeps the store in step."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from livepin.bootstrap import Bootstrap
from livepin.errors import StoreError, VerificationError
from livepin.trust import TrustedState

from .clocks import Clock
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
        stored = self._loaded()
        if stored is not None:
            self._state = stored

    def __call__(self) -> TrustedState:
        """Return the active state."""
        return self._state

    def adopt(self, state: TrustedState) -> bool:
        """Take what is newer in `state`, store it, and tell whether anything was.

        Another thread or process may have got further meanwhile, with a root or with a config:
        what counts is the newer of each, so that the last writer never lowers either.
        """
        with self.changed:
            newer = self._state.newest(state)
            if _order(newer) == _order(self._state):
                return False
            self._state = self._stored_with(newer)
            self.changed.notify_all()
        self._on_change()
        return True

    def reset_lock(self) -> None:
        """Forget locks that another thread held when this process was forked."""
        self.changed = threading.Condition()

    def _stored_with(self, state: TrustedState) -> TrustedState:
        """Store the newest of `state` and what is stored; return it."""
        try:
            with self._store.locked():
                data = self._store.load()
                other = self._judged(data)
                if other is not None:
                    state = state.newest(other)
                elif data is not None:
                    self._store.set_aside()
                self._store.save(state.dump())
            self.problem = None
        except StoreError as exc:
            self._report(exc)
        return state

    def _loaded(self) -> TrustedState | None:
        """Return what the store holds at the start; damage is set aside (rule 10)."""
        try:
            data = self._store.load()
            found = self._judged(data)
            if found is None and data is not None:
                with self._store.locked():
                    # Another process may have replaced it meanwhile: that must not go.
                    if self._store.load() == data:
                        self._store.set_aside()
        except StoreError as exc:
            self._report(exc)
            return None
        return found

    def _judged(self, data: bytes | None) -> TrustedState | None:
        """Return the stored state, if the rules accept it (rule 10)."""
        if data is None:
            return None
        try:
            return TrustedState.load(data, self._bootstrap, now=self._clock())
        except VerificationError as exc:
            logger.warning("the stored state is not used, the bootstrap replaces it: %s", exc)
            self.problem = f"the stored state was not used: {exc}"
            return None

    def _report(self, exc: StoreError) -> None:
        if self.problem != str(exc):
            logger.warning("%s", exc)
        self.problem = str(exc)


def _order(state: TrustedState) -> tuple[int, tuple[int, int]]:
    return state.root.version, state.order
