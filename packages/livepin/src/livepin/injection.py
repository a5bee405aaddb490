"""Pin a whole process whose code nobody wants to change.

    livepin.inject(pins)     # as early as possible

From then on each TLS connection that Python's `ssl` makes as a client is judged, whatever library
asks for it and whoever made the context. The contexts stay the app's: its authorities, client
certificates and protocols (`Client(ca=...)` has no say here). A listed host needs a context that
verifies chain and host name, or is refused; so is a connection that names no host. Hosts that no
domain covers keep what the app asked for. Servers, and Livepin's own channel, stay as they are.

Nothing of `ssl` is replaced but the two documented attributes that say which class a context
makes connections of. So contexts made before are reached, and `isinstance` goes on working.

Not covered, and named in `Client.status().unreached` where it is there: connections opened
before, contexts with connection classes of their own (gevent), and TLS stacks that are not
Python's `ssl`: gRPC, libcurl, HTTP/3, pyOpenSSL, drivers of databases. Never covered: cleartext,
which passes no TLS, and what other processes do. An asynchronous connection cannot wait for newer
pins: the one that meets a changed certificate fails, and newer pins are fetched meanwhile.
truststore on macOS and Windows verifies outside of OpenSSL, so listed hosts are refused there.
After `unwrap()`, a client's connection carries no cleartext.
"""

from __future__ import annotations

import gc
import ssl
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, ClassVar

from .client import Client
from .client.connections import PinnedObject, PinnedSocket
from .client.judging import Judging, as_tls_error, verified_host
from .errors import ConfigurationError, PinningError, UnverifiedChainError

# Beyond what a `PinnedContext` allows, what Python 3.13 sets by itself: a chain may end at an
# intermediate that the app trusts.
_FLAGS = (
    ssl.VerifyFlags.VERIFY_CRL_CHECK_CHAIN
    | ssl.VerifyFlags.VERIFY_X509_STRICT
    | ssl.VerifyFlags.VERIFY_X509_TRUSTED_FIRST
    | ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
)
_OTHER_STACKS = {
    "OpenSSL": "pyOpenSSL",
    "aioquic": "HTTP/3",
    "curl_cffi": "libcurl",
    "grpc": "gRPC",
    "niquests": "HTTP/3",
    "psycopg": "libpq",
    "psycopg2": "libpq",
    "pycurl": "libcurl",
    "qh3": "HTTP/3",
    "tls_client": "the TLS of Go",
}
_MAKERS = ("sslsocket_class", "sslobject_class", "wrap_socket", "wrap_bio")

_lock = threading.Lock()
_active: Injection | None = None


def inject(pins: Client) -> Injection:
    """Pin each TLS connection that this process makes as a client from now on.

    Once for a process; again with the same client, it is the same injection.

    Raises:
        ConfigurationError: another client was injected already.
    """
    global _active
    with _lock:
        if _active is None:
            _active = Injection(pins)
        elif _active.pins is not pins:
            raise ConfigurationError(
                "another client pins this process already",
                hint="make one livepin.Client for the whole process",
            )
        return _active


class Injection:
    """What `inject` did; `undo` ends it for new connections. It is a context manager, for tests."""

    def __init__(self, pins: Client) -> None:
        self.pins = pins
        judging = pins.judging(
            _AppJudging,
            listed=lambda host: pins.domain(host) is not None,
        )
        self._before = ssl.SSLContext.sslsocket_class, ssl.SSLContext.sslobject_class
        classes: Any = ssl.SSLContext
        classes.sslsocket_class = type("InjectedSocket", (_Socket,), {"_by": judging})
        classes.sslobject_class = type("InjectedObject", (_Object,), {"_by": judging})
        # Afterwards, so that what is made meanwhile is looked at, too.
        judging.look_for_older()

    def undo(self) -> None:
        """Let new connections be ordinary again; those that are open stay pinned."""
        global _active
        with _lock:
            if _active is self:
                classes: Any = ssl.SSLContext
                classes.sslsocket_class, classes.sslobject_class = self._before
                _active = None

    def __enter__(self) -> Injection:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.undo()


class _AppJudging(Judging):
    """Judges the connections of contexts that the app made, strict and lax ones."""

    def __init__(
        self,
        *args: Any,
        listed: Callable[[str], bool],
        **options: Any,
    ) -> None:
        super().__init__(*args, **options)
        self._listed = listed
        self._older: list[weakref.ref[Any]] = []

    def judge(self, connection: Any) -> None:
        """Judge by pins where the host is listed; else only ask whether it may be unlisted."""
        connection.note()
        generation = self.generation
        host = verified_host(connection.server_hostname)
        if self._listed(host):
            self.refuse_lax(host, lax=connection.is_lax)
            super().judge(connection)
            return
        try:
            self._judge.check(host, b"", tuple)
        except PinningError as error:
            raise as_tls_error(error) from None
        self._judged(connection, None, generation)

    def refuse_lax(self, name: str | None, *, lax: bool) -> None:
        """Refuse a listed host whose chain or name would not be verified."""
        host = verified_host(name)
        if lax and self._listed(host):
            raise as_tls_error(
                UnverifiedChainError(
                    f"{host}: the app's SSLContext does not verify chain and host name, so pins "
                    "cannot be checked",
                    host=host,
                    hint="turn the library's verify setting on",
                )
            )

    def unreached(self) -> tuple[str, ...]:
        """Return what was made before and is there still, and the other TLS stacks."""
        older = (reference() for reference in self._older)
        found = {_described(each) for each in older if each is not None and _is_open(each)}
        for each in _below(ssl.SSLContext):
            if not issubclass(each, Judging) and any(name in vars(each) for name in _MAKERS):
                found.add(f"contexts of {each.__module__}.{each.__qualname__}")
        for module, stack in _OTHER_STACKS.items():
            if module in sys.modules:
                found.add(f"{stack} ({module})")
        return tuple(sorted(found))

    def look_for_older(self) -> None:
        """Remember the connections and contexts that the injection does not reach."""
        self._older = [weakref.ref(each) for each in gc.get_objects() if _is_unreached(each)]

    def _still_right(self, connection: Any) -> bool:
        if connection._seen is not None:
            return super()._still_right(connection)
        # The host was not listed; if it is now, the next use judges it.
        generation = self.generation
        if self._listed(verified_host(connection.server_hostname)):
            return False
        connection._generation = generation
        return True

    def _scope(self, connection: Any) -> object:
        return weakref.ref(connection.context)  # sessions do not pass from one to another


class _Injected:
    """What both kinds of injected connections share."""

    _by: ClassVar[_AppJudging]
    _ordinary: ClassVar[Any]
    is_lax = False

    @classmethod
    def _create(cls, *args: Any, **options: Any) -> Any:
        if options["server_side"]:
            return cls._ordinary._create(*args, **options)
        cls._by._wanted()
        lax = not _is_strict(options["context"])
        cls._by.refuse_lax(options["server_hostname"], lax=lax)
        found = super()._create(*args, **options)  # type: ignore[misc]
        found.is_lax = found.is_lax or lax
        found.note()
        return found

    def note(self) -> None:
        """Remember if the context is lax: libraries switch that for each connection."""
        if not _is_strict(self.context):  # type: ignore[attr-defined]
            self.is_lax = True

    def do_handshake(self, *args: Any) -> None:
        """Handshake, then judge."""
        self.note()
        super().do_handshake(*args)  # type: ignore[misc]


class _Socket(_Injected, PinnedSocket):
    _ordinary = ssl.SSLSocket

    def connect(self, addr: Any) -> None:
        """Connect, and handshake if that was asked for."""
        self.note()
        super().connect(addr)

    def connect_ex(self, addr: Any) -> int:
        """Connect, and handshake if that was asked for."""
        self.note()
        return super().connect_ex(addr)


class _Object(_Injected, PinnedObject):
    _ordinary = ssl.SSLObject


def _is_strict(context: ssl.SSLContext) -> bool:
    return (
        context.verify_mode == ssl.CERT_REQUIRED
        and context.check_hostname
        and not int(context.verify_flags) & ~int(_FLAGS)
    )


def _is_unreached(found: object) -> bool:
    kind = type(found)  # not isinstance, which asks proxies what they stand for
    if issubclass(kind, (ssl.SSLSocket, ssl.SSLObject)):
        return not issubclass(kind, (PinnedSocket, PinnedObject)) and _is_client(found)
    return issubclass(kind, ssl.SSLContext) and any(name in vars(found) for name in _MAKERS)


def _is_client(connection: Any) -> bool:
    try:
        return not connection.server_side
    except AttributeError:  # in the middle of being made, or of being taken apart
        return False


def _is_open(found: Any) -> bool:
    return not isinstance(found, ssl.SSLSocket) or found.fileno() != -1


def _described(found: Any) -> str:
    if isinstance(found, ssl.SSLContext):
        return "a context with connection classes of its own"
    return f"a connection to {found.server_hostname or 'an unnamed host'}, opened before"


def _below(kind: type[Any]) -> Iterator[type[Any]]:
    for each in kind.__subclasses__():
        yield each
        yield from _below(each)


__all__ = ["Injection", "inject"]
