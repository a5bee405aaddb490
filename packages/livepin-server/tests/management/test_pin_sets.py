"""Shared pin sets over the API: a whole public trust store fits, and there is an end to it."""

from __future__ import annotations

import base64
import hashlib

import pytest

BASE = "/v1/accounts/acme"
SUBJECT = "CN=A Root Certification Authority with a long name,OU=Somewhere,O=Some Company Ltd.,C=XX"


def roots(number: int) -> list[dict[str, str]]:
    """Pins as `livepin pinset add --roots` sends them."""
    digests = (hashlib.sha256(f"root {n}".encode()).digest() for n in range(number))
    return [
        {"sha256": f"sha256/{base64.b64encode(each).decode()}", "label": SUBJECT, "level": "root"}
        for each in digests
    ]


@pytest.fixture
def call(start_server):
    """Call the API of a server of this test's own, as an operator."""
    server = start_server()
    key = server.key("operator")

    def one(method: str, path: str, body: object = None):
        return server.send(method, BASE + path, to="management", key=key, json=body)

    return one


def test_a_set_from_its_first_pin_to_its_end(call) -> None:
    made = call("POST", "/pin-sets", {"name": "payments", "pins": roots(2), "reason": "new"})
    assert made.status_code == 201
    assert made.json()["publication"]["reason"] == "new"
    assert made.json()["pin_set"] == call("GET", "/pin-sets/payments").json()
    assert call("GET", "/pin-sets").json() == [made.json()["pin_set"]]
    domain = {"pattern": "a.example.com", "pin_set": "payments"}
    assert call("POST", "/domains", domain).json()["domain"]["shared"] is True
    fewer = call("PUT", "/pin-sets/payments/pins", {"pins": roots(1), "reason": "fewer"})
    assert (fewer.status_code, len(fewer.json()["pin_set"]["pins"])) == (200, 1)
    assert call("DELETE", "/pin-sets/payments").status_code == 409
    own = call("PUT", "/domains/a.example.com/pin-set", {"name": None, "reason": "alone"})
    assert (own.status_code, own.json()["domain"]["pin_set"]) == (200, "a.example.com")
    assert call("PUT", "/domains/a.example.com/pin-set", {"name": "payments"}).status_code == 200
    call("PUT", "/domains/a.example.com/pin-set", {"name": None})
    gone = call("DELETE", "/pin-sets/payments?reason=old")
    assert gone.json()["publication"]["changed"] == ["- pin set payments"]
    assert call("GET", "/pin-sets").json() == []


@pytest.mark.parametrize("number", [150, 500])
def test_a_whole_trust_store_fits(call, number: int) -> None:
    made = call("POST", "/pin-sets", {"name": "trust-roots", "pins": roots(number)})
    assert (made.status_code, len(made.json()["pin_set"]["pins"])) == (201, number)
    call("POST", "/domains", {"pattern": "a.example.com", "pin_set": "trust-roots"})
    shown = call("GET", "/configs/latest").json()
    assert len(shown["payload"]["pin_sets"]["trust-roots"]) == number


def test_more_pins_than_any_trust_store_has_are_refused(call) -> None:
    body = {"name": "trust-roots", "pins": roots(501)}
    assert call("POST", "/pin-sets", body).status_code == 400
    assert call("POST", "/pin-sets", body | {"pins": roots(500)}).status_code == 201
    assert call("PUT", "/pin-sets/trust-roots/pins", {"pins": roots(501)}).status_code == 400
    call("POST", "/domains", {"pattern": "a.example.com", "pin_set": "trust-roots"})
    one_more = {"pins": roots(501)[500:]}
    answer = call("POST", "/domains/a.example.com/pins", one_more)
    assert (answer.status_code, answer.json()["detail"]) == (
        409, "expected at most 500 pins in a set, found 501",
    )  # fmt: skip


def test_no_set_is_empty_and_the_name_of_a_host_is_none(call) -> None:
    assert call("POST", "/pin-sets", {"name": "payments", "pins": []}).status_code == 400
    for name in ("api.example.com", "*.example.com", "2001:db8::1", "", "payments."):
        assert call("POST", "/pin-sets", {"name": name, "pins": roots(1)}).status_code == 400
        assert call("PUT", "/domains/x.example/pin-set", {"name": name}).status_code == 400
