"""The routes of incidents and of maintenance."""

from __future__ import annotations

import pytest

INCIDENTS = "/v1/accounts/acme/monitor/incidents"
MAINTENANCE = "/v1/accounts/acme/monitor/maintenance"


@pytest.fixture(scope="module")
def call(quiet):
    """Call the API as an admin of the whole server."""
    return quiet


@pytest.fixture(scope="module")
def number(call, open_incident):
    """An incident."""
    return open_incident(call.services, "api.example.com")


def test_an_incident_says_what_is_wrong_and_what_mends_it(call, number) -> None:
    found = call("GET", f"{INCIDENTS}/{number}")
    assert (found["number"], found["kind"], found["state"]) == (number, "at_risk", "open")
    assert found["endpoints"] == ["api.example.com:443"]
    assert "expires in 5 days" in found["notice"]["sentence"]
    assert found["notice"]["command"] == "livepin domain check api.example.com"
    assert number in [each["number"] for each in call("GET", INCIDENTS)]
    assert call("GET", f"{INCIDENTS}?resolved=true") == []


def test_who_takes_care_of_it_stands_in_it(call, open_incident) -> None:
    number = open_incident(call.services, "ack.example.com")
    found = call("POST", f"{INCIDENTS}/{number}/acknowledge", {"reason": "renewing it"})
    assert found["state"] == "acknowledged"
    assert found["acknowledged_by"].startswith("admin ")
    again = call("POST", f"{INCIDENTS}/{number}/acknowledge", {})
    assert again["acknowledged"] == found["acknowledged"]


def test_one_is_snoozed_for_a_while(call, open_incident) -> None:
    number = open_incident(call.services, "snooze.example.com")
    found = call("POST", f"{INCIDENTS}/{number}/snooze", {"seconds": 7200})
    assert found["state"] == "snoozed"
    for seconds in (0, 59, 30 * 86400 + 1, -1, "x"):
        call("POST", f"{INCIDENTS}/{number}/snooze", {"seconds": seconds}, 400)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/999", 404),
        ("/x", 422),
        ("/-1", 422),
        (f"/{'9' * 16}", 422),
        ("/%E0%A5%A9", 422),  # a digit, and none of ours
        ("?limit=0", 400),
        ("?limit=1001", 400),
        ("?resolved=perhaps", 400),
    ],
)
def test_what_is_no_incident_is_refused(call, number, path, status) -> None:
    assert call("GET", f"{INCIDENTS}{path}", status=status)["detail"]


def test_the_nearest_number_is_told(call, number) -> None:
    assert call("GET", f"{INCIDENTS}/{number}999", status=404)["hint"]


def test_a_time_of_work_is_added_listed_and_ended(call, number) -> None:
    body = {"pattern": "api.example.com", "lasts": 3600, "reason": "rotation"}
    made = call("POST", MAINTENANCE, body, 201)
    assert (made["pattern"], made["active"], made["reason"]) == (
        "api.example.com",
        True,
        "rotation",
    )
    assert call("GET", MAINTENANCE)[0] == made
    assert call("GET", f"{MAINTENANCE}?limit=1") == [made]
    ended = call("DELETE", f"{MAINTENANCE}/{made['number']}?reason=early")
    assert ended["active"] is False
    assert "over" in call("DELETE", f"{MAINTENANCE}/{made['number']}", status=409)["detail"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"lasts": 59}, 400),
        ({"lasts": 7 * 86400 + 1}, 400),
        ({"lasts": 60, "starts": "2026-11-23T12:00:00"}, 422),
        ({"lasts": 60, "starts": "2000-01-01T00:00:00Z"}, 422),
        ({"lasts": 60, "pattern": "aip.example.com"}, 404),
        ({"lasts": 60, "pattern": "a b"}, 422),
        ({"lasts": 60, "reason": "x" * 501}, 400),
        ({}, 400),
    ],
)
def test_a_time_of_work_that_cannot_be_is_refused(call, number, body, status) -> None:
    assert call("POST", MAINTENANCE, body, status)["detail"]
