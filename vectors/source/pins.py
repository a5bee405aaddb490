"""Tables of pins: their text form, and which of them matches a chain."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

from .documents import DAY, T0
from .keys import fingerprint, pin


def tables() -> Iterator[tuple[str, dict[str, Any]]]:
    """Give the name and the content of each table."""
    yield "text", _texts()
    yield "match", _matches()


def _texts() -> dict[str, Any]:
    some = hashlib.sha256(b"livepin").digest()
    text = base64.b64encode(some).decode()
    good = {
        f"sha256/{text}": some.hex(),
        "sha256/" + "A" * 43 + "=": "00" * 32,
        "sha256/" + "/" * 42 + "8=": "ff" * 32,
    }
    bad = [
        "",
        text,
        "sha256/",
        f"SHA256/{text}",
        f"sha256:{text}",
        f"sha1/{text}",
        f" sha256/{text}",
        f"sha256/{text}\n",
        f"sha256/{text[:-1]}",
        f"sha256/{text}=",
        "sha256/" + "A" * 44,
        "sha256/" + "A" * 42 + "B=",
        "sha256/" + "_" * 42 + "8=",
        "sha256/" + "A" * 40 + "=",
        "sha256/" + some.hex(),
    ]
    rows = [{"text": text, "expected": expected} for text, expected in good.items()]
    rows += [{"text": text, "expected": None} for text in bad]
    return {
        "title": "The text form of a pin, and its bytes; null where it is refused",
        "rows": rows,
    }


def _matches() -> dict[str, Any]:
    leaf, issuer, top = "leaf", "issuing CA", "root CA"
    chain = [leaf, issuer, top]
    day = T0 + DAY
    new = {"sha512": "A" * 86}

    def row(
        note: str, pins: Sequence[dict[str, Any]], names: Sequence[str], expected: int | None
    ) -> dict[str, Any]:
        texts = [pin(name) for name in names]
        return {"note": note, "pins": list(pins), "chain": texts, "now": T0, "expected": expected}

    def one(name: str, **limits: int) -> dict[str, Any]:
        return {"sha256": fingerprint(name), **limits}

    rows = [
        row("the leaf", [one(leaf)], chain, 0),
        row("an intermediate", [one(issuer)], chain, 0),
        row("the anchor", [one(top)], chain, 0),
        row("a chain of one", [one(leaf)], [leaf], 0),
        row("none of them", [one("other"), one("backup")], chain, None),
        row("an empty chain", [one(leaf)], [], None),
        row("the second pin", [one("other"), one(leaf)], chain, 1),
        row("leaf first, whatever the order of pins", [one(top), one(leaf)], chain, 1),
        row("an unknown algorithm alone", [new], chain, None),
        row("an unknown algorithm beside a known one", [new, one(leaf)], chain, 1),
        row("not yet", [one(leaf, not_before=T0 + 1)], chain, None),
        row("from now on", [one(leaf, not_before=T0)], chain, 0),
        row("until now", [one(leaf, not_after=T0)], chain, None),
        row("until the next second", [one(leaf, not_after=T0 + 1)], chain, 0),
        row("limits that leave nothing", [one(leaf, not_before=T0, not_after=T0)], chain, None),
        row(
            "the same key twice, the first not in force",
            [one(leaf, not_before=day), one(leaf, not_after=day)],
            chain,
            1,
        ),
        row(
            "the leaf no longer, its issuer still", [one(leaf, not_after=T0), one(issuer)], chain, 1
        ),
    ]
    title = "Which pin matches a verified chain, leaf first, at trusted time; null for a mismatch"
    return {"title": title, "rows": rows}
