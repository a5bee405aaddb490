"""Rule 2: the header, and the form of the JWS."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from . import documents as d
from .case import Case, accepted, config_case, refused, start, take
from .documents import ABSENT
from .keys import b64url, compact_json, jwk, kid

_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def cases() -> Iterator[Case]:
    """Give the cases."""
    yield config_case(2, "plain", "A config as it should be", d.config(2), accepted(1, 2))
    yield config_case(
        2,
        "unknown-parameter",
        "A protected parameter that means nothing to us is ignored",
        d.config(2, head={"x-trace": "1"}),
        accepted(1, 2),
    )
    yield from _headers()
    yield from _forms()
    yield from _roots()


def _headers() -> Iterator[Case]:
    changes: list[tuple[str, str, dict[str, Any]]] = [
        ("alg-hs256", "alg is a MAC", {"alg": "HS256"}),
        ("alg-rs256", "alg is RSA", {"alg": "RS256"}),
        ("alg-es384", "alg is ECDSA on another curve", {"alg": "ES384"}),
        ("alg-lower-case", "alg is compared exactly", {"alg": "es256"}),
        ("alg-list", "alg is a list", {"alg": ["ES256"]}),
        ("alg-absent", "There is no alg", {"alg": ABSENT}),
        ("typ-of-a-root", "typ is that of another document", {"typ": "livepin-root+jws"}),
        ("typ-of-a-token", "typ is that of a token", {"typ": "JWT"}),
        ("typ-upper-case", "typ is compared exactly", {"typ": "LIVEPIN-CONFIG+JWS"}),
        ("typ-absent", "There is no typ", {"typ": ABSENT}),
        ("kid-absent", "There is no kid", {"kid": ABSENT}),
        ("kid-number", "kid is a number", {"kid": 1}),
        ("kid-unknown", "kid names a key that no root has", {"kid": kid("stranger")}),
        ("kid-of-another-role", "kid names a key of the role override", {"kid": kid("override 1")}),
        ("crit", "crit is there", {"crit": ["exp"], "exp": 1}),
        ("jwk", "The header brings its own key", {"jwk": jwk("config 1")}),
        ("jku", "The header says where its key is", {"jku": "https://evil.example/keys"}),
        ("x5u", "The header says where its certificate is", {"x5u": "https://evil.example/c"}),
        ("x5c", "The header brings its own certificate", {"x5c": ["MIIB"]}),
    ]
    for name, title, change in changes:
        yield config_case(2, name, title, d.config(2, head=change))
    yield config_case(
        2,
        "signed-by-another-role",
        "A good signature by an override key",
        d.config(2, by="override 1"),
    )
    head = compact_json(d.header("livepin-config+jws", "config 1"))
    doubled = head[:-1] + b',"alg":"ES256"}'
    yield config_case(2, "doubled-alg", "alg stands twice", d.config(2, head=doubled))
    yield config_case(2, "header-no-json", "The header is no JSON", d.config(2, head=head[:-1]))
    yield config_case(2, "header-array", "The header is no object", d.config(2, head=b"[]"))
    yield config_case(
        2,
        "header-too-long",
        "A header of over 1024 characters in base64url",
        d.config(2, head={"x": "x" * 800}),
    )


def _forms() -> Iterator[Case]:
    good = d.config(2)
    protected, payload, value = good.split(".")
    none = b64url(compact_json({"alg": "none", "typ": "livepin-config+jws"}))
    yield config_case(2, "alg-none", "alg none, without a signature", f"{none}.{payload}.")
    yield config_case(2, "empty", "No byte at all", "")
    yield config_case(2, "two-parts", "The signature is cut off", f"{protected}.{payload}")
    yield config_case(2, "four-parts", "A part too many", good + ".")
    yield config_case(2, "line-feed", "A line feed at the end", good + "\n")
    yield config_case(2, "padding", "base64url with padding", good + "==")
    yield config_case(2, "plus", "The other base64 alphabet", f"{protected}.{payload}.+{value[1:]}")
    last = _ALPHABET[_ALPHABET.index(value[-1]) + 1]
    yield config_case(
        2,
        "bits-left-over",
        "base64url that is not canonical: bits left over that are not zero",
        good[:-1] + last,
    )
    yield config_case(
        2,
        "general-json",
        "A config in the form of a root",
        d.general(
            compact_json(d.config_payload(2)),
            [d.signature(compact_json(d.config_payload(2)), "config 1")],
        ),
    )


def _roots() -> Iterator[Case]:
    payload = compact_json(d.root_payload(2))
    both = [d.signature(payload, name) for name in ("root 1", "root 2")]
    unprotected = [{**both[0], "header": {"kid": kid("root 1")}}, both[1]]
    flattened = json.dumps({"payload": b64url(payload), **both[0]})
    foreign = [*both, d.signature(payload, "stranger")]
    other_typ = [both[0], d.signature(payload, "root 2", {"typ": "livepin-config+jws"})]
    refusals = [
        ("root-unprotected-header", "An unprotected header", d.general(payload, unprotected)),
        (
            "root-extra-member",
            "A member beside payload and signatures",
            d.general(payload, both, x=1),
        ),
        ("root-flattened", "The flattened JSON serialisation", flattened),
        ("root-no-signatures", "An empty list of signatures", d.general(payload, [])),
        ("root-33-signatures", "33 signatures", d.general(payload, both[:1] * 33)),
        ("root-foreign-kid", "One signature by a key of neither root", d.general(payload, foreign)),
        ("root-typ", "One header with another typ", d.general(payload, other_typ)),
        ("root-compact", "A root in the form of a config", _compact_root(payload)),
    ]
    expect = accepted(2, 1, config_root=1)
    steps = [start(), take("root", d.general(payload, both), expect)]
    yield Case(rule=2, name="root-plain", title="A root as it should be", steps=steps)
    for name, title, raw in refusals:
        yield Case(rule=2, name=name, title=title, steps=[start(), take("root", raw, refused(2))])


def _compact_root(payload: bytes) -> str:
    return d.compact(payload, typ="livepin-root+jws", by="root 1")
