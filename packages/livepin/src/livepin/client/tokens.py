"""Tokens for the hosts that need them: kept until they end, and fetched once for all who wait.

A token is for one host, and where the app binds it, for one value that it is bound to: each value
has its own. Fetching happens in a thread, so that no event loop is ever blocked; it is started
when a token is needed and ends with the answer.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict, deque
from collections.abc import Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotInTime  # in Python 3.10 one of its own
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from livepin.documents.token_request import MAX_HOSTS
from livepin.tokens import TokenError, issue_time

from .backoff import Backoff
from .clocks import Ticks, run_time
from .threads import Background, resting
from .token_answer import Issued
from .token_fetcher import TokenFetcher, TokenState

DEADLINE = 10.0  # seconds for one fetch, all delivery URLs and both challenges included
PATIENCE = 12.0  # seconds that a request waits at most
_BEFORE_END = 10.0  # seconds by which a token is given up early: it has a way to go
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0  # seconds between fetches while they fail
_LEFT_OUT = 5.0  # seconds until the service is asked again for a token that it did not give
_SOON = 150.0  # seconds before its end from which a token is fetched together with others
_MOST_HELD = 256  # tokens

# A host in normal form, and the SHA-256 of what its token is bound to, or None.
Key = tuple[str, "bytes | None"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A token for one host, or why there is none.

    `header` and `value` make the header field of a request to that host; they are empty unless
    `state` is a success. The value never prints itself.
    """

    state: TokenState
    header: str = ""
    value: str = field(default="", repr=False)


@dataclass(slots=True)
class _Held:
    token: Token
    until: float
    used: bool = True


class Tokens:
    """The tokens of a client.

    `ticks` gives run time in seconds.
    """

    def __init__(self, fetcher: TokenFetcher, *, ticks: Ticks = run_time) -> None:
        self.last: TokenState | None = None  # of the last fetch
        self.values: frozenset[str] = frozenset()  # of all that may be under way
        self._fetcher = fetcher
        self._ticks = ticks
        self._lock = threading.Lock()
        self._held: OrderedDict[Key, _Held] = OrderedDict()  # the last used at the end
        self._recent: deque[str] = deque(maxlen=2 * _MOST_HELD)
        self._waiting: dict[Key, list[Future[Token]]] = {}
        self._running = False
        self._backoff = Backoff(_FIRST_PAUSE)
        self._quiet_until = 0.0  # before, nothing is fetched: it failed a moment ago
        self._told: tuple[datetime, float] | None = None  # the service's time, and when by ticks
        self._dropped = -math.inf  # by ticks: what was asked for before is not kept

    def get(self, key: Key) -> Token:
        """Return a token, or why there is none; it waits `PATIENCE` at most."""
        found = self.held(key)
        if found is not None:
            return found
        waiting = self.start(key)
        try:
            with resting():
                return waiting.result(PATIENCE)
        except NotInTime:
            waiting.cancel()
            return _NOT_IN_TIME

    async def aget(self, key: Key) -> Token:
        """Return a token, or why there is none, without blocking the event loop."""
        found = self.held(key)
        if found is not None:
            return found
        import asyncio  # late, as it would double what importing livepin costs

        try:
            return await asyncio.wait_for(asyncio.wrap_future(self.start(key)), PATIENCE)
        except asyncio.TimeoutError:
            return _NOT_IN_TIME

    def service_time(self) -> datetime | None:
        """Return the time of now by the clock of the token service; None if it never told."""
        if self._told is None:
            return None
        told, at = self._told
        return told + timedelta(seconds=self._ticks() - at)

    def drop(self) -> None:
        """Give up the tokens that are held, and those that are asked for just now.

        Whoever waits for one gets it; the next request has a new one fetched.
        """
        with self._lock:
            self._dropped = self._ticks()
            self._held.clear()

    def held(self, key: Key) -> Token | None:
        """Return the token that is held, or that there is none to be had just now, or None."""
        now = self._ticks()
        with self._lock:
            return self._held_at(key, now)

    def start(self, key: Key) -> Future[Token]:
        """Have a token fetched, together with those that others wait for; do not wait."""
        mine: Future[Token] = Future()
        with self._lock:
            found = self._held_at(key, self._ticks())
            if found is not None:  # since it was looked for
                mine.set_result(found)
                return mine
            self._waiting.setdefault(key, []).append(mine)
            leading, self._running = not self._running, True
        if leading:
            try:
                Background(self._run, name="livepin-tokens").start()
            except RuntimeError:  # no more threads: whoever waits must not wait for ever
                self._give_up(TokenState.NO_NETWORK)
        return mine

    def _held_at(self, key: Key, now: float) -> Token | None:
        found = self._held.get(key)
        if found is not None and now < found.until:
            found.used = True
            self._held.move_to_end(key)
            return found.token
        if now < self._quiet_until and self.last is not None:
            return Token(state=self.last)
        return None

    def _run(self) -> None:
        """Fetch until nobody waits."""
        try:
            while hosts := self._next_hosts():
                asked = self._ticks()
                found = self._fetcher.fetch(hosts, timeout=DEADLINE)
                if found.state is not TokenState.SUCCESS:
                    self._give_up(found.state)
                    return
                self._take(hosts, found.tokens, asked)
        except BaseException:  # the process ends
            self._give_up(TokenState.NO_NETWORK)
            raise

    def _next_hosts(self) -> dict[str, bytes | None]:
        """Return what to ask for: what is waited for, and what was used and ends before long.

        A host is in one request once; who waits for it with another binding is next.
        """
        with self._lock:
            hosts: dict[str, bytes | None] = {}
            for host, bound in self._waiting:
                if len(hosts) < MAX_HOSTS:
                    hosts.setdefault(host, bound)
            if not hosts:
                self._running = False
                return {}
            soon = self._ticks() + _SOON
            for (host, bound), held in reversed(self._held.items()):
                if held.used and held.until < soon and len(hosts) < MAX_HOSTS:
                    hosts.setdefault(host, bound)
            return hosts

    def _take(
        self, hosts: Mapping[str, bytes | None], issued: Mapping[str, Issued], asked: float
    ) -> None:
        """Keep what came, by what was asked for, and hand it to those who wait."""
        told: list[tuple[Future[Token], Token]] = []
        with self._lock:
            self.last = TokenState.SUCCESS
            self._backoff.reset()
            self._quiet_until = 0.0
            for key in hosts.items():
                entry = self._entry(issued.get(key[0]), asked)
                waiting = self._waiting.pop(key, [])
                entry.used = bool(waiting)
                if asked > self._dropped:
                    self._held[key] = entry
                    self._held.move_to_end(key)
                told += [(each, entry.token) for each in waiting]
            while len(self._held) > _MOST_HELD:
                self._held.popitem(last=False)
            self.values = frozenset(self._recent)
        _tell(told)

    def _entry(self, issued: Issued | None, asked: float) -> _Held:
        if issued is None:
            # The config that is held wants a token for this host, and the service gives none.
            return _Held(Token(state=TokenState.NO_SERVICE), self._ticks() + _LEFT_OUT)
        self._recent.append(issued.value)
        with suppress(TokenError):  # those of some profiles say no time
            self._told = issue_time(issued.value), self._ticks()
        token = Token(state=TokenState.SUCCESS, header=issued.header, value=issued.value)
        return _Held(token, asked + issued.lives - _BEFORE_END)

    def _give_up(self, state: TokenState) -> None:
        with self._lock:
            self.last = state
            self._quiet_until = self._ticks() + self._backoff.pause(_LONGEST_PAUSE)
            self._running = False
            waiting, self._waiting = self._waiting, {}
        token = Token(state=state)
        _tell([(each, token) for listed in waiting.values() for each in listed])


_NOT_IN_TIME = Token(state=TokenState.NO_NETWORK)


def _tell(told: list[tuple[Future[Token], Token]]) -> None:
    for each, token in told:
        if each.set_running_or_notify_cancel():
            each.set_result(token)
