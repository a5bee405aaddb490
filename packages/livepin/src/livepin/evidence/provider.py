"""What an app gives a client to be sent along: one provider per format of evidence."""

from __future__ import annotations

from typing import Any, Protocol


class Evidence(Protocol):
    """Gives evidence for one token request; see `spec/tokens.md` for the formats."""

    def collect(self, nonce: bytes) -> dict[str, Any] | None:
        """Return the members of the evidence, `format` among them, or None where there is none.

        `nonce` is the 32 bytes that bind it to its request. It may block, in a thread of the
        client; what it raises is logged, and the request goes without.
        """
