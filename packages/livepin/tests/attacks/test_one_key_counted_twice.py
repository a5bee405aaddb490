"""One stolen root key that wants to be two: its signature twice, its key twice."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from livepin.jsontext import dump
from livepin.trust import TrustedState

if TYPE_CHECKING:
    from conftest import Account


@pytest.fixture
def guarded(account: Account) -> TrustedState:
    """A state whose root needs two of three keys."""
    keys = account.keys["root"]
    raw = account.root(2, by=keys[:2], roles=roles(account))
    return account.state().advance_root(raw)


def roles(account: Account) -> dict[str, object]:
    keys = account.keys["root"]
    return account.root_members()["roles"] | {"root": account.role(*keys, threshold=2)}


def test_two_keys_are_two(account: Account, guarded: TrustedState) -> None:
    for pair in ((0, 1), (1, 2), (2, 0)):
        by = [account.keys["root"][n] for n in pair]
        assert guarded.advance_root(account.root(3, by=by, roles=roles(account))).root.version == 3


@pytest.mark.parametrize("times", [1, 2, 3, 32])
def test_a_key_that_signs_several_times_is_one(
    account: Account, guarded: TrustedState, refused, times: int
) -> None:
    """Each of its signatures is another: ECDSA has a random part."""
    raw = account.root(3, by=[account.keys["root"][0]] * times, roles=roles(account))
    assert len({each["signature"] for each in json.loads(raw)["signatures"]}) == times
    refused(3, guarded.advance_root, raw)


def test_a_signature_copied_is_one(account: Account, guarded: TrustedState, refused) -> None:
    jws = json.loads(account.root(3, by=account.keys["root"][:1], roles=roles(account)))
    jws["signatures"] *= 2
    refused(3, guarded.advance_root, dump(jws))


def test_one_key_under_two_headers_is_one(
    account: Account, guarded: TrustedState, refused, compact
) -> None:
    key = account.keys["root"][0]
    payload = dump(account.root_members(3, roles=roles(account)))
    signatures = []
    for extra in ("a", "b"):
        header = {"alg": "ES256", "kid": key.public.kid, "typ": "livepin-root+jws", "x": extra}
        protected, encoded, value = compact(header, payload, key.sign).decode().split(".")
        signatures.append({"protected": protected, "signature": value})
    refused(3, guarded.advance_root, dump({"payload": encoded, "signatures": signatures}))


def test_one_key_under_the_kid_of_another_is_none(
    account: Account, guarded: TrustedState, refused, compact
) -> None:
    """Of those that a verifier might count by kid alone."""
    key, other = account.keys["root"][:2]
    payload = dump(account.root_members(3, roles=roles(account)))
    signatures = []
    for kid in (key.public.kid, other.public.kid):
        header = {"alg": "ES256", "kid": kid, "typ": "livepin-root+jws"}
        protected, encoded, value = compact(header, payload, key.sign).decode().split(".")
        signatures.append({"protected": protected, "signature": value})
    refused(3, guarded.advance_root, dump({"payload": encoded, "signatures": signatures}))


def test_a_root_that_lists_one_key_twice_is_refused(account: Account, refused) -> None:
    one, two = account.keys["root"][:2]
    for keys, by in (([one, one], [one, one]), ([one, one, two], [one, two])):
        doubled = account.root_members()["roles"] | {"root": account.role(*keys, threshold=2)}
        refused(4, account.state().advance_root, account.root(2, by=by, roles=doubled))


def test_a_root_that_lists_one_key_under_two_names_is_refused(account: Account, refused) -> None:
    """A kid in the JWK changes nothing: a key's name is its thumbprint."""
    one = account.keys["root"][0]
    jwks = [one.public.jwk() | {"kid": "a"}, one.public.jwk() | {"kid": "b", "use": "sig"}]
    doubled = account.root_members()["roles"] | {"root": {"keys": jwks, "threshold": 2}}
    raw = account.root(2, by=[one, one], roles=doubled)
    refused(4, account.state().advance_root, raw)


@pytest.mark.parametrize("threshold", [0, -1, 4, True, 1.0, None, "1"])
def test_a_threshold_of_none_or_of_more_than_there_are_is_refused(
    account: Account, refused, threshold: object
) -> None:
    changed = account.root_members()["roles"]
    changed["root"] = account.role(*account.keys["root"]) | {"threshold": threshold}
    refused(4, account.state().advance_root, account.root(2, roles=changed))
