"""The pinned TLS context: every handshake is judged before the first application byte.

It adds to PKIX and host name verification, never replaces them, and looks at the chain that
OpenSSL *verified*: a pinned certificate that an attacker appended to a chain of another CA is
presented, but not verified (CVE-2016-2402). Servers and unverified contexts cannot be made.

OpenSSL also runs a handshake inside the first read or write. So these are guarded too; checking
in `do_handshake` alone lets the first request leave.
"""

from __future__ import annotations

import _ssl
import errno
import functools
import os
import socket
import ssl
import sys
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

from livepin.certificates import pem_to_ders, spki_fingerprint
from livepin.errors import (
    ConfigurationError,
    MalformedError,
    PinMismatchError,
    PinningError,
    StaleConfigError,
    UnlistedHostError,
    UnverifiedChainError,
)
from livepin.hostnames import normalise

from .judge import Judge

_DER: Any = getattr(_ssl, "ENCODING_DER", 2)
_MOST_REMEMBERED = 1024  # certificates; an app sees a few
_UNJUDGED, _OUTDATED = -1, -2  # beside the generations
# Not among them: flags that pass expired certificates (NO_CHECK_TIME), or chains that stop at any
# anchor (PARTIAL_CHAIN), and so do not hold the root whose key is pinned.
_STRICT_ENOUGH = (
    ssl.VerifyFlags.VERIFY_CRL_CHECK_CHAIN
    | ssl.VerifyFlags.VERIFY_X509_STRICT
    | ssl.VerifyFlags.VERIFY_X509_TRUSTED_FIRST
)

Healer = Callable[[PinMismatchError, Callable[[], bool]], bool]

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


class Judging:
    """Judges TLS connections, and keeps those that are open: the connections of a context.

    `healer`, given the error and a check to repeat, tries for newer pins while a blocking
    handshake waits; `reporter` hears of each mismatch, the reported and the refused; `wanted` is
    called for each new connection.
    """

    def __init__(
        self,
        judge: Judge,
        *,
        healer: Healer | None = None,
        reporter: Callable[[PinMismatchError], None] = lambda _: None,
        wanted: Callable[[], None] = lambda: None,
    ) -> None:
        self._judge = judge
        self._wanted = wanted
        self._healer = healer
        self._reporter = reporter
        self._seen: dict[tuple[object, str | None, bytes | None], _Seen] = {}
        self._live: dict[int, weakref.ref[PinnedSocket | PinnedObject]] = {}

    @property
    def generation(self) -> int:
        """Changes whenever connections must be judged again."""
        return self._judge.generation

    def judge(self, connection: PinnedSocket | PinnedObject) -> None:
        """Return if the connection is right by the pins of now, else raise `PinningError`."""
        generation = self._judge.generation
        seen = self._identity(connection)
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

    def _judged(
        self, connection: PinnedSocket | PinnedObject, seen: _Seen | None, generation: int
    ) -> None:
        connection._seen = seen
        if connection._generation == _UNJUDGED:
            key, live = id(connection), self._live
            live[key] = weakref.ref(connection, lambda _: live.pop(key, None) and None)
        connection._generation = generation

    def rejudge(self) -> int:
        """Judge all open connections by the pins of now; return how many were shut down.

        Called when the pins changed, and when time may have ended some. A connection that does
        not match can write nothing more, and a plain socket is shut down so that pools see it as
        closed.
        """
        closed = 0
        for reference in self._live.copy().values():
            connection = reference()
            if connection is None or connection._is_closed():
                continue
            if not self._still_right(connection):
                connection._generation = _OUTDATED  # also where the pins are the same, but over
                connection._cut()
                closed += 1
        return closed

    @property
    def open_connections(self) -> int:
        """How many judged connections are still referenced and not closed."""
        live = (reference() for reference in self._live.copy().values())
        return sum(1 for each in live if each is not None and not each._is_closed())

    def _still_right(self, connection: PinnedSocket | PinnedObject) -> bool:
        generation = self._judge.generation
        # Not asked of the TLS object, which another thread may be reading from just now.
        seen = cast("_Seen", connection._seen)
        try:
            self._judge.check(seen.host, seen.leaf, lambda: _chain(connection, seen))
        except (PinningError, OSError, ValueError):
            return False
        connection._generation = generation
        return True

    def _healed(
        self, connection: PinnedSocket | PinnedObject, error: PinningError, seen: _Seen
    ) -> bool:
        """Wait for newer pins, where a blocking handshake can wait: not on an event loop."""
        if not isinstance(error, PinMismatchError) or self._healer is None:
            return False
        if not can_wait(connection):
            return False
        found = _chain(connection, seen)
        return self._healer(error, lambda: passes(self._judge, seen.host, found))

    def _identity(self, connection: PinnedSocket | PinnedObject) -> _Seen:
        """Return what is known of the connection's verified host name and leaf."""
        name = connection.server_hostname
        try:
            der = connection.getpeercert(True)
        except ValueError as exc:  # broken off since it was judged, or shut down from here
            raise as_tls_error(_unverified(name or "the peer", str(exc))) from exc
        key = self._scope(connection), name, der
        seen = self._seen.get(key)
        if seen is None:
            seen = _first_seen(name, der)
            if connection.session_reused:
                # On resumption nothing is verified anew, neither the chain nor the host name.
                reason = "the resumed TLS session was not verified for this host by this context"
                raise as_tls_error(_unverified(seen.host, reason))
            _make_room(self._seen)
            self._seen[key] = seen
        return seen

    def unreached(self) -> tuple[str, ...]:
        """Return what should be judged here, and passes by."""
        return ()

    def _scope(self, connection: PinnedSocket | PinnedObject) -> object:
        """Return what a resumed session belongs to."""
        return None


class PinnedContext(Judging, ssl.SSLContext):
    """A client `SSLContext` whose connections are judged by pins; it cannot be weakened.

    Use it wherever a library takes an `SSLContext`. `Client.context()` makes it. `anchors` is PEM
    with the only trust anchors, or None for the system's. The other arguments are `Judging`'s.
    """

    def __new__(cls, *_: Any, **__: Any) -> PinnedContext:
        return ssl.SSLContext.__new__(cls, ssl.PROTOCOL_TLS_CLIENT)

    def __init__(
        self,
        judge: Judge,
        *,
        anchors: str | None = None,
        healer: Healer | None = None,
        reporter: Callable[[PinMismatchError], None] = lambda _: None,
        wanted: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(judge, healer=healer, reporter=reporter, wanted=wanted)
        self.minimum_version = ssl.TLSVersion.TLSv1_2
        self.verify_flags &= _STRICT_ENOUGH
        self.options |= ssl.OP_NO_RENEGOTIATION  # it could bring in another certificate
        if anchors is None:
            self.load_default_certs()
        else:
            # As DER: what parsed as PEM when a config was accepted must load, whatever else the
            # text says. OpenSSL's own reader takes ASCII only.
            self.load_verify_locations(cadata=b"".join(pem_to_ders(anchors)))

    # -- what may not be undone -----------------------------------------------------------------

    @property  # type: ignore[override]
    def verify_mode(self) -> ssl.VerifyMode:
        """Always `CERT_REQUIRED`."""
        return super().verify_mode

    @verify_mode.setter
    def verify_mode(self, value: ssl.VerifyMode) -> None:
        if value != ssl.CERT_REQUIRED:
            raise _weakened("verify_mode must stay CERT_REQUIRED")

    @property
    def check_hostname(self) -> bool:
        """Always true."""
        return True

    @check_hostname.setter
    def check_hostname(self, value: bool) -> None:
        if not value:
            raise _weakened("check_hostname must stay true")

    @property  # type: ignore[override]
    def minimum_version(self) -> ssl.TLSVersion:
        """TLS 1.2 or later."""
        return super().minimum_version

    @minimum_version.setter
    def minimum_version(self, value: ssl.TLSVersion) -> None:
        if value not in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            raise _weakened("minimum_version must be TLS 1.2 or 1.3")
        _set(ssl.SSLContext.minimum_version, self, value)

    @property  # type: ignore[override]
    def verify_flags(self) -> ssl.VerifyFlags:
        """More checks than usual are possible, fewer are not."""
        return super().verify_flags

    @verify_flags.setter
    def verify_flags(self, value: ssl.VerifyFlags) -> None:
        if int(value) & ~int(_STRICT_ENOUGH):  # as numbers: a flag's ~ holds known flags only
            raise _weakened("verify_flags may only ask for revocation lists and strictness")
        _set(ssl.SSLContext.verify_flags, self, value)

    @property
    def sslsocket_class(self) -> type[ssl.SSLSocket]:  # type: ignore[override]
        """Always `PinnedSocket`."""
        return PinnedSocket

    @property
    def sslobject_class(self) -> type[ssl.SSLObject]:  # type: ignore[override]
        """Always `PinnedObject`."""
        return PinnedObject

    def wrap_socket(
        self, sock: socket.socket, server_side: bool = False, *args: Any, **kwargs: Any
    ) -> ssl.SSLSocket:
        """Wrap a client socket; `server_hostname` is required."""
        if server_side:
            raise _weakened("it is for clients only")
        self._wanted()
        return super().wrap_socket(sock, server_side, *args, **kwargs)

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        *args: Any,
        **kwargs: Any,
    ) -> ssl.SSLObject:
        """Wrap a pair of memory buffers for a client; `server_hostname` is required."""
        if server_side:
            raise _weakened("it is for clients only")
        self._wanted()
        return super().wrap_bio(incoming, outgoing, server_side, *args, **kwargs)


@dataclass(slots=True)
class _Seen:
    """A host name and a leaf that were verified together, with the chain where it was needed."""

    host: str
    leaf: bytes
    chain: tuple[bytes, ...] = ()


def _first_seen(name: str | None, der: bytes | None) -> _Seen:
    host = verified_host(name)
    if not der:
        raise as_tls_error(_unverified(host, "the peer showed no certificate"))
    return _Seen(host, _fingerprint(host, der))


def _chain(connection: PinnedSocket | PinnedObject, seen: _Seen) -> tuple[bytes, ...]:
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


class _Guarded:
    """What both kinds of connection share: nothing is read or written unjudged."""

    _generation = _UNJUDGED
    _seen: _Seen | None = None

    @property
    def _by(self) -> Judging:
        return cast("Judging", cast("Any", self).context)

    def _guard(self) -> None:
        connection = cast("PinnedSocket | PinnedObject", self)
        if cast("Any", connection)._sslobj is None:
            # Before it connects and after a shutdown, a TLS socket of the standard library
            # carries cleartext. It looks at ENOTCONN itself, while it wraps.
            raise OSError(errno.ENOTCONN, "there is no TLS connection")
        by = self._by
        if self._generation == by.generation:
            return
        if self._generation == _UNJUDGED:
            connection.do_handshake()
        else:
            by.judge(connection)

    def is_current(self) -> bool:
        """Tell whether a judged connection is right by the pins of now, without a report.

        A pool asks before it uses a connection again.
        """
        connection, by = cast("PinnedSocket | PinnedObject", self), self._by
        if self._generation == by.generation:
            return True
        return self._generation != _UNJUDGED and by._still_right(connection)


class PinnedSocket(_Guarded, ssl.SSLSocket):
    """A TLS socket of a `PinnedContext`."""

    def do_handshake(self, block: bool = False) -> None:
        """Handshake, then judge; a mismatch raises before anything can be written."""
        super().do_handshake(block)
        self._by.judge(self)

    def read(self, *args: Any, **kwargs: Any) -> Any:
        """Read, once judged."""
        self._guard()
        return super().read(*args, **kwargs)

    def write(self, data: Any) -> int:
        """Write, once judged."""
        self._guard()
        return super().write(data)

    # Not those of the standard library: where another thread shuts the socket down after the
    # check, they go on in cleartext. `read` and `write` raise.

    def send(self, data: Any, flags: int = 0) -> int:
        """Send, once judged."""
        _no_flags(flags)
        return self.write(data)

    def sendall(self, data: Any, flags: int = 0) -> None:
        """Send all, once judged."""
        _no_flags(flags)
        self._guard()
        with memoryview(data) as view, view.cast("B") as octets:
            sent = 0
            while sent < len(octets):
                sent += self.write(octets[sent:])

    def sendfile(self, file: Any, offset: int = 0, count: int | None = None) -> int:
        """Send a file, once judged."""
        self._guard()
        return cast("Any", self)._sendfile_use_send(file, offset, count)  # type: ignore[no-any-return]

    def sendto(self, *args: Any, **kwargs: Any) -> int:
        """Refuse, as any TLS socket does, but without TLS too."""
        self._guard()
        return super().sendto(*args, **kwargs)

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        """Receive, once judged."""
        _no_flags(flags)
        return cast("bytes", self.read(buflen))

    def recv_into(self, buffer: Any, nbytes: int | None = None, flags: int = 0) -> int:
        """Receive into a buffer, once judged."""
        _no_flags(flags)
        if nbytes is None:
            with memoryview(buffer) as view:
                nbytes = view.nbytes or 1024
        return cast("int", self.read(nbytes, buffer))

    def recvfrom(self, *args: Any, **kwargs: Any) -> tuple[bytes, Any]:
        """Refuse, as any TLS socket does, but without TLS too."""
        self._guard()
        return super().recvfrom(*args, **kwargs)

    def recvfrom_into(self, *args: Any, **kwargs: Any) -> tuple[int, Any]:
        """Refuse, as any TLS socket does, but without TLS too."""
        self._guard()
        return super().recvfrom_into(*args, **kwargs)

    def _cut(self) -> None:
        try:
            socket.socket.shutdown(self, socket.SHUT_RDWR)
        except OSError:
            return  # closed already

    def _can_wait(self) -> bool:
        return self.gettimeout() != 0.0

    def _is_closed(self) -> bool:
        return cast("Any", self)._sslobj is None or self.fileno() == -1


class PinnedObject(_Guarded, ssl.SSLObject):
    """The TLS half of an asynchronous connection of a `PinnedContext`."""

    def do_handshake(self) -> None:
        """Handshake, then judge; a mismatch raises before anything can be written."""
        super().do_handshake()
        self._by.judge(self)

    def read(self, *args: Any, **kwargs: Any) -> Any:
        """Read, once judged."""
        self._guard()
        return super().read(*args, **kwargs)

    def write(self, data: Any) -> int:
        """Write, once judged."""
        self._guard()
        return super().write(data)

    _socket: socket.socket | None = None

    def attach(self, sock: socket.socket | None) -> None:
        """Tell which socket carries this connection, so that pools notice when it is cut."""
        self._socket = sock

    def _cut(self) -> None:
        """Shut the socket down where it is known; the guard refuses the next write anyhow."""
        if self._socket is not None:
            try:
                self._socket.shutdown(socket.SHUT_RDWR)
            except TypeError:
                _shut_down(self._socket.fileno())  # uvloop's have no shutdown
            except OSError:
                return  # closed already

    def _can_wait(self) -> bool:
        return False

    def _is_closed(self) -> bool:
        return self._socket is not None and self._socket.fileno() == -1


def _shut_down(descriptor: int) -> None:
    try:
        with socket.socket(fileno=os.dup(descriptor)) as same:
            same.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # closed already


def verified_chain(connection: Any) -> Sequence[bytes]:
    """Return the chain that OpenSSL verified, DER, leaf first; empty where there is none.

    Python 3.13 has a method for it; before, the object underneath does. A Python that has
    neither gets no connection.
    """
    public = getattr(connection, "get_verified_chain", None)
    if public is not None:
        return cast("Sequence[bytes]", public())
    private = getattr(connection._sslobj, "get_verified_chain", None)
    if private is None:
        return ()
    return [certificate.public_bytes(_DER) for certificate in private() or ()]


def passes(judge: Judge, host: str, chain: Sequence[bytes]) -> bool:
    """Tell whether a chain that was refused before is right by the pins of now."""
    try:
        judge.check(host, chain[0], lambda: chain)
    except PinningError:
        return False
    return True


def can_wait(connection: PinnedSocket | PinnedObject) -> bool:
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


def _weakened(message: str) -> ConfigurationError:
    return ConfigurationError(
        f"a pinned context cannot be weakened: {message}",
        hint="leave the library's verify setting on; a private CA goes into Client(ca=...)",
    )


def _no_flags(flags: int) -> None:
    if flags:
        raise ValueError("a TLS socket takes no flags")


def _set(attribute: Any, target: object, value: object) -> None:
    attribute.__set__(target, value)


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
