"""Rule 3: signatures, and thresholds of distinct keys."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from typing import Any

from . import documents as d
from .case import Case, accepted, config_case, refused, start, start_refused, take
from .keys import b64url, compact_json, kid, sign

_TRIO = ("root 1", "root 1b", "root 1c")


def cases() -> Iterator[Case]:
    """Give the cases."""
    yield from _configs()
    yield from _roots()
    yield from _thresholds()


def _configs() -> Iterator[Case]:
    signing_input, _, value = d.config(2).rpartition(".")
    twin = sign("config 1", signing_input.encode(), twin=True)
    yield config_case(
        3,
        "twin-signature",
        "(r, n-s) verifies as (r, s) does; nobody may rely on either",
        f"{signing_input}.{b64url(twin)}",
        accepted(1, 2),
    )
    protected, _, _ = d.config(2).split(".")
    other = d.config(3).split(".")[1]
    decoded = base64.urlsafe_b64decode(value + "==")
    wrong = [
        ("tampered-payload", "Another payload under the signature", f"{protected}.{other}.{value}"),
        ("no-signature", "An empty signature", signing_input + "."),
        ("short-signature", "A signature of 63 bytes", f"{signing_input}.{b64url(decoded[:63])}"),
        ("long-signature", "A signature of 65 bytes", f"{signing_input}.{b64url(decoded + b'0')}"),
        ("zero-signature", "r and s are zero", f"{signing_input}.{b64url(bytes(64))}"),
        ("huge-signature", "r and s are above n", f"{signing_input}.{b64url(bytes([255] * 64))}"),
        (
            "swapped-signature",
            "s||r instead of r||s",
            f"{signing_input}.{b64url(decoded[32:] + decoded[:32])}",
        ),
        (
            "der-signature",
            "A signature in DER instead of r||s",
            f"{signing_input}.{b64url(_der(decoded))}",
        ),
        (
            "signed-by-a-stranger",
            "Our kid, and the signature of another key",
            d.config(2, by="stranger", head={"kid": kid("config 1")}),
        ),
    ]
    for name, title, raw in wrong:
        yield config_case(3, name, title, raw)
    yield Case(
        rule=3,
        name="bootstrap-tampered-config",
        title="A bootstrap whose config has a wrong signature",
        steps=[start_refused(3, d.bootstrap(config_raw=f"{protected}.{other}.{value}"))],
    )


def _der(value: bytes) -> bytes:
    parts = b""
    for number in (value[:32], value[32:]):
        number = number.lstrip(b"\0")
        number = b"\0" + number if number[0] & 0x80 else number
        parts += bytes([2, len(number)]) + number
    return bytes([0x30, len(parts)]) + parts


def _root_case(
    name: str, title: str, by: Sequence[str], expect: dict[str, Any], **changes: Any
) -> Case:
    steps = [start(), take("root", d.root(2, by=by, **changes), expect)]
    return Case(rule=3, name=name, title=title, steps=steps)


def _roots() -> Iterator[Case]:
    good = accepted(2, 1, config_root=1)
    yield _root_case("root-by-both", "Signed by old and new", ("root 1", "root 2"), good)
    yield _root_case("root-by-the-old", "Signed by the old key alone", ("root 1",), refused(3))
    yield _root_case("root-by-the-new", "Signed by the new key alone", ("root 2",), refused(3))
    kept = d.roles(2, root=d.role("root 1"))
    yield _root_case(
        "root-key-kept", "One signature serves both roots", ("root 1",), good, roles=kept
    )
    steps = [start_refused(3, d.bootstrap(root_raw=d.root(1, by=("stranger",))))]
    title = "A bootstrap whose root its own key has not signed"
    yield Case(rule=3, name="bootstrap-unsigned-root", title=title, steps=steps)


def _thresholds() -> Iterator[Case]:
    """Give cases of a root 1 whose role needs two of three keys."""
    first = d.root(1, by=_TRIO[:2], roles=d.roles(root=d.role(*_TRIO, threshold=2)))
    begin = start(d.bootstrap(root_raw=first))
    payload = compact_json(d.root_payload(2))
    one, two, three = (d.signature(payload, name) for name in _TRIO)
    new = d.signature(payload, "root 2")
    bad = {**three, "signature": two["signature"]}
    good = accepted(2, 1, config_root=1)
    table = [
        ("two-of-three", "Two keys of three", [one, two, new], good),
        ("all-three", "More keys than needed", [three, two, one, new], good),
        ("one-of-three", "One key of three", [one, new], refused(3)),
        ("one-key-twice", "The same signature twice counts once", [one, one, new], refused(3)),
        (
            "one-key-two-signatures",
            "Two different signatures of one key count once",
            [one, d.signature(payload, _TRIO[0], {"x": 1}), new],
            refused(3),
        ),
        (
            "one-wrong-among-enough",
            "Enough good signatures do not excuse a wrong one",
            [one, two, bad, new],
            refused(3),
        ),
    ]
    for name, title, signatures, expect in table:
        steps = [begin, take("root", d.general(payload, signatures), expect)]
        yield Case(rule=3, name=name, title=title, steps=steps)
    short = d.root(1, by=_TRIO[:1], roles=d.roles(root=d.role(*_TRIO, threshold=2)))
    title = "A bootstrap whose root lacks a signature"
    steps = [start_refused(3, d.bootstrap(root_raw=short))]
    yield Case(rule=3, name="bootstrap-below-threshold", title=title, steps=steps)
