"""Apps over the API: what cannot be is refused in words, and keys are in no answer."""

from __future__ import annotations

import json

import pytest
from livepin_server.services.apps.parsing import MOST_MANIFEST
from minted_play import Keys
from msgspec import to_builtins

APPS = "/v1/accounts/acme/apps"
APPLE = {"team": "A1B2C3D4E5", "bundle": "com.example.shop"}
LINE = f"{'0' * 64} 0 "


@pytest.fixture(scope="module")
def call(server):
    """Call the API as an admin of the whole server."""
    key = server.key()

    def one(method, path, body=None, status=200):
        answer = server.send(method, path, to="management", key=key, json=body)
        assert answer.status_code == status, answer.text
        return answer.json()

    return one


def test_keys_are_in_no_answer(call) -> None:
    play = {k: v for k, v in to_builtins(Keys().app()).items() if v is not None}
    answers = [
        call("POST", APPS, {"name": "secret", "play": play}, 201),
        call("GET", f"{APPS}/secret"),
        call("GET", APPS),
        call("PATCH", f"{APPS}/secret/identities", {"play": play}),
        call("GET", "/v1/accounts/acme/audit"),
        call("DELETE", f"{APPS}/secret"),
    ]
    assert answers[0]["identities"]["play"]["opened"] == "here"
    shown = json.dumps(answers)
    assert play["decryption_key"] not in shown
    assert play["verification_key"] not in shown


@pytest.mark.parametrize(
    ("body", "status", "detail"),
    [
        ({"name": "a/b"}, 422, "expected the name of an app"),
        ({"name": "x", "apple": {"team": "x"}}, 422, "apple"),
        ({"name": "x", "android": {"package": "x", "certificates": ["?"]}}, 422, "android.certif"),
        ({"name": "x", "play": {"package": "x", "certificates": ["ab" * 32]}}, 422, "play: expec"),
        ({"name": "x", "workload": {"claims": {"": ""}}}, 422, "workload"),
        ({"name": "x", "apple": "x"}, 400, "apple"),
        ({"name": "x", "more": 1}, 400, "more"),
        ({"apple": APPLE}, 400, "name"),
    ],
)
def test_what_cannot_be_is_refused_in_words(call, body, status, detail) -> None:
    assert detail in call("POST", APPS, body, status)["detail"]


def test_a_manifest_is_larger_than_other_bodies_may_be(call) -> None:
    call("POST", APPS, {"name": "large"}, 201)
    lines = [LINE + f"{number:06}/{'x' * 200}\n" for number in range(2000)]
    body = {"version": "1", "manifest": "".join(lines)}
    assert call("POST", f"{APPS}/large/releases", body, 201)["files"] == 2000
    body = {"name": "x" * (256 * 1024)}
    call("POST", APPS, body, 413)


def test_a_manifest_has_its_bound(call) -> None:
    call("POST", APPS, {"name": "huge"}, 201)
    where = f"{APPS}/huge/releases"
    body = {"version": "1", "manifest": "\n" * (MOST_MANIFEST + 1)}
    assert "at most 8388608 bytes" in call("POST", where, body, 422)["detail"]
    body["manifest"] = "x" * (2 * MOST_MANIFEST + 2**20)
    call("POST", where, body, 413)
