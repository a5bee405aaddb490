"""The override document: for one installation and a limited time, domains of its own.

It is what a pentest needs, and what an attacker would want: it names the key of one
installation, only hosts that the config lists, and lives at most seven days (rule 9).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from livepin import jsontext
from livepin.errors import VerificationError
from livepin.pins import PinSet

from .config import Domain, domain_json, longest, parse_domains, parse_pin_sets, pin_sets_json
from .members import Members, seconds

TYP = "livepin-override+jws"
MAX_SIZE = 64 * 1024  # bytes
MAX_LIFETIME = timedelta(days=7)

_KNOWN = {
    "account", "installation", "root_version", "version", "issued", "expires", "pin_sets",
    "domains", "critical",
}  # fmt: skip
_THUMBPRINT = re.compile(r"[A-Za-z0-9_-]{43}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """An override document whose payload keeps rule 4.

    `installation` is the RFC 7638 thumbprint of the one key that it is for.
    """

    account: str
    installation: str
    root_version: int
    version: int
    issued: datetime
    expires: datetime
    pin_sets: dict[str, PinSet]
    domains: tuple[Domain, ...]
    _index: dict[str, Domain] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_index", {d.pattern: d for d in self.domains})

    @classmethod
    def parse(cls, payload: bytes) -> Override:
        """Return the override document in `payload`.

        Raises:
            VerificationError: rule 1 or 4.
        """
        members = Members.parse(payload, where="override", known=_KNOWN)
        installation = members.text("installation")
        if not _THUMBPRINT.match(installation):
            raise VerificationError(4, "override.installation: expected a key thumbprint")
        pin_sets = parse_pin_sets(members)
        return cls(
            account=members.name("account"),
            installation=installation,
            root_version=members.version("root_version"),
            version=members.version(),
            issued=members.time("issued"),
            expires=members.time("expires"),
            pin_sets=pin_sets,
            domains=parse_domains(members, pin_sets),
        )

    @staticmethod
    def root_named(payload: bytes) -> int:
        """Return the root_version in `payload`, which nobody vouches for yet.

        Raises:
            VerificationError: rule 1 or 4.
        """
        return Members.parse(payload, where="override", known=_KNOWN).version("root_version")

    def payload(self) -> bytes:
        """Return the payload to be signed."""
        return jsontext.dump(
            {
                "account": self.account,
                "installation": self.installation,
                "root_version": self.root_version,
                "version": self.version,
                "issued": seconds(self.issued),
                "expires": seconds(self.expires),
                "pin_sets": pin_sets_json(self.pin_sets),
                "domains": [domain_json(domain) for domain in self.domains],
            }
        )

    @property
    def lifetime(self) -> timedelta:
        """How long the override lives, by the clock and by run time."""
        return self.expires - self.issued

    def lookup(self, host: str) -> Domain | None:
        """Return the domain whose pattern is the longest to cover a normalised host, or None."""
        return longest(self._index, host)
