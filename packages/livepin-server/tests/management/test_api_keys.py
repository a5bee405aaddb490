"""API keys over HTTP: made, shown once, used, rotated, revoked, by admins of every kind."""

from __future__ import annotations

from datetime import timedelta

import pytest
from livepin_server.services.model import Area, Intent, Role

INTENT = Intent(author="bob")
PLACES = [("/v1/api-keys", None), ("/v1/accounts/acme/api-keys", "acme")]


@pytest.fixture
def call(two_accounts):
    """Call the management API by a key."""

    def one(method: str, path: str, key: str, body: object = None):
        return two_accounts.send(method, path, to="management", key=key, json=body)

    return one


@pytest.fixture
def new(two_accounts):
    """Make a key with members of its own: `new(name, "admin", "acme", scopes=...)`."""

    def one(name: str, role: str = "admin", account: str | None = None, **members: object):
        return two_accounts.services.api_keys.create(name, Role(role), account, INTENT, **members)

    return one


@pytest.mark.parametrize(("path", "account"), PLACES)
def test_a_key_from_its_making_to_its_end(two_accounts, call, path, account) -> None:
    admin = two_accounts.key("admin", account)
    body = {"name": f"ci of {account}", "role": "operator", "scopes": ["pins", "domains"]}
    body["expires"] = "2027-01-31T00:00:00+02:00"
    if path == "/v1/api-keys":
        body["account"] = "acme"
    answer = call("POST", path, admin, body)
    made = answer.json()
    view, key = made["view"], made["key"]
    assert answer.status_code == 201
    assert view["scopes"] == ["domains", "pins"]
    assert view["expires"] == "2027-01-30T22:00:00Z"
    assert view["created_by"].startswith("admin ")
    whoami = call("GET", "/v1/whoami", key).json()
    assert whoami == {
        "key_id": view["id"], "name": body["name"], "role": "operator", "account": "acme",
        "scopes": ["domains", "pins"],
    }  # fmt: skip
    assert call("GET", "/v1/accounts/acme/domains", key).status_code == 200
    assert call("GET", "/v1/accounts/acme/configs", key).status_code == 403
    listed = call("GET", path, admin)
    (shown,) = [each for each in listed.json() if each["id"] == view["id"]]
    assert (shown["last_used_from"], shown["last_used"][:10]) == ("127.0.0.1", "2026-11-23")
    assert call("GET", f"{path}/{view['id']}", admin).json() == shown
    assert call("GET", f"{path}/ci of {account}", admin).json() == shown
    newer = call("POST", f"{path}/ci of {account}/rotate", admin, {"overlap": 0}).json()
    assert newer["view"]["id"] == view["id"]
    assert call("GET", "/v1/whoami", key).status_code == 401
    assert call("GET", "/v1/whoami", newer["key"]).json() == whoami
    ended = call("DELETE", f"{path}/{view['id']}?reason=done", admin)
    assert ended.json()["revoked"] == "2026-11-23T12:00:00Z"
    assert call("GET", "/v1/whoami", newer["key"]).status_code == 401
    for secret in (key, newer["key"]):
        assert secret.split("_", 2)[2] not in call("GET", path, admin).text + ended.text


def test_an_overlap_is_a_day_unless_said(two_accounts, call, new) -> None:
    new("overlapping")
    made = call("POST", "/v1/api-keys/overlapping/rotate", two_accounts.key(), {}).json()
    assert made["view"]["overlap_until"] == "2026-11-24T12:00:00Z"


@pytest.mark.parametrize(
    ("body", "status", "detail"),
    [
        ({"scopes": []}, 400, "scopes"),
        ({"scopes": ["pin"]}, 400, "Invalid enum value 'pin'"),
        ({"scopes": ["pins", "everything"]}, 400, "Invalid enum value 'everything'"),
        ({"scopes": "pins"}, 400, "scopes"),
        ({"role": "root"}, 400, "Invalid enum value 'root'"),
        ({"expires": "2027-01-31T00:00:00"}, 400, "expires"),
        ({"expires": "2026-11-23T12:00:00Z"}, 422, "expected an expiry to come"),
        ({"expires": "9999-12-31T23:59:59-14:00"}, 422, "before the year 10000"),
        ({"name": "a/b"}, 422, "expected a name of 1 to 200 characters"),
        ({"name": "operator"}, 409, "an API key is named 'operator' already"),
        ({"scopes": ["metrics"], "account": "acme"}, 422, "those of the whole server"),
        ({"id": "0123456789ab"}, 400, "id"),
        ({"created_by": "alice"}, 400, "created_by"),
    ],
)
def test_a_key_that_cannot_be_is_refused_in_words(
    two_accounts, call, assert_problem, body, status, detail
) -> None:
    answer = call(
        "POST", "/v1/api-keys", two_accounts.key(), {"name": "x", "role": "viewer", **body}
    )
    assert detail in assert_problem(answer, status)["detail"]


def test_an_admin_of_an_account_names_no_other_account(two_accounts, call, assert_problem) -> None:
    key = two_accounts.key("admin", "acme")
    body = {"name": "x", "role": "viewer", "account": "beta"}
    assert_problem(call("POST", "/v1/accounts/acme/api-keys", key, body), 400)
    assert_problem(call("POST", "/v1/accounts/beta/api-keys", key, {"name": "x"}), 404)


def test_an_account_that_there_is_not_has_no_keys(two_accounts, call, assert_problem) -> None:
    admin = two_accounts.key()
    for method, path, body in (
        ("GET", "", None), ("POST", "", {"name": "x", "role": "viewer"}), ("GET", "/x", None),
        ("DELETE", "/x", None), ("POST", "/x/rotate", {}),
    ):  # fmt: skip
        found = assert_problem(call(method, f"/v1/accounts/acmee/api-keys{path}", admin, body), 404)
        assert found == {
            "title": "Not Found", "status": 404, "detail": "there is no account 'acmee'",
            "hint": "did you mean acme?",
        }  # fmt: skip


def test_a_scope_out_of_which_a_key_calls_is_named(two_accounts, call, new, assert_problem) -> None:
    _, key = new("a siem", "viewer", scopes=[Area.AUDIT])
    found = assert_problem(call("GET", "/v1/accounts/acme/domains", key), 403)
    assert found["detail"] == "expected an API key with the scope domains, pins or streams"


def test_the_status_warns_an_admin_of_keys_and_others_of_their_own(two_accounts, call, new) -> None:
    soon = two_accounts.services.clock() + timedelta(days=13)
    texts = {
        name: new(name, role, account, expires=soon)[1]
        for name, role, account in (
            ("first", "viewer", "acme"), ("second", "admin", "acme"), ("third", "viewer", None),
            ("fourth", "admin", "beta"),
        )
    }  # fmt: skip
    texts["fifth"] = new("fifth", "admin", "acme", scopes=[Area.SERVER], expires=soon)[1]
    texts["all"] = two_accounts.key()

    def told(name: str) -> set[str]:
        found = call("GET", "/v1/status", texts[name]).json()["warnings"]
        return {each.split()[3] for each in found if each.startswith("the API key ")}

    assert told("first") == {"first"}
    assert told("second") == {"first", "second", "fifth"}
    assert told("third") == {"third"}
    assert told("fourth") == {"fourth"}
    assert told("fifth") == {"fifth"}
    assert told("all") == {"first", "second", "third", "fourth", "fifth"}
