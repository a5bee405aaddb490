"""What can go wrong with keys."""

from __future__ import annotations

from livepin.errors import LivepinError


class CustodyError(LivepinError):
    """A private key cannot be read, opened or written. The message never holds key material."""
