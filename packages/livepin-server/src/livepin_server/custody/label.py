"""What a private key is for, and what is kept of it."""

from __future__ import annotations

from dataclasses import dataclass, field

# The first byte of what is kept of a key says by whom.
SEALED, IN_TOKEN = b"\x01", b"\x02"


@dataclass(frozen=True, slots=True)
class Label:
    """What a private key is for. A key that is kept for one label does not open for another."""

    account: str
    role: str
    kid: str

    def encoded(self) -> bytes:
        """Return the label as bytes; no part can contain the separator."""
        return "\n".join(("livepin", self.account, self.role, self.kid)).encode()


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept of a private key: sealed bytes, or where it is in a token."""

    label: Label
    data: bytes = field(repr=False)
