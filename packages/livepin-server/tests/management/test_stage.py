"""Changes that are kept for later, over HTTP: 202, trials, ETags, and what was published since."""

from __future__ import annotations

from datetime import timedelta

import pytest

BASE = "/v1/accounts/acme"
DOMAINS = f"{BASE}/domains"
HOST = "api.example.com"


@pytest.fixture
def call(start_server):
    """Call the API of a server of this test's own, as an admin."""
    server = start_server()
    key = server.key()

    def one(method: str, path: str, body: object = None, **options: object):
        return server.send(method, path, to="management", key=key, json=body, **options)

    one.server = server
    return one


@pytest.fixture
def domain(pin_text):
    return {"pattern": HOST, "pins": [{"sha256": pin_text(1)}], "reason": "launch"}


def test_a_staged_change_is_accepted_and_published_later(call, domain) -> None:
    done = call("POST", f"{DOMAINS}?stage=true", domain)
    assert done.status_code == 202
    assert done.json()["changed"][0] == f"+ domain {HOST} (enforce)"
    assert call("GET", DOMAINS).json() == []
    assert [each["pattern"] for each in call("GET", f"{DOMAINS}?staged=true").json()] == [HOST]
    assert call("GET", f"{DOMAINS}/{HOST}?staged=true").status_code == 200
    (stage,) = call("GET", f"{BASE}/stages").json()
    assert (stage["number"], stage["revision"]) == (1, 1)
    trial = call("GET", f"{BASE}/stages/open/trial").json()
    assert trial["streams"][0]["changed"] == done.json()["changed"]
    published = call("POST", f"{BASE}/stages/1/publish", {}, headers={"If-Match": '"1"'})
    assert published.status_code == 200
    assert published.json()["items"][0]["reason"] == "launch"
    assert call("GET", f"{BASE}/stages").json() == []


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", f"{BASE}/pin-sets", {"name": "payments", "pins": []}),
        ("POST", f"{BASE}/streams", {"name": "canary"}),
        ("PUT", f"{BASE}/delivery", {"refresh_interval": 60}),
        ("PUT", f"{BASE}/guards", {"most_domains": 3}),
    ],
)
def test_every_change_can_be_staged(call, pin_text, method, path, body) -> None:
    if "pins" in body:
        body["pins"] = [{"sha256": pin_text(1)}]
    assert call(method, path, body, params={"stage": "true"}).status_code == 202
    assert call("POST", f"{BASE}/stages/open/publish", {}).status_code == 200


def test_a_change_of_what_has_changed_since_is_refused_and_says_how(
    call, domain, pin_text, assert_problem
) -> None:
    call("POST", DOMAINS, domain)
    seen = call("GET", f"{DOMAINS}/{HOST}").headers["etag"]
    assert seen == '"2"'
    assert call("GET", f"{BASE}/configs/latest").headers["etag"] == seen
    pins = f"{DOMAINS}/{HOST}/pins"
    call("POST", pins, {"pins": [{"sha256": pin_text(2)}]})
    change = {"mode": "report"}
    settings = f"{DOMAINS}/{HOST}/settings"
    late = call("PATCH", settings, change, headers={"If-Match": seen})
    found = assert_problem(late, 412)
    assert found["detail"].startswith("meanwhile was published: version 3 of main by admin ")
    assert call("PATCH", settings, change, headers={"If-Match": '"3"'}).status_code == 200


def test_delivery_that_another_has_changed_since_is_not_changed_by_who_has_not_seen_it(
    call, assert_problem
) -> None:
    path = f"{BASE}/delivery"
    seen = call("GET", path).headers["etag"]
    call("PUT", path, {"refresh_interval": 60})
    late = call("PUT", path, {"refresh_interval": 90}, headers={"If-Match": seen})
    found = assert_problem(late, 412)
    assert "(* delivery: refresh interval 300 s -> 60 s)" in found["detail"]
    again = call("GET", path).headers["etag"]
    assert call("PUT", path, {"refresh_interval": 90}, headers={"If-Match": again}).is_success


def test_guards_are_answered_as_they_are_merged(call) -> None:
    call("PUT", f"{BASE}/guards", {"most_domains": 3})
    done = call("PUT", f"{BASE}/guards", {"second_person": True}).json()
    assert done["guards"] == {"most_domains": 3, "second_person": True}


@pytest.mark.parametrize("tag", ["2", '"x"', "*", '"99999999999999999"', 'W/"2"'])
def test_an_etag_that_is_none_is_refused(call, domain, assert_problem, tag: str) -> None:
    found = assert_problem(call("POST", DOMAINS, domain, headers={"If-Match": tag}), 422)
    assert "If-Match: expected an ETag" in found["detail"]


def test_a_time_needs_its_zone(call, domain, assert_problem) -> None:
    at = {"at": "2026-12-01T12:00:00"}
    found = assert_problem(call("POST", DOMAINS, domain, params=at), 422)
    assert found["detail"] == "at: expected a time with its zone"
    soon = (call.server.services.clock() + timedelta(days=1)).isoformat()
    done = call("POST", DOMAINS, domain, params={"at": soon})
    assert done.status_code == 202
    assert done.json()["stage"] == 1
    view = call("POST", f"{BASE}/stages/1/publish", {}, params={"at": soon}).json()["stage"]
    assert view["at"] is not None
    assert call("DELETE", f"{BASE}/stages/1").json()["number"] == 1


def test_a_stage_has_a_number(call, assert_problem) -> None:
    for number in ("no", "-1", "9" * 17, "²"):
        answer = call("GET", f"{BASE}/stages/{number}/trial")
        found = assert_problem(answer, 422)
        assert "expected the number of a stage or open" in found["detail"]


def test_an_old_version_is_published_again(call, domain) -> None:
    call("POST", DOMAINS, domain)
    call("DELETE", f"{DOMAINS}/{HOST}")
    done = call("POST", f"{BASE}/configs/2/restore", {"reason": "back"})
    assert done.status_code == 200
    assert done.json()["publication"]["version"] == 4
    assert [each["pattern"] for each in call("GET", DOMAINS).json()] == [HOST]


def test_what_waits_for_somebody_is_in_the_status(call, domain) -> None:
    call("PUT", f"{BASE}/guards", {"second_person": True})
    soon = (call.server.services.clock() + timedelta(hours=2)).isoformat()
    call("POST", DOMAINS, domain, params={"at": soon})
    warnings = call("GET", "/v1/status").json()["warnings"]
    assert any("and not approved: livepin publish 1 --approve" in each for each in warnings)
