"""Rule 1: bounded before parsed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from . import documents as d
from .case import (
    PENTEST,
    Case,
    Raw,
    accepted,
    config_case,
    needs,
    refusals,
    refused,
    repeat,
    start,
    take,
)
from .keys import b64url, compact_json, sign

CONFIG_LIMIT = 8 * 1024 * 1024
ROOT_LIMIT = 256 * 1024
OVERRIDE_LIMIT = 64 * 1024
_SIGNATURE = 86  # characters


def nested(levels: int) -> dict[str, Any]:
    """Return an object of so many levels."""
    return {"a": nested(levels - 1)} if levels > 1 else {}


def padded(payload: dict[str, Any], *, typ: str, by: str, size: int) -> Raw:
    """Return a compact JWS of exactly `size` characters; white space fills the payload."""
    head, room = _header(typ, by, size)
    data = compact_json(payload)
    data += b" " * (-len(data) % 3)
    begin = b64url(data)
    times, rest = divmod(room - len(begin), 4)
    end = b64url(b" " * max(rest - 1, 0))  # 2 characters hold one byte, 3 hold two
    value = b64url(sign(by, f"{head}.{begin}{'ICAg' * times}{end}".encode()))
    return [f"{head}.{begin}", repeat("ICAg", times), f"{end}.{value}"]


def _header(typ: str, by: str, size: int) -> tuple[str, int]:
    """Return a header, and how many characters it leaves for the payload."""
    for filler in ("", "x"):
        head = b64url(compact_json(d.header(typ, by, {"x": filler})))
        room = size - len(head) - 2 - _SIGNATURE
        if room % 4 != 1:  # no base64url is so long
            return head, room
    raise ValueError(size)


def cases() -> Iterator[Case]:
    """Give the cases."""
    large = padded(d.config_payload(2), typ="livepin-config+jws", by="config 1", size=CONFIG_LIMIT)
    yield config_case(1, "config-of-8-mib", "A config of exactly 8 MiB", large, accepted(1, 2))
    yield config_case(
        1,
        "config-over-8-mib",
        "A config of one byte more, signed as it should be",
        padded(d.config_payload(2), typ="livepin-config+jws", by="config 1", size=CONFIG_LIMIT + 1),
    )
    yield config_case(
        1, "rubbish-over-8-mib", "Too many bytes of anything", [repeat("A", CONFIG_LIMIT + 1)]
    )
    for name, title, extra, expect in (
        ("root-of-256-kib", "A root of exactly 256 KiB", 0, accepted(2, 1, config_root=1)),
        ("root-over-256-kib", "A root of one byte more", 1, refused(1)),
    ):
        raw = d.root(2)
        steps = [start(), take("root", [raw, repeat(" ", ROOT_LIMIT - len(raw) + extra)], expect)]
        yield Case(rule=1, name=name, title=title, steps=steps)
    for name, title, extra, expect in (
        (
            "override-of-64-kib",
            "An override of exactly 64 KiB",
            0,
            accepted(1, 1, override=100, lookups={"api.example.com": PENTEST}),
        ),
        ("override-over-64-kib", "An override of one byte more", 1, refused(1)),
    ):
        raw_override = padded(
            d.override_payload(),
            typ="livepin-override+jws",
            by="override 1",
            size=OVERRIDE_LIMIT + extra,
        )
        steps = [start(), take("override", raw_override, expect)]
        yield Case(rule=1, name=name, title=title, steps=steps)
    yield config_case(
        1,
        "payload-of-8-levels",
        "A payload that nests exactly 8 levels deep",
        d.config(2, x=nested(7)),
        accepted(1, 2),
    )
    yield config_case(
        1, "payload-of-9-levels", "A payload that nests 9 levels deep", d.config(2, x=nested(8))
    )
    yield config_case(
        1,
        "brackets-in-strings",
        "Brackets inside of strings are no levels",
        d.config(2, x='[[[[[[[[[["\\"{{{{{{{{{{', y='\\\\"['),
        accepted(1, 2),
    )
    good = compact_json(d.config_payload(2))
    open_ended = {
        "cut off": good[:-1],
        "cut off within a string": good[: good.index(b"acme") + 2],
        "a level more than were opened": good + b"}",
        "a level closed before it is opened": b"}" + good + b"{",
    }
    yield refusals(
        1,
        "payload-not-closed",
        "Levels that do not close, or were never opened, are found by the same look",
        "config",
        {note: d.config_of(data) for note, data in open_ended.items()},
    )
    deep = d.root(2)[:-1] + ',"x":' + "[" * 9 + "]" * 9 + "}"
    yield Case(
        rule=1,
        name="root-of-9-levels",
        title="A root whose JSON serialisation nests too deep",
        steps=[start(), take("root", deep, refused(1))],
    )
    yield Case(
        rule=1,
        name="32-root-steps",
        title="At most 32 roots are fetched in one update; the rest follows in the next",
        steps=[
            start(),
            needs(d.config(2), []),
            needs(d.config(1, root_version=3, by="config 3"), [2, 3]),
            needs(d.config(1, root_version=33, by="config 33"), list(range(2, 34))),
            needs(d.config(1, root_version=2**53 - 1, by="config 34"), list(range(2, 34))),
        ],
    )
