"""Changes of an account as a whole: each changes what it says, whatever others do meanwhile."""

from __future__ import annotations

from datetime import timedelta

import pytest
from livepin_server.errors import ConflictError, InvalidError
from livepin_server.services.audit.log import Wanted
from livepin_server.services.changes import SetDelivery, SetGuards
from livepin_server.services.delivery_settings import DeliveryChange
from livepin_server.services.guard_settings import GuardChange
from livepin_server.services.model import How, Intent, NewStream, Role
from msgspec import structs

ALICE = Intent(author="alice", key_id="a1", how=How(confirmed=True))
BOB = Intent(author="bob", key_id="b1", how=How(confirmed=True))
STAGED = structs.replace(ALICE, how=How(stage=True))
CDN = "https://cdn.example.net/livepin"


@pytest.fixture
def stage(services):
    return services.stage


@pytest.fixture
def publish(stage):
    """Publish the open stage as a second person."""

    def one(**more):
        return stage.publish("acme", None, BOB, role=Role.ADMIN, **more)

    return one


def delivery(**members):
    return SetDelivery(wanted=DeliveryChange(**members))


def guards(**members):
    return SetGuards(wanted=GuardChange(**members))


@pytest.fixture
def last_entry(services):
    """The newest entry of the audit log for `action`."""

    def one(action):
        (newest, *_) = services.audit.log("acme", Wanted(action=action)).items
        return newest.entry

    return one


# -- delivery -------------------------------------------------------------------------------------


def test_what_was_staged_last_week_does_not_undo_the_delivery_urls_of_yesterday(
    services, stage, publish
):
    stage.make("acme", delivery(refresh_interval=60), STAGED)
    stage.make("acme", delivery(urls=["https://new.example.com"]), BOB)
    publish()
    found = services.published.delivery("acme")
    assert (found.urls, found.refresh_interval) == (["https://new.example.com"], 60)


def test_what_was_planned_for_later_does_not_undo_a_recovery_url(services, stage, clock):
    later = structs.replace(ALICE, how=How(at=clock() + timedelta(hours=1)))
    stage.make("acme", delivery(refresh_interval=60), later)
    stage.make("acme", delivery(recovery_urls=[CDN]), BOB)
    clock.advance(hours=2)
    (done,) = stage.publish_due()
    assert done.changed == ["* delivery: refresh interval 300 s -> 60 s"]
    found = services.published.delivery("acme")
    assert (found.recovery_urls, found.refresh_interval) == ([CDN], 60)


def test_each_line_of_several_streams_is_said_once_of_a_stage(services, stage):
    services.streams.add("acme", NewStream(name="canary"), ALICE)
    staged = stage.make("acme", delivery(recovery_urls=[CDN], refresh_interval=60), STAGED)
    assert staged.changed == [
        f"* delivery: recovery URLs none -> {CDN}",
        "* delivery: refresh interval 300 s -> 60 s",
    ]
    assert [each.changed for each in stage.try_out("acme", None, BOB).streams] == [
        staged.changed,
        staged.changed,
    ]


def test_delivery_that_is_so_already_is_not_published_again(services, stage):
    for members in ({}, {"refresh_interval": 300}):
        with pytest.raises(ConflictError, match="so already"):
            stage.make("acme", delivery(**members), ALICE)
    assert services.published.newest("acme") == 1


def test_no_config_may_carry_what_is_merged(stage):
    with pytest.raises(InvalidError):
        stage.make("acme", delivery(urls=["http://new.example.com"]), ALICE)


# -- guards ---------------------------------------------------------------------------------------


def test_a_staged_limit_does_not_send_the_second_person_away(stage, publish):
    """Alice stages something harmless; what she has not said would have been `off`."""
    stage.make("acme", guards(most_domains=500), STAGED)
    stage.make("acme", guards(second_person=True), BOB)
    publish(approve=True)
    found = stage.guards("acme")
    assert (found.most_domains, found.second_person) == (500, True)


def test_who_approves_sees_that_a_stage_does_away_with_the_second_person(stage):
    stage.make("acme", guards(second_person=True), BOB)
    stage.make("acme", delivery(refresh_interval=60), STAGED)
    staged = stage.make("acme", guards(second_person=False, most_domains=7), STAGED)
    lines = ["* second person: on -> off", "* most domains at once: 100 -> 7"]
    assert staged.changed == lines
    trial = stage.try_out("acme", None, BOB)
    assert trial.changed == lines
    assert [each.action for each in trial.stage.changes] == ["delivery.set", "guards.set"]


def test_the_log_says_what_the_guards_were_and_what_they_are(stage, publish, last_entry):
    stage.make("acme", guards(second_person=True), STAGED)
    stage.make("acme", guards(most_domains=7), BOB)
    publish()
    entry = last_entry("guards.set")
    assert entry.author == "bob"
    assert entry.before == {"most_domains": 7, "second_person": False}
    assert entry.after == {"most_domains": 7, "second_person": True}
