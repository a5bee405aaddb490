"""Judging connections: the verified chain of each, by the pins of now, and again when they change.

What is judged is the chain that OpenSSL *verified*: a pinned certificate that an attacker appended
to a chain of another CA is presented, but not verified (CVE-2016-2402). What makes connections is
`context`, what guards their reads and writes `connections`.
"""

from __future__ import annotations

import functools
import ssl
import sys
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Protocol, cast

from livepin.certificates import spki_fingerprint
from livepin.errors import (
    MalformedError,
    PinMismatchError,
    PinningError,
    StaleConfigError,
    UnlistedHostError,
    UnverifiedChainError,
)
from livepin.hostnames import normalise
from livepin.verified import verified_chain

from .judge import Judge

_MOST_REMEMBERED = 1024  # certificates; an app sees a few
UNJUDGED, OUTDATED = -1, -2  # beside the generations

Healer = Callable[[PinMismatchError, Callable[[], bool]], bool]
Starter = Callable[[PinMismatchError], object]

# What each error of OpenSSL has; asyncio of Python 3.10 looks at it.
_AS_OPENSSL = {
    "library": "SSL",
    "reason": "CERTIFICATE_VERIFY_FAILED",
    "verify_code": 50,  # X509_V_ERR_APPLICATION_VERIFICATION
    "verify_message": "application verification failure",
}


def _reduced(error: PinningError) -> tuple[Any, ...]:
    # By its name, an unpickler would find the class that is no TLS error.
    return _bare_tls_error, (type(error).__bases__[0], error.args), error.__dict__


def _bare_tls_error(kind: type[PinningError], args: tuple[Any, ...]) -> PinningError:
    found = _TLS_ERRORS[kind].__new__(_TLS_ERRORS[kind], *args)
    found.args = args
    return found


_TLS_ERRORS: dict[type[PinningError], type[PinningError]] = {
    # HTTP libraries know what to do with a certificate error, and keep it in the chain of causes.
    kind: type(
        kind.__name__,
        (kind, ssl.SSLCertVerificationError),
        {"__module__": kind.__module__, "__reduce__": _reduced, **_AS_OPENSSL},
    )
    for kind in (PinMismatchError, UnlistedHostError, StaleConfigError, UnverifiedChainError)
}


@dataclass(slots=True)
class Seen:
    """A host name and a leaf that were verified together, with the chain where it was needed."""

    host: str
    leaf: bytes
    chain: tuple[bytes, ...] = ()


class Connection(Protocol):
    """What a judged connection is to its judging: a `PinnedSocket` or a `PinnedObject`."""

    _sslobj: Any
    _generation: int
    _seen: Seen | None

    @property
    def session_reused(self) -> bool | None: ...

    def _cut(self) -> None: ...

    def _can_wait(self) -> bool: ...

    def _is_closed(self) -> bool: ...


class Judging:
    """Judges TLS connections, and keeps those that are open: the connections of a context.

    `healer`, given the error and a check to repeat, tries for newer pins while a blocking
    handshake waits; where none may wait, `starter` begins to try, for the next connection.
    `reporter` hears of each mismatch, the reported and the refused; `wanted` is called for each
    new connection.
    """

    def __init__(
        self,
        judge: Judge,
        *,
        healer: Healer | None = None,
        starter: Starter = lambda _: None,
        reporter: Callable[[PinMismatchError], None] = lambda _: None,
        wanted: Callable[[], None] = lambda: None,
    ) -> None:
        self._judge = judge
        self._wanted = wanted
        self._healer = healer
        self._starter = starter
        self._reporter = reporter
        self._verified: dict[tuple[object, str | None, bytes | None], Seen] = {}
        self._live: set[weakref.ref[Connection]] = set()

    generation: Any = property(attrgetter("_judge.generation"))
    """Changes whenever connections must be judged again: an int."""

    # This is on the path of each handshake. A handshake leaves the caches cold, so what costs is
    # how much code is touched: few calls, and none where C code finds the same.

    def judge(self, connection: Connection) -> None:
        """Return if the connection is right by the pins of now, else raise `PinningError`."""
        generation = self._judge.generation
        tls = connection._sslobj
        try:
            name, der = tls.server_hostname, tls.getpeercert(True)
        except (AttributeError, ValueError) as exc:
            # Broken off since it was judged, or shut down from here.
            raise as_tls_error(_unverified("the peer", f"the connection is gone: {exc}")) from exc
        scope = None if self._scope is None else self._scope(connection)
        key = scope, name, der
        seen = self._verified.get(key) or self._first_seen(connection, key)
        try:
            mismatch = self._judge.check(seen.host, seen.leaf, lambda: _chain(connection, seen))
            if mismatch is not None:
                self._reporter(mismatch)
        except PinningError as error:
            if not self._healed(connection, error, seen):
                if isinstance(error, PinMismatchError):
                    self._reporter(error)
                raise as_tls_error(error) from None
        self._judged(connection, seen, generation)

    def _judged(self, connection: Connection, seen: Seen | None, generation: int) -> None:
        connection._seen = seen
        if connection._generation == UNJUDGED:
            live = self._live
            live.add(weakref.ref(connection, live.discard))
        connection._generation = generation

    def _first_seen(
        self, connection: Connection, key: tuple[object, str | None, bytes | None]
    ) -> Seen:
        _, name, der = key
        host = verified_host(name)
        if not der:
            raise as_tls_error(_unverified(host, "the peer showed no certificate"))
        if connection.session_reused:
            # On resumption nothing is verified anew, neither the chain nor the host name.
            reason = "the resumed TLS session was not verified for this host by this context"
            raise as_tls_error(_unverified(host, reason))
        _make_room(self._verified)
        found = self._verified[key] = Seen(host, _fingerprint(host, der))
        return found

    _scope: Callable[[Any], object] | None = None  # what a resumed session belongs to, if not self

    def rejudge(self) -> int:
        """Judge all open connections by the pins of now; return how many were shut down.

        Called when the pins changed, and when time may have ended some. A connection that does
        not match can write nothing more, and a plain socket is shut down so that pools see it as
        closed.
        """
        closed = 0
        for reference in self._live.copy():
            connection = reference()
            if connection is None or connection._is_closed():
                continue
            if not self._still_right(connection):
                connection._generation = OUTDATED  # also where the pins are the same, but over
                connection._cut()
                closed += 1
        return closed

    @property
    def open_connections(self) -> int:
        """How many judged connections are still referenced and not closed."""
        live = (reference() for reference in self._live.copy())
        return sum(1 for each in live if each is not None and not each._is_closed())

    def _still_right(self, connection: Connection) -> bool:
        generation = self._judge.generation
        # Not asked of the TLS object, which another thread may be reading from just now.
        seen = cast("Seen", connection._seen)
        try:
            self._judge.check(seen.host, seen.leaf, lambda: _chain(connection, seen))
        except (PinningError, OSError, ValueError):
            return False
        connection._generation = generation
        return True

    def _healed(self, connection: Connection, error: PinningError, seen: Seen) -> bool:
        """Wait for newer pins, where a blocking handshake can wait: not on an event loop."""
        if not isinstance(error, PinMismatchError) or self._healer is None:
            return False
        if not can_wait(connection):
            self._starter(error)
            return False
        found = _chain(connection, seen)
        return self._healer(error, lambda: passes(self._judge, seen.host, found))

    def unreached(self) -> tuple[str, ...]:
        """Return what should be judged here, and passes by."""
        return ()


def _chain(connection: Connection, seen: Seen) -> tuple[bytes, ...]:
    """Return the fingerprints of the verified chain, or, resumed, of the one verified before."""
    ders = () if connection.session_reused else verified_chain(connection)
    if ders:
        # Returned as it is: another connection may set the remembered one meanwhile.
        found = (seen.leaf, *(_fingerprint(seen.host, der) for der in ders[1:]))
        seen.chain = found
        return found
    if not seen.chain:
        raise as_tls_error(_unverified(seen.host, "the TLS stack gave no verified chain"))
    return seen.chain


@functools.lru_cache(maxsize=_MOST_REMEMBERED)
def _fingerprint(host: str, der: bytes) -> bytes:
    try:
        return spki_fingerprint(der)
    except MalformedError as exc:
        raise as_tls_error(_unverified(host, str(exc))) from exc


def passes(judge: Judge, host: str, chain: Sequence[bytes]) -> bool:
    """Tell whether a chain that was refused before is right by the pins of now."""
    try:
        judge.check(host, chain[0], lambda: chain)
    except PinningError:
        return False
    return True


def can_wait(connection: Connection) -> bool:
    """Tell whether a handshake may wait for newer pins: not on an event loop."""
    return connection._can_wait() and not _on_event_loop()


def verified_host(name: str | None) -> str:
    """Return the normalised host that a connection's chain is verified for.

    Raises:
        UnverifiedChainError: there is none, or none that can be compared.
    """
    if not name:
        raise as_tls_error(_unverified("the peer", "no server_hostname was verified"))
    try:
        return normalise(name)
    except MalformedError as exc:
        raise as_tls_error(_unverified(name, str(exc))) from exc


def _unverified(host: str, reason: str) -> UnverifiedChainError:
    return UnverifiedChainError(f"{host}: {reason}, so pins cannot be checked", host=host)


def as_tls_error(error: PinningError) -> PinningError:
    """Return the error as one that TLS stacks raise, which HTTP libraries know how to wrap."""
    if type(error) not in _TLS_ERRORS:
        return error
    found = _bare_tls_error(type(error), error.args)
    found.__dict__.update(error.__dict__)
    return found


def _make_room(remembered: dict[Any, Any]) -> None:
    while len(remembered) >= _MOST_REMEMBERED:
        # Of a copy: another thread may add to it between the two steps, and none waits here.
        remembered.pop(next(iter(list(remembered))), None)


def _on_event_loop() -> bool:
    # Who has not imported asyncio runs no loop of it; importing it here would cost every app.
    asyncio = sys.modules.get("asyncio")
    if asyncio is None:
        return False
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
