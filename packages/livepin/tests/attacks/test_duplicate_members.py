"""JSON that two parsers read differently: one checks the first member, another uses the last."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from livepin.jose import b64url_encode, sign_general
from livepin.jsontext import dump

if TYPE_CHECKING:
    from conftest import Account, Device


def twice(members: bytes, name: str, value: str) -> bytes:
    """Return an object in which a member stands a second time, first."""
    return b'{"' + name.encode() + b'":' + value.encode() + b"," + members[1:]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("account", '"mallory"'),
        ("version", "99"),
        ("root_version", "1"),
        ("domains", "[]"),
        ("critical", "[]"),
        ("unknown", "1"),
        ("\\u0064omains", "[]"),
    ],
)
def test_a_config_with_a_member_twice_is_refused(
    account: Account, refused, name: str, value: str
) -> None:
    payload = dump(account.config_members(2, critical=[], unknown=2))
    refused(4, account.state().advance_config, account.sign(twice(payload, name, value), "config"))


@pytest.mark.parametrize(
    "nested",
    [
        '{"pattern":"api.example.com","pin_set":"api","mode":"enforce","mode":"off"}',
        '{"pattern":"api.example.com","pin_set":"api","pin_set":"pentest"}',
    ],
)
def test_a_domain_with_a_member_twice_is_refused(account: Account, refused, nested: str) -> None:
    payload = json.dumps(account.config_members(2, domains=["HERE"])).replace('"HERE"', nested)
    refused(4, account.state().advance_config, account.sign(payload.encode(), "config"))


def test_one_pattern_twice_is_refused(account: Account, refused) -> None:
    domains = [
        {"pattern": "api.example.com", "pin_set": "api"},
        {"pattern": "api.example.com", "pin_set": "pentest"},
    ]
    refused(4, account.state().advance_config, account.config(2, domains=domains))


def test_a_pin_set_twice_is_refused(account: Account, refused) -> None:
    pin_sets = json.dumps(account.config_members()["pin_sets"])
    payload = json.dumps(account.config_members(2, pin_sets="HERE"))
    payload = payload.replace('"HERE"', '{"api":[],' + pin_sets[1:])
    refused(4, account.state().advance_config, account.sign(payload.encode(), "config"))


def test_a_root_with_a_role_twice_is_refused(account: Account, refused) -> None:
    payload = dump(account.root_members(2))
    doubled = payload.replace(b'"roles":{', b'"roles":{"config":{"keys":[],"threshold":1},')
    assert doubled != payload
    raw = sign_general(doubled, typ="livepin-root+jws", signers=account.keys["root"][:1])
    refused(4, account.state().advance_root, raw)


def test_a_root_with_two_payloads_or_two_lists_of_signatures_is_refused(
    account: Account, refused
) -> None:
    raw = account.root(2)
    other = b64url_encode(dump(account.root_members(3))).decode()
    refused(2, account.state().advance_root, twice(raw, "payload", f'"{other}"'))
    refused(2, account.state().advance_root, twice(raw, "signatures", "[]"))


@pytest.mark.parametrize(
    ("name", "value"),
    [("alg", '"none"'), ("typ", '"JWT"'), ("kid", '"mallory"'), ("x", "1")],
)
def test_a_header_with_a_parameter_twice_is_refused(
    account: Account, refused, name: str, value: str
) -> None:
    key = account.keys["config"][0]
    header = dump({"alg": "ES256", "kid": key.public.kid, "typ": "livepin-config+jws", "x": 2})
    payload = b64url_encode(dump(account.config_members(2)))
    signing_input = b64url_encode(twice(header, name, value)) + b"." + payload
    raw = signing_input + b"." + b64url_encode(key.sign(signing_input))
    refused(2, account.state().advance_config, raw)


def test_a_config_with_a_member_twice_is_refused_on_the_wire(device: Device) -> None:
    ours = device.simulator
    payload = twice(ours.document(version=99).payload(), "domains", "[]")
    header, _, _ = ours.config.split(b".")
    signing_input = header + b"." + b64url_encode(payload)
    raw = signing_input + b"." + b64url_encode(ours.keys["config"].sign(signing_input))
    device.refuses(raw, rule=4)
