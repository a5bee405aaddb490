"""The pinned TLS context: every handshake is judged before the first application byte.

It adds to PKIX and host name verification, never replaces them. Servers and unverified contexts
cannot be made.
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import Any

from livepin.certificates import pem_to_ders
from livepin.errors import ConfigurationError, PinMismatchError

from .connections import PinnedObject, PinnedSocket
from .judge import Judge
from .judging import Healer, Judging, Starter

# Not among them: flags that pass expired certificates (NO_CHECK_TIME), or chains that stop at any
# anchor (PARTIAL_CHAIN), and so do not hold the root whose key is pinned.
_STRICT_ENOUGH = (
    ssl.VerifyFlags.VERIFY_CRL_CHECK_CHAIN
    | ssl.VerifyFlags.VERIFY_X509_STRICT
    | ssl.VerifyFlags.VERIFY_X509_TRUSTED_FIRST
)


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
        starter: Starter = lambda _: None,
        reporter: Callable[[PinMismatchError], None] = lambda _: None,
        wanted: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(judge, healer=healer, starter=starter, reporter=reporter, wanted=wanted)
        self._offered: tuple[str, ...] = ()
        self._offering = threading.Lock()
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

    def set_alpn_protocols(self, alpn_protocols: Iterable[str]) -> None:
        """Offer these protocols from now on; what is offered already is left alone.

        httpcore and urllib3 set theirs anew before each handshake. OpenSSL frees the list then,
        while other threads may be copying it for theirs, without the interpreter's lock.
        """
        wanted = tuple(alpn_protocols)
        with self._offering:
            if wanted != self._offered:
                super().set_alpn_protocols(wanted)
                self._offered = wanted

    # Read-only, and read for each connection: without a call.
    _socket_class, _object_class = PinnedSocket, PinnedObject
    sslsocket_class: Any = property(attrgetter("_socket_class"), doc="Always `PinnedSocket`.")
    sslobject_class: Any = property(attrgetter("_object_class"), doc="Always `PinnedObject`.")

    def wrap_socket(
        self, sock: socket.socket, server_side: bool = False, *args: Any, **kwargs: Any
    ) -> ssl.SSLSocket:
        """Wrap a client socket; `server_hostname` is required."""
        if server_side:
            raise _weakened("it is for clients only")
        self._wanted()
        return _wrap_socket(self, sock, False, *args, **kwargs)

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """Wrap a pair of memory buffers for a client; `server_hostname` is required."""
        if server_side:
            raise _weakened("it is for clients only")
        self._wanted()
        return _wrap_bio(self, incoming, outgoing, False, server_hostname, session)


_wrap_socket, _wrap_bio = ssl.SSLContext.wrap_socket, ssl.SSLContext.wrap_bio


def _weakened(message: str) -> ConfigurationError:
    return ConfigurationError(
        f"a pinned context cannot be weakened: {message}",
        hint="leave the library's verify setting on; a private CA goes into Client(ca=...)",
    )


def _set(attribute: Any, target: object, value: object) -> None:
    attribute.__set__(target, value)
