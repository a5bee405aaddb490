"""CBOR as evidence uses it (RFC 8949): bounded, and written in the one way that there is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

import cbor2
from livepin.errors import MalformedError

MAX_DEPTH = 4


class _NoTags(Mapping[int, Any]):
    """Refuses every tag: cbor2 would make dates, expressions and huge numbers of them."""

    def __getitem__(self, tag: int) -> NoReturn:
        raise cbor2.CBORDecodeError(f"tag {tag}")

    def __iter__(self) -> Iterator[int]:
        return iter(())

    def __len__(self) -> int:
        return 0


def parse(raw: bytes) -> dict[str, Any]:
    """Return the map in `raw`, whose size the caller has bounded.

    Raises:
        MalformedError: no map of texts, nested too deep, a key twice, a tag, an indefinite length,
            or a byte more than it takes to write what is in it.
    """
    try:
        found = cbor2.loads(
            raw,
            max_depth=MAX_DEPTH,
            allow_indefinite=False,
            allow_duplicate_keys=False,
            strict_hashable_types=True,  # no keys with equal hashes by the thousand
            semantic_decoders=_NoTags(),
        )
        again = cbor2.dumps(found)
    except cbor2.CBORError as exc:
        raise MalformedError("expected CBOR") from exc
    # The one way of RFC 8949, section 4.1, which leaves no byte behind it either.
    if again != raw:
        raise MalformedError("expected CBOR in its shortest form, and nothing after it")
    if not isinstance(found, dict) or not all(isinstance(each, str) for each in found):
        raise MalformedError("expected a CBOR map with texts as keys")
    return found
