"""The documents of the cases: good ones by default, and any change that a case wants."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from .keys import b64url, compact_json, fingerprint, jwk, kid, sign

T0 = 1_795_435_200  # 2026-11-23T12:00:00Z, the issue of everything unless said otherwise
MINUTE, HOUR, DAY = 60, 3600, 86_400
INSTALLATION = kid("installation 1")
ABSENT: Any = object()  # as a member's value: leave the member out

Payload = Mapping[str, Any] | bytes


def changed(members: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members with some replaced, added, or (`ABSENT`) left out."""
    return {name: value for name, value in {**members, **changes}.items() if value is not ABSENT}


def header(typ: str, by: str, changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the protected header of a document."""
    return changed({"alg": "ES256", "kid": kid(by), "typ": typ}, changes or {})


def compact(
    payload: Payload, *, typ: str, by: str, head: Mapping[str, Any] | bytes | None = None
) -> str:
    """Return a compact JWS; `head` replaces members of the header, or the header's bytes."""
    if not isinstance(head, bytes):
        head = compact_json(header(typ, by, head))
    data = payload if isinstance(payload, bytes) else compact_json(payload)
    signing_input = f"{b64url(head)}.{b64url(data)}"
    return f"{signing_input}.{b64url(sign(by, signing_input.encode()))}"


# -- root ----------------------------------------------------------------------------------------


def role(*names: str, threshold: Any = 1, **changes: Any) -> dict[str, Any]:
    """Return a role with the keys of these names."""
    return changed({"keys": [jwk(name) for name in names], "threshold": threshold}, changes)


def root_payload(version: int = 1, **changes: Any) -> dict[str, Any]:
    """Return the payload of root N, whose keys are `root N`, `config N`, `override N`."""
    members = {
        "account": "acme",
        "version": version,
        "issued": T0,
        "expires": T0 + 3 * 365 * DAY,
        "roles": roles(version),
    }
    return changed(members, changes)


def roles(version: int = 1, **changes: Any) -> dict[str, Any]:
    """Return the roles of root N, with some replaced."""
    members = {name: role(f"{name} {version}") for name in ("root", "config", "override")}
    return changed(members, changes)


def signature(payload: bytes, by: str, head: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return one element of `signatures`."""
    protected = b64url(compact_json(header("livepin-root+jws", by, head)))
    value = sign(by, f"{protected}.{b64url(payload)}".encode())
    return {"protected": protected, "signature": b64url(value)}


def general(payload: bytes, signatures: Sequence[Mapping[str, Any]], **members: Any) -> str:
    """Return a general JSON JWS."""
    found = {"payload": b64url(payload), "signatures": list(signatures), **members}
    return compact_json(found).decode()


def root(version: int = 1, *, by: Sequence[str] | None = None, **changes: Any) -> str:
    """Return root N, signed by `root N-1` and `root N` unless `by` names others."""
    payload = compact_json(root_payload(version, **changes))
    by = by or [f"root {n}" for n in (version - 1, version) if n > 0]
    return general(payload, [signature(payload, name) for name in by])


# -- config --------------------------------------------------------------------------------------


def pins(*names: str) -> list[dict[str, Any]]:
    """Return a pin set of the fingerprints of these names."""
    return [{"sha256": fingerprint(name)} for name in names]


def domain(
    pattern: str = "api.example.com", pin_set: str = "api", **changes: Any
) -> dict[str, Any]:
    """Return a domain."""
    return changed({"pattern": pattern, "pin_set": pin_set}, changes)


def delivery(**changes: Any) -> dict[str, Any]:
    """Return where documents come from."""
    members = {
        "urls": ["https://pins.example.net"],
        "pins": pins("delivery current", "delivery next"),
        "recovery_urls": ["http://recovery.example.org/livepin"],
    }
    return changed(members, changes)


def config_payload(version: int = 1, **changes: Any) -> dict[str, Any]:
    """Return the payload of a config that pins api.example.com and *.wild.example.com."""
    members = {
        "account": "acme",
        "stream": "main",
        "root_version": 1,
        "version": version,
        "issued": T0,
        "expires": T0 + 14 * DAY,
        "pin_sets": {"api": pins("api current", "api next")},
        "domains": [domain(), domain("*.wild.example.com")],
        "delivery": delivery(),
    }
    return changed(members, changes)


def config(
    version: int = 1,
    *,
    by: str | None = None,
    head: Mapping[str, Any] | bytes | None = None,
    **changes: Any,
) -> str:
    """Return a config, signed by `config N` of the root N that it names unless `by` says other."""
    payload = config_payload(version, **changes)
    by = by or f"config {payload.get('root_version')}"
    return compact(payload, typ="livepin-config+jws", by=by, head=head)


def config_of(payload: Payload, *, by: str = "config 1") -> str:
    """Return a config with exactly this payload."""
    return compact(payload, typ="livepin-config+jws", by=by)


# -- override ------------------------------------------------------------------------------------


def override_payload(version: int = 100, **changes: Any) -> dict[str, Any]:
    """Return the payload of an override that only reports mismatches of api.example.com."""
    members = {
        "account": "acme",
        "installation": INSTALLATION,
        "root_version": 1,
        "version": version,
        "issued": T0,
        "expires": T0 + DAY,
        "pin_sets": {"pentest": pins("pentest")},
        "domains": [domain(pin_set="pentest", mode="report")],
    }
    return changed(members, changes)


def override(version: int = 100, *, by: str | None = None, **changes: Any) -> str:
    """Return an override."""
    payload = override_payload(version, **changes)
    by = by or f"override {payload['root_version']}"
    return compact(payload, typ="livepin-override+jws", by=by)


def override_of(payload: Payload, *, by: str = "override 1") -> str:
    """Return an override with exactly this payload."""
    return compact(payload, typ="livepin-override+jws", by=by)


# -- bootstrap -----------------------------------------------------------------------------------


def bootstrap(root_raw: str | None = None, config_raw: str | None = None) -> str:
    """Return a bootstrap file: root 1 and config 1 unless others are given."""
    members = {
        "format": "livepin-bootstrap/1",
        "root": json.loads(root_raw or root()),
        "config": config_raw or config(),
    }
    return compact_json(members).decode()
