"""The root document: which keys may sign what, for one account.

Root N is signed by the threshold of root keys of N-1 and of N, as general JSON JWS.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from livepin import jsontext
from livepin.errors import MalformedError, VerificationError
from livepin.jose import PublicKey

from .members import Members, seconds

TYP = "livepin-root+jws"
MAX_SIZE = 256 * 1024  # bytes
ROLES = ("root", "config", "override")

_MAX_KEYS = 32
_KNOWN = {"account", "version", "issued", "expires", "roles", "critical"}
_KNOWN_ROLE = {"keys", "threshold", "critical"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """The keys of one role by kid, and how many of them must sign."""

    keys: dict[str, PublicKey]
    threshold: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Root:
    """A root document whose payload keeps rule 4."""

    account: str
    version: int
    issued: datetime
    expires: datetime
    roles: dict[str, Role]

    @classmethod
    def parse(cls, payload: bytes) -> Root:
        """Return the root document in `payload`.

        Raises:
            VerificationError: rule 1 or 4.
        """
        members = Members.parse(payload, where="root", known=_KNOWN)
        found = members.mapping("roles")
        root = cls(
            account=members.name("account"),
            version=members.version(),
            issued=members.time("issued"),
            expires=members.time("expires"),
            roles={name: _role(name, found.get(name)) for name in ROLES},
        )
        root._check_one_role_each()
        return root

    def payload(self) -> bytes:
        """Return the payload to be signed."""
        roles = {
            name: {"threshold": role.threshold, "keys": [k.jwk() for k in role.keys.values()]}
            for name, role in self.roles.items()
        }
        return jsontext.dump(
            {
                "account": self.account,
                "version": self.version,
                "issued": seconds(self.issued),
                "expires": seconds(self.expires),
                "roles": roles,
            }
        )

    def _check_one_role_each(self) -> None:
        seen: set[str] = set()
        for kid in self._kids():
            if kid in seen:
                # A stolen online key must never be able to act in another role.
                raise VerificationError(4, f"root: expected one role a key, found {kid} twice")
            seen.add(kid)

    def _kids(self) -> Iterator[str]:
        for role in self.roles.values():
            yield from role.keys


def _role(name: str, found: object) -> Role:
    where = f"root.roles.{name}"
    members = Members(found, where=where, known=_KNOWN_ROLE)
    listed = members.items("keys")
    if not 1 <= len(listed) <= _MAX_KEYS:
        raise VerificationError(4, f"{where}: expected 1 to {_MAX_KEYS} keys, found {len(listed)}")
    keys: dict[str, PublicKey] = {}
    for each in listed:
        key = _key(each, where)
        if key.kid in keys:
            raise VerificationError(4, f"{where}: expected distinct keys, found {key.kid} twice")
        keys[key.kid] = key
    # Configs and overrides are compact JWS, which carries one signature.
    most = len(keys) if name == "root" else 1
    return Role(keys=keys, threshold=members.integer("threshold", 1, most))


def _key(found: object, where: str) -> PublicKey:
    if not isinstance(found, dict):
        raise VerificationError(4, f"{where}: expected a JWK, found {str(found)[:80]!r}")
    try:
        return PublicKey.from_jwk(found)
    except MalformedError as exc:
        raise VerificationError(4, f"{where}: {exc}") from exc
