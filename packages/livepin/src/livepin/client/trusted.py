"""The one place that holds what a process trusts now, and keeps the store in step."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from livepin.bootstrap import Bootstrap
from livepin.errors import StoreError, VerificationError
from livepin.trust import TrustedOverride, TrustedState

from .clocks import Clock, Ticks, run_time
from .store import Store

logger = logging.getLogger("livepin")

_FIRST_STEP, _LONGEST_STEP = 1.0, 60.0  # seconds of run time that are stored in advance


class Trusted:
    """The active `TrustedState`; it only ever moves up.

    `changed` is notified, and `on_change` called, after each move. `problem` says why the store
    could not be used, or None. `thumbprint` gives that of the installation's key, if there is one:
    without it a stored override is dropped. `on_end` is called when one is seen to have ended:
    `count` has something to do then, which may have to wait for the store. `ticks` gives run time
    in seconds.
    """

    def __init__(
        self,
        bootstrap: Bootstrap,
        store: Store,
        *,
        clock: Clock,
        on_change: Callable[[], None],
        thumbprint: Callable[[], str | None] = lambda: None,
        on_end: Callable[[], None] = lambda: None,
        ticks: Ticks = run_time,
    ) -> None:
        self.changed = threading.Condition()
        self.problem: str | None = None
        self._bootstrap = bootstrap
        self._store = store
        self._clock = clock
        self._on_change = on_change
        self._thumbprint = thumbprint
        self._on_end = on_end
        self._ticks = ticks
        self._since = ticks()  # when the run time of the override in force began to count
        self._stored_until = -math.inf  # up to which run time is stored, in advance
        self._over: TrustedOverride | None = None  # was seen to end
        self._state = TrustedState.from_bootstrap(bootstrap)
        stored = self._loaded()
        if stored is not None:
            self._state = stored
        if self._state.trusted_override is not None:
            self._move(self._state)

    def __call__(self) -> TrustedState:
        """Return the active state, without an override that has ended (rule 9)."""
        state = self._state
        if state.trusted_override is None:
            return state
        return self._without_ended(state)

    def adopt(self, state: TrustedState) -> bool:
        """Take what is newer in `state`, store it, and tell whether anything was.

        Another thread or process may have got further meanwhile, with a root or with a config:
        what counts is the newer of each, so that the last writer never lowers either.
        """
        with self.changed:
            newer = self._state.newest(state)
            if _order(newer) == _order(self._state):
                return False
            self._move(newer)
        self._on_change()
        return True

    def count(self) -> None:
        """Store the run time of the override in force, if that is due, and drop one that ended.

        What is stored is in advance, by as much as the process has run with it, a minute at most:
        a crash costs that, and prolongs nothing.
        """
        with self.changed:
            if self.until_count() > 0:
                return
            before = _order(self._state)
            self._move(self())
            if _order(self._state) == before:
                return
        self._on_change()

    def until_count(self) -> float:
        """Return the seconds until `count` has something to do; infinite without an override."""
        if self._state.trusted_override is None:
            return math.inf
        end = self.override_end()
        if end is None:
            return 0.0
        remaining = (end - self._state.trusted_now(now=self._clock())).total_seconds()
        return max(min(remaining, self._stored_until - self._ticks()), 0.0)

    def override_end(self) -> datetime | None:
        """Return when the override in force ends, if the clock is right from now on, or None."""
        active = self().trusted_override
        if active is None:
            return None
        unused = active.document.lifetime - active.used - self._elapsed()
        return min(active.document.expires, self._state.trusted_now(now=self._clock()) + unused)

    def reset_lock(self) -> None:
        """Forget locks that another thread held when this process was forked."""
        self.changed = threading.Condition()

    def _without_ended(self, state: TrustedState) -> TrustedState:
        active = state.trusted_override
        if active is not self._over:
            counted = state.with_run_time(self._elapsed(), now=self._clock())
            if counted.trusted_override is not None:
                return state
            self._over = active  # for good: a clock that is set back does not bring it back
            self._on_end()
        return replace(state, trusted_override=None)

    def _elapsed(self) -> timedelta:
        return timedelta(seconds=self._ticks() - self._since)

    def _move(self, state: TrustedState) -> None:
        with self.changed:
            state = self._stored_with(state)
            self._since = self._since_for(state)
            self._state = state
            self.changed.notify_all()

    def _since_for(self, state: TrustedState) -> float:
        same = _override_of(state) == _override_of(self._state)
        return self._since if same else self._ticks()

    def _stored_with(self, state: TrustedState) -> TrustedState:
        """Store the newest of `state` and what is stored; return it."""
        try:
            with self._store.locked():
                data = self._store.load()
                other = self._judged(data)
                if other is not None:
                    state = state.newest(_with_override_of(state, other))
                elif data is not None:
                    self._store.set_aside()
                self._store.save(self._in_advance(state).dump())
            self.problem = None
        except StoreError as exc:
            self._report(exc)
            self._stored_until = self._ticks() + _LONGEST_STEP  # then it is tried again
        return state

    def _in_advance(self, state: TrustedState) -> TrustedState:
        """Return what is stored: with run time that is still to come."""
        if state.trusted_override is None:
            return state
        now, since = self._ticks(), self._since_for(state)
        step = min(max(now - since, _FIRST_STEP), _LONGEST_STEP)
        self._stored_until = now + step
        elapsed = timedelta(seconds=self._stored_until - since)
        return state.with_run_time(elapsed, now=self._clock())

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
            return TrustedState.load(
                data, self._bootstrap, now=self._clock(), thumbprint=self._thumbprint()
            )
        except VerificationError as exc:
            logger.warning("the stored state is not used, the bootstrap replaces it: %s", exc)
            self.problem = f"the stored state was not used: {exc}"
            return None

    def _report(self, exc: StoreError) -> None:
        if self.problem != str(exc):
            logger.warning("%s", exc)
        self.problem = str(exc)


def _with_override_of(state: TrustedState, stored: TrustedState) -> TrustedState:
    """Return what is stored with the override of `state`, if both have taken the same one.

    Each process counts its own run time, and what is stored is in advance of all.
    """
    if _override_of(state) != _override_of(stored):
        return stored
    return replace(stored, trusted_override=state.trusted_override)


def _override_of(state: TrustedState) -> tuple[int, int]:
    """Return what names the override that was taken last: no two have the same (rule 7)."""
    return state.root.version, state.override_floor


def _order(state: TrustedState) -> tuple[int, tuple[int, int], int, bool]:
    in_force = state.trusted_override is not None
    return state.root.version, state.order, state.override_floor, in_force
