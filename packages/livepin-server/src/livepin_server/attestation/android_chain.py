"""The chain of certificates of an Android Key Attestation, from the described key to the root.

No byte of a chain that is taken is without a signature: each certificate is verified by the next,
the root by itself. Verified is from the root down, so no key of an attacker's choosing is used.
Names, keys and signatures are the library's to read; extensions are read here, as the library
refuses whole certificates for the oddity of one that nobody asks for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache, lru_cache
from importlib import resources
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from livepin.certificates import MAX_CERTIFICATE, pem_to_ders, spki_fingerprint
from livepin.errors import MalformedError
from livepin.jose import b64url_decode

from . import der
from .attested import EvidenceError
from .der import DerError, Element
from .revoked import MOST_AGE, Revoked

SHORTEST, LONGEST = 2, 8  # certificates of a chain, the root among them
MOST_ROOTS = 16
# The content of object identifiers.
KEY_DESCRIPTION = bytes.fromhex("2b06010401d679020111")  # 1.3.6.1.4.1.11129.2.1.17
_PROVISIONED = bytes.fromhex("2b06010401d67902011e")  # ...30, on the attesting key's certificate
_BASIC_CONSTRAINTS = bytes.fromhex("551d13")  # RFC 5280, 4.2.1.9

_VERSION, _EXTENSIONS = 0, 3  # tags of TBSCertificate (RFC 5280, 4.1)
_OBJECT_IDENTIFIER = 6
_HASHES = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
_LINKS = 1024  # that are remembered; devices share their upper certificates
_UNREADABLE = (
    ValueError,  # DerError among them; and other elements than expected
    IndexError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    Warning,  # of what the library will refuse one day, where warnings are errors
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """A certificate that can be read. Nothing in it is verified."""

    data: bytes
    parsed: x509.Certificate
    serial: int
    extensions: Mapping[bytes, bytes]

    @classmethod
    def parse(cls, data: bytes) -> Certificate:
        """Return the certificate in DER.

        Raises:
            EvidenceError: it cannot be read, or has more than one form.
        """
        try:
            signed, _algorithm, signature = der.one(data).sequence()
            version, serial, *rest = signed.sequence()
            if (version.kind, version.tag) != (der.CONTEXT, _VERSION):
                raise DerError("expected a certificate that says its version")
            # The library but warns of these two; and nothing covers how many bits are none.
            if not any(serial.content) or serial.content[0] & 0x80:
                raise DerError("expected a positive serial number")
            if signature.content[0] != 0:
                raise DerError("expected a signature of whole octets")
            return cls(
                data=data,
                parsed=x509.load_der_x509_certificate(data),
                serial=int.from_bytes(serial.content, "big"),
                extensions=_extensions(rest[-1]),
            )
        except _UNREADABLE as exc:
            raise EvidenceError("malformed", f"a certificate of the chain: {exc}") from exc

    def is_ca(self) -> bool:
        """Tell whether it is that of a CA."""
        value = self.extensions.get(_BASIC_CONSTRAINTS)
        try:
            members = der.one(value).sequence() if value else []
            return bool(members) and members[0].boolean()
        except DerError:
            return False


def read_roots(data: bytes) -> frozenset[bytes]:
    """Return the SPKI fingerprints of roots, from JSON as Google publishes it: a list of PEM.

    Its address is `https://android.googleapis.com/attestation/root`. The key counts, never the
    certificate: of the oldest one there were several, and some have expired.

    Raises:
        MalformedError: it is no such list, or one of none.
    """
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as exc:
        raise MalformedError("expected a JSON list of root certificates") from exc
    if not isinstance(found, list) or not 1 <= len(found) <= MOST_ROOTS:
        raise MalformedError(f"expected a JSON list of 1 to {MOST_ROOTS} root certificates")
    ders = [one for each in found for one in pem_to_ders(str(each))]
    return frozenset(spki_fingerprint(one) for one in ders)


@cache
def shipped_roots() -> frozenset[bytes]:
    """Return the roots of this version: the RSA key of 2016 and the P-384 key of 2025."""
    return read_roots(resources.files(__package__).joinpath("android_roots.json").read_bytes())


def verified_chain(evidence: Mapping[str, Any], roots: frozenset[bytes]) -> list[Certificate]:
    """Return the chain of evidence, the described key first, if it ends at one of the roots.

    Raises:
        EvidenceError: it does not, or it cannot be read.
    """
    listed = evidence.get("chain")
    if not isinstance(listed, list) or not SHORTEST <= len(listed) <= LONGEST:
        raise EvidenceError("malformed", f"expected a chain of {SHORTEST} to {LONGEST}")
    found = [_bytes(each) for each in listed]
    if len({*found}) != len(found):
        raise EvidenceError("malformed", "a certificate stands twice in the chain")
    _require_root(found[-1], roots)
    chain = [Certificate.parse(each) for each in found]
    _verify(chain)
    return chain


def description(chain: Sequence[Certificate]) -> bytes:
    """Return what the first certificate says of its key, and refuse one anywhere else.

    Who has a key of a genuine device can sign certificates by it, with any extension. That the
    key's own certificate has one, too, gives it away.
    """
    if any(KEY_DESCRIPTION in each.extensions for each in chain[1:]):
        raise EvidenceError("extension_elsewhere", "a certificate but the first describes a key")
    if KEY_DESCRIPTION not in chain[0].extensions:
        raise EvidenceError("extension", "the first certificate describes no key")
    return chain[0].extensions[KEY_DESCRIPTION]


def require_valid_dates(chain: Sequence[Certificate], now: datetime) -> bool:
    """Check the dates of what was provisioned remotely, and tell whether it was.

    Keys of the factory stay in devices for longer than their certificates say. The leaf's dates
    are the app's own choice, and a root is trusted for its key.
    """
    if not any(_PROVISIONED in each.extensions for each in chain):
        return False
    for each in chain[1:-1]:
        since, until = each.parsed.not_valid_before_utc, each.parsed.not_valid_after_utc
        if not since <= now <= until:
            raise EvidenceError(
                "expired", f"an intermediate is valid from {since:%Y-%m-%d} until {until:%Y-%m-%d}"
            )
    return True


def require_not_revoked(
    chain: Sequence[Certificate], revoked: Revoked | None, now: datetime
) -> None:
    """Look every certificate up in a list that is new enough.

    Raises:
        EvidenceError: one is listed; or there is no list, or an old one.
    """
    if revoked is None:
        raise EvidenceError("revocation_list", "there is no list of revoked keys yet")
    if revoked.is_too_old(now):
        raise EvidenceError(
            "revocation_list",
            f"the list of revoked keys is of {revoked.as_of:%Y-%m-%d}, "
            f"more than {MOST_AGE.days} days from now",
        )
    for each in chain:
        reason = revoked.reason(each.serial)
        if reason is not None:
            raise EvidenceError("revoked", f"the certificate {each.serial:x} is {reason}")


def _bytes(text: object) -> bytes:
    if not isinstance(text, str) or len(text) > 2 * MAX_CERTIFICATE:
        raise EvidenceError("malformed", "expected certificates in base64url")
    try:
        return b64url_decode(text.encode("ascii"))
    except (MalformedError, UnicodeEncodeError) as exc:
        raise EvidenceError("malformed", f"a certificate of the chain: {exc}") from exc


def _extensions(element: Element) -> dict[bytes, bytes]:
    """Return the extensions that are the last member of a certificate's signed part, if it is."""
    found: dict[bytes, bytes] = {}
    if (element.kind, element.tag) != (der.CONTEXT, _EXTENSIONS):
        return found
    for each in element.explicit().sequence():
        name, *_critical, value = each.sequence()
        if name.tag != _OBJECT_IDENTIFIER or name.content in found:
            raise DerError("an extension has no name, or stands twice")
        found[name.content] = value.octets()
    return found


def _require_root(root: bytes, roots: frozenset[bytes]) -> None:
    try:
        fingerprint = spki_fingerprint(root)
    except MalformedError as exc:
        raise EvidenceError("malformed", f"the root of the chain: {exc}") from exc
    if fingerprint not in roots:
        raise EvidenceError("root", f"no root is known with the key {fingerprint.hex()}")


def _verify(chain: Sequence[Certificate]) -> None:
    """Verify each certificate by the next, from the root down."""
    issuers = [*chain[1:], chain[-1]]
    for at in reversed(range(len(chain))):
        # The certificate of an attesting key is not that of a CA on every device. A key that an
        # app made is none either: the extension on it is refused anywhere but in front.
        if at > 1 and not chain[at].is_ca():
            raise EvidenceError("chain", f"certificate {at} is not that of a CA")
        verify = _verify_link if at == 0 else _verify_once
        try:
            verify(chain[at].data, issuers[at].data)
        except InvalidSignature as exc:
            raise EvidenceError("chain", f"the signature of certificate {at} is not good") from exc
        except _UNREADABLE as exc:
            raise EvidenceError("chain", f"certificate {at} is not by the next: {exc}") from exc


def _verify_link(certificate: bytes, issuer: bytes) -> None:
    parsed = x509.load_der_x509_certificate(certificate)
    if not isinstance(parsed.signature_hash_algorithm, _HASHES):
        raise ValueError("it is signed with a weak hash")
    parsed.verify_directly_issued_by(x509.load_der_x509_certificate(issuer))


# Only of what was good: what raises is not remembered.
_verify_once = lru_cache(_LINKS)(_verify_link)
