"""DER (X.690), as far as the extension of an Android attestation needs it.

Read strictly: what has two encodings has one here. And one level at a time: nothing recurses, so
whoever reads decides how deep, and what nobody asks for is not looked into. Certificates
themselves are read by `cryptography`, which knows no tag number above 30.
"""

from __future__ import annotations

from dataclasses import dataclass

MOST_BYTES = 16 * 1024  # of an element; a whole attestation extension takes about 400
MOST_ELEMENTS = 256  # of one level; KeyMint has about 50 tags

UNIVERSAL, CONTEXT = 0, 2
BOOLEAN, INTEGER, OCTET_STRING, ENUMERATED, SEQUENCE, SET = 1, 2, 4, 10, 16, 17

_LONG_TAG = 0x1F
_MOST_TAG = 2**28 - 1  # four octets of seven bits; the tags of Keymaster have as many
_MOST_INTEGER = 9  # octets: 64 bits without a sign


class DerError(ValueError):
    """It is not DER, or not the element that was expected."""


@dataclass(frozen=True, slots=True)
class Element:
    """A tag and the octets of its content, which is not looked into yet."""

    kind: int  # UNIVERSAL or CONTEXT, or one of the two other classes
    constructed: bool
    tag: int
    content: bytes

    def sequence(self) -> list[Element]:
        """Return the elements of a SEQUENCE."""
        return elements(self._universal(SEQUENCE, constructed=True))

    def set_of(self) -> list[Element]:
        """Return the elements of a SET, in any order: devices do not sort them."""
        return elements(self._universal(SET, constructed=True))

    def explicit(self) -> Element:
        """Return what an EXPLICIT tag of the context holds."""
        if self.kind != CONTEXT or not self.constructed:
            raise DerError(f"expected an explicit tag, found {self._name()}")
        return one(self.content)

    def octets(self) -> bytes:
        """Return an OCTET STRING."""
        return self._universal(OCTET_STRING)

    def integer(self) -> int:
        """Return an INTEGER of at most 64 bits, which is not negative."""
        return _number(self._universal(INTEGER))

    def enumerated(self) -> int:
        """Return an ENUMERATED."""
        return _number(self._universal(ENUMERATED))

    def boolean(self) -> bool:
        """Return a BOOLEAN: FF or 00. A reader that takes another for false calls it unlocked."""
        content = self._universal(BOOLEAN)
        if content not in (b"\xff", b"\x00"):
            raise DerError(f"expected a BOOLEAN of FF or 00, found {content[:4].hex().upper()}")
        return content == b"\xff"

    def _universal(self, tag: int, *, constructed: bool = False) -> bytes:
        if (self.kind, self.constructed, self.tag) != (UNIVERSAL, constructed, tag):
            raise DerError(f"expected the universal tag {tag}, found {self._name()}")
        return self.content

    def _name(self) -> str:
        return f"{'constructed ' if self.constructed else ''}tag {self.tag} of class {self.kind}"


def one(data: bytes) -> Element:
    """Return the one element that is all of `data`.

    Raises:
        DerError: none, or more than one.
    """
    found = elements(data)
    if len(found) != 1:
        raise DerError(f"expected one element, found {len(found)}")
    return found[0]


def elements(data: bytes) -> list[Element]:
    """Return the elements that `data` is a sequence of.

    Raises:
        DerError: it is none, or over 16 KiB or 256 elements.
    """
    if len(data) > MOST_BYTES:
        raise DerError(f"expected at most {MOST_BYTES} bytes, found {len(data)}")
    found: list[Element] = []
    at = 0
    try:
        while at < len(data):
            if len(found) == MOST_ELEMENTS:
                raise DerError(f"expected at most {MOST_ELEMENTS} elements")
            first = data[at]
            tag, at = _tag(data, at)
            length, at = _length(data, at)
            content, at = data[at : at + length], at + length
            if len(content) != length:
                raise DerError("an element ends before its length")
            found.append(Element(first >> 6, bool(first & 0x20), tag, content))
    except IndexError as exc:
        raise DerError("an element ends within its tag or length") from exc
    return found


def _tag(data: bytes, at: int) -> tuple[int, int]:
    """Return a tag number, and where it ends (X.690, 8.1.2)."""
    tag = data[at] & _LONG_TAG
    at += 1
    if tag != _LONG_TAG:
        return tag, at
    if data[at] == 0x80:
        raise DerError("expected the shortest tag")
    tag, more = 0, True
    while more:
        tag = tag << 7 | data[at] & 0x7F
        more = bool(data[at] & 0x80)
        at += 1
        if tag > _MOST_TAG:
            raise DerError(f"expected a tag of at most {_MOST_TAG}")
    if tag < _LONG_TAG:
        raise DerError("expected the shortest tag")
    return tag, at


def _length(data: bytes, at: int) -> tuple[int, int]:
    """Return a length, and where it ends (X.690, 8.1.3 and 10.1)."""
    length = data[at]
    at += 1
    if length < 0x80:
        return length, at
    count = length & 0x7F
    if not 1 <= count <= 2:  # 0 is indefinite; no length above 64 KiB is within the limit
        raise DerError("expected a length of at most two octets")
    length = int.from_bytes(data[at : at + count], "big")
    if data[at] == 0 or length < 0x80:
        raise DerError("expected the shortest length")
    return length, at + count


def _number(content: bytes) -> int:
    """Return a number (X.690, 8.3)."""
    if not 1 <= len(content) <= _MOST_INTEGER or content[0] & 0x80:
        raise DerError("expected a number of at most 64 bits that is not negative")
    if len(content) > 1 and content[0] == 0 and not content[1] & 0x80:
        raise DerError("expected the shortest number")
    if len(content) == _MOST_INTEGER and content[0] != 0:
        raise DerError("expected a number of at most 64 bits that is not negative")
    return int.from_bytes(content, "big")
