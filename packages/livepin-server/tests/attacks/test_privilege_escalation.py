"""Somebody has an API key, and wants one that may do more."""

from __future__ import annotations

from datetime import timedelta

import pytest
from livepin_server.services.model import Area, Intent, Role

INTENT = Intent(author="bob")
ALL, OF_ACME = "/v1/api-keys", "/v1/accounts/acme/api-keys"


class Attacker:
    """Somebody with one API key, on a running server."""

    def __init__(self, server, role: str, account: str | None, **members) -> None:
        self._server, self._keys = server, server.services.api_keys
        self.view, self.key = self._keys.create("attacker", Role(role), account, INTENT, **members)
        self._before = self.known()

    def known(self):
        """Return all keys, but for when they were used."""
        listed = self._server.services.api_keys.all()
        return [(each.id, each.scopes, each.expires, each.rotated, each.revoked) for each in listed]

    def send(self, method: str, path: str, **body):
        return self._server.send(method, path, to="management", key=self.key, json=body)

    def is_refused(self, method: str, path: str, status: int = 403, **body) -> str:
        """Check that a request is refused and changed nothing; return what was said."""
        answer = self.send(method, path, **body)
        assert answer.status_code == status, answer.text
        assert "lpk_" not in answer.text
        assert self.known() == self._before
        return answer.json()["detail"]


@pytest.fixture
def attacker(start_server):
    """Make an attacker: `attacker("admin", "acme", scopes=[...])`."""
    server = start_server()
    return lambda *named, **members: Attacker(server, *named, **members)


@pytest.mark.parametrize("role", ["pentest", "viewer", "operator"])
def test_who_is_no_admin_makes_rotates_and_revokes_no_key(attacker, role) -> None:
    one = attacker(role, None)
    for path in (ALL, OF_ACME):
        one.is_refused("POST", path, name="mine", role=role)
        for key in (one.view.id, "operator"):
            one.is_refused("POST", f"{path}/{key}/rotate")
            one.is_refused("DELETE", f"{path}/{key}")


def test_an_admin_of_an_account_makes_no_key_for_the_whole_server(attacker) -> None:
    one = attacker("admin", "acme")
    one.is_refused("POST", ALL, name="mine", role="viewer")
    one.is_refused("POST", ALL, name="mine", role="viewer", account="acme")
    one.is_refused("POST", OF_ACME, 400, name="mine", role="viewer", account=None)
    one.is_refused("POST", OF_ACME, 400, name="mine", role="viewer", server=True)


def test_an_admin_of_an_account_does_not_reach_the_keys_of_the_server(attacker) -> None:
    one = attacker("admin", "acme")
    one.is_refused("POST", f"{ALL}/operator/rotate")
    one.is_refused("POST", f"{OF_ACME}/operator/rotate", 404)
    one.is_refused("DELETE", f"{OF_ACME}/operator", 404)
    one.is_refused("GET", f"{OF_ACME}/operator", 404)


def test_a_key_with_scopes_makes_none_without_and_none_with_others(attacker) -> None:
    one = attacker("admin", "acme", scopes=[Area.KEYS, Area.PINS])
    said = one.is_refused("POST", OF_ACME, name="mine", role="admin")
    assert said == "an API key cannot give what it does not have: every scope"
    for scopes in (["domains"], ["keys", "pins", "domains"]):
        said = one.is_refused("POST", OF_ACME, name="mine", role="viewer", scopes=scopes)
        assert said == "an API key cannot give what it does not have: the scope domains"
    one.is_refused("POST", OF_ACME, 400, name="mine", role="admin", scopes=[])
    made = one.send("POST", OF_ACME, name="mine", role="admin", scopes=["pins"])
    assert made.status_code == 201


def test_a_key_out_of_the_scope_of_keys_makes_none(attacker) -> None:
    others = [each for each in Area if each is not Area.KEYS]
    one = attacker("admin", None, scopes=others)
    for path in (ALL, OF_ACME):
        one.is_refused("POST", path, name="mine", role="viewer", scopes=["pins"])
        one.is_refused("GET", path)


@pytest.mark.parametrize("account", [None, "acme"])
def test_a_key_does_not_take_over_a_stronger_one_by_rotating_it(start_server, account) -> None:
    """Who gets the new secret of a key has all its rights."""
    server = start_server()
    server.services.api_keys.create("strong", Role.ADMIN, account, INTENT)
    one = Attacker(server, "admin", account, scopes=[Area.KEYS])
    for path in {OF_ACME if account else ALL, ALL if account is None else OF_ACME}:
        said = one.is_refused("POST", f"{path}/strong/rotate", overlap=0)
        assert said == "an API key cannot give what it does not have: every scope"


def test_a_key_that_expires_makes_none_that_lives_on(attacker, clock) -> None:
    one = attacker("admin", None, expires=clock() + timedelta(days=1))
    for expires in (None, "2026-11-24T12:00:01Z", "2999-01-01T00:00:00Z"):
        said = one.is_refused("POST", ALL, name="mine", role="admin", expires=expires)
        assert said.endswith("what it does not have: a life beyond 2026-11-24 12:00 UTC")
    one.is_refused("POST", f"{ALL}/operator/rotate")
    made = one.send("POST", ALL, name="mine", role="admin", expires="2026-11-24T12:00:00Z")
    assert made.status_code == 201


def test_a_key_does_not_extend_its_own_expiry(attacker, clock) -> None:
    one = attacker("admin", None, expires=clock() + timedelta(days=1))
    path = f"{ALL}/{one.view.id}"
    for method in ("PATCH", "PUT", "POST"):
        one.is_refused(method, path, 405, expires="2999-01-01T00:00:00Z")
    one.is_refused("POST", f"{path}/rotate", 400, expires="2999-01-01T00:00:00Z")
    one.is_refused("POST", ALL, 409, name="attacker", role="admin", expires="2026-11-24T12:00:00Z")
    rotated = one.send("POST", f"{path}/rotate", overlap=0).json()
    assert rotated["view"]["expires"] == "2026-11-24T12:00:00Z"


def test_a_key_does_not_pass_for_one_of_the_server_in_the_history(attacker) -> None:
    one = attacker("admin", "acme")
    said = one.is_refused("POST", OF_ACME, 409, name="operator", role="operator")
    assert said == "an API key is named 'operator' already"


def test_who_made_a_key_is_not_for_who_makes_it_to_say(attacker) -> None:
    one = attacker("admin", "acme")
    one.is_refused("POST", OF_ACME, 400, name="mine", role="admin", created_by="operator")
    made = one.send("POST", OF_ACME, name="mine", role="admin").json()
    assert made["view"]["created_by"] == "attacker"
