"""The server's messages of the handshake, each read to its last byte, and its rules checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

from .hello import (
    EXTENDED_MASTER_SECRET,
    GROUPS,
    KEY_SHARE,
    POINT_FORMATS,
    RENEGOTIATION_INFO,
    SERVER_NAME,
    SUITES_12,
    SUITES_13,
    SUPPORTED_GROUPS,
    SUPPORTED_VERSIONS,
    TLS12,
    TLS13,
    X25519,
    Hello,
)
from .wire import OddError, Reader, numbers

SERVER_HELLO, ENCRYPTED_EXTENSIONS, CERTIFICATE, SERVER_KEY_EXCHANGE = 2, 8, 11, 12
CERTIFICATE_REQUEST, CERTIFICATE_VERIFY = 13, 15
MOST_CERTIFICATES = 16
_RETRY = sha256(b"HelloRetryRequest").digest()
_DOWNGRADES = (b"DOWNGRD\x00", b"DOWNGRD\x01")
_NAMED_CURVE = 3
_POINTS = {X25519: 32, 0x0017: 65, 0x0018: 97, 0x0019: 133, 0x001E: 56}  # bytes in TLS 1.2
_UNCOMPRESSED = {0x0017, 0x0018, 0x0019}


@dataclass(frozen=True, slots=True)
class ServerHello:
    """What the server has chosen of the offer. `share` is empty in TLS 1.2."""

    random: bytes
    suite: int
    share: bytes

    @property
    def tls13(self) -> bool:
        """Whether it is TLS 1.3."""
        return bool(self.share)


@dataclass(frozen=True, slots=True)
class Signed:
    """A signature; `parameters` are what it is over in TLS 1.2, after both random values."""

    scheme: int
    signature: bytes
    parameters: bytes = b""


def read_server_hello(body: bytes, hello: Hello) -> ServerHello:
    """Read the answer to a hello (RFC 8446, section 4.1.3).

    Raises:
        OddError: not an answer to this hello, a downgrade, or another hello is asked for.
    """
    reader = Reader(body)
    version, random, session = reader.number(2), reader.take(32), reader.vector(1)
    suite, compression = reader.number(2), reader.number(1)
    extensions = reader.extensions() if reader.more else {}
    reader.end()
    if version != TLS12 or compression or len(session) > 32:
        raise OddError("expected the hello of a server for TLS 1.2 or 1.3")
    if random == _RETRY:
        raise OddError("expected no wish for another hello")
    if SUPPORTED_VERSIONS in extensions:
        share = _share_of(extensions)
        if session != hello.session or suite not in SUITES_13:
            raise OddError("expected session id and cipher suite of the offer")
        return ServerHello(random, suite, share)
    _check_12(random, session, suite, extensions, hello)
    return ServerHello(random, suite, b"")


def _share_of(extensions: Mapping[int, bytes]) -> bytes:
    if extensions.keys() != {SUPPORTED_VERSIONS, KEY_SHARE}:
        raise OddError(f"expected no other extensions, found {sorted(extensions)}")
    if extensions[SUPPORTED_VERSIONS] != numbers(TLS13):
        raise OddError("expected TLS 1.3 where a version is chosen")
    reader = Reader(extensions[KEY_SHARE])
    group, share = reader.number(2), reader.vector(2)
    reader.end()
    if group != X25519 or len(share) != 32:
        raise OddError("expected a share for the group of ours")
    return share


def _check_12(
    random: bytes, session: bytes, suite: int, extensions: Mapping[int, bytes], hello: Hello
) -> None:
    if random[-8:] in _DOWNGRADES:  # by whoever stands between: the server can do better
        raise OddError("expected TLS 1.3 of a server that can do it")
    if session == hello.session:
        raise OddError("expected no session to be resumed: there is none")
    if suite not in SUITES_12[hello.algorithm]:
        raise OddError(f"expected a cipher suite with ECDHE of the offer, found {suite:#06x}")
    for kind, value in extensions.items():
        if not _allowed_12(kind, value, hello):
            raise OddError(f"expected no extension that was not offered, found {kind}")


def _allowed_12(kind: int, value: bytes, hello: Hello) -> bool:
    if kind == SERVER_NAME:
        return hello.named and not value
    if kind == POINT_FORMATS:
        reader = Reader(value)
        formats = reader.vector(1)
        return not reader.more and 0 in formats
    if kind == EXTENDED_MASTER_SECRET:
        return not value
    return kind == RENEGOTIATION_INFO and value == b"\x00"


def check_encrypted_extensions(body: bytes, hello: Hello) -> None:
    """Expect nothing that was not offered (RFC 8446, section 4.3.1).

    Raises:
        OddError: there is.
    """
    reader = Reader(body)
    extensions = reader.extensions()
    reader.end()
    for kind, value in extensions.items():
        if kind == SERVER_NAME and hello.named and not value:
            continue
        if kind != SUPPORTED_GROUPS:
            raise OddError(f"expected no extension that was not offered, found {kind}")


def read_chain(body: bytes, *, tls13: bool) -> Sequence[bytes]:
    """Read what a server presents, as DER (RFC 8446, 4.4.2; RFC 5246, 7.4.2).

    Raises:
        OddError: no certificate, over sixteen, or more with them than was asked for.
    """
    reader = Reader(body)
    if tls13 and reader.vector(1):
        raise OddError("expected no context of a certificate request")
    inner = Reader(reader.vector(3))
    reader.end()
    chain: list[bytes] = []
    while inner.more:
        if len(chain) == MOST_CERTIFICATES:
            raise OddError(f"expected at most {MOST_CERTIFICATES} certificates")
        chain.append(inner.vector(3))
        if not chain[-1]:
            raise OddError("expected a certificate, found nothing")
        if tls13 and inner.vector(2):
            raise OddError("expected no extensions of a certificate: none was offered")
    if not chain:
        raise OddError("expected a certificate")
    return chain


def read_certificate_verify(body: bytes) -> Signed:
    """Read the signature over a transcript (RFC 8446, section 4.4.3).

    Raises:
        OddError: it is none.
    """
    reader = Reader(body)
    found = Signed(reader.number(2), reader.vector(2))
    reader.end()
    return found


def read_key_exchange(body: bytes) -> Signed:
    """Read the signature over the parameters of ECDHE (RFC 8422, section 5.4).

    Raises:
        OddError: it is none, or for a group that was not offered.
    """
    reader = Reader(body)
    kind, group, point = reader.number(1), reader.number(2), reader.vector(1)
    parameters = body[: reader.position]
    found = Signed(reader.number(2), reader.vector(2), parameters)
    reader.end()
    if kind != _NAMED_CURVE or group not in GROUPS or len(point) != _POINTS[group]:
        raise OddError("expected a point of a group that was offered")
    if group in _UNCOMPRESSED and point[0] != 4:
        raise OddError("expected an uncompressed point")
    return found
