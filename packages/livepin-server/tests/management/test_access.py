"""Who may do what: every route with every role, and the accounts of others."""

from __future__ import annotations

import pytest
from livepin_server.management import app, openapi
from livepin_server.services.model import Intent, Role

INTENT = Intent(author="bob")

DIGEST = "A" * 43
PIN = {"sha256": f"sha256/{DIGEST}="}

# Method, path, body; the role it needs, whether for the whole server; the answer to who may.
ROUTES = [
    ("GET", "/v1/whoami", None, "pentest", False, 200),
    ("GET", "/v1/status", None, "viewer", False, 200),
    ("GET", "/v1/accounts", None, "viewer", False, 200),
    ("POST", "/v1/accounts/acme/prepare", {"root_keys": [{}]}, "admin", True, 422),
    ("PUT", "/v1/accounts/acme/root", {"document": {}}, "admin", True, 422),
    ("GET", "/v1/accounts/acme/delivery", None, "viewer", False, 200),
    ("PUT", "/v1/accounts/acme/delivery", {"urls": ["ftp://x"]}, "admin", False, 422),
    ("GET", "/v1/accounts/acme/domains", None, "viewer", False, 200),
    ("POST", "/v1/accounts/acme/domains", {"pattern": "!", "pins": [PIN]}, "operator", False, 422),
    ("GET", "/v1/accounts/acme/domains/x.example", None, "viewer", False, 404),
    ("PATCH", "/v1/accounts/acme/domains/x/settings", {"mode": "off"}, "operator", False, 404),
    ("DELETE", "/v1/accounts/acme/domains/x.example", None, "operator", False, 404),
    ("PATCH", "/v1/accounts/acme/domains/x.example/settings", {"mode": "off"}, "operator", False,
     404),
    ("POST", "/v1/accounts/acme/domains/x.example/pins", {"pins": [PIN]}, "operator", False, 404),
    ("DELETE", f"/v1/accounts/acme/domains/x.example/pins/{DIGEST}", None, "operator", False, 404),
    ("PUT", "/v1/accounts/acme/domains/x.example/pin-set", {"name": None}, "operator", False, 404),
    ("GET", "/v1/accounts/acme/pin-sets", None, "viewer", False, 200),
    ("POST", "/v1/accounts/acme/pin-sets", {"name": "x", "pins": [{"sha256": "x"}]}, "operator",
     False, 422),
    ("GET", "/v1/accounts/acme/pin-sets/payments", None, "viewer", False, 404),
    ("PUT", "/v1/accounts/acme/pin-sets/payments/pins", {"pins": [PIN]}, "operator", False, 404),
    ("DELETE", "/v1/accounts/acme/pin-sets/payments", None, "operator", False, 404),
    ("GET", "/v1/accounts/acme/streams", None, "viewer", False, 200),
    ("POST", "/v1/accounts/acme/streams", {"name": "main"}, "admin", False, 409),
    ("POST", "/v1/accounts/acme/streams/main/domains", {"pattern": "x.example", "source": "no"},
     "operator", False, 404),
    ("GET", "/v1/accounts/acme/stages", None, "viewer", False, 200),
    ("GET", "/v1/accounts/acme/stages/open/trial", None, "viewer", False, 404),
    ("POST", "/v1/accounts/acme/stages/open/publish", {}, "operator", False, 404),
    ("DELETE", "/v1/accounts/acme/stages/7", None, "operator", False, 404),
    ("GET", "/v1/accounts/acme/guards", None, "viewer", False, 200),
    ("PUT", "/v1/accounts/acme/guards", {}, "admin", False, 409),
    ("GET", "/v1/accounts/acme/configs", None, "viewer", False, 200),
    ("GET", "/v1/accounts/acme/configs/latest", None, "viewer", False, 200),
    ("POST", "/v1/accounts/acme/configs/latest/restore", {}, "operator", False, 422),
    ("GET", "/v1/accounts/acme/bootstrap", None, "viewer", False, 200),
    ("POST", "/v1/accounts/acme/probes", {"host": "!"}, "operator", False, 422),
    ("GET", "/v1/api-keys", None, "admin", True, 200),
    ("POST", "/v1/api-keys", {"name": "x", "role": "viewer", "account": "no"}, "admin", True, 404),
    ("DELETE", "/v1/api-keys/nobody", None, "admin", True, 404),
    ("GET", "/metrics", None, "viewer", True, 200),
]  # fmt: skip
PUBLIC = ["/healthz", "/readyz", "/openapi.json"]
NAMES = [f"{method} {path}" for method, path, *_ in ROUTES]
RANK = {"pentest": 0, "viewer": 1, "operator": 2, "admin": 3}


def may(role: str, needed: str) -> bool:
    """The rule, once more: an admin may what an operator may, an operator what a viewer may."""
    return RANK[role] >= RANK[needed]


@pytest.fixture(scope="module")
def keys(two_accounts) -> dict[tuple[str, str | None], str]:
    """A key of each role, for the whole server and for each account."""
    return {
        (role.value, account): two_accounts.key(role.value, account)
        for role in Role
        for account in (None, "acme", "beta")
    }


@pytest.mark.parametrize("account", [None, "acme", "beta"])
@pytest.mark.parametrize("role", list(RANK))
@pytest.mark.parametrize(("method", "path", "body", "needed", "wide", "allowed"), ROUTES, ids=NAMES)
def test_each_route_is_open_to_its_role_and_account_alone(
    two_accounts, assert_problem, keys, method, path, body, needed, wide, allowed, role, account
) -> None:
    key = keys[role, account]
    answer = two_accounts.send(method, path, to="management", key=key, json=body)
    if not may(role, needed) or (wide and account is not None):
        assert_problem(answer, 403)
    elif account == "beta" and "/acme/" in path:
        found = assert_problem(answer, 404)
        assert found["detail"] == "there is no account 'acme'"
    else:
        assert answer.status_code == allowed, answer.text
        if allowed >= 400:
            assert_problem(answer, allowed)


@pytest.mark.parametrize(("method", "path"), [row[:2] for row in ROUTES], ids=NAMES)
def test_without_a_valid_key_no_route_is_open(
    two_accounts, fresh_send, assert_problem, method, path
) -> None:
    services = two_accounts.services
    view, revoked = services.api_keys.create(
        f"gone {method} {path}"[:200], Role.ADMIN, None, INTENT
    )
    services.api_keys.revoke(view.id, INTENT)
    valid = two_accounts.key()
    tried = (
        "", "Bearer", "Bearer ", f"Bearer {revoked}", f"Basic {valid}", valid,
        f"Bearer {valid}x", f"Bearer {valid[:-1]}", "Bearer lpk_000000000000_" + "A" * 43,
        f"Bearer {valid} {valid}", "Bearer " + "x" * 300,
    )  # fmt: skip
    texts = set()
    headers = [{}, *({"authorization": each} for each in tried)]
    for answer in fresh_send(services, method, path, headers):
        texts.add(assert_problem(answer, 401)["detail"])
        assert answer.headers["www-authenticate"] == "Bearer"
    assert texts == {"expected Authorization: Bearer with a valid API key"}


@pytest.mark.parametrize("method", ["OPTIONS", "HEAD", "TRACE", "PROPFIND"])
def test_other_methods_are_open_to_nobody(two_accounts, method: str) -> None:
    for path in sorted({path for _, path, *_ in ROUTES}):
        for key in (two_accounts.key(), None):
            if (method, path) in {row[:2] for row in ROUTES}:
                continue
            answer = two_accounts.send(method, path, to="management", key=key)
            assert answer.status_code in (401, 403, 405, 429), answer.text


@pytest.mark.parametrize("path", PUBLIC)
def test_these_are_open_to_all(two_accounts, path: str) -> None:
    assert two_accounts.send("GET", path, to="management").status_code == 200


def test_the_table_has_every_route() -> None:
    found = openapi.document(app.ROUTES)["paths"]
    described = {(m.upper(), path) for path, operations in found.items() for m in operations}
    for method, path, *_ in ROUTES:
        named = (
            path.replace("/acme", "/{account}")
            .replace("/x.example", "/{pattern}")
            .replace(f"/{DIGEST}", "/{digest}")
            .replace("/latest", "/{version}")
            .replace("/nobody", "/{key_id}")
            .replace("/payments", "/{name}")
            .replace("/streams/main", "/streams/{stream}")
            .replace("/stages/open", "/stages/{number}")
            .replace("/stages/7", "/stages/{number}")
        )
        described.discard((method, named))
    assert described == {("GET", "/healthz"), ("GET", "/readyz")}


def test_a_key_of_one_account_sees_no_other(two_accounts, keys) -> None:
    for account in ("acme", "beta"):
        key = keys["viewer", account]
        found = two_accounts.send("GET", "/v1/accounts", to="management", key=key).json()
        assert [each["name"] for each in found] == [account]
        whoami = two_accounts.send("GET", "/v1/whoami", to="management", key=key).json()
        assert (whoami["role"], whoami["account"]) == ("viewer", account)


def test_the_status_does_not_tell_one_account_of_another(two_accounts, keys) -> None:
    for account, count in (("acme", 1), ("beta", 1), (None, 2)):
        key = keys["viewer", account]
        found = two_accounts.send("GET", "/v1/status", to="management", key=key).json()
        assert found["accounts"] == count
        assert ("acme" in str(found["warnings"])) == (account != "beta")


@pytest.mark.parametrize("name", ["ACME", "acme%00", "acme%2F..%2Fbeta", "%2e%2e", "acme "])
def test_another_spelling_of_an_account_is_no_way_in(two_accounts, keys, name: str) -> None:
    path = f"/v1/accounts/{name}/domains"
    for account in ("acme", "beta"):
        key = keys["admin", account]
        assert two_accounts.send("GET", path, to="management", key=key).status_code == 404


def test_a_revoked_key_ends_at_once(two_accounts, fresh_send, assert_problem) -> None:
    view, text = two_accounts.services.api_keys.create("short", Role.VIEWER, None, INTENT)
    assert two_accounts.send("GET", "/v1/whoami", to="management", key=text).status_code == 200
    path = f"/v1/api-keys/{view.id}"
    admin = two_accounts.key()
    assert two_accounts.send("DELETE", path, to="management", key=admin).status_code == 200
    headers = [{"authorization": f"Bearer {text}"}]
    (answer,) = fresh_send(two_accounts.services, "GET", "/v1/whoami", headers)
    assert_problem(answer, 401)


def test_an_operator_key_is_made_shown_once_and_used(two_accounts) -> None:
    admin = two_accounts.key()
    body = {"name": "ci", "role": "operator", "account": "acme"}
    made = two_accounts.send("POST", "/v1/api-keys", to="management", key=admin, json=body).json()
    listed = two_accounts.send("GET", "/v1/api-keys", to="management", key=admin)
    assert made["key"] not in listed.text
    assert made["key"].split("_", 2)[2] not in listed.text
    assert made["view"] in listed.json()
    whoami = two_accounts.send("GET", "/v1/whoami", to="management", key=made["key"]).json()
    assert whoami == {
        "key_id": made["view"]["id"], "name": "ci", "role": "operator", "account": "acme",
    }  # fmt: skip
