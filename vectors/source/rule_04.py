"""Rule 4: what a payload may say, and what of it may be missing or new."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

from . import documents as d
from .case import API, NOW, WILD, Case, Found, Raw, accepted, refusals, start, start_refused, take
from .der import certificate, ec_spki, pem
from .documents import ABSENT, DAY, T0
from .keys import b64url, compact_json, fingerprint, jwk, kid

MAX_VERSION = 2**53 - 1
MAX_TIME = 253_402_300_799  # 9999-12-31T23:59:59Z
_API = "api.example.com"

_CA = pem(certificate(ec_spki("ca"), subject="Test CA"))


def cases() -> Iterator[Case]:
    """Give the cases."""
    yield from _json()
    yield from _numbers()
    yield from _audit()
    yield from _critical()
    yield from _unknown()
    yield from _pins()
    yield from _domains()
    yield from _delivery()
    yield from _roots()
    yield from _overrides()


def _taken(name: str, title: str, raws: Mapping[str, tuple[Raw, Mapping[str, Any]]]) -> Case:
    """A case of configs that are all taken, one after the other: each with its expected state."""
    steps = [
        take("config", raw, accepted(1, version, **expect), note=note)
        for version, (note, (raw, expect)) in enumerate(raws.items(), start=2)
    ]
    return Case(rule=4, name=name, title=title, steps=[start(), *steps])


def _refused(name: str, title: str, changes: Mapping[str, Mapping[str, Any]]) -> Case:
    """A case of configs that are refused for one changed member each."""
    raws = {
        note: d.config_of(d.changed(d.config_payload(2), change))
        for note, change in changes.items()
    }
    return refusals(4, name, title, "config", raws)


def _member(name: str, title: str, member: str, values: Mapping[str, Any]) -> Case:
    return _refused(name, title, {note: {member: value} for note, value in values.items()})


# -- JSON ----------------------------------------------------------------------------------------


def _json() -> Iterator[Case]:
    good = compact_json(d.config_payload(2))
    spaced = b" \r\n\t" + good.replace(b":", b" : ") + b"\n"
    spaced = spaced.replace(b"https : ", b"https:").replace(b"http : ", b"http:")
    escaped = compact_json(d.config_payload(3)).replace(b'"acme"', b'"\\u0061cme"')
    unicode = compact_json(d.config_payload(4))[:-1] + ',"x":"ü€😀\\u0000"}'.encode()
    yield _taken(
        "json-spellings",
        "JSON has many spellings; the bytes need not be in a canonical one",
        {
            "white space": (d.config_of(spaced), {}),
            "a member in an escaped spelling": (d.config_of(escaped), {}),
            "UTF-8 beyond ASCII": (d.config_of(unicode), {}),
        },
    )
    bad: dict[str, bytes] = {
        "no byte": b"",
        "no JSON": b"acme",
        "a string": b'"acme"',
        "an array": b"[" + good + b"]",
        "null": b"null",
        "UTF-8 with a byte order mark": b"\xef\xbb\xbf" + good,
        "UTF-16": good.decode().encode("utf-16-le"),
        "a byte that is not UTF-8": good.replace(b'"acme"', b'"acm\xe9"'),
        "an overlong form in UTF-8": good[:-1] + b',"x":"\xc0\xaf"}',
        "a comma too many": good[:-1] + b",}",
        "a comment": good + b"// new",
        "two values": good + b"{}",
        "single quotes": good.replace(b'"', b"'"),
        "a control character in a string": good[:-1] + b',"x":"\n"}',
        "NaN": good[:-1] + b',"x":NaN}',
        "Infinity": good[:-1] + b',"x":-Infinity}',
        "a number too large for binary64": good[:-1] + b',"x":1e999}',
        "a number with a leading zero": good[:-1] + b',"x":01}',
    }
    raws = {note: d.config_of(data) for note, data in bad.items()}
    yield refusals(4, "json-malformed", "No JSON object in UTF-8", "config", raws)
    doubled = {
        "the same value": good[:-1] + b',"account":"acme"}',
        "another value": good[:-1] + b',"version":3}',
        "in another spelling": good[:-1] + b',"\\u0076ersion":2}',
        "of a domain": good.replace(b'"pattern":', b'"mode":"off","mode":"enforce","pattern":', 1),
        "of a pin": good.replace(b'"sha256":', b'"sha256":"","sha256":', 1),
        "a pin set": good.replace(b'"pin_sets":{', b'"pin_sets":{"api":[],'),
        "inside of an unknown member": good[:-1] + b',"x":[{"y":1,"y":1}]}',
    }
    raws = {note: d.config_of(data) for note, data in doubled.items()}
    yield refusals(4, "duplicate-names", "A member name stands twice", "config", raws)


# -- numbers, times, names -----------------------------------------------------------------------


def _numbers() -> Iterator[Case]:
    for name, low, high in (("refresh_interval", 1, 7 * DAY), ("stale_grace", 0, 365 * DAY)):
        seen = [{"refresh_interval": n} if name == "refresh_interval" else {} for n in (low, high)]
        yield _taken(
            name.replace("_", "-"),
            f"{name} at both of its bounds",
            {
                "the least": (d.config(2, **{name: low}), seen[0]),
                "the most": (d.config(3, **{name: high}), seen[1]),
                "absent": (d.config(4), {}),
            },
        )
        outside = {"too little": low - 1, "too much": high + 1, "text": "300", "null": None}
        yield _member(
            f"{name}-refused".replace("_", "-"), f"{name} outside of its bounds", name, outside
        )
    steps = [start(), take("config", d.config(MAX_VERSION), accepted(1, MAX_VERSION))]
    yield Case(rule=4, name="version-largest", title="Version 2^53-1", steps=steps)
    yield _member(
        "version",
        "A version is an integer from 1 to 2^53-1",
        "version",
        {
            "absent": ABSENT,
            "0": 0,
            "negative": -1,
            "2^53": MAX_VERSION + 1,
            "with a fraction": 2.0,
            "text": "2",
            "true": True,
            "null": None,
            "a list": [2],
        },
    )
    exponent = compact_json(d.config_payload(2)).replace(b'"version":2', b'"version":2e0', 1)
    raws = {"with an exponent": d.config_of(exponent)}
    yield refusals(4, "version-exponent", "A version is an integer as text", "config", raws)
    yield _member(
        "root-version",
        "So is root_version",
        "root_version",
        {"absent": ABSENT, "0": 0, "2^53": MAX_VERSION + 1, "text": "1", "true": True},
    )
    times = {
        "absent": ABSENT,
        "negative": -1,
        "after the year 9999": MAX_TIME + 1,
        "with a fraction": float(T0),
        "text": "2026-11-23T12:00:00Z",
        "true": True,
        "null": None,
    }
    yield _member("issued", "A time is seconds since 1970, an integer", "issued", times)
    yield _member("expires", "So is the end", "expires", times)
    yield _taken(
        "expires-at-bounds",
        "Both bounds of a time",
        {
            "the year 9999": (d.config(2, expires=MAX_TIME), {}),
            "1970": (d.config(3, issued=0, expires=0), {"stale": True, "past_grace": True}),
        },
    )
    names = {
        "absent": ABSENT,
        "empty": "",
        "upper case": "ACME",
        "64 characters": "a" * 64,
        "a hyphen at the end": "acme-",
        "a hyphen at the start": "-acme",
        "a dot": "ac.me",
        "a slash": "../acme",
        "a line feed": "acme\n",
        "not ASCII": "acmé",
        "a number": 7,
        "null": None,
    }
    yield _member("account", "An account has a plain name", "account", names)
    yield _member("stream", "So has a stream", "stream", names)


def _audit() -> Iterator[Case]:
    head = b64url(hashlib.sha256(b"an entry").digest())
    yield _taken(
        "audit",
        "The head of the audit log may be there, and changes nothing",
        {
            "a digest": (d.config(2, audit=head), {}),
            "another one": (d.config(3, audit=b64url(bytes(32))), {}),
            "absent again": (d.config(4), {}),
            "as a critical member": (d.config(5, audit=head, critical=["audit"]), {}),
        },
    )
    values = {
        "empty": "",
        "31 bytes": b64url(bytes(31)),
        "33 bytes": b64url(bytes(33)),
        "with padding": head + "=",
        "base64": "+" + head[1:],
        "in hexadecimal": hashlib.sha256(b"an entry").hexdigest(),
        "bits left over": head[:-1] + "B",
        "a line feed at the end": head + "\n",
        "not ASCII": "é" + head[1:],
        "a number": 1,
        "a list": [head],
        "null": None,
    }
    yield _member("audit-refused", "audit is base64url of 32 bytes", "audit", values)


# -- critical and unknown members ----------------------------------------------------------------


def _critical() -> Iterator[Case]:
    pin = {"sha256": fingerprint("api current")}
    yield _taken(
        "critical-known",
        "critical names members that we know, there or not",
        {
            "empty": (d.config(2, critical=[]), {}),
            "a member": (d.config(3, critical=["domains"]), {}),
            "itself": (d.config(4, critical=["critical"]), {}),
            "of a domain": (
                d.config(5, domains=[d.domain(critical=["stale"]), d.domain(WILD.pattern)]),
                {},
            ),
            "of delivery": (d.config(6, delivery=d.delivery(critical=["ca"])), {}),
            "of a pin": (
                d.config(7, pin_sets={"api": [{**pin, "critical": ["not_after"]}]}),
                {"lookups": {_API: Found(pattern=_API, pins=["api current"])}},
            ),
        },
    )
    deep = {"critical": ["new"], "new": 1}
    yield _refused(
        "critical-unknown",
        "critical names a member that we do not know",
        {
            "of the config": deep,
            "a member that is not there": {"critical": ["new"]},
            "one of several": {"critical": ["domains", "new"]},
            "a member of another object": {"critical": ["pattern"]},
            "of a domain": {"domains": [d.domain(**deep)]},
            "of delivery": {"delivery": d.delivery(**deep)},
            "of a pin": {"pin_sets": {"api": [{**pin, **deep}]}},
            "of a pin that no domain uses": {
                "pin_sets": {"api": d.pins("api current"), "b": [{**pin, **deep}]}
            },
            "of a delivery pin": {"delivery": d.delivery(pins=[{**pin, **deep}])},
        },
    )
    yield _member(
        "critical-malformed",
        "critical is a list of names",
        "critical",
        {"null": None, "text": "domains", "an object": {}, "a list of numbers": [1]},
    )


def _unknown() -> Iterator[Case]:
    pins = [{**pin, "label": "main"} for pin in d.pins("api current", "api next")]
    yield _taken(
        "unknown-members",
        "Unknown members are ignored, whatever they are",
        {
            "of the config": (d.config(2, x=None, y=[{"z": 1.5}]), {}),
            "of a domain": (d.config(3, domains=[d.domain(x=1), d.domain(WILD.pattern)]), {}),
            "of a pin": (d.config(4, pin_sets={"api": pins}), {}),
            "of delivery": (d.config(5, delivery=d.delivery(mode="off")), {}),
        },
    )
    for value, mode in (
        ("report", "report"),
        ("off", "off"),
        ("audit", "enforce"),
        ("", "enforce"),
    ):
        found = Found(pattern=_API, mode=mode)
        name = {"audit": "unknown", "": "empty"}.get(value, value)
        yield _taken(
            f"mode-{name}",
            f"The mode {value!r} means {mode}",
            {"": (d.config(2, domains=[d.domain(mode=value)]), {"lookups": {_API: found}})},
        )


# -- pins ----------------------------------------------------------------------------------------


def _pins() -> Iterator[Case]:
    new = {"sha512": "A" * 86, "label": "of the future"}
    one = Found(pattern=_API, pins=["api current"])
    none = Found(pattern=_API, pins=[])
    current = d.pins("api current")
    later = [{**current[0], "not_before": NOW + 1}, {**current[0], "not_after": NOW}]
    within = [{**current[0], "not_before": NOW, "not_after": NOW + 1}]
    yield _taken(
        "pins",
        "Pins of an unknown algorithm never match, and limits in time hold",
        {
            "beside a known one": (
                d.config(2, pin_sets={"api": [new, *current]}),
                {"lookups": {_API: one}},
            ),
            "alone: nothing matches": (
                d.config(3, pin_sets={"api": [new]}),
                {"lookups": {_API: none}},
            ),
            "without any member": (d.config(4, pin_sets={"api": [{}]}), {"lookups": {_API: none}}),
            "not yet, and no longer": (
                d.config(5, pin_sets={"api": later}),
                {"lookups": {_API: none}},
            ),
            "from its first second to its last": (
                d.config(6, pin_sets={"api": within}),
                {"lookups": {_API: one}},
            ),
            "the same key twice": (
                d.config(7, pin_sets={"api": later + current}),
                {"lookups": {_API: one}},
            ),
        },
    )
    text = fingerprint("api current")
    raw = base64.b64decode(text)
    values = {
        "empty": "",
        "as sha256/BASE64": f"sha256/{text}",
        "base64url": b64url(b"\xff" * 32) + "=",
        "without padding": text[:-1],
        "in hexadecimal": raw.hex(),
        "31 bytes": base64.b64encode(raw[:31]).decode(),
        "33 bytes": base64.b64encode(raw + b"\0").decode(),
        "a line feed at the end": text + "\n",
        "white space inside": f"{text[:20]} {text[20:]}",
        "bits left over": "A" * 42 + "B=",
        "a number": 1,
        "null": None,
    }
    yield _refused(
        "pin-fingerprint",
        "sha256 is canonical base64 of 32 bytes",
        {note: {"pin_sets": {"api": [{"sha256": value}]}} for note, value in values.items()},
    )
    limits = {"text": "2026-11-23", "null": None, "negative": -1, "with a fraction": 1.5}
    for member in ("not_before", "not_after"):
        yield _refused(
            f"pin-{member}".replace("_", "-"),
            f"{member} is a time",
            {
                note: {"pin_sets": {"api": [{"sha256": text, member: value}]}}
                for note, value in limits.items()
            },
        )
    yield _refused(
        "pin-sets",
        "A pin set is a list of at least one pin",
        {
            "an empty one": {"pin_sets": {"api": []}},
            "an empty one that no domain uses": {
                "pin_sets": {"api": d.pins("api current"), "b": []}
            },
            "no list": {"pin_sets": {"api": {"sha256": text}}},
            "null": {"pin_sets": {"api": None}},
            "pins as text": {"pin_sets": {"api": [f"sha256/{text}"]}},
            "a pin as null": {"pin_sets": {"api": [None]}},
            "pin_sets as a list": {"pin_sets": [d.pins("api current")]},
            "pin_sets as null": {"pin_sets": None},
        },
    )


# -- domains -------------------------------------------------------------------------------------


def _domains() -> Iterator[Case]:
    everything = d.domain(mode="report", token=True, stale="refuse")
    yield _taken(
        "domains",
        "Members of a domain, and what they are when absent",
        {
            "all of them": (
                d.config(2, domains=[everything]),
                {"lookups": {_API: Found(pattern=_API, mode="report", token=True, stale="refuse")}},
            ),
            "an unknown stale means enforce": (
                d.config(3, domains=[d.domain(stale="close")]),
                {"lookups": {_API: API}},
            ),
            "two domains, one pin set": (
                d.config(4),
                {"lookups": {_API: API, "a.wild.example.com": WILD}},
            ),
            "no domain": (d.config(5, domains=[]), {"lookups": {_API: None}}),
            "domains absent": (d.config(6, domains=ABSENT), {"lookups": {_API: None}}),
            "domains and pin sets absent": (
                d.config(7, domains=ABSENT, pin_sets=ABSENT),
                {"lookups": {_API: None}},
            ),
            "a pin set that no domain uses": (
                d.config(8, pin_sets={"api": d.pins("api current"), "b": d.pins("b")}),
                {"lookups": {_API: Found(pattern=_API, pins=["api current"])}},
            ),
        },
    )
    patterns = {
        "absent": ABSENT,
        "empty": "",
        "upper case": "API.example.com",
        "a trailing dot": "api.example.com.",
        "a U-label": "bücher.example",
        "every host": "*",
        "a wildcard before a single label": "*.com",
        "a wildcard inside": "api.*.example.com",
        "half a wildcard": "a*.example.com",
        "two wildcards": "*.*.example.com",
        "a wildcard before an address": "*.192.0.2.1",
        "an address that is not canonical": "2001:DB8::1",
        "an address in brackets": "[2001:db8::1]",
        "an address of three numbers": "192.0.513",
        "a port": "api.example.com:443",
        "a URL": "https://api.example.com",
        "white space": " api.example.com",
        "a number": 1,
        "null": None,
    }
    yield _refused(
        "pattern",
        "A pattern stands in its canonical form",
        {note: {"domains": [d.domain(pattern=value)]} for note, value in patterns.items()},
    )
    for member, values in {
        "pin_set": {"absent": ABSENT, "unknown": "other", "a list": ["api"], "null": None},
        "mode": {"a number": 0, "false": False, "null": None},
        "token": {"text": "true", "a number": 1, "null": None},
        "stale": {"true": True, "null": None},
    }.items():
        yield _refused(
            f"domain-{member}".replace("_", "-"),
            f"{member} of a domain",
            {note: {"domains": [d.domain(**{member: value})]} for note, value in values.items()},
        )
    yield _refused(
        "domains-refused",
        "Domains are a list of objects, each pattern once",
        {
            "a pattern twice": {"domains": [d.domain(), d.domain(mode="off")]},
            "domains as an object": {"domains": {_API: "api"}},
            "domains as null": {"domains": None},
            "a domain as text": {"domains": [_API]},
        },
    )


# -- delivery ------------------------------------------------------------------------------------


def _delivery() -> Iterator[Case]:
    good = {
        "a port and a path": ["https://pins.example.net:8443/livepin"],
        "an address": ["https://192.0.2.1", "https://[2001:db8::1]:443/"],
        "sixteen": [f"https://pins{n}.example.net" for n in range(16)],
        "2048 characters": ["https://pins.example.net/" + "a" * 2023],
    }
    yield _taken(
        "delivery-urls",
        "Delivery URLs",
        {
            note: (d.config(version, delivery=d.delivery(urls=urls)), {})
            for version, (note, urls) in enumerate(good.items(), start=2)
        },
    )
    yield _taken(
        "recovery-urls",
        "Recovery URLs may be absent, and may be HTTP",
        {
            "absent": (d.config(2, delivery=d.delivery(recovery_urls=ABSENT)), {}),
            "none": (d.config(3, delivery=d.delivery(recovery_urls=[])), {}),
            "both schemes": (
                d.config(
                    4,
                    delivery=d.delivery(
                        recovery_urls=["http://cdn.example.org", "https://cdn.example.org"]
                    ),
                ),
                {},
            ),
        },
    )
    yield _taken(
        "delivery-ca",
        "A CA of one certificate, or of several with text between them",
        {
            "one": (d.config(2, delivery=d.delivery(ca=_CA)), {}),
            "two": (d.config(3, delivery=d.delivery(ca=f"old:\n{_CA}\nnew:\n{_CA}")), {}),
        },
    )
    bad_urls = {
        "absent": ABSENT,
        "none": [],
        "no list": "https://pins.example.net",
        "null": None,
        "numbers": [1],
        "HTTP": ["http://pins.example.net"],
        "one of several": ["https://pins.example.net", "http://pins.example.net"],
        "an upper-case scheme": ["HTTPS://pins.example.net"],
        "no scheme": ["pins.example.net"],
        "no host": ["https://"],
        "user information": ["https://user@pins.example.net"],
        "a query": ["https://pins.example.net/?x=1"],
        "a fragment": ["https://pins.example.net/#x"],
        "white space": ["https://pins.example.net/a b"],
        "a line feed at the end": ["https://pins.example.net\n"],
        "port 0": ["https://pins.example.net:0"],
        "port 65536": ["https://pins.example.net:65536"],
        "a port without a number": ["https://pins.example.net:"],
        "no host name": ["https://-pins.example.net"],
        "seventeen": [f"https://pins{n}.example.net" for n in range(17)],
        "2049 characters": ["https://pins.example.net/" + "a" * 2024],
    }
    yield _refused(
        "delivery-urls-refused",
        "What is no list of delivery URLs",
        {note: {"delivery": d.delivery(urls=urls)} for note, urls in bad_urls.items()},
    )
    bad_recovery = {"another scheme": ["ftp://cdn.example.org"], "null": None, "text": "x"}
    yield _refused(
        "recovery-urls-refused",
        "What is no list of recovery URLs",
        {note: {"delivery": d.delivery(recovery_urls=urls)} for note, urls in bad_recovery.items()},
    )
    yield _refused(
        "delivery-refused",
        "Delivery is there, and has pins",
        {
            "absent": {"delivery": ABSENT},
            "null": {"delivery": None},
            "a list": {"delivery": []},
            "pins absent": {"delivery": d.delivery(pins=ABSENT)},
            "no pin": {"delivery": d.delivery(pins=[])},
            "a pin as text": {"delivery": d.delivery(pins=["sha256/" + "A" * 43 + "="])},
            "ca as null": {"delivery": d.delivery(ca=None)},
            "ca that is no PEM": {"delivery": d.delivery(ca="MIIB")},
            "ca that is empty": {"delivery": d.delivery(ca="")},
            "ca as a list": {"delivery": d.delivery(ca=[_CA])},
            "ca that is cut off": {"delivery": d.delivery(ca=_CA[:-30])},
            "ca of another PEM kind": {
                "delivery": d.delivery(ca=_CA.replace("CERTIFICATE", "X509 CRL"))
            },
            "ca with one good and one damaged": {
                "delivery": d.delivery(ca=_CA + _CA[:100] + _CA[164:])
            },
        },
    )


# -- roots and overrides -------------------------------------------------------------------------


def _root_case(name: str, title: str, **changes: Any) -> Case:
    steps = [start(), take("root", d.root(2, **changes), accepted(2, 1, config_root=1))]
    return Case(rule=4, name=name, title=title, steps=steps)


def _roots() -> Iterator[Case]:
    new = d.role("token 1")
    yield _root_case("root-unknown-role", "An unknown role", roles=d.roles(2, token=new))
    extra = {"alg": "ES256", "kid": "x", "use": "sig"}
    keys = [{**jwk("config 2"), **extra}]
    roles = d.roles(2, config=d.role(keys=keys))
    yield _root_case("root-jwk-members", "Members of a JWK that are not needed", roles=roles)
    many = [f"root 2 {n}" for n in range(31)]
    roles = d.roles(2, root=d.role("root 2", *many))
    yield _root_case("root-32-keys", "A role of 32 keys", roles=roles)

    good = jwk("config 2")
    short = b64url(base64.urlsafe_b64decode(good["x"] + "=")[1:])
    jwks = {
        "no object": "x",
        "RSA": {"kty": "RSA", "n": "AQAB", "e": "AQAB"},
        "another curve": {**good, "crv": "P-384"},
        "kty absent": d.changed(good, {"kty": ABSENT}),
        "y absent": d.changed(good, {"y": ABSENT}),
        "x of 31 bytes": {**good, "x": short},
        "x with padding": {**good, "x": good["x"] + "="},
        "no point on the curve": {**good, "y": good["x"]},
    }
    bad: dict[str, dict[str, Any]] = {
        f"JWK: {note}": {"roles": d.roles(2, config=d.role(keys=[value]))}
        for note, value in jwks.items()
    }
    trio = ["root 2", "root 2b", "root 2c"]
    for note, role in {
        "no key": d.role(),
        "keys absent": d.role(keys=ABSENT),
        "keys as an object": d.role(keys={}),
        "33 keys": d.role("root 2", *many, "root 2 31"),
        "a key twice": d.role("root 2", "root 2"),
        "threshold 0": d.role("root 2", threshold=0),
        "threshold above the keys": d.role(*trio, threshold=4),
        "threshold absent": d.role("root 2", threshold=ABSENT),
        "threshold as text": d.role("root 2", threshold="1"),
        "threshold true": d.role("root 2", threshold=True),
        "critical": d.role("root 2", critical=["quorum"]),
    }.items():
        bad[f"role root: {note}"] = {"roles": d.roles(2, root=role)}
    for name in ("config", "override"):
        two = d.role(f"{name} 2", f"{name} 2b", threshold=2)
        bad[f"role {name}: threshold 2"] = {"roles": d.roles(2, **{name: two})}
        bad[f"role {name}: absent"] = {"roles": d.roles(2, **{name: ABSENT})}
        bad[f"role {name}: the key of the role root"] = {
            "roles": d.roles(2, **{name: d.role("root 2")})
        }
    bad |= {
        "a key for config and override": {"roles": d.roles(2, override=d.role("config 2"))},
        "roles absent": {"roles": ABSENT},
        "roles as a list": {"roles": []},
        "role root as null": {"roles": d.roles(2, root=None)},
        "account absent": {"account": ABSENT},
        "issued absent": {"issued": ABSENT},
        "expires absent": {"expires": ABSENT},
        "critical": {"critical": ["threshold"]},
    }
    raws = {note: d.root(2, **change) for note, change in bad.items()}
    yield refusals(4, "root-refused", "What is no root", "root", raws)
    first = d.root(1, roles=d.roles(override=d.role("config 1")))
    steps = [start_refused(4, d.bootstrap(root_raw=first))]
    title = "A bootstrap whose root gives one key two roles"
    yield Case(rule=4, name="bootstrap-root", title=title, steps=steps)


def _overrides() -> Iterator[Case]:
    thumbprint = kid("installation 1")
    bad: dict[str, dict[str, Any]] = {
        "installation absent": {"installation": ABSENT},
        "installation too short": {"installation": thumbprint[:-1]},
        "installation too long": {"installation": thumbprint + "A"},
        "installation in base64": {"installation": "+" + thumbprint[1:]},
        "installation as a list": {"installation": [thumbprint]},
        "version 0": {"version": 0},
        "expires absent": {"expires": ABSENT},
        "critical": {"critical": ["stream"]},
        "an empty pin set": {"pin_sets": {"pentest": []}},
        "a pin set of the config": {"domains": [d.domain(pin_set="api")]},
        "a pattern twice": {"domains": [d.domain(pin_set="pentest")] * 2},
    }
    raws = {
        note: d.override_of(d.changed(d.override_payload(), change)) for note, change in bad.items()
    }
    yield refusals(4, "override-refused", "What is no override", "override", raws)
