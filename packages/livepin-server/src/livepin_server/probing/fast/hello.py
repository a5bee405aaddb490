"""The hello of the client: what is offered, and the key share in it."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from livepin_server.probing.looks import Algorithm

from .signatures import ALL_SCHEMES, OFFERED_SCHEMES
from .wire import numbers, vector

TLS12, TLS13 = 0x0303, 0x0304
X25519 = 0x001D
# X25519 is the only share. The others are offered so that a server that has none but these asks
# for another hello, and does not refuse: a refusal is to mean that it has no such certificate.
GROUPS = (X25519, 0x0017, 0x0018, 0x0019, 0x001E)  # P-256, P-384, P-521, X448
SUITES_13 = (0x1301, 0x1303, 0x1302)
# What OpenSSL offers too: AEAD first, then CBC with SHA-2. No secret of them is ever made.
SUITES_12: dict[Algorithm, tuple[int, ...]] = {
    "ecdsa": (0xC02B, 0xCCA9, 0xC02C, 0xC023, 0xC024),
    "rsa": (0xC02F, 0xCCA8, 0xC030, 0xC027, 0xC028),
}
# DHE is offered for the same reason as groups without a share; to be taken up on it is odd.
_REFUSED_12: dict[Algorithm, tuple[int, ...]] = {
    "ecdsa": (),
    "rsa": (0x009E, 0xCCAA, 0x009F, 0x0067, 0x006B),
}

SERVER_NAME, SUPPORTED_GROUPS, POINT_FORMATS = 0, 10, 11
EXTENDED_MASTER_SECRET, RENEGOTIATION_INFO = 23, 0xFF01
SUPPORTED_VERSIONS, KEY_SHARE = 43, 51
_SIGNATURE_ALGORITHMS, _SIGNATURE_ALGORITHMS_CERT = 13, 50

_SHARES = 1_000  # looks for which a key pair is used


@dataclass(frozen=True, slots=True)
class Share:
    """A key pair for X25519."""

    private: X25519PrivateKey
    public: bytes


class Shares:
    """One key pair for many looks: to make one takes as long as half of a look.

    That is safe since nothing secret ever travels: the keys that come out of it only open the
    server's certificate, which anybody may ask for. That the answer is fresh does not hang on it
    either: what the server signs has the 32 random bytes of each hello in it. It is replaced all
    the same, so that nobody knows this monitor again for ever.
    """

    def __init__(self, *, looks: int = _SHARES) -> None:
        self._looks = looks
        self._left = 0
        self._share: Share | None = None

    def __call__(self) -> Share:
        """Return the key pair for the next look."""
        if self._share is None or self._left <= 0:
            private = X25519PrivateKey.generate()
            self._share = Share(private, private.public_key().public_bytes_raw())
            self._left = self._looks
        self._left -= 1
        return self._share


@dataclass(frozen=True, slots=True)
class Hello:
    """What a client said: `message` without, `record` with the header of its record."""

    algorithm: Algorithm
    random: bytes
    session: bytes
    share: Share
    named: bool  # by server_name
    message: bytes
    record: bytes


def make_hello(
    host: str, algorithm: Algorithm, *, share: Share, draw: Callable[[int], bytes]
) -> Hello:
    """Return a hello for a host name or an address, with random bytes that `draw` gives.

    No ALPN: a server that speaks none of the protocols named would refuse. The session id is that
    of RFC 8446, appendix D.4, for what stands between.
    """
    chance = draw(64)
    random, session = chance[:32], chance[32:]
    name = _server_name(host)
    extensions = vector(2, name, _EXTENSIONS[algorithm], share.public)
    start, middle = _VERSION, _SUITES[algorithm]
    message = b"\x01" + vector(3, start, random, vector(1, session), middle, extensions)
    record = b"\x16\x03\x01" + vector(2, message)
    return Hello(algorithm, random, session, share, bool(name), message, record)


def _server_name(host: str) -> bytes:
    """Return the extension; addresses have none (RFC 6066, section 3)."""
    if _is_address(host):
        return b""
    return _extension(SERVER_NAME, vector(2, b"\x00", vector(2, host.encode("ascii"))))


def _is_address(host: str) -> bool:
    if ":" not in host and not host[-1:].isdigit():  # no need to try: that takes longer
        return False
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _extension(kind: int, body: bytes) -> bytes:
    return numbers(kind) + vector(2, body)


def _extensions(algorithm: Algorithm) -> bytes:
    """Return the extensions after the name; the public key is all that follows."""
    schemes = OFFERED_SCHEMES[algorithm]
    return b"".join(
        (
            _extension(SUPPORTED_GROUPS, vector(2, numbers(*GROUPS))),
            _extension(POINT_FORMATS, vector(1, b"\x00")),  # uncompressed
            _extension(EXTENDED_MASTER_SECRET, b""),
            _extension(RENEGOTIATION_INFO, b"\x00"),
            _extension(_SIGNATURE_ALGORITHMS, vector(2, numbers(*schemes))),
            # Of the signatures in a chain: an ECDSA key may be certified by an RSA one.
            _extension(_SIGNATURE_ALGORITHMS_CERT, vector(2, numbers(*ALL_SCHEMES))),
            _extension(SUPPORTED_VERSIONS, vector(1, numbers(TLS13, TLS12))),
            _extension(KEY_SHARE, vector(2, numbers(X25519), vector(2, _NO_KEY)))[: -len(_NO_KEY)],
        )
    )


def _suites(algorithm: Algorithm) -> bytes:
    """Return the cipher suites, and that there is no compression."""
    found = numbers(*SUITES_13, *SUITES_12[algorithm], *_REFUSED_12[algorithm])
    return vector(2, found) + b"\x01\x00"


_VERSION, _NO_KEY = numbers(TLS12), bytes(32)
_EXTENSIONS: dict[Algorithm, bytes] = {each: _extensions(each) for each in SUITES_12}
_SUITES: dict[Algorithm, bytes] = {each: _suites(each) for each in SUITES_12}
