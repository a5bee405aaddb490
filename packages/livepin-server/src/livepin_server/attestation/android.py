"""Android Key Attestation: secure hardware describes a key, and the system says who asked for it.

Two things are told apart by the challenge in it. Either a key was made just now, for this very
request: then the evidence says which app asked. Or the key is the installation's own: then it says
that this key cannot be copied, and was made by that app.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from livepin.certificates import spki
from livepin.errors import MalformedError
from msgspec import Meta, Struct

from .android_chain import (
    description,
    require_not_revoked,
    require_valid_dates,
    shipped_roots,
    verified_chain,
)
from .attested import Asked, Attested, EvidenceError, Level
from .key_description import (
    GENERATED,
    SELF_SIGNED,
    STRONGBOX,
    TEE,
    VERIFIED,
    Application,
    KeyDescription,
)
from .revoked import Revoked

FORMAT = "android-key-attestation"
_LEVELS = {TEE: "trusted environment", STRONGBOX: "StrongBox"}

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
    chain = verified_chain(evidence, shipped_roots() if roots is None else roots)
    described = _described(description(chain))
    provisioned = require_valid_dates(chain, asked.now)
    require_not_revoked(chain, revoked, asked.now)
    level = _level(described, chain[0].data, asked)
    security = _require_hardware(described, app)
    boot = _require_boot(described, app)
    version = _require_app(described.application, app)
    patched = _require_patched(described, app)
    return Attested(
        format=FORMAT,
        level=level,
        said={
            "security level": _LEVELS[security],
            "boot": boot,
            "patch level": patched,
            "package version": str(version),
            "attestation version": str(described.version),
            "attesting key": "provisioned remotely" if provisioned else "of the factory",
        },
    )


def _described(value: bytes) -> KeyDescription:
    try:
        return KeyDescription.parse(value)
    except MalformedError as exc:
        raise EvidenceError("malformed", str(exc)) from exc


def _level(described: KeyDescription, leaf: bytes, asked: Asked) -> Level:
    if described.challenge == asked.nonce:
        return "hardware_app"
    if described.challenge != asked.key_nonce:
        raise EvidenceError("challenge", "it was made for another request, installation or app")
    key = asked.key.key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if spki(leaf) != key:
        raise EvidenceError("key", "it describes another key than the installation's")
    if described.origin != GENERATED:
        raise EvidenceError("origin", "the key was not made in the hardware: there may be copies")
    return "hardware_key"


def _require_hardware(described: KeyDescription, app: AndroidApp) -> int:
    security = min(described.security, described.mint_security)
    if not {described.security, described.mint_security} <= _LEVELS.keys():
        raise EvidenceError("security_level", f"expected secure hardware, found level {security}")
    if app.strongbox and security != STRONGBOX:
        raise EvidenceError("security_level", "expected StrongBox, found a trusted environment")
    return security


def _require_boot(described: KeyDescription, app: AndroidApp) -> str:
    root = described.root_of_trust
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


def _require_app(found: Application | None, app: AndroidApp) -> int:
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


def _require_patched(described: KeyDescription, app: AndroidApp) -> str:
    level = described.patch_level
    found = "not said" if level is None else f"{level // 100:04}-{level % 100:02}"
    if app.patched is not None and (level is None or found < app.patched):
        raise EvidenceError("patch_level", f"expected {app.patched} or later, found {found}")
    return found
