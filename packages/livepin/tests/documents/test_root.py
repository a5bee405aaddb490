"""The root document: roles, thresholds, and one role a key."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from livepin.documents import Root
from livepin.errors import VerificationError
from livepin.jose import PrivateKey

if TYPE_CHECKING:
    from conftest import Account

KEYS = [PrivateKey.generate() for _ in range(33)]


def parse(members: Any) -> Root:
    return Root.parse(json.dumps(members).encode())


def refused(members: Any) -> str:
    with pytest.raises(VerificationError) as caught:
        parse(members)
    assert caught.value.rule == 4
    return caught.value.reason


def roles(account: Account, **changes: Any) -> dict[str, Any]:
    return account.root_members()["roles"] | changes


def test_a_root_is_read(account: Account) -> None:
    found = parse(account.root_members(7))
    assert (found.account, found.version) == ("acme", 7)
    assert found.issued == account.now
    assert found.expires.timestamp() == account.at(days=3 * 365)
    assert list(found.roles) == ["root", "config", "override"]
    for role, each in found.roles.items():
        (key,) = each.keys.values()
        assert key.kid == account.keys[role][0].public.kid
        assert list(each.keys) == [key.kid]
        assert each.threshold == 1


def test_a_root_survives_its_payload(account: Account) -> None:
    role = account.role(*account.keys["root"], threshold=2)
    found = parse(account.root_members(2, roles=roles(account, root=role)))
    assert Root.parse(found.payload()) == found
    assert found.roles["root"].threshold == 2
    assert len(found.roles["root"].keys) == 3


@pytest.mark.parametrize("member", ["account", "version", "issued", "expires", "roles"])
def test_a_missing_member_is_refused(account: Account, member: str) -> None:
    refused(account.root_members(**{member: ...}))


@pytest.mark.parametrize("role", ["root", "config", "override"])
@pytest.mark.parametrize("found", [..., None, [], {}, {"keys": [], "threshold": 1}])
def test_every_role_has_a_key(account: Account, role: str, found: Any) -> None:
    changed = roles(account)
    if found is ...:
        del changed[role]
    else:
        changed[role] = found
    assert f"root.roles.{role}" in refused(account.root_members(roles=changed))


@pytest.mark.parametrize(
    ("role", "keys", "threshold", "taken"),
    [
        ("root", 1, 1, True),
        ("root", 3, 3, True),
        ("root", 32, 32, True),
        ("root", 33, 1, False),
        ("root", 3, 4, False),
        ("root", 3, 0, False),
        ("root", 3, -1, False),
        ("root", 3, True, False),
        ("root", 3, "1", False),
        ("root", 3, None, False),
        ("config", 3, 1, True),
        ("config", 32, 1, True),
        ("config", 33, 1, False),
        ("config", 3, 2, False),
        ("override", 3, 1, True),
        ("override", 3, 2, False),
        ("override", 3, 0, False),
    ],
)
def test_the_threshold_lies_between_1_and_what_can_sign(
    account: Account, role: str, keys: int, threshold: Any, taken: bool
) -> None:
    changed = {role: account.role(*KEYS[:keys], threshold=threshold)}
    members = account.root_members(roles=roles(account, **changed))
    if taken:
        found = parse(members).roles[role]
        assert (len(found.keys), found.threshold) == (keys, threshold)
    else:
        assert f"root.roles.{role}" in refused(members)


def test_the_threshold_is_never_assumed(account: Account) -> None:
    role = account.role(KEYS[0])
    del role["threshold"]
    refused(account.root_members(roles=roles(account, root=role)))


@pytest.mark.parametrize(
    ("one", "other"), [("root", "config"), ("root", "override"), ("config", "override")]
)
def test_a_key_has_one_role(account: Account, one: str, other: str) -> None:
    changed = {one: account.role(KEYS[0], KEYS[1]), other: account.role(KEYS[2], KEYS[1])}
    reason = refused(account.root_members(roles=roles(account, **changed)))
    assert KEYS[1].public.kid in reason
    assert "one role a key" in reason


def test_a_key_stands_once_in_a_role(account: Account) -> None:
    role = account.role(KEYS[0], KEYS[0], threshold=2)
    role["keys"][1]["use"] = "sig"
    assert "distinct keys" in refused(account.root_members(roles=roles(account, root=role)))


@pytest.mark.parametrize(
    "key",
    [None, "key", [], {}, {"kty": "RSA"}, KEYS[0].public.jwk() | {"crv": "P-384"},
     KEYS[0].public.jwk() | {"x": "A" * 43}],
)  # fmt: skip
def test_what_is_no_p_256_key_is_refused(account: Account, key: Any) -> None:
    role = {"keys": [key], "threshold": 1}
    assert "root.roles.config" in refused(account.root_members(roles=roles(account, config=role)))


def test_roles_and_members_of_the_future_are_ignored(account: Account) -> None:
    changed = roles(account, token=account.role(KEYS[0]), other=7)
    found = parse(account.root_members(roles=changed, future=1))
    assert list(found.roles) == ["root", "config", "override"]


def test_what_is_critical_and_unknown_is_refused(account: Account) -> None:
    refused(account.root_members(critical=["future"]))
    role = account.role(KEYS[0]) | {"critical": ["weights"]}
    refused(account.root_members(roles=roles(account, root=role)))
    role["critical"] = ["threshold"]
    assert parse(account.root_members(roles=roles(account, root=role), critical=["roles"]))


@given(data=st.data())
def test_a_mangled_root_is_a_root_or_is_refused(
    data: st.DataObject, account: Account, mangled, damaged
) -> None:
    members = account.root_members()
    text = json.dumps(members).encode()
    changed = mangled(members).map(lambda each: json.dumps(each).encode())
    payload = data.draw(changed | damaged(text))
    rule = None
    try:
        found = Root.parse(payload)
    except VerificationError as exc:
        rule = exc.rule
    else:
        assert Root.parse(found.payload()) == found
    assert rule in (None, 1, 4)


@given(st.binary())
def test_any_bytes_are_refused(payload: bytes) -> None:
    with pytest.raises(VerificationError):
        Root.parse(payload)
