"""What people say of an app is taken whole, or refused in words that hold no key."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from livepin_server.errors import InvalidError
from livepin_server.services.apps import parsing
from livepin_server.services.apps.model import Said

SECRET = base64.b64encode(b"s" * 32).decode()


@pytest.mark.parametrize("name", ["", "a b", "a/b", "é", "x" * 129, ".", "..", "a\n"])
def test_a_name_is_one_that_an_app_can_give_itself_and_a_path_can_have(name) -> None:
    with pytest.raises(InvalidError, match="expected the name of an app"):
        parsing.require_name(name)


@pytest.mark.parametrize("name", ["shop", "com.example.Shop", "a_b-c", "...a", "x" * 128])
def test_a_good_name(name) -> None:
    parsing.require_name(name)


@pytest.mark.parametrize(
    ("kind", "change", "match"),
    [
        ("android", {"package": "a b"}, r"^android\.package: Expected"),
        ("android", {"certificates": []}, r"^android\.certificates: Expected"),
        ("android", {"certificates": ["AB" * 32]}, r"^android\.certificates\[0\]: Expected"),
        ("android", {"patched": "2026"}, r"^android\.patched: "),
        ("android", {"more": 1}, "^android: Object contains unknown field"),
        ("apple", {"team": "a"}, r"^apple\.team: "),
        ("play", {"verification_key": SECRET}, "^play: expected the verification key"),
        ("play", {"decryption_key": "?"}, "^play: expected the keys in base64"),
        ("play", {"decryption_key": None}, "^play: expected both keys"),
        ("play", {"service_account": {}}, r"^play\.service_account: "),
        ("workload", {"profile": "other"}, r"^workload\.profile: Invalid enum value"),
        ("workload", {"claims": {"x": 1}}, r"^workload\.claims\[\.\.\.\]: Expected"),
        ("workload", {"subject": "a*b"}, r"^workload: expected a \* at the end alone"),
        ("workload", {"jwks": {"keys": []}}, "^workload: expected a JWKS"),
        ("workload", {"jwks": None}, "^workload: expected either jwks or jwks_url"),
    ],
)
def test_what_no_verifier_could_use_is_refused(said, kind, change, match) -> None:
    identity: dict[str, Any] = said[kind] | change
    with pytest.raises(InvalidError, match=match) as caught:
        parsing.identities(Said(**{kind: identity}))
    assert SECRET not in str(caught.value)
    assert said["play"]["decryption_key"] not in str(caught.value)


def test_of_what_was_said_everything_is_taken(said) -> None:
    assert [*parsing.identities(Said(**said))] == [*said]
    assert parsing.identities(Said()) == {}
