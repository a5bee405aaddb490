"""Bringing the trusted state up to date: which URLs, in which order, within which time.

The rules themselves are in `livepin.trust`. Only roots, configs and overrides may come over the
recovery channel, which is unpinned on purpose: their signatures protect them, so a man in the
middle can at most delay them. When overrides are asked for is in `overrides`.
"""

from __future__ import annotations

import functools
import queue
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from urllib.parse import urlsplit

from livepin.documents import config, root
from livepin.errors import FetchError, LivepinError, PinningError, VerificationError
from livepin.hostnames import normalise
from livepin.trust import TrustedState

from .clocks import Clock
from .context import PinnedContext
from .fetcher import Fetcher, Request
from .judge import DeliveryJudge
from .threads import Background, resting
from .trusted import Trusted

Walk = Callable[[str, "ssl.SSLContext | None", float], None]

DEADLINE = 15.0  # seconds for one update, roots and both channels included
RECOVERY_AFTER = 1.0  # seconds without an answer
PAST_CACHES = {"Cache-Control": "no-cache", "Pragma": "no-cache"}
_NO_HEADERS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an update ended: over which URL, or with which error (the most telling one)."""

    url: str | None
    error: LivepinError | None


class Updater:
    """Fetches newer documents and has them adopted. Concurrent updates are one."""

    def __init__(self, trusted: Trusted, fetcher: Fetcher, *, clock: Clock) -> None:
        self._trusted = trusted
        self._fetcher = fetcher
        self._clock = clock
        self._lock = threading.Lock()
        self._flight: _Flight | None = None
        self._delivery: tuple[config.Delivery, PinnedContext] | None = None
        self.last: Outcome | None = None
        self.last_success: float | None = None  # time.monotonic()

    def update_anew(self, *, timeout: float = DEADLINE) -> Outcome:
        """Update, but not by an answer that was asked for before this call.

        An update under way may have fetched already what was newest then.
        """
        deadline = time.monotonic() + timeout
        flight = self._flight
        if flight is not None:
            flight.done.wait(timeout)
        return self.update(timeout=max(deadline - time.monotonic(), 0.0))

    def update(self, *, timeout: float = DEADLINE, fresh: bool = False) -> Outcome:
        """Fetch what is newer, or wait for the update under way; `fresh` passes all caches."""
        with self._lock:
            flight = self._flight
            leading = flight is None
            if flight is None:
                flight = self._flight = _Flight()
        if not leading:
            with resting():
                flight.done.wait(timeout)
            return flight.outcome or Outcome(None, FetchError("no answer in time"))
        try:
            walk = functools.partial(self._walk, fresh=fresh)
            flight.outcome = self.last = self.race(walk, timeout=timeout)
            if flight.outcome.error is None:
                self.last_success = time.monotonic()
            return flight.outcome
        finally:
            with self._lock:
                self._flight = None
            flight.done.set()

    def delivery_context(self) -> PinnedContext:
        """Return the context of Livepin's own channel: its CA alone, its pins, its hosts."""
        delivery = self._trusted().config.delivery
        held = self._delivery
        if held is None or held[0] != delivery:
            hosts = frozenset(normalise(urlsplit(url).hostname or "") for url in delivery.urls)
            judge = DeliveryJudge(self._trusted, hosts, clock=self._clock)
            held = self._delivery = delivery, PinnedContext(judge, anchors=delivery.ca)
        return held[1]

    def race(self, walk: Walk, *, timeout: float) -> Outcome:
        """Try the pinned channel; if it fails, or after a second, the recovery channel too.

        `walk(base, context, deadline)` fetches from one base URL, or raises; the first that does
        not ends it.
        """
        deadline = time.monotonic() + timeout
        delivery = self._trusted().config.delivery
        ended: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
        self._start(walk, delivery.urls, self.delivery_context, deadline, ended)
        under_way, failed = 1, _get(ended, min(RECOVERY_AFTER, timeout))
        if failed is not None:
            under_way -= 1
            if failed.error is None:
                return failed
        if delivery.recovery_urls:
            self._start(walk, delivery.recovery_urls, _ordinary, deadline, ended)
            under_way += 1
        while under_way:
            found = _get(ended, deadline - time.monotonic())
            if found is None:
                return failed or Outcome(None, FetchError("no answer in time"))
            if found.error is None:
                return found
            failed = _more_telling(failed, found)
            under_way -= 1
        return failed or Outcome(None, FetchError("no delivery URL"))

    def _start(
        self,
        walk: Walk,
        urls: tuple[str, ...],
        context: Callable[[], ssl.SSLContext],
        deadline: float,
        ended: queue.SimpleQueue[Outcome],
    ) -> None:
        def run() -> None:
            ended.put(_try_each(walk, urls, context, deadline))

        try:
            Background(run, name="livepin-fetch").start()
        except RuntimeError as exc:  # no more threads: not a reason for the worker to end
            ended.put(Outcome(None, FetchError(str(exc))))

    def _walk(
        self, base: str, context: ssl.SSLContext | None, deadline: float, *, fresh: bool
    ) -> None:
        """Fetch the config and, before it, the roots that it needs; adopt each step."""
        state = self._trusted()
        # With the root: under a new one the count starts anew, and the version alone may be the
        # one that a thief gave to another config (rule 7).
        headers = {"If-None-Match": '"{}.{}"'.format(*state.order)}
        if fresh:
            headers |= PAST_CACHES
        path = f"{base}/v1/{state.account}"
        url = f"{path}/config/{state.stream}"
        raw = self.get(url, context, deadline, bounds=_CONFIG, headers=headers)
        if raw is not None:
            self._advance(state, raw, path, context, deadline)

    def adopt(self, state: TrustedState, raw: bytes, base: str, *, deadline: float) -> None:
        """Adopt a config that came along with something else, with the roots that it needs.

        It goes on from `state`, which was active when it was asked for, and is judged as any other.

        Raises:
            VerificationError: a rule refuses it or a root; the active config stays.
            FetchError: a root is not to be had from the delivery URL `base` by the monotonic
                `deadline`.
        """
        path = f"{base}/v1/{state.account}"
        self._advance(state, raw, path, self.delivery_context(), deadline)

    def _advance(
        self,
        state: TrustedState,
        raw: bytes,
        path: str,
        context: ssl.SSLContext | None,
        deadline: float,
    ) -> None:
        state = self.with_roots(state, state.missing_roots(raw), path, context, deadline)
        self._trusted.adopt(state.advance_config(raw))

    def with_roots(
        self,
        state: TrustedState,
        missing: range,
        path: str,
        context: ssl.SSLContext | None,
        deadline: float,
    ) -> TrustedState:
        """Return `state` with the roots that are `missing`, each of them adopted.

        Raises:
            VerificationError: a rule refuses one; those before it stay adopted.
            FetchError: one is not to be had below the URL `path`.
        """
        for version in missing:
            found = self.get(f"{path}/root/{version}", context, deadline, bounds=_ROOT)
            if found is None:
                raise FetchError(f"{path}: root {version} is not there")
            state = state.advance_root(found)
            self._trusted.adopt(state)
        return state

    def get(
        self,
        url: str,
        context: ssl.SSLContext | None,
        deadline: float,
        *,
        bounds: tuple[int, int],
        headers: Mapping[str, str] = _NO_HEADERS,
        nothing: int = 304,
    ) -> bytes | None:
        """Return what is at `url`, or None where the status is the one that means `nothing`.

        `bounds` are the most bytes, and the most when compressed.

        Raises:
            FetchError: another status than 200, or no answer by the monotonic `deadline`.
            PinningError: the connection was refused.
        """
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            raise FetchError(f"{url}: no answer in time")
        request = Request(
            url=url,
            context=context,
            max_bytes=bounds[0],
            max_compressed=bounds[1],
            timeout=remaining,
            headers=headers,
        )
        answer = self._fetcher.fetch(request)
        if answer.status == nothing:
            return None
        if answer.status != 200:
            raise FetchError(f"{url}: expected status 200, found {answer.status}")
        return answer.body


class _Flight:
    """An update under way, for those who wait for it."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.outcome: Outcome | None = None


def _try_each(
    walk: Walk, urls: tuple[str, ...], context: Callable[[], ssl.SSLContext], deadline: float
) -> Outcome:
    failed: Outcome | None = None
    for at, url in enumerate(urls):
        now = time.monotonic()
        # A URL that never answers leaves time for those after it.
        share = now + (deadline - now) / (len(urls) - at)
        try:
            chosen = context() if url.startswith("https:") else None
            walk(url.rstrip("/"), chosen, share)
        except LivepinError as exc:
            failed = _more_telling(failed, Outcome(url, exc))
        except Exception as exc:  # noqa: BLE001 - a thread must not end without an outcome
            failed = _more_telling(failed, Outcome(url, FetchError(f"{url}: {exc}")))
        else:
            return Outcome(url, None)
    return failed or Outcome(None, FetchError("no URL to fetch from"))


_CONFIG = config.MAX_SIZE, config.MAX_COMPRESSED
_ROOT = root.MAX_SIZE, root.MAX_SIZE


def _more_telling(failed: Outcome | None, other: Outcome) -> Outcome:
    """Return the failure to report: a refusal says more than a silence, whoever came first."""
    if failed is None or _weight(other) > _weight(failed):
        return other
    return failed


def _weight(outcome: Outcome) -> int:
    if isinstance(outcome.error, VerificationError):
        return 2  # a document was refused (rule 10)
    return 1 if isinstance(outcome.error, PinningError) else 0


def _ordinary() -> ssl.SSLContext:
    context = ssl.create_default_context()
    # Not what `livepin.inject` puts in their place: the way to newer pins needs no pins.
    context.sslsocket_class = ssl.SSLSocket
    return context


def _get(ended: queue.SimpleQueue[Outcome], timeout: float) -> Outcome | None:
    try:
        with resting():
            return ended.get(timeout=max(timeout, 0.001))
    except queue.Empty:
        return None
