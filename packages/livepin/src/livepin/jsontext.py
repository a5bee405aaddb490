"""JSON as Livepin's documents use it: bounded before it is parsed, and without ambiguity.

RFC 8259 leaves duplicate names and NaN to the parser; two parsers that disagree are an attack.
Both are refused here. Nothing is canonicalised: signatures cover the bytes as sent.
"""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

from .errors import MalformedError

MAX_DEPTH = 8

_NOT_STRUCTURE = bytes(set(range(256)) - set(b'[]{}"'))
_ALIKE = bytes.maketrans(b"{}", b"[]")  # a level is a level; which bracket, the parser checks


def check_depth(data: bytes, *, limit: int = MAX_DEPTH) -> None:
    """Refuse JSON text that nests deeper than `limit`, without parsing it.

    Raises:
        MalformedError: too deep, or brackets that are not balanced.
    """
    if b"\\" in data:
        # In time that is linear: whoever is on the path writes what comes here.
        data = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    structure = data.translate(_ALIKE, _NOT_STRUCTURE).replace(b'""', b"")
    # Without escapes, every second piece between quotation marks is a string.
    brackets = b"".join(structure.split(b'"')[::2])
    for _ in range(limit):
        if not brackets:
            return
        # Each pass removes the innermost level of every branch.
        brackets = brackets.replace(b"[]", b"")
    if brackets:
        raise MalformedError(f"expected JSON of at most {limit} levels")


def parse_object(data: bytes) -> dict[str, Any]:
    """Return the JSON object in `data`.

    Raises:
        MalformedError: not UTF-8, not JSON, not an object, a duplicate member name, or a number
            that JSON does not have. The depth is checked by `check_depth` before.
    """
    try:
        value = _decode(data.decode("utf-8"))
    except (UnicodeDecodeError, ValueError, RecursionError) as exc:
        raise MalformedError(f"expected JSON: {exc}") from exc
    if not isinstance(value, dict):
        raise MalformedError(f"expected a JSON object, found {type(value).__name__}")
    return value


def dump(value: object) -> bytes:
    """Return `value` as compact JSON in ASCII."""
    return _encode(value).encode("ascii")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a member name stands twice in one object")
    return found


def _finite(number: str) -> float:
    value = float(number)
    if not math.isfinite(value):
        raise ValueError("a number is too large")
    return value


def _no_constants(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


# Made once: to make one takes longer than a small document.
_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode
_decode = json.JSONDecoder(
    object_pairs_hook=_no_duplicates, parse_constant=_no_constants, parse_float=_finite
).decode
