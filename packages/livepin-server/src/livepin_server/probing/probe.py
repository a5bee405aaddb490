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

from .digest import digest_of

TIMEOUT = 10.0  # seconds for everything
_MOST_CERTIFICATES = 16
_LONGEST = 200  # characters of a name in a certificate
# A name that has none; some systems have but the first of these.
WITHOUT_ADDRESS = {
    getattr(socket, name, None) for name in ("EAI_NONAME", "EAI_NODATA", "EAI_ADDRFAMILY")
}


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
        found = structs.replace(
            found,
            failure="untrusted",
            error=untrusted(exc, target),
            presented=readable(presented),
            digest=digest_of(presented) if presented else None,
        )
    except (OSError, ValueError, MalformedError) as exc:
        failure, error = trouble(exc, target)
        found = structs.replace(found, failure=failure, error=error)
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
    context = verifying(target.ca)
    with _connected(target, timeout) as sock:
        found = structs.replace(found, address=sock.getpeername()[0])
        with context.wrap_socket(sock, server_hostname=target.host) as tls:
            chain = verified_chain(tls)
            version = tls.version()
            presented = unverified_chain(tls)
    return structs.replace(
        found,
        verified=True,
        tls_version=version,
        chain=[seen(der) for der in chain],
        presented=readable(presented),
        digest=digest_of(presented),
    )


def _presented(target: Target, timeout: float) -> list[bytes]:
    """Return the chain that was refused, so that people can see it. Nothing is sent."""
    context = believing()
    try:
        with _connected(target, timeout) as sock:
            with context.wrap_socket(sock, server_hostname=target.host) as tls:
                return unverified_chain(tls)
    except (OSError, ValueError):
        return []


def _connected(target: Target, timeout: float) -> socket.socket:
    return socket.create_connection(target.address(), timeout=timeout)


def verifying(ca: str | None) -> ssl.SSLContext:
    """Return a context that verifies by the given anchors, or by the system's CAs.

    Raises:
        ValueError: anchors without a certificate; `ssl.SSLError` is one in OpenSSL's words.
    """
    if ca == "":  # the standard library would take the system's CAs
        raise ValueError("the given CA holds no certificate in PEM")
    context = ssl.create_default_context(cadata=ca)
    context.verify_flags &= ~ssl.VerifyFlags(0x80000)  # partial chains would hide the root
    return context


def believing() -> ssl.SSLContext:
    """Return a context that verifies nothing: to see a chain that was refused, and no more."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def unverified_chain(tls: ssl.SSLSocket | ssl.SSLObject) -> list[bytes]:
    """Return the chain as it was presented, DER, leaf first."""
    public = getattr(tls, "get_unverified_chain", None)
    if public is not None:
        return list(public())[:_MOST_CERTIFICATES]
    found = tls._sslobj.get_unverified_chain() or ()  # type: ignore[union-attr]
    return [each.public_bytes(2) for each in found][:_MOST_CERTIFICATES]


def readable(chain: list[bytes]) -> list[CertificateSeen]:
    """Return what was presented; anything may be in it, also what only OpenSSL can read."""
    found = []
    for der in chain:
        with suppress(MalformedError):
            found.append(seen(der))
    return found


def seen(der: bytes) -> CertificateSeen:
    """Return what people want to see of a certificate.

    Raises:
        MalformedError: it cannot be read.
    """
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


def short(found: CertificateSeen) -> CertificateSeen:
    """Return it as short as a verdict needs it: what strangers send, and there may be thousands."""
    return structs.replace(
        found, names=[], subject=found.subject[:_LONGEST], issuer=found.issuer[:_LONGEST]
    )


def untrusted(exc: ssl.SSLCertVerificationError, target: Target) -> str:
    """Return in words why a chain does not verify."""
    text = exc.verify_message or str(exc)
    anchors = "the given CA" if target.ca else "the system's CAs"
    return f"the certificate is not valid for {target.host} by {anchors}: {text}"


def trouble(exc: Exception, target: Target) -> tuple[Failure, str]:
    """Return the class and the words of what went wrong with a connection."""
    where = "{}:{}".format(*target.address())
    if isinstance(exc, socket.gaierror):
        failure: Failure = "no_address" if exc.errno in WITHOUT_ADDRESS else "no_name_server"
        return failure, f"{target.address()[0]} does not resolve to an address"
    if isinstance(exc, TimeoutError):
        return "timeout", f"{where} did not answer in time"
    if isinstance(exc, ConnectionRefusedError):
        return "refused", f"{where} refused the connection"
    if isinstance(exc, ssl.SSLError):
        closed = isinstance(exc, (ssl.SSLEOFError, ssl.SSLZeroReturnError))
        words = f"{where} does not speak TLS as expected: {exc.reason or exc}"
        return "reset" if closed else "tls", words
    failure = "network" if isinstance(exc, OSError) else "tls"  # the rest cannot be read
    if isinstance(exc, ConnectionError):
        failure = "reset"
    return failure, f"{where}: {getattr(exc, 'strerror', None) or exc}"
