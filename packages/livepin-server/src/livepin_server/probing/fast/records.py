"""From the bytes of a socket to messages of the handshake (RFC 8446, section 5)."""

from __future__ import annotations

import struct

from .keys import Opening
from .wire import OddError

MOST_BYTES = 128 * 1024  # from a server; OpenSSL itself takes chains of at most 100 KiB
MOST_RECORDS = 64
_CHANGE_CIPHER_SPEC, _ALERT, _HANDSHAKE, _APPLICATION_DATA = 20, 21, 22, 23
_HEADER, _OF_HEADER = 5, struct.Struct(">BBBH")  # type, version, length
_LONGEST = 1 << 14
_LONGEST_SEALED = _LONGEST + 256
_HANDSHAKE_FAILURE = b"\x02\x28"  # fatal
_MESSAGE_HEADER = 4


class RefusedError(Exception):
    """The server refused the handshake: it has nothing for what was offered."""


class Records:
    """Takes bytes however they come, and gives whole messages. It never holds over 128 KiB."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._message = bytearray()
        self._opening: Opening | None = None
        self._total = 0
        self._count = 0

    def feed(self, data: bytes) -> None:
        """Take more bytes; what is beyond 128 KiB is dropped, and `message` says so."""
        room = max(MOST_BYTES - self._total, 0)
        self._bytes += data[:room]
        self._total += len(data)

    def protect(self, opening: Opening) -> None:
        """From now on all is sealed.

        Raises:
            OddError: a message begins before (RFC 8446, 5.1); it would be read as if sealed.
        """
        if self._message:
            raise OddError("expected the hello of the server to end its record")
        self._opening = opening

    def message(self) -> bytes | None:
        """Return the next message of the handshake, with its header; None: more is needed.

        Raises:
            RefusedError: the alert handshake_failure.
            OddError: anything else that is no handshake, or over the bounds.
        """
        while True:
            found = self._whole_message()
            if found is not None:
                return found
            if not self._next_record():
                if self._total > MOST_BYTES:
                    raise OddError(f"expected at most {MOST_BYTES} bytes")
                return None

    def _whole_message(self) -> bytes | None:
        message = self._message
        if len(message) < _MESSAGE_HEADER:
            return None
        end = _MESSAGE_HEADER + int.from_bytes(message[1:_MESSAGE_HEADER], "big")
        if end > MOST_BYTES:
            raise OddError(f"expected a message of at most {MOST_BYTES} bytes, found {end}")
        if len(message) < end:
            return None
        found = bytes(message[:end])
        del message[:end]
        return found

    def _next_record(self) -> bool:
        if len(self._bytes) < _HEADER:
            return False
        kind, major, minor, length = _OF_HEADER.unpack_from(self._bytes)
        self._check_header(kind, major, minor, length)
        end = _HEADER + length
        if len(self._bytes) < end:
            return False
        self._count += 1
        if self._count > MOST_RECORDS:
            raise OddError(f"expected at most {MOST_RECORDS} records")
        record = bytes(self._bytes[:end])
        del self._bytes[:end]
        body = record[_HEADER:]
        if self._opening is None:
            self._take(kind, body)
        elif kind != _CHANGE_CIPHER_SPEC or body != b"\x01" or self._message:
            # That one says nothing: it is sent for what stands between (RFC 8446, appendix D.4).
            self._take(*self._opened(self._opening, kind, record[:_HEADER], body))
        return True

    def _check_header(self, kind: int, major: int, minor: int, length: int) -> None:
        """Expect the version that servers write; alerts may come before one is agreed on."""
        if major != 3 or not (minor == 3 or (kind == _ALERT and 1 <= minor <= 3)):
            raise OddError(f"expected a record of TLS, found {kind} and version {major}.{minor}")
        if length > (_LONGEST if self._opening is None else _LONGEST_SEALED):
            raise OddError(f"expected a shorter record, found {length} bytes")

    def _opened(self, opening: Opening, kind: int, header: bytes, body: bytes) -> tuple[int, bytes]:
        if kind != _APPLICATION_DATA:
            raise OddError(f"expected a sealed record, found type {kind}")
        inner = opening.open(header, body)
        if len(inner) > _LONGEST + 1:
            raise OddError(f"expected a shorter record, found {len(inner)} bytes")
        inner = inner.rstrip(b"\x00")
        if not inner:
            raise OddError("expected a record with a type")
        return inner[-1], inner[:-1]

    def _take(self, kind: int, body: bytes) -> None:
        if kind == _HANDSHAKE and body:
            self._message += body
        elif kind == _ALERT and body == _HANDSHAKE_FAILURE and not self._message:
            raise RefusedError
        else:
            raise OddError(f"expected a handshake, found type {kind} and {len(body)} bytes")
