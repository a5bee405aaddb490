"""Numbers and vectors of TLS messages, read within bounds (RFC 8446, section 3)."""

from __future__ import annotations

from collections.abc import Mapping


class OddError(Exception):
    """The server sent what is not expected or not read here; `verified` is to look."""


class Reader:
    """Reads a message from its start; each length is checked before anything is taken.

    All methods raise OddError where the message is shorter, or longer, than it says.
    """

    __slots__ = ("_at", "_data", "_size")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._size = len(data)
        self._at = 0

    def take(self, size: int) -> bytes:
        """Return the next bytes."""
        start, end = self._at, self._at + size
        if end > self._size:
            raise OddError(f"expected {size} bytes more, found {self._size - start}")
        self._at = end
        return self._data[start:end]

    def number(self, size: int) -> int:
        """Return the next number, of so many bytes."""
        return int.from_bytes(self.take(size), "big")

    def vector(self, size: int) -> bytes:
        """Return the next vector, whose length stands before it in so many bytes."""
        return self.take(int.from_bytes(self.take(size), "big"))

    @property
    def more(self) -> bool:
        """Whether anything is left."""
        return self._at < self._size

    @property
    def position(self) -> int:
        """How many bytes were read."""
        return self._at

    def end(self) -> None:
        """Expect the end of the message."""
        if self._at < self._size:
            raise OddError(f"expected the end, found {self._size - self._at} bytes more")

    def extensions(self) -> Mapping[int, bytes]:
        """Return the extensions that follow, each type once (RFC 8446, section 4.2)."""
        inner = Reader(self.vector(2))
        found: dict[int, bytes] = {}
        while inner.more:
            kind = inner.number(2)
            if kind in found:
                raise OddError(f"expected each extension once, found {kind} twice")
            found[kind] = inner.vector(2)
        return found


def vector(size: int, *parts: bytes) -> bytes:
    """Return parts as one vector, with its length before it in so many bytes."""
    body = b"".join(parts)
    return len(body).to_bytes(size, "big") + body


def numbers(*values: int) -> bytes:
    """Return values of two bytes each."""
    return b"".join(each.to_bytes(2, "big") for each in values)
