"""The extension in which secure hardware of Android describes a key, and who asked for it.

Its schema is `KeyDescription`, the same since Keymaster 2 but for tags that were added. Only what
decides is read; a tag that is not needed is not looked into.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from livepin.errors import MalformedError

from . import der
from .der import DerError, Element

MOST_PACKAGES = 32  # that share a user id, with their certificates

SOFTWARE, TEE, STRONGBOX = 0, 1, 2  # SecurityLevel
VERIFIED, SELF_SIGNED = 0, 1  # VerifiedBootState; 2 is unverified, 3 failed
GENERATED = 0  # KeyOrigin: in the hardware, which nothing has left

_ORIGIN, _ROOT_OF_TRUST, _OS_PATCH_LEVEL, _APPLICATION = 702, 704, 706, 709


@dataclass(frozen=True, slots=True, kw_only=True)
class RootOfTrust:
    """What the boot loader told the secure hardware."""

    boot_key: bytes
    locked: bool
    boot_state: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """Who asked, as the system says: packages with their versions, and who signed them."""

    packages: Mapping[str, int]
    certificates: frozenset[str]  # SHA-256, in hexadecimal


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyDescription:
    """What decides of an attestation.

    The system says who asked; all else is what the hardware enforces. `patch_level` is YYYYMM.
    """

    version: int
    security: int
    mint_security: int
    challenge: bytes
    application: Application | None
    root_of_trust: RootOfTrust | None
    origin: int | None
    patch_level: int | None

    @classmethod
    def parse(cls, value: bytes) -> KeyDescription:
        """Return what the extension says.

        Raises:
            MalformedError: it is not a KeyDescription.
        """
        try:
            return cls._of(der.one(value).sequence())
        except DerError as exc:
            raise MalformedError(f"not a KeyDescription: {exc}") from exc

    @classmethod
    def _of(cls, members: list[Element]) -> KeyDescription:
        if len(members) != 8:
            raise DerError(f"expected 8 members, found {len(members)}")
        software, hardware = (_authorizations(each) for each in members[6:])
        patch_level = _number(hardware, _OS_PATCH_LEVEL)
        return cls(
            version=members[0].integer(),
            security=members[1].enumerated(),
            mint_security=members[3].enumerated(),
            challenge=members[4].octets(),
            application=_application(software.get(_APPLICATION)),
            # Never from what software enforces: there it is the system's word for itself.
            root_of_trust=_root_of_trust(hardware.get(_ROOT_OF_TRUST)),
            origin=_number(hardware, _ORIGIN),
            # Some devices add the day.
            patch_level=patch_level // 100 if patch_level and patch_level > 10**7 else patch_level,
        )


def _authorizations(element: Element) -> dict[int, Element]:
    found: dict[int, Element] = {}
    for each in element.sequence():
        if each.tag in found:
            raise DerError(f"the tag {each.tag} stands twice")  # two readers may take another one
        found[each.tag] = each
    return found


def _number(found: Mapping[int, Element], tag: int) -> int | None:
    return found[tag].explicit().integer() if tag in found else None


def _root_of_trust(element: Element | None) -> RootOfTrust | None:
    if element is None:
        return None
    members = element.explicit().sequence()
    if len(members) not in (3, 4):  # the fourth, a hash, came with version 3
        raise DerError(f"expected 3 or 4 members of a root of trust, found {len(members)}")
    return RootOfTrust(
        boot_key=members[0].octets(),
        locked=members[1].boolean(),
        boot_state=members[2].enumerated(),
    )


def _application(element: Element | None) -> Application | None:
    if element is None:
        return None
    members = der.one(element.explicit().octets()).sequence()
    if len(members) != 2:
        raise DerError(f"expected 2 members of an application id, found {len(members)}")
    packages, certificates = (each.set_of() for each in members)
    if max(len(packages), len(certificates)) > MOST_PACKAGES:
        raise DerError(f"expected at most {MOST_PACKAGES} packages or certificates")
    return Application(
        packages=dict(_package(each.sequence()) for each in packages),
        certificates=frozenset(each.octets().hex() for each in certificates),
    )


def _package(members: list[Element]) -> tuple[str, int]:
    if len(members) != 2:
        raise DerError(f"expected 2 members of a package, found {len(members)}")
    try:
        return members[0].octets().decode("ascii"), members[1].integer()
    except UnicodeDecodeError as exc:
        raise DerError("expected the name of a package in ASCII") from exc
