"""One value for a chain as it was presented."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256


def digest_of(chain: Sequence[bytes]) -> str:
    """Return what stands in `Observation.digest`: the SHA-256 of a presented chain, in hex.

    It is taken over the DER of each certificate with its length before it in four bytes, in the
    order in which they were presented, so that no other chain has the same bytes.
    """
    found = sha256()
    for der in chain:
        found.update(len(der).to_bytes(4, "big"))
        found.update(der)
    return found.hexdigest()
