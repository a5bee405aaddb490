"""The override document: one installation, a limited time, domains of its own."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from livepin.documents import Mode, Override
from livepin.errors import VerificationError

if TYPE_CHECKING:
    from conftest import Account


def parse(members: Any) -> Override:
    return Override.parse(json.dumps(members).encode())


def refused(members: Any) -> str:
    with pytest.raises(VerificationError) as caught:
        parse(members)
    assert caught.value.rule == 4
    return caught.value.reason


def test_an_override_is_read(account: Account) -> None:
    domains = [
        {"pattern": "*.example.com", "pin_set": "pentest", "mode": "off"},
        {"pattern": "api.example.com", "pin_set": "pentest"},
    ]
    found = parse(account.override_members(5, domains=domains))
    assert (found.account, found.installation) == ("acme", "i" * 43)
    assert (found.root_version, found.version) == (1, 5)
    assert found.lifetime == timedelta(days=1)
    assert found.lookup("x.example.com").mode is Mode.OFF
    assert found.lookup("api.example.com").mode is Mode.ENFORCE
    assert found.lookup("api.example.org") is None


def test_an_override_survives_its_payload(account: Account) -> None:
    found = parse(account.override_members())
    assert Override.parse(found.payload()) == found


def test_an_empty_override_ends_one_early(account: Account) -> None:
    found = parse(account.override_members(domains=[], pin_sets={}))
    assert found.domains == ()
    assert parse(account.override_members(domains=..., pin_sets=...)).domains == ()


@pytest.mark.parametrize(
    "member", ["account", "installation", "root_version", "version", "issued", "expires"]
)
def test_a_missing_member_is_refused(account: Account, member: str) -> None:
    refused(account.override_members(**{member: ...}))


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("installation", ""),
        ("installation", "i" * 42),
        ("installation", "i" * 44),
        ("installation", "i" * 42 + "="),
        ("installation", "i" * 42 + "+"),
        ("installation", "i" * 43 + "\n"),
        ("installation", "*"),
        ("installation", None),
        ("installation", ["i" * 43]),
        ("account", "Acme"),
        ("version", 0),
        ("root_version", 2**53),
        ("issued", "now"),
        ("expires", None),
        ("pin_sets", {"pentest": []}),
        ("domains", [{"pattern": "api.example.com", "pin_set": "api"}]),
        ("domains", [{"pattern": "api.example.com", "pin_set": "pentest"}] * 2),
        ("domains", None),
        ("critical", ["delivery"]),
    ],
)
def test_every_member_has_its_type_and_its_limits(
    account: Account, member: str, value: Any
) -> None:
    refused(account.override_members(**{member: value}))


@given(data=st.data())
def test_a_mangled_override_is_an_override_or_is_refused(
    data: st.DataObject, account: Account, mangled, damaged
) -> None:
    members = account.override_members()
    text = json.dumps(members).encode()
    changed = mangled(members).map(lambda each: json.dumps(each).encode())
    payload = data.draw(changed | damaged(text))
    rule = None
    try:
        found = Override.parse(payload)
    except VerificationError as exc:
        rule = exc.rule
    else:
        assert Override.parse(found.payload()) == found
    assert rule in (None, 1, 4)


@given(st.binary())
def test_any_bytes_are_refused(payload: bytes) -> None:
    with pytest.raises(VerificationError):
        Override.parse(payload)
