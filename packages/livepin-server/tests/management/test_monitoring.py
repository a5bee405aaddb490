"""The routes of monitoring: how endpoints are, settings, a look at once, history."""

from __future__ import annotations

from datetime import datetime

import pytest
from livepin_server.bus.memory import MonitorWanted
from livepin_server.services.monitoring.incidents.taking import take
from livepin_server.services.monitoring.model import Finding, Judged
from livepin_server.storage.schema import endpoints
from sqlalchemy import select

MONITOR = "/v1/accounts/acme/monitor"
DOMAINS = "/v1/accounts/acme/domains"
PIN = {"sha256": f"sha256/{'A' * 43}="}


@pytest.fixture(scope="module")
def call(quiet):
    """Call the API as an admin of the whole server."""
    return quiet


@pytest.fixture(scope="module")
def watched(call):
    """Domains that are monitored: an exact one, and one that names no host."""
    for pattern in ("api.example.com", "pay.example.com", "*.example.net"):
        call("POST", DOMAINS, {"pattern": pattern, "pins": [PIN]}, 201)
    call.services.endpoints.ensure_vantage("here")


def test_the_status_has_endpoints_and_what_nobody_looks_at(call, watched) -> None:
    found = call("GET", MONITOR)
    assert [each["host"] for each in found["endpoints"]] == ["api.example.com", "pay.example.com"]
    first = found["endpoints"][0]
    assert (first["domain"], first["port"], first["vantage"]) == ("api.example.com", 443, "here")
    assert (found["count"], found["unwatched"]) == (2, ["*.example.net"])


def test_the_status_of_one_domain_has_its_endpoints_alone(call, watched) -> None:
    found = call("GET", f"{MONITOR}?pattern=pay.example.com")
    assert [each["host"] for each in found["endpoints"]] == ["pay.example.com"]
    found = call("GET", f"{MONITOR}?limit=1")
    assert (len(found["endpoints"]), found["count"]) == (1, 2)
    assert (found["mismatched"], found["unknown"], found["late"]) == (0, 2, {})
    found = call("GET", f"{MONITOR}?limit=1&since=2027-01-31T12:00:00%2B01:00")
    assert found["late"] == {"here": 2}


def test_the_status_of_a_domain_has_its_incidents_alone(call, watched, open_incident) -> None:
    numbers = [open_incident(call.services, f"{name}.example.org") for name in ("one", "two")]
    found = call("GET", f"{MONITOR}?pattern=two.example.org")["incidents"]
    assert [each["number"] for each in found] == numbers[1:]
    assert {each["number"] for each in call("GET", MONITOR)["incidents"]} >= {*numbers}


def test_an_incident_over_more_hosts_than_it_lists_is_in_the_status_of_each_domain(call) -> None:
    beta, hosts = "/v1/accounts/beta", [f"a{n}.one.example.org" for n in range(100)]
    for pattern, named in (
        ("*.one.example.org", hosts),
        ("*.two.example.org", ["z.two.example.org"]),
    ):
        call("POST", f"{beta}/domains", {"pattern": pattern, "pins": [PIN]}, 201)
        call("PATCH", f"{beta}/monitor/settings/{pattern}", {"hosts": named})
    services = call.services
    services.endpoints.ensure_vantage("here")
    with services.database.reading() as connection:
        query = select(endpoints.c.id, endpoints.c.host).where(endpoints.c.account == "beta")
        watched = connection.execute(query).all()
    judged = [
        Judged(
            account="beta", endpoint=number, vantage="here", host=host, port=443,
            findings=[_expires_soon(host)],
        )
        for number, host in watched
    ]  # fmt: skip
    services.database.write(lambda connection: take(connection, judged, services.clock()))
    (whole,) = call("GET", f"{beta}/monitor")["incidents"]
    assert (whole["count"], len(whole["endpoints"])) == (101, 100)
    for pattern in ("*.one.example.org", "*.two.example.org", "z.two.example.org"):
        found = call("GET", f"{beta}/monitor?pattern={pattern}")
        assert [each["number"] for each in found["incidents"]] == [whole["number"]]
        assert {each["state"] for each in found["endpoints"]} == {"firing"}


def _expires_soon(host: str) -> Finding:
    return Finding(
        kind="at_risk", code="expires", severity="warning", key="expires", cause="expires at a CDN",
        host=host, port=443, sentence="it expires", command="livepin domain check HOST",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("path", "status", "hint"),
    [
        ("?pattern=aip.example.com", 404, "did you mean api.example.com?"),
        ("?pattern=a%20b", 422, None),
        ("?limit=0", 400, None),
        ("?since=yesterday", 422, None),
        ("?since=2027-01-31T12:00:00", 422, "such as 2027-01-31T12:00:00Z"),
        ("?limit=1001", 400, None),
        (f"?pattern={'a' * 1101}", 400, None),
        ("/history/aip.example.com", 404, "did you mean api.example.com?"),
        ("/history/api.example.com?limit=1001", 400, None),
    ],
)
def test_what_is_no_domain_or_beyond_bounds_is_refused(call, watched, path, status, hint) -> None:
    found = call("GET", f"{MONITOR}{path}", status=status)
    assert found["detail"]
    assert hint is None or found["hint"] == hint


def test_a_look_at_once_makes_endpoints_due_and_wakes_whoever_looks(call, watched) -> None:
    told = []
    stop = call.services.bus.subscribe(told.append, MonitorWanted)
    found = call("POST", f"{MONITOR}/looks", {"pattern": "api.example.com"})
    stop()
    assert found["endpoints"] == 1
    assert datetime.fromisoformat(found["moment"]) == call.services.clock()
    assert set(told) == {MonitorWanted(account="acme")}


def test_a_look_at_once_finds_a_domain_that_was_added_just_now(call, watched) -> None:
    call("POST", DOMAINS, {"pattern": "new.example.com", "pins": [PIN]}, 201)
    assert call("POST", f"{MONITOR}/looks", {"pattern": "new.example.com"})["endpoints"] == 1


def test_a_look_at_what_is_no_domain_is_refused_and_tells_the_nearest(call, watched) -> None:
    found = call("POST", f"{MONITOR}/looks", {"pattern": "aip.example.com"}, 404)
    assert found["hint"] == "did you mean api.example.com?"
    assert call("POST", "/v1/accounts/acmee/monitor/looks", {}, 404)["hint"]


def test_a_look_at_a_domain_that_names_no_host_looks_nowhere(call, watched) -> None:
    assert call("POST", f"{MONITOR}/looks", {"pattern": "*.example.net"})["endpoints"] == 0


def test_what_is_not_said_of_the_settings_stays(call, watched) -> None:
    one = f"{MONITOR}/settings/pay.example.com"
    assert call("PATCH", one, {"every": 300, "tags": ["ops"]})["lead"] == 21
    found = call("PATCH", one, {"lead": 30, "reason": "CHG-1"})
    assert (found["every"], found["lead"], found["tags"]) == (300, 30, ["ops"])
    assert call("GET", f"{MONITOR}/settings")["pay.example.com"] == found


@pytest.mark.parametrize(
    ("pattern", "body", "status"),
    [
        ("aip.example.com", {"every": 300}, 404),
        ("api.example.com", {"every": 59}, 400),
        ("api.example.com", {"every": 86401}, 400),
        ("api.example.com", {"hosts": ["other.example.org"]}, 422),
        ("api.example.com", {"hosts": ["api.example.com:0"]}, 422),
        ("api.example.com", {"hosts": ["api.example.com"] * 101}, 400),
        ("api.example.com", {"tags": ["A B"]}, 400),
        ("api.example.com", {"evry": 300}, 400),
    ],
)
def test_settings_that_cannot_be_are_refused(call, watched, pattern, body, status) -> None:
    before = call("GET", f"{MONITOR}/settings")
    assert call("PATCH", f"{MONITOR}/settings/{pattern}", body, status)["detail"]
    assert call("GET", f"{MONITOR}/settings") == before


def test_the_history_of_a_domain_that_was_never_seen_is_empty(call, watched) -> None:
    assert call("GET", f"{MONITOR}/history/api.example.com") == []


def test_until_there_is_a_channel_everybody_is_told_that_nobody_is(call, watched) -> None:
    """In the status of the server, in that of monitoring, and where a domain is added."""
    added = call("POST", DOMAINS, {"pattern": "told.example.com", "pins": [PIN]}, 201)
    (text,) = added["warnings"]
    assert text.startswith("nobody will be told")
    assert text.endswith("livepin channel add email ops --to ops@example.com --account acme")
    assert call("GET", MONITOR)["warnings"][-1] == text
    warnings = call("GET", "/v1/status")["warnings"]
    assert warnings[-2:] == [text, text.replace("acme", "beta")]
    settings = {"kind": "email", "to": ["ops@example.com"]}
    call("POST", f"{MONITOR}/channels", {"name": "ops", "settings": settings}, 201)
    assert text not in call("GET", MONITOR)["warnings"]
    assert text not in call("GET", "/v1/status")["warnings"]
    added = call("POST", DOMAINS, {"pattern": "quiet.example.com", "pins": [PIN]}, 201)
    assert added["warnings"] == []
    call("DELETE", f"{MONITOR}/channels/ops")


def test_a_vantage_from_where_nobody_looks_is_forgotten(call, watched) -> None:
    call.services.endpoints.ensure_vantage("eu-west")
    assert {each["vantage"] for each in call("GET", MONITOR)["endpoints"]} == {"here", "eu-west"}
    assert call("DELETE", "/v1/vantages/eu-west")["endpoints"] >= 2
    assert {each["vantage"] for each in call("GET", MONITOR)["endpoints"]} == {"here"}
    assert call("DELETE", "/v1/vantages/eu-wset", status=404)["detail"]
