"""Where a backend has its keys from: a JWKS that is fetched, one that stays, or secrets."""

from __future__ import annotations

import logging
import math
import re
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar
from urllib.parse import urlsplit

from livepin import tokens
from livepin.errors import ConfigurationError, LivepinError, MalformedError
from livepin.tokens import TokenError, TokenKey

if TYPE_CHECKING:
    from .fetch import Fetched

TIMEOUT = 5.0  # seconds for one fetch
INTERVAL = 60.0  # seconds between fetches for the sake of a key that is not known
RETRY = 5.0  # seconds after a fetch that failed
MAX_AGE = 300.0  # seconds, where the JWKS does not say
LONGEST_AGE = 3600.0  # seconds, whatever it says
KEPT = 3600.0  # seconds for which keys outlive the last fetch that succeeded

_CREDENTIAL = re.compile(r"[\x21-\x7e]{1,512}\Z")
_CERTIFICATE = "-----BEGIN CERTIFICATE-----"
_log = logging.getLogger("livepin.middleware")

AnyKey = TypeVar("AnyKey")


class KeySource(Protocol):
    """Keys that verify tokens."""

    def fetching(self, kid: str) -> Future[None] | None:
        """Return the fetch to wait for before a token of this `kid` is judged, None for none."""

    def named(self, kid: str) -> tuple[TokenKey, ...]:
        """Return the keys that may have signed a token of this `kid`, without waiting.

        Raises:
            TokenError: reason `no-keys`: there are none at all.
        """


class FixedKeys:
    """The keys of a JWKS that stays as it is.

    Raises:
        ConfigurationError: there is none in it.
    """

    def __init__(self, jwks: bytes) -> None:
        try:
            self._keys = tokens.parse_jwks(jwks)
        except MalformedError as exc:
            raise ConfigurationError(f"the JWKS cannot be used: {exc}") from exc
        if not self._keys:
            raise ConfigurationError("expected a JWKS with a key for ES256 or EdDSA, found none")

    def fetching(self, kid: str) -> Future[None] | None:
        """Return None."""

    def named(self, kid: str) -> tuple[TokenKey, ...]:
        """Return the key of this name."""
        return _of(self._keys, kid)


class Secrets:
    """HS256 secrets of one domain: one, or an old and a new one while they are changed.

    Who has the secret needs no `kid` to find it, so that a token may have any.

    Raises:
        ConfigurationError: none, or one that cannot be used. It is not repeated.
    """

    def __init__(self, *secrets: str | bytes) -> None:
        try:
            self._keys = tuple(TokenKey.from_secret(each) for each in secrets)
        except MalformedError as exc:
            raise ConfigurationError(f"the secret cannot be used: {exc}") from exc
        if not self._keys:
            raise ConfigurationError("expected a secret, found none")

    def fetching(self, kid: str) -> Future[None] | None:
        """Return None."""

    def named(self, kid: str) -> tuple[TokenKey, ...]:
        """Return all."""
        return self._keys


@dataclass(eq=False)
class _Fetch:
    hopeful: bool  # the one before went well, or there was none
    awaited: bool  # by requests whose key is known, too: it was time for it
    done: Future[None] = field(default_factory=Future)


class RemoteSet(Generic[AnyKey]):
    """A JWKS that is fetched when it is needed, by a thread of its own; `parse` makes keys of it.

    It is fetched when its `max-age` has ended, and for a `kid` that it does not have at most once
    in a minute; requests at the same time wait for one fetch. After one that failed they wait no
    more: the keys of before go on for an hour.

    Raises:
        ConfigurationError: not an https URL; what is no credential; what is not PEM.
    """

    def __init__(
        self,
        url: str,
        parse: Callable[[bytes], dict[str, AnyKey]],
        *,
        credential: str | None = None,
        ca: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = _checked(url)
        self._parse = parse
        if credential is not None and not _CREDENTIAL.match(credential):
            raise ConfigurationError("expected a credential of visible ASCII characters")
        if ca is not None and _CERTIFICATE not in ca:
            raise ConfigurationError("expected the authorities of the JWKS server in PEM")
        self._credential = credential
        self._ca = ca
        self._clock = clock
        self._lock = threading.Lock()
        self._under_way: _Fetch | None = None
        self._keys: dict[str, AnyKey] = {}
        self._due = self._fetched = -math.inf
        self._began = -math.inf
        self._went_well = False

    def fetching(self, kid: str) -> Future[None] | None:
        """Return the fetch to wait for, None for none; it is started if it is time."""
        with self._lock:
            now = self._clock()
            if self._is_time(kid, now):
                self._start(now)
            under_way = self._under_way
            if under_way is None:
                return None
            # Who sends unknown kids must not make those wait whose key is known; nor, while the
            # JWKS is away, keep every thread of a backend waiting for it.
            wanted = under_way.awaited or kid not in self._keys
            if (under_way.hopeful and wanted) or self._is_too_old(now):
                return under_way.done
        return None

    def named(self, kid: str) -> tuple[AnyKey, ...]:
        """Return the key of this name, without waiting.

        Raises:
            TokenError: reason `no-keys`: there are none at all.
        """
        with self._lock:
            keys = {} if self._is_too_old(self._clock()) else self._keys
        if not keys:
            raise TokenError("no-keys", f"expected keys from {self._url}, had none so far")
        return _of(keys, kid)

    def _is_time(self, kid: str, now: float) -> bool:
        if self._under_way is not None and now - self._began < INTERVAL:
            return False
        return now >= self._due or (kid not in self._keys and now - self._began >= INTERVAL)

    def _is_too_old(self, now: float) -> bool:
        return now - self._fetched > KEPT

    def _start(self, now: float) -> None:
        one = _Fetch(hopeful=self._went_well, awaited=now >= self._due)
        self._began, self._due, self._went_well = now, now + RETRY, False
        self._under_way = one
        # From here on, nobody who gives up waiting cancels it for the others.
        one.done.set_running_or_notify_cancel()
        try:
            threading.Thread(target=self._run, args=(one,), name="livepin-jwks").start()
        except RuntimeError as exc:  # no more threads, or the process ends
            self._under_way = None
            one.done.set_result(None)
            _log.warning("the JWKS was not fetched: %s", exc)

    def _run(self, one: _Fetch) -> None:
        try:
            fetched, keys = self._fetch()
        except LivepinError as exc:
            _log.warning("the JWKS was not fetched: %s", exc)
            self._end(one, self._failed)
        else:
            if not keys:
                _log.warning("the JWKS at %s has no key that can be used", self._url)
            self._end(one, lambda now: self._succeeded(fetched, keys, now))
        finally:
            one.done.set_result(None)

    def _fetch(self) -> tuple[Fetched, dict[str, AnyKey]]:
        from .fetch import fetch

        found = fetch(self._url, ca=self._ca, credential=self._credential, timeout=TIMEOUT)
        return found, self._parse(found.body)

    def _end(self, one: _Fetch, note: Callable[[float], None]) -> None:
        with self._lock:
            # One that was given up may come back with keys that are older than those of now.
            if self._under_way is one:
                self._under_way = None
                note(self._clock())

    def _failed(self, now: float) -> None:
        self._due = now + RETRY

    def _succeeded(self, fetched: Fetched, keys: dict[str, AnyKey], now: float) -> None:
        # A key that is the same stays the same object: tokens that it verified are known by it.
        self._keys = {
            kid: self._keys[kid] if self._keys.get(kid) == key else key for kid, key in keys.items()
        }
        age = MAX_AGE if fetched.max_age is None else fetched.max_age
        self._due = now + min(max(age, INTERVAL), LONGEST_AGE)
        self._fetched, self._went_well = now, True


class RemoteKeys(RemoteSet[TokenKey]):
    """The keys of a JWKS that verify Livepin's tokens, fetched as a `RemoteSet` is.

    Raises:
        ConfigurationError: not an https URL; what is no credential; what is not PEM.
    """

    def __init__(
        self,
        url: str,
        *,
        credential: str | None = None,
        ca: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(url, tokens.parse_jwks, credential=credential, ca=ca, clock=clock)


def _of(keys: Mapping[str, AnyKey], kid: str) -> tuple[AnyKey, ...]:
    key = keys.get(kid)
    return () if key is None else (key,)


def _checked(url: str) -> str:
    try:
        parts = urlsplit(url)
        right = parts.scheme == "https" and bool(parts.hostname) and parts.port != 0
    except ValueError:
        right = False
    if not right or parts.query or parts.fragment or "@" in parts.netloc or not url.isascii():
        # It may hold a password, so it is not repeated.
        raise ConfigurationError(
            "expected the https URL of a JWKS, without user, query or fragment",
            hint="such as https://pins.example.com/v1/ACCOUNT/jwks.json",
        )
    return url
