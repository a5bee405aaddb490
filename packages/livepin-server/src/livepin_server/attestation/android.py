"""Android Key Attestation: a chain of certificates by which secure hardware describes a key.

Two things are told apart by the challenge in it. Either a key was made just now, for this very
request: then the evidence says which app asked. Or the key is the installation's own: then it says
that this key cannot be copied, and was made by that app.

No byte of a chain that is taken is without a signature: each certificate is verified by the next,
the root by itself. Verified is from the root down, so no key of an attacker's choosing is used.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Annotated, Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from livepin.certificates import MAX_CERTIFICATE, pem_to_ders, spki, spki_fingerprint
from livepin.errors import MalformedError
from livepin.jose import b64url_decode
from msgspec import Meta, Struct

from .attested import Asked, Attested, EvidenceError, Level
from .key_description import (
    GENERATED,
    OID,
    SELF_SIGNED,
    STRONGBOX,
    TEE,
    VERIFIED,
    Application,
    KeyDescription,
)
from .revoked import MOST_AGE, Revoked

FORMAT = "android-key-attestation"
SHORTEST, LONGEST = 2, 8  # certificates of a chain, the root among them
MOST_ROOTS = 16

_PROVISIONED = "1.3.6.1.4.1.11129.2.1.30"  # remotely; on the certificate of the attesting key
_LEVELS = {TEE: "trusted environment", STRONGBOX: "StrongBox"}
_HASHES = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
_UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)

Package = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*$", max_length=255)]
Digest = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
Certificates = Annotated[list[Digest], Meta(min_length=1, max_length=16)]
Month = Annotated[str, Meta(pattern=r"^20[0-9]{2}-(0[1-9]|1[0-2])$")]


class AndroidApp(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An app as it is registered, and what is asked of the devices that it runs on.

    `certificates` are those that sign it, as `apksigner verify --print-certs` tells them; with
    Play App Signing it is Google's. `boot_keys` are verified boot keys of other systems that are
    taken, each 32 bytes: who boots a system of their own can have it say what they like, so
    without its key here it is refused. `patched` is the least patch level of the system.
    """

    package: Package
    certificates: Certificates
    boot_keys: Annotated[list[Digest], Meta(max_length=64)] = []
    strongbox: bool = False
    patched: Month | None = None


def verify(
    evidence: Mapping[str, Any],
    asked: Asked,
    app: AndroidApp,
    *,
    revoked: Revoked | None,
    roots: frozenset[bytes] | None = None,
) -> Attested:
    """Return what a key attestation proves.

    `roots` are SPKI fingerprints, as `read_roots` returns them; without them those of the package
    count. Without a list of what is revoked everything is refused.

    Raises:
        EvidenceError: it proves nothing; `check` says which check failed.
    """
    chain = _chain(evidence)
    _require_root(chain[-1], shipped_roots() if roots is None else roots)
    certificates = [_certificate(each) for each in chain]
    _verify_signatures(certificates)
    description = _description(certificates)
    provisioned = _require_valid_dates(certificates, asked)
    _require_not_revoked(certificates, revoked, asked)
    level = _level(description, chain[0], asked)
    security = _require_hardware(description, app)
    boot = _require_boot(description, app)
    version = require_app(description.application, app)
    patched = _require_patched(description, app)
    return Attested(
        format=FORMAT,
        level=level,
        said={
            "security level": _LEVELS[security],
            "boot": boot,
            "patch level": patched,
            "package version": str(version),
            "attestation version": str(description.version),
            "attesting key": "provisioned remotely" if provisioned else "of the factory",
        },
    )


# -- roots -------------------------------------------------------------------------------------


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
    ders = [der for each in found for der in pem_to_ders(str(each))]
    return frozenset(spki_fingerprint(der) for der in ders)


@cache
def shipped_roots() -> frozenset[bytes]:
    """Return the roots of this version: the RSA key of 2016 and the P-384 key of 2025."""
    return read_roots(resources.files(__package__).joinpath("android_roots.json").read_bytes())


# -- the chain ---------------------------------------------------------------------------------


def _chain(evidence: Mapping[str, Any]) -> list[bytes]:
    found = evidence.get("chain")
    if not isinstance(found, list) or not SHORTEST <= len(found) <= LONGEST:
        raise EvidenceError("malformed", f"expected a chain of {SHORTEST} to {LONGEST}")
    return [_der(each) for each in found]


def _der(text: object) -> bytes:
    if not isinstance(text, str) or len(text) > 2 * MAX_CERTIFICATE:
        raise EvidenceError("malformed", "expected certificates in base64url")
    try:
        return b64url_decode(text.encode("ascii"))
    except (MalformedError, UnicodeEncodeError) as exc:
        raise EvidenceError("malformed", f"a certificate of the chain: {exc}") from exc


def _require_root(der: bytes, roots: frozenset[bytes]) -> None:
    try:
        fingerprint = spki_fingerprint(der)
    except MalformedError as exc:
        raise EvidenceError("malformed", f"the root of the chain: {exc}") from exc
    if fingerprint not in roots:
        raise EvidenceError("root", f"no root is known with the key {fingerprint.hex()}")


def _certificate(der: bytes) -> x509.Certificate:
    try:
        found = x509.load_der_x509_certificate(der)
        _ = found.extensions, found.serial_number, found.not_valid_after_utc  # read late
    except _UNREADABLE as exc:
        raise EvidenceError("malformed", f"a certificate of the chain: {exc}") from exc
    return found


def _verify_signatures(chain: Sequence[x509.Certificate]) -> None:
    """Verify each certificate by the next, from the root down."""
    issuers = [*chain[1:], chain[-1]]
    for at in reversed(range(len(chain))):
        # The certificate of an attesting key is not that of a CA on every device. A key that an
        # app made is none either: the extension on it is refused anywhere but in front.
        if at > 1 and not _is_ca(chain[at]):
            raise EvidenceError("chain", f"certificate {at} is not that of a CA")
        try:
            if not isinstance(chain[at].signature_hash_algorithm, _HASHES):
                raise EvidenceError("chain", f"certificate {at} is signed with a weak hash")
            chain[at].verify_directly_issued_by(issuers[at])
        except InvalidSignature as exc:
            raise EvidenceError("chain", f"the signature of certificate {at} is not good") from exc
        except _UNREADABLE as exc:
            raise EvidenceError("chain", f"certificate {at} is not by the next: {exc}") from exc


def _is_ca(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _extension(certificate: x509.Certificate, oid: str) -> bytes | None:
    for each in certificate.extensions:
        if each.oid.dotted_string == oid and isinstance(each.value, x509.UnrecognizedExtension):
            return each.value.value
    return None


def _description(chain: Sequence[x509.Certificate]) -> KeyDescription:
    """Return the description in the first certificate, and refuse one anywhere else.

    Who has a key of a genuine device can sign certificates by it, with any extension. That the
    key's own certificate has one, too, gives it away.
    """
    if any(_extension(each, OID) is not None for each in chain[1:]):
        raise EvidenceError("extension_elsewhere", "a certificate but the first describes a key")
    value = _extension(chain[0], OID)
    if value is None:
        raise EvidenceError("extension", "the first certificate describes no key")
    try:
        return KeyDescription.parse(value)
    except MalformedError as exc:
        raise EvidenceError("malformed", str(exc)) from exc


def _require_valid_dates(chain: Sequence[x509.Certificate], asked: Asked) -> bool:
    """Check the dates of what was provisioned remotely, and tell whether it was.

    Keys of the factory stay in devices for longer than their certificates say. The leaf's dates
    are the app's own choice, and a root is trusted for its key.
    """
    if all(_extension(each, _PROVISIONED) is None for each in chain):
        return False
    for each in chain[1:-1]:
        if not each.not_valid_before_utc <= asked.now <= each.not_valid_after_utc:
            raise EvidenceError(
                "expired",
                f"an intermediate is valid from {each.not_valid_before_utc:%Y-%m-%d} "
                f"until {each.not_valid_after_utc:%Y-%m-%d}",
            )
    return True


def _require_not_revoked(
    chain: Sequence[x509.Certificate], revoked: Revoked | None, asked: Asked
) -> None:
    if revoked is None:
        raise EvidenceError("revocation_list", "there is no list of revoked keys yet")
    if revoked.is_too_old(asked.now):
        raise EvidenceError(
            "revocation_list",
            f"the list of revoked keys is of {revoked.as_of:%Y-%m-%d}, "
            f"more than {MOST_AGE.days} days old",
        )
    for each in chain:
        reason = revoked.reason(each.serial_number)
        if reason is not None:
            raise EvidenceError("revoked", f"the certificate {each.serial_number:x} is {reason}")


# -- what the hardware says --------------------------------------------------------------------


def _level(description: KeyDescription, leaf: bytes, asked: Asked) -> Level:
    if description.challenge == asked.nonce:
        return "hardware_app"
    if description.challenge != asked.key_nonce:
        raise EvidenceError("challenge", "it was made for another request, installation or app")
    key = asked.key.key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if spki(leaf) != key:
        raise EvidenceError("key", "it describes another key than the installation's")
    if description.origin != GENERATED:
        raise EvidenceError("origin", "the key was not made in the hardware: there may be copies")
    return "hardware_key"


def _require_hardware(description: KeyDescription, app: AndroidApp) -> int:
    security = min(description.security, description.mint_security)
    if not {description.security, description.mint_security} <= _LEVELS.keys():
        raise EvidenceError("security_level", f"expected secure hardware, found level {security}")
    if app.strongbox and security != STRONGBOX:
        raise EvidenceError("security_level", "expected StrongBox, found a trusted environment")
    return security


def _require_boot(description: KeyDescription, app: AndroidApp) -> str:
    root = description.root_of_trust
    if root is None:
        raise EvidenceError("boot_state", "the hardware says nothing of how the device booted")
    if not root.locked:
        raise EvidenceError("unlocked", "the boot loader of the device is unlocked")
    if root.boot_state == VERIFIED:
        return "verified"
    if root.boot_state != SELF_SIGNED:
        raise EvidenceError("boot_state", f"the boot was not verified: state {root.boot_state}")
    if root.boot_key.hex() not in app.boot_keys:
        raise EvidenceError("boot_key", f"no boot key is registered that is {root.boot_key.hex()}")
    return "verified, by a registered key"


def require_app(found: Application | None, app: AndroidApp) -> int:
    """Return the version of the app that asked, if it is the registered one."""
    if found is None or app.package not in found.packages:
        names = ", ".join(found.packages)[:200] if found else "none"
        raise EvidenceError("package", f"expected {app.package}, found {names!r}")
    require_signed(found.certificates, app.certificates)
    return found.packages[app.package]


def require_signed(found: frozenset[str], registered: Sequence[str]) -> None:
    """Refuse an app unless everybody who signed it is registered.

    Raises:
        EvidenceError: the signing certificates are others.
    """
    if not found or not found <= {*registered}:
        named = ", ".join(sorted(found))[:200] or "none"
        raise EvidenceError("signing_certificate", f"another one signed the app: {named}")


def _require_patched(description: KeyDescription, app: AndroidApp) -> str:
    level = description.patch_level
    found = "not said" if level is None else f"{level // 100:04}-{level % 100:02}"
    if app.patched is not None and (level is None or found < app.patched):
        raise EvidenceError("patch_level", f"expected {app.patched} or later, found {found}")
    return found
