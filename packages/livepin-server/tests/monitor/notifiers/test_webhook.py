"""Webhooks: signed as receivers verify, the same key for each attempt, a body with a version."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json

import pytest
from livepin_server.monitor.notifiers.telling import TellError
from livepin_server.monitor.notifiers.webhook import WebhookNotifier, body_of
from livepin_server.services.monitoring.channel_kinds import Email, Webhook
from notices import COMMAND, HAPPENED, notice, posted

from .conftest import CA

KEY = b"ABC" * 10
SECRET = "whsec_" + base64.b64encode(KEY).decode()


@pytest.fixture
def notifier(calling, clock):
    return WebhookNotifier(calling, clock=clock)


def hook(receiver, **members):
    return Webhook(url=receiver.url, secret=SECRET, ca=CA, allow_private=True, **members)


def test_a_receiver_can_verify_the_signature(receiver, notifier, tell, clock):
    tell(notifier, posted(hook(receiver)))
    ((_, headers, _),) = receiver.got
    moment = headers["webhook-timestamp"]
    assert moment == str(int(clock().timestamp()))
    signed = b".".join([headers["webhook-id"].encode(), moment.encode(), receiver.raw])
    mac = base64.b64encode(hmac.digest(KEY, signed, hashlib.sha256)).decode()
    assert headers["webhook-signature"] == f"v1,{mac}"


def test_each_attempt_has_the_same_key_and_a_time_of_its_own(receiver, notifier, tell, clock):
    for _ in range(2):
        tell(notifier, posted(hook(receiver), key="k-9"))
        clock.advance(minutes=10)
    first, second = (headers for _, headers, _ in receiver.got)
    assert first["webhook-id"] == second["webhook-id"] == "k-9"
    assert int(second["webhook-timestamp"]) - int(first["webhook-timestamp"]) == 600
    assert receiver.got[0][2] == receiver.got[1][2]


def test_the_body_says_what_happened_its_version_and_all_of_the_notice():
    found = json.loads(body_of(notice()))
    assert (found["type"], found["version"]) == ("incident.opened", 1)
    assert found["timestamp"] == "2026-11-23T12:00:00Z"
    assert found["data"]["command"] == COMMAND
    assert found["data"]["incident"] == 7
    assert json.loads(body_of(notice(event="test")))["type"] == "test"


def test_a_refusal_is_given_on(receiver, notifier, tell):
    receiver.answer = 410, {}, b""
    with pytest.raises(TellError) as caught:
        tell(notifier, posted(hook(receiver)))
    assert caught.value.disable


def test_settings_of_another_kind_are_refused(notifier, tell):
    with pytest.raises(TellError, match="of another kind"):
        tell(notifier, posted(Email(to=["a@example.com"])))


def test_what_only_happened_is_an_event_of_its_kind():
    found = json.loads(body_of(notice(**HAPPENED)))
    assert found["type"] == "event.installation_refused"
    assert (found["data"]["incident"], found["data"]["subject"]) == (None, "signal-fail-abc")
