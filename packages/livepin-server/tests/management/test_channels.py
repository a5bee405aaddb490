"""The routes of channels: secrets come in, and never go out again."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from livepin_server.bus.memory import MonitorWanted
from livepin_server.services.monitoring.outbox import put
from notices import notice

CHANNELS = "/v1/accounts/acme/monitor/channels"
NOTICES = "/v1/accounts/acme/monitor/notices"
KEY = "R0ut1ngK3yR0ut1ngK3yR0ut1ngK3y12"
EMAIL = {"kind": "email", "to": ["ops@example.com"]}
LEASE = timedelta(minutes=1)
SENT = {"notices": 1, "skipped": 0, "dropped": 0}


@pytest.fixture(scope="module")
def call(quiet):
    """Call the API as an admin of the whole server."""
    return quiet


@pytest.fixture
def channel(call):
    """A channel of this test's own."""
    call("POST", CHANNELS, {"name": "ops", "settings": EMAIL}, 201)
    yield "ops"
    call("DELETE", f"{CHANNELS}/ops?reason=done")


def test_a_channel_is_added_listed_and_removed(call) -> None:
    body = {"name": "ops", "settings": EMAIL, "severity": "critical", "tags": ["pay"]}
    made = call("POST", CHANNELS, body, 201)
    assert made["secret"] is None
    assert (made["channel"]["target"], made["channel"]["kind"]) == ("ops@example.com", "email")
    assert call("GET", CHANNELS) == [made["channel"]]
    assert call("DELETE", f"{CHANNELS}/ops") == made["channel"]
    assert call("GET", CHANNELS) == []


def test_a_secret_that_is_made_is_shown_once(call) -> None:
    settings = {"kind": "webhook", "url": "https://hooks.example.com/T0/s3cr3t-path"}
    made = call("POST", CHANNELS, {"name": "hook", "settings": settings}, 201)
    assert made["secret"].startswith("whsec_")
    later = json.dumps([call("GET", CHANNELS), call("DELETE", f"{CHANNELS}/hook")])
    for secret in (made["secret"], "s3cr3t-path"):
        assert secret not in later


SECRETS = {
    "webhook": {"url": "https://hooks.example.com/s3cr3t", "secret": f"whsec_{'c2VjcmV0' * 4}"},
    "pagerduty": {"routing_key": KEY},
    "alertmanager": {"url": "https://am.example.com", "user": "u", "password": "s3cr3t-word"},
    "apprise": {"url": "ntfys://s3cr3t-word@ntfy.example.com/topic"},
}


@pytest.mark.parametrize("kind", SECRETS)
def test_no_secret_is_in_an_answer_in_the_audit_log_or_in_an_error(call, kind) -> None:
    """Each is given to a viewer's list, to the log of the account, and to whoever errs."""
    settings = {"kind": kind, **SECRETS[kind]}
    secrets = [v for k, v in SECRETS[kind].items() if k != "user" and "am.example" not in v]
    answers = [
        call("POST", CHANNELS, {"name": kind, "settings": settings}, 201),
        call("POST", CHANNELS, {"name": kind, "settings": settings}, 409),
        call("POST", CHANNELS, {"name": "A B", "settings": settings}, 400),
        call("POST", CHANNELS, {"name": "x", "settings": {**settings, "more": 1}}, 400),
        call("POST", CHANNELS, {"name": "x", "settings": settings, "tags": ["A B"]}, 400),
        call("GET", CHANNELS),
        call("POST", f"{CHANNELS}/{kind}/test", {}),
        call("DELETE", f"{CHANNELS}/{kind}"),
        call("GET", "/v1/accounts/acme/audit?limit=20"),
    ]
    text = json.dumps(answers)
    for secret in [*secrets, "s3cr3t"]:
        assert secret not in text


@pytest.mark.parametrize(
    ("members", "status", "detail"),
    [
        ({"kind": "email", "to": ["x"]}, 422, "an address"),
        ({"kind": "email", "to": []}, 422, "an address"),
        ({"kind": "fax", "to": []}, 400, "kind"),
        ({"kind": "pagerduty", "routing_key": "short"}, 422, "routing key"),
        ({"kind": "webhook", "url": "http://127.0.0.1/"}, 422, ""),
        ({"kind": "apprise", "url": "file:///etc/passwd"}, 422, "apprise"),
        ({}, 400, "kind"),
    ],
)
def test_settings_that_cannot_be_are_refused(call, members, status, detail) -> None:
    found = call("POST", CHANNELS, {"name": "x", "settings": members}, status)
    assert detail in found["detail"]
    assert call("GET", CHANNELS) == []


def test_who_is_no_admin_adds_no_channel_and_may_try_one(call, channel) -> None:
    for method, path, status in (
        ("POST", CHANNELS, 403), ("DELETE", f"{CHANNELS}/ops", 403), ("GET", CHANNELS, 200),
        ("POST", f"{CHANNELS}/ops/test", 200), ("POST", f"{CHANNELS}/ops/retry", 200),
    ):  # fmt: skip
        body = {"name": "x", "settings": EMAIL} if path == CHANNELS else {}
        call(method, path, body, status, role="operator")


def refuse(call, posted) -> None:
    """Note, as a notifier does, that a notice can never be told."""
    (claimed,) = call.services.outbox.claim(9, lease=LEASE)
    assert claimed.id == posted["id"]
    call.services.outbox.failed(claimed, "550 no such user", permanent=True)


def test_a_test_waits_until_it_is_told_or_given_up(call, channel) -> None:
    posted = call("POST", f"{CHANNELS}/ops/test", {"reason": "new"})
    assert (posted["event"], posted["state"], posted["trouble"]) == ("test", "waiting", None)
    refuse(call, posted)
    found = call("GET", f"{NOTICES}/{posted['id']}")
    assert (found["state"], found["trouble"]) == ("dead", "550 no such user")
    assert [each["id"] for each in call("GET", f"{CHANNELS}/ops/dead")] == [posted["id"]]
    assert call("GET", CHANNELS)[0]["dead"] == 1


def test_what_is_followed_is_the_test_and_no_notice_that_came_in_between(call, channel) -> None:
    """An incident opens before the answer: what is told of that is no word on the test."""
    database, clock = call.services.database, call.services.clock

    def opens(_):
        database.write(lambda each: put(each, notice(), clock()))

    end = call.services.bus.subscribe(opens, MonitorWanted)
    try:
        posted = call("POST", f"{CHANNELS}/ops/test", {})
    finally:
        end()
    assert posted["event"] == "test"
    assert call("GET", CHANNELS)[0]["waiting"] == 2


def test_who_of_a_channel_was_not_told_is_shown(call, channel) -> None:
    posted = call("POST", f"{CHANNELS}/ops/test", {})
    (claimed,) = call.services.outbox.claim(9, lease=LEASE)
    call.services.outbox.delivered(claimed, trouble="it refused bob" * 100)
    found = call("GET", f"{NOTICES}/{posted['id']}")
    assert (found["state"], found["trouble"][:14]) == ("delivered", "it refused bob")
    (view,) = call("GET", CHANNELS)
    assert (view["trouble"], view["waiting"], view["dead"]) == (found["trouble"], 0, 0)
    call("POST", f"{CHANNELS}/ops/test", {})
    (claimed,) = call.services.outbox.claim(9, lease=LEASE)
    call.services.outbox.delivered(claimed)
    assert call("GET", CHANNELS)[0]["trouble"] is None


def test_what_nobody_got_is_sent_again(call, channel) -> None:
    first = call("POST", f"{CHANNELS}/ops/test", {})
    refuse(call, first)
    second = call("POST", f"{CHANNELS}/ops/test", {})
    refuse(call, second)
    assert call("POST", f"{CHANNELS}/ops/retry", {"notices": [first["id"]] * 2}) == SENT
    assert call("GET", f"{NOTICES}/{first['id']}")["state"] == "waiting"
    assert call("POST", f"{CHANNELS}/ops/retry", {}) == SENT
    (claimed,) = call.services.outbox.claim(9, lease=LEASE)
    call.services.outbox.delivered(claimed)
    assert call("GET", f"{NOTICES}/{first['id']}")["state"] == "delivered"
    found = call("POST", f"{CHANNELS}/ops/retry", {"notices": [first["id"]]}, 404)
    assert found["hint"] == "livepin channel dead ops"


def log(call):
    """Return what the audit log says of what was sent again, the newest first."""
    items = call("GET", "/v1/accounts/acme/audit?limit=100&action=channel.retry")["items"]
    return [each["entry"]["after"] for each in items]


def test_where_one_of_several_cannot_be_sent_again_none_is_and_what_is_done_is_on_record(
    call, channel
) -> None:
    before = len(log(call))
    posted = call("POST", f"{CHANNELS}/ops/test", {})
    refuse(call, posted)
    body = {"notices": [posted["id"], 10**9]}
    for drop in (False, True):
        call("POST", f"{CHANNELS}/ops/retry", body | {"drop": drop}, 404)
    assert call("GET", f"{NOTICES}/{posted['id']}")["state"] == "dead"
    assert len(log(call)) == before
    found = call("POST", f"{CHANNELS}/ops/retry", {"drop": True})
    assert found == {"notices": 0, "skipped": 0, "dropped": 1}
    assert log(call)[0] == {"notices": 0, "dropped": 1}
    assert call("GET", CHANNELS)[0]["dead"] == 0


def test_a_name_that_is_none_gets_the_nearest(call, channel) -> None:
    for method, path, body in (
        ("DELETE", "/opz", None), ("POST", "/opz/test", {}), ("GET", "/opz/dead", None),
        ("POST", "/opz/retry", {}),
    ):  # fmt: skip
        found = call(method, f"{CHANNELS}{path}", body, 404)
        assert found["hint"] == "did you mean ops?"
    assert call("GET", f"{NOTICES}/999999", status=404)["detail"] == "there is no notice 999999"
    assert call("GET", f"{NOTICES}/x", status=422)["detail"]
    assert call("GET", f"{CHANNELS}/ops/dead?limit=1001", status=400)["detail"]
