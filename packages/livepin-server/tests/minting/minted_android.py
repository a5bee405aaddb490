"""Android devices that attest keys: a root, intermediates, and what their hardware says.

Everything can be said otherwise, so that a test tries what no genuine device would say. It is
found by its name alone, by tests and measurements.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from livepin.certificates import spki_fingerprint
from livepin.documents.token_request import evidence_nonce
from livepin.jose import PrivateKey, b64url_encode
from livepin_server.attestation.android import FORMAT, AndroidApp
from livepin_server.attestation.attested import Asked
from livepin_server.attestation.revoked import Revoked

NOW = dt.datetime(2026, 11, 23, 12, tzinfo=dt.timezone.utc)
PACKAGE = "com.example.bank"
SIGNED_BY = "ab" * 32
BOOT_KEY = bytes(range(32))
APP = AndroidApp(package=PACKAGE, certificates=[SIGNED_BY])
# Serial numbers as Google's list has them; none is one of a minted device.
REVOKED = Revoked(entries={"c0ffee": "REVOKED KEY_COMPROMISE"}, as_of=NOW)

_DESCRIBED = x509.ObjectIdentifier("1.3.6.1.4.1.11129.2.1.17")
_PROVISIONED = x509.ObjectIdentifier("1.3.6.1.4.1.11129.2.1.30")
_DAY = dt.timedelta(days=1)


def asked(key: PrivateKey | None = None, **changes: Any) -> Asked:
    """Return what a token request asked at `NOW`, by a key of its own unless it is given."""
    public = (key or PrivateKey.generate()).public
    members: dict[str, Any] = {
        "account": "acme",
        "app": "bank",
        "key": public,
        "nonce": evidence_nonce("challenge", public.kid, "bank"),
        "key_nonce": evidence_nonce("", "", "bank"),
        "now": NOW,
    }
    return Asked(**members | changes)


# -- DER ---------------------------------------------------------------------------------------


def element(kind: int, tag: int, content: bytes, *, constructed: bool = False) -> bytes:
    """Return an element of DER: its class, tag and content."""
    first = kind << 6 | constructed << 5
    if tag < 31:
        head = bytes([first | tag])
    else:
        groups = [tag & 0x7F]
        while tag := tag >> 7:
            groups.insert(0, tag & 0x7F | 0x80)
        head = bytes([first | 31, *groups])
    length = len(content)
    if length < 0x80:
        return head + bytes([length]) + content
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return head + bytes([0x80 | len(octets)]) + octets + content


def number(value: int, tag: int = 2) -> bytes:
    """Return an INTEGER, or with tag 10 an ENUMERATED."""
    return element(0, tag, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def enumerated(value: int) -> bytes:
    """Return an ENUMERATED."""
    return number(value, 10)


def octets(value: bytes) -> bytes:
    """Return an OCTET STRING."""
    return element(0, 4, value)


def boolean(value: bool) -> bytes:
    """Return a BOOLEAN."""
    return element(0, 1, b"\xff" if value else b"\x00")


def sequence(*members: bytes, tag: int = 16) -> bytes:
    """Return a SEQUENCE, or with tag 17 a SET."""
    return element(0, tag, b"".join(members), constructed=True)


def explicit(tag: int, inner: bytes) -> bytes:
    """Return what an EXPLICIT tag of the context holds."""
    return element(2, tag, inner, constructed=True)


# -- what the hardware says --------------------------------------------------------------------


def root_of_trust(
    *, boot_key: bytes = BOOT_KEY, locked: bytes = boolean(True), boot_state: int = 0
) -> bytes:
    """Return the root of trust of a device: locked and verified unless said."""
    return sequence(octets(boot_key), locked, enumerated(boot_state), octets(bytes(32)))


def application(
    packages: Iterable[tuple[str, int]] = ((PACKAGE, 42),),
    certificates: Iterable[str] = (SIGNED_BY,),
) -> bytes:
    """Return who asked, as the system says."""
    named = [sequence(octets(name.encode()), number(version)) for name, version in packages]
    digests = [octets(bytes.fromhex(each)) for each in certificates]
    return octets(sequence(sequence(*named, tag=17), sequence(*digests, tag=17)))


def key_description(challenge: bytes, **changes: Any) -> bytes:
    """Return the value of the extension of a genuine key of `PACKAGE`, but for what is changed.

    `software` and `hardware` add tags, or replace them; None takes one away. `end` follows after
    the last.
    """
    software: dict[int, bytes | None] = {701: number(1_700_000_000_000), 709: application()}
    hardware: dict[int, bytes | None] = {
        1: sequence(number(2), tag=17),
        2: number(3),
        503: element(0, 5, b""),
        702: number(0),
        704: root_of_trust(),
        705: number(160000),
        706: number(202610),
    }
    software |= changes.get("software", {})
    hardware |= changes.get("hardware", {})
    return sequence(
        number(changes.get("version", 400)),
        enumerated(changes.get("security", 1)),
        number(changes.get("version", 400)),
        enumerated(changes.get("mint_security", 1)),
        octets(challenge),
        octets(b""),
        sequence(*_tagged(software)),
        sequence(*_tagged(hardware), changes.get("end", b"")),
    )


def _tagged(found: Mapping[int, bytes | None]) -> list[bytes]:
    return [explicit(tag, value) for tag, value in sorted(found.items()) if value is not None]


# -- devices -----------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Signing:
    """A certificate, and the key in it."""

    certificate: x509.Certificate
    key: Any

    @classmethod
    def make(cls, name: str, by: Signing | None, **members: Any) -> Signing:
        """Return a certificate by another, or by itself."""
        key = members.pop("key", None) or ec.generate_private_key(
            members.pop("curve", ec.SECP256R1())
        )
        issuer = None if by is None else by.certificate
        issued = _issue(name, key.public_key(), issuer, key if by is None else by.key, **members)
        return cls(certificate=issued, key=key)

    @property
    def der(self) -> bytes:
        """The certificate in DER."""
        return self.certificate.public_bytes(Encoding.DER)


@dataclass(frozen=True, kw_only=True)
class Device:
    """A device; `signers` are its certificates from the attesting key up to the root."""

    signers: tuple[Signing, ...]

    @classmethod
    def make(cls, *, provisioned: bool = True, until: dt.datetime = NOW + 10 * _DAY) -> Device:
        """Return a device whose attesting key was provisioned remotely, or in the factory."""
        root = Signing.make("root", None, curve=ec.SECP384R1())
        upper = Signing.make("Droid CA2", root, curve=ec.SECP384R1())
        lower = Signing.make("Droid CA3", upper, until=until)
        marked = [(_PROVISIONED, b"\xa1\x01\x08")] if provisioned else []
        attesting = Signing.make("TEE", lower, until=until, extensions=marked)
        return cls(signers=(attesting, lower, upper, root))

    @property
    def roots(self) -> frozenset[bytes]:
        """The fingerprints that make a verifier trust it."""
        return frozenset([spki_fingerprint(self.signers[-1].der)])

    def attest(
        self, challenge: bytes, *, key: Any = None, digest: Any = None, **changes: Any
    ) -> list[bytes]:
        """Return the chain of a key that some app made: its own public key, or a new one."""
        public = key or ec.generate_private_key(ec.SECP256R1()).public_key()
        described = [(_DESCRIBED, key_description(challenge, **changes))]
        leaf = _issue(
            "Android Keystore Key",
            public,
            self.signers[0].certificate,
            self.signers[0].key,
            ca=None,
            since=dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc),
            until=dt.datetime(2048, 1, 1, tzinfo=dt.timezone.utc),
            extensions=described,
            digest=digest or hashes.SHA256(),
            serial=1,
        )
        return [leaf.public_bytes(Encoding.DER), *(each.der for each in self.signers)]


def evidence(chain: Sequence[bytes]) -> dict[str, Any]:
    """Return a chain as it stands in a token request."""
    return {"format": FORMAT, "chain": [b64url_encode(each).decode() for each in chain]}


@dataclass(frozen=True)
class Sample:
    """A good attestation, and all that its verifier is told: for measurements and mutations."""

    device: Device = field(default_factory=Device.make)
    asked: Asked = field(default_factory=asked)

    def evidence(self, **changes: Any) -> dict[str, Any]:
        """Return evidence of the device for what was asked, but for what is changed."""
        return evidence(self.device.attest(self.asked.nonce, **changes))

    def told(self) -> dict[str, Any]:
        """Return the other arguments of the verifier."""
        return {
            "asked": self.asked,
            "app": APP,
            "roots": self.device.roots,
            "revoked": REVOKED,
        }


@cache
def sample() -> Sample:
    """Return the same sample each time: to make its keys takes a while."""
    return Sample()


def flipped(chain: Sequence[bytes], chance: Callable[[int], int]) -> list[bytes]:
    """Return a chain with one bit of one byte turned; `chance(n)` is a number below `n`."""
    at = chance(sum(map(len, chain)))
    bit = 1 << chance(8)
    found = []
    for each in chain:
        inside = 0 <= at < len(each)
        found.append(each[:at] + bytes([each[at] ^ bit]) + each[at + 1 :] if inside else each)
        at -= len(each)
    return found


def _issue(
    name: str,
    public: Any,
    issuer: x509.Certificate | None,
    key: Any,
    *,
    ca: bool | None = True,
    since: dt.datetime = NOW - 10 * _DAY,
    until: dt.datetime = NOW + 3650 * _DAY,
    extensions: Iterable[tuple[x509.ObjectIdentifier, bytes]] = (),
    digest: Any = None,
    serial: int | None = None,
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.subject)
        .public_key(public)
        .serial_number(serial or x509.random_serial_number())
        .not_valid_before(since)
        .not_valid_after(until)
    )
    if ca is not None:
        builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=None), True)
    for oid, value in extensions:
        builder = builder.add_extension(x509.UnrecognizedExtension(oid, value), False)
    return builder.sign(key, digest or hashes.SHA256())
