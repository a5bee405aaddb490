"""The probe engine `verified`: the standard library's TLS over memory, with full verification.

Sans I/O. It verifies the chain and the host name, and shows the chain that was verified. Its word
is the only one that starts an incident. Which algorithm a server may present is said twice: in
TLS 1.2 by the cipher suites, in TLS 1.3 by `SignatureAlgorithms` of the OpenSSL configuration with
which this process was started, since the standard library cannot say it before Python 3.15. Not in
here: sockets, deadlines, and that configuration.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Sequence
from functools import lru_cache
from typing import Protocol

from livepin.errors import MalformedError
from livepin.verified import verified_chain
from msgspec import structs

from .digest import digest_of
from .looks import Algorithm
from .probe import (
    CertificateSeen,
    Failure,
    Observation,
    Target,
    believing,
    seen,
    short,
    trouble,
    untrusted,
    unverified_chain,
    verifying,
)

LONGEST_ERROR = 200  # characters
NO_ANCHORS = "the given CA holds no certificate in PEM"
# What Python offers by itself, for keys of one algorithm alone. Suites of TLS 1.3 name none.
_SUITES: dict[Algorithm, str] = {
    "ecdsa": "ECDHE+aECDSA+AESGCM:ECDHE+aECDSA+CHACHA20:ECDHE+aECDSA+AES:!SHA1:!AESCCM",
    "rsa": "ECDHE+aRSA+AESGCM:ECDHE+aRSA+CHACHA20:ECDHE+aRSA+AES:DHE+aRSA+AES:!SHA1:!AESCCM",
}
_WORDS: dict[Algorithm, str] = {"ecdsa": "ECDSA", "rsa": "RSA"}
_AGAIN = 3600.0  # seconds after which anchors are read anew: the system's CAs may have changed
_HANDSHAKE = 0x16  # the type of a record (RFC 8446, section 5.1)


class Probe(Protocol):
    """One conversation with one address, without any I/O: what either engine is.

    Whoever sends `outgoing` empties it. `receive` takes what came, b"" for the end of the stream,
    and returns the answer, or None: go on.
    """

    outgoing: bytes

    def receive(self, data: bytes) -> object:
        """Take what came."""


class VerifiedConversation:
    """One look with full verification, at an address that `target.connect` names.

    The observation tells of its failure, if there is one. It is "untrusted" without a presented
    chain where the chain does not verify: `PresentedConversation` shows that one. Nothing is sent
    after the handshake.

    Raises:
        ValueError: what OpenSSL takes for no host name, or anchors without a certificate.
    """

    def __init__(self, target: Target, algorithm: Algorithm) -> None:
        self._target = target
        self._algorithm = algorithm
        self._handshake = _Handshake(anchored(target.ca, algorithm), target.host)
        self.outgoing: bytes = self._handshake.sent()

    def receive(self, data: bytes) -> Observation | None:
        """Take what came; return what was seen, or None: go on."""
        try:
            done = self._handshake.take(data)
            self.outgoing += self._handshake.sent()
            return self._seen() if done else None
        except ssl.SSLCertVerificationError as exc:
            return failed(self._target, "untrusted", untrusted(exc, self._target))
        except ssl.SSLError as exc:
            if self._asked_for_a_certificate(exc):
                return self._seen_safely()
            if self._has_none(exc):
                words = _WORDS[self._algorithm]
                return failed(self._target, "no_certificate", f"there is no {words} certificate")
            return failed(self._target, *trouble(exc, self._target))
        except (OSError, ValueError, MalformedError) as exc:
            return failed(self._target, *trouble(exc, self._target))

    def _seen_safely(self) -> Observation:
        try:
            return self._seen()
        except (OSError, ValueError, MalformedError) as exc:
            return failed(self._target, *trouble(exc, self._target))

    def _seen(self) -> Observation:
        tls = self._handshake.tls
        verified = verified_chain(tls)
        presented = unverified_chain(tls)
        if not verified:
            raise ValueError("the handshake ended without a verified chain")
        chain = [_certificate(der) for der in verified]
        if not _is_of(chain[0], self._algorithm):
            words = f"asked for an {_WORDS[self._algorithm]} certificate, found {chain[0].key_type}"
            raise ValueError(words)
        return Observation(
            host=self._target.host,
            port=self._target.port,
            verified=True,
            tls_version=self._handshake.version(),
            chain=chain,
            presented=_readable(presented),
            digest=digest_of(presented),
        )

    def _asked_for_a_certificate(self, exc: ssl.SSLError) -> bool:
        """Tell whether a server of TLS 1.2 refused for want of a certificate of the client.

        Its chain is verified by then, and so is its signature over the key exchange: the client
        sends a second flight only after these (RFC 5246, section 7.3).
        """
        own = self._handshake
        return own.flights == 2 and own.version() == "TLSv1.2" and "_ALERT_" in _reason(exc)

    def _has_none(self, exc: ssl.SSLError) -> bool:
        """Tell whether there is no such certificate, by a refusal in the place of a chain."""
        reason = _reason(exc)
        refused = "ALERT_HANDSHAKE_FAILURE" in reason and self._handshake.flights == 1
        if refused and not unverified_chain(self._handshake.tls):
            return True
        return reason == "WRONG_SIGNATURE_TYPE"  # there is one, of another algorithm


class PresentedConversation:
    """A second look, without verification: at the chain that was refused, so that people see it.

    Its observation is the one given, with what was presented, if that could be had.
    """

    def __init__(self, target: Target, refused: Observation, algorithm: Algorithm) -> None:
        self._refused = refused
        self._handshake = _Handshake(_unanchored(algorithm), target.host)
        self.outgoing: bytes = self._handshake.sent()

    def receive(self, data: bytes) -> Observation | None:
        """Take what came; return what was seen, or None: go on."""
        try:
            done = self._handshake.take(data)
            self.outgoing += self._handshake.sent()
            if not done:
                return None
            presented = unverified_chain(self._handshake.tls)
        except (OSError, ValueError):
            return self._refused
        return structs.replace(
            self._refused, presented=_readable(presented), digest=digest_of(presented)
        )


class _Handshake:
    """A handshake of a client over memory."""

    def __init__(self, context: ssl.SSLContext, host: str) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self.flights = 0
        self._go_on()

    def take(self, data: bytes) -> bool:
        """Take what came; tell whether the handshake is done.

        Raises:
            ssl.SSLError: it failed.
        """
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()
        return self._go_on()

    def sent(self) -> bytes:
        """Return what is to be sent, once."""
        found = self._outgoing.read()
        if found[:1] == bytes([_HANDSHAKE]):
            self.flights += 1
        return found

    def version(self) -> str | None:
        """Return the protocol, as soon as the server has chosen.

        By the suite, since the standard library says it only once the handshake is done; those of
        TLS 1.2 and 1.3 are not the same (RFC 8446, appendix B.4).
        """
        suite = self.tls.cipher()
        return self.tls.version() or (suite[1] if suite else None)

    def _go_on(self) -> bool:
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True


def anchored(ca: str | None, algorithm: Algorithm) -> ssl.SSLContext:
    """Return the context of these anchors: one for all looks.

    Raises:
        ValueError: they hold no certificate.
    """
    return _anchored(ca, algorithm, time.monotonic() // _AGAIN)


@lru_cache(maxsize=64)
def _anchored(ca: str | None, algorithm: Algorithm, _: float) -> ssl.SSLContext:
    try:
        context = verifying(ca)
    except (ssl.SSLError, TypeError, ValueError) as exc:
        raise ValueError(NO_ANCHORS) from exc
    return _narrowed(context, algorithm)


@lru_cache(maxsize=2)
def _unanchored(algorithm: Algorithm) -> ssl.SSLContext:
    return _narrowed(believing(), algorithm)


def _narrowed(context: ssl.SSLContext, algorithm: Algorithm) -> ssl.SSLContext:
    context.set_ciphers(_SUITES[algorithm])
    context.options |= ssl.OP_NO_TICKET  # no look goes on where another one ended
    return context


def failed(target: Target, failure: Failure, error: str) -> Observation:
    """Return an observation of a failure, in words of a bounded length."""
    return Observation(
        host=target.host, port=target.port, failure=failure, error=error[:LONGEST_ERROR]
    )


@lru_cache(maxsize=4096)
def _certificate(der: bytes) -> CertificateSeen:
    """Return what a verdict needs of a certificate: most are seen again and again."""
    return short(seen(der))


def _readable(chain: Sequence[bytes]) -> list[CertificateSeen]:
    """Return what was presented; anything may be in it, also what only OpenSSL can read."""
    found = []
    for der in chain:
        try:
            found.append(_certificate(der))
        except MalformedError:
            continue
    return found


def _is_of(leaf: CertificateSeen, algorithm: Algorithm) -> bool:
    return leaf.key_type.startswith("RSA") == (algorithm == "rsa")


def _reason(exc: ssl.SSLError) -> str:
    """Return OpenSSL's reason; versions write it in capitals, or with spaces."""
    return (exc.reason or "").upper().replace(" ", "_")
