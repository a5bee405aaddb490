"""Pins and pin sets: which public keys are accepted, and from when to when.

A pin is the SHA-256 fingerprint of a DER SubjectPublicKeyInfo, in text `sha256/BASE64`
(RFC 7469, section 2.4). Whether a mismatch blocks is not decided here.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from .errors import MalformedError

PREFIX = "sha256/"
_SIZE = 32


def fingerprint_text(fingerprint: bytes) -> str:
    """Return a 32-byte SPKI fingerprint in its text form, `sha256/BASE64`."""
    return PREFIX + base64.b64encode(fingerprint).decode()


def parse_fingerprint(text: str) -> bytes:
    """Return the 32 bytes of `sha256/BASE64`.

    Raises:
        MalformedError: another prefix, not canonical base64, or not 32 bytes.
    """
    if not text.startswith(PREFIX):
        raise MalformedError(
            f"expected a fingerprint such as sha256/BASE64, found {text[:80]!r}",
            hint="a fingerprint is sha256/ and the base64 of 32 bytes",
        )
    return parse_sha256(text.removeprefix(PREFIX))


def parse_sha256(text: str) -> bytes:
    """Return the 32 bytes of a base64 SHA-256 value.

    Raises:
        MalformedError: not canonical base64 (RFC 4648, section 3.5), or not 32 bytes.
    """
    try:
        value = binascii.a2b_base64(text)
    except ValueError as exc:
        raise MalformedError(f"expected base64 of 32 bytes, found {text[:80]!r}") from exc
    # Encoding it again finds what the decoder passes over: other alphabets, bits left over.
    if len(value) != _SIZE or binascii.b2a_base64(value, newline=False) != text.encode():
        raise MalformedError(f"expected canonical base64 of 32 bytes, found {text[:80]!r}")
    return value


@dataclass(frozen=True, slots=True)
class Pin:
    """One pinned public key, in force from `not_before` (inclusive) to `not_after` (exclusive).

    `sha256` is the 32-byte SPKI fingerprint, or None for a pin of an algorithm that this version
    does not know: such a pin is kept and never matches (rule 4).
    """

    sha256: bytes | None
    not_before: datetime | None = None
    not_after: datetime | None = None

    @classmethod
    def parse(cls, text: str) -> Pin:
        """Return the pin for `sha256/BASE64`, without limits in time.

        Raises:
            MalformedError: see `parse_fingerprint`.
        """
        return cls(sha256=parse_fingerprint(text))

    def in_force(self, *, now: datetime) -> bool:
        """Tell whether `now` lies within the pin's limits."""
        if self.not_before is not None and now < self.not_before:
            return False
        return self.not_after is None or now < self.not_after

    def __str__(self) -> str:
        return "(unknown algorithm)" if self.sha256 is None else fingerprint_text(self.sha256)


@dataclass(frozen=True)
class PinSet:
    """The pins of one or more domains. It may be shared, and is judged as a whole."""

    pins: tuple[Pin, ...]

    @cached_property
    def _index(self) -> dict[bytes, list[Pin]]:
        index: dict[bytes, list[Pin]] = {}
        for pin in self.pins:
            if pin.sha256 is not None:
                index.setdefault(pin.sha256, []).append(pin)
        return index

    @cached_property
    def unlimited(self) -> frozenset[bytes]:
        """The fingerprints of the pins without limits in time."""
        limits = {pin.sha256 for pin in self.pins if pin.not_before is None is pin.not_after}
        return frozenset(each for each in limits if each is not None)

    @cached_property
    def timeless(self) -> bool:
        """Whether what matches does not depend on the time."""
        return self.unlimited.issuperset(self._index)

    def match(self, fingerprints: Iterable[bytes], *, now: datetime) -> Pin | None:
        """Return the first pin in force for one of `fingerprints`, in their order, or None."""
        for fingerprint in fingerprints:
            for pin in self._index.get(fingerprint, ()):
                if pin.in_force(now=now):
                    return pin
        return None

    def texts(self, *, now: datetime) -> tuple[str, ...]:
        """Return the pins in force at `now` as `sha256/BASE64`."""
        return tuple(str(p) for p in self.pins if p.sha256 is not None and p.in_force(now=now))

    def __len__(self) -> int:
        return len(self.pins)
