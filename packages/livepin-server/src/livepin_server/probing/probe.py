"""One look at one endpoint: which chain does it present, and which does TLS verify?"""

from __future__ import annotations

import socket
import ssl
import time
from contextlib import suppress
from datetime import datetime
from typing import Literal

from livepin.certificates import describe
from livepin.errors import MalformedError
from livepin.hostnames import normalise
from livepin.pins import fingerprint_text
from livepin.verified import verified_chain
from msgspec import Struct, structs

TIMEOUT = 10.0  # seconds for everything
_MOST_CERTIFICATES = 16


# Why there is no verified chain: by what went wrong, whatever the words say.
Failure = Literal[
    "no_address",  # the name has none
    "no_name_server",  # nobody says whether it has
    "refused",  # the connection
    "reset",  # or closed, before the handshake ended
    "timeout",
    "network",  # no route, and what else the system says
    "tls",  # an alert, or what is no TLS
    "no_certificate",  # none of this algorithm
    "untrusted",  # there is a chain, which does not verify
]


class Target(Struct, frozen=True, kw_only=True):
    """What to look at. `connect` is HOST:PORT to go to instead; `ca` is PEM, the only anchors."""

    host: str
    port: int = 443
    connect: str | None = None
    ca: str | None = None

    def checked(self) -> Target:
        """Return the target with its host normalised.

        Raises:
            ValueError: no host, no HOST:PORT to connect to, or no certificates.
        """
        try:
            host = normalise(self.host)
        except MalformedError as exc:
            raise ValueError(str(exc)) from exc
        if self.connect is not None:
            split_address(self.connect)
        if self.ca is not None:
            _check_anchors(self.ca)
        return structs.replace(self, host=host)

    def address(self) -> tuple[str, int]:
        """Return where the connection goes."""
        return (self.host, self.port) if self.connect is None else split_address(self.connect)


# Values that hold no cycle need no garbage collector, which would look at them by the thousand.
class CertificateSeen(Struct, frozen=True, kw_only=True, gc=False):
    """A certificate of a chain, with its SPKI fingerprint."""

    subject: str
    issuer: str
    not_before: datetime
    not_after: datetime
    names: list[str]
    key_type: str
    sha256: str


class Observation(Struct, frozen=True, kw_only=True, gc=False):
    """What was seen. `chain` is the verified chain, empty where `error` says why there is none.

    `failure` is the class of that error. `digest` is the SHA-256, in hex, of the chain as it was
    presented: of each certificate's DER with its length before it in four bytes.
    """

    host: str
    port: int
    address: str | None = None
    verified: bool = False
    error: str | None = None
    tls_version: str | None = None
    chain: list[CertificateSeen] = []
    presented: list[CertificateSeen] = []
    failure: Failure | None = None
    digest: str | None = None
    elapsed_ms: float = 0.0


def probe(target: Target, *, timeout: float = TIMEOUT) -> Observation:
    """Connect once, send nothing, and return what was seen; failures are in the observation."""
    started = time.monotonic()
    found = Observation(host=target.host, port=target.port)
    try:
        found = _verified(target, found, timeout)
    except ssl.SSLCertVerificationError as exc:
        remaining = max(timeout - (time.monotonic() - started), 1.0)
        presented = _presented(target, remaining)
        found = structs.replace(found, error=_untrusted(exc, target), presented=presented)
    except (OSError, ValueError, MalformedError) as exc:
        found = structs.replace(found, error=_failure(exc, target))
    return structs.replace(found, elapsed_ms=round((time.monotonic() - started) * 1000, 1))


def split_address(text: str) -> tuple[str, int]:
    """Return host and port of HOST:PORT.

    Raises:
        ValueError: not that.
    """
    host, _, port = text.rpartition(":")
    try:
        number = int(port) if port.isascii() and port.isdecimal() else 0
        if not host or not 1 <= number <= 65535:
            raise ValueError
        return normalise(host), number
    except (ValueError, MalformedError):
        raise ValueError(f"expected HOST:PORT, found {text[:80]!r}") from None


def _check_anchors(ca: str) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=ca)
    except (ssl.SSLError, TypeError, ValueError) as exc:  # the second for what is not ASCII
        raise ValueError("the given CA holds no certificate in PEM") from exc


def _verified(target: Target, found: Observation, timeout: float) -> Observation:
    context = ssl.create_default_context(cadata=target.ca)
    context.verify_flags &= ~ssl.VerifyFlags(0x80000)  # partial chains would hide the root
    with _connected(target, timeout) as sock:
        found = structs.replace(found, address=sock.getpeername()[0])
        with context.wrap_socket(sock, server_hostname=target.host) as tls:
            chain = verified_chain(tls)
            version = tls.version()
            presented = _unverified_chain(tls)
    return structs.replace(
        found,
        verified=True,
        tls_version=version,
        chain=[_seen(der) for der in chain],
        presented=_readable(presented),
    )


def _presented(target: Target, timeout: float) -> list[CertificateSeen]:
    """Return the chain that was refused, so that people can see it. Nothing is sent."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with _connected(target, timeout) as sock:
            with context.wrap_socket(sock, server_hostname=target.host) as tls:
                return _readable(_unverified_chain(tls))
    except (OSError, ValueError):
        return []


def _connected(target: Target, timeout: float) -> socket.socket:
    return socket.create_connection(target.address(), timeout=timeout)


def _unverified_chain(tls: ssl.SSLSocket) -> list[bytes]:
    public = getattr(tls, "get_unverified_chain", None)
    if public is not None:
        return list(public())[:_MOST_CERTIFICATES]
    found = tls._sslobj.get_unverified_chain() or ()  # type: ignore[attr-defined]
    return [each.public_bytes(2) for each in found][:_MOST_CERTIFICATES]


def _readable(chain: list[bytes]) -> list[CertificateSeen]:
    """Return what was presented; anything may be in it, also what only OpenSSL can read."""
    found = []
    for der in chain:
        with suppress(MalformedError):
            found.append(_seen(der))
    return found


def _seen(der: bytes) -> CertificateSeen:
    info = describe(der)
    return CertificateSeen(
        subject=info.subject,
        issuer=info.issuer,
        not_before=info.not_before,
        not_after=info.not_after,
        names=list(info.names[:100]),
        key_type=info.key_type,
        sha256=fingerprint_text(info.fingerprint),
    )


def _untrusted(exc: ssl.SSLCertVerificationError, target: Target) -> str:
    text = exc.verify_message or str(exc)
    anchors = "the given CA" if target.ca else "the system's CAs"
    return f"the certificate is not valid for {target.host} by {anchors}: {text}"


def _failure(exc: Exception, target: Target) -> str:
    where = "{}:{}".format(*target.address())
    if isinstance(exc, socket.gaierror):
        return f"{target.address()[0]} does not resolve to an address"
    if isinstance(exc, TimeoutError):
        return f"{where} did not answer in time"
    if isinstance(exc, ConnectionRefusedError):
        return f"{where} refused the connection"
    if isinstance(exc, ssl.SSLError):
        return f"{where} does not speak TLS as expected: {exc.reason or exc}"
    return f"{where}: {getattr(exc, 'strerror', None) or exc}"
