"""PagerDuty: one incident there for each of ours, and its end."""

from __future__ import annotations

import pytest
from livepin_server.monitor.notifiers.pagerduty import (
    URL,
    PagerDutyNotifier,
    dedup_key,
    event_of,
)
from livepin_server.monitor.notifiers.telling import TellError
from livepin_server.services.monitoring.channel_kinds import PagerDuty
from notices import COMMAND, COMMANDS, HAPPENED, posted

from .conftest import CA

KEY = PagerDuty(routing_key="a" * 32)


@pytest.fixture
def notifier(receiver, calling):
    receiver.answer = 202, {}, b'{"status":"success"}'
    return PagerDutyNotifier(calling, url=receiver.url, ca=CA, allow_private=True)


def test_an_incident_is_triggered_and_resolved_by_one_key(receiver, notifier, tell):
    for event in ("opened", "again", "worse", "grew", "resolved"):
        tell(notifier, posted(KEY, key=event, event=event))
    bodies = [body for _, _, body in receiver.got]
    assert [each["event_action"] for each in bodies] == ["trigger"] * 4 + ["resolve"]
    assert {each["dedup_key"] for each in bodies} == {"livepin-acme-7"}
    assert {each["routing_key"] for each in bodies} == {"a" * 32}
    payload = bodies[0]["payload"]
    assert payload["severity"] == "critical"
    assert payload["source"] == "api.example.com"
    assert payload["timestamp"] == "2026-11-23T11:59:00+00:00"
    assert payload["custom_details"]["to mend it"] == COMMAND


def test_commands_for_two_domains_are_two_lines():
    for command in (COMMANDS, "\n".join([COMMAND] * 100)):
        details = event_of(posted(KEY, command=command))["payload"]["custom_details"]
        said = details["to mend it"].split("\n")
        assert said == command.split("\n")[: len(said)]  # none is cut in two
        assert len(said) >= 2


@pytest.mark.parametrize("severity", ["info", "warning", "critical"])
def test_each_severity_is_one_of_theirs(severity):
    assert event_of(posted(KEY, severity=severity))["payload"]["severity"] == severity


def test_a_test_is_an_incident_of_its_own_and_what_is_long_is_cut():
    assert dedup_key(posted(KEY, key="k5", event="test", incident=None)) == "livepin-acme-k5"
    long = posted(KEY, title="x" * 5000, lines=["y" * 5000], domain="")
    payload = event_of(long)["payload"]
    assert len(payload["summary"]) == 1024
    assert len(payload["custom_details"]["more"]) == 2000
    assert payload["source"] == "livepin"
    assert len(dedup_key(long)) <= 255


def test_a_key_that_they_do_not_know_is_permanent_and_a_limit_is_not(receiver, notifier, tell):
    for status, permanent in ((400, True), (429, False)):
        receiver.answer = status, {}, b"invalid routing key"
        with pytest.raises(TellError) as caught:
            tell(notifier, posted(KEY))
        assert caught.value.permanent == permanent


def test_the_host_is_fixed_unless_a_test_says_another():
    assert URL == "https://events.pagerduty.com/v2/enqueue"


def test_what_only_happened_is_triggered_by_the_key_of_its_subject():
    """A second one joins the first there, and wakes nobody once more."""
    first, second = (event_of(posted(KEY, key=key, **HAPPENED)) for key in ("k1", "k2"))
    assert first["dedup_key"] == second["dedup_key"] == "livepin-acme-signal-fail-abc"
    assert (first["event_action"], first["payload"]["severity"]) == ("trigger", "warning")
    assert first["payload"]["custom_details"]["to see why"] == HAPPENED["command"]
