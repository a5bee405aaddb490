"""The stage: changes are gathered, looked at, and published together; or alone, at a time."""

from __future__ import annotations

import contextlib
import datetime as dt
import sqlite3

import pytest
from livepin.documents import Config, config
from livepin.jose import parse_compact
from livepin_server.errors import (
    ConflictError,
    ForbiddenError,
    InvalidError,
    NotFoundError,
    OutdatedError,
    ServiceError,
)
from livepin_server.services.changes import (
    AddDomain,
    AddPins,
    AddStream,
    RemoveDomain,
    RemovePin,
    SetDelivery,
    SetDomain,
    SetGuards,
)
from livepin_server.services.delivery_settings import DeliveryChange
from livepin_server.services.guard_settings import GuardChange, GuardSettings
from livepin_server.services.model import (
    DomainSettings,
    How,
    Intent,
    NewDomain,
    NewStream,
    Role,
    Staged,
)
from msgspec import structs

HOST = "api.example.com"
ALICE = Intent(author="alice", key_id="a1", reason="CHG-1")
BOB = Intent(author="bob", key_id="b1")
STAGED = structs.replace(ALICE, how=How(stage=True))


@pytest.fixture
def stage(services):
    return services.stage


@pytest.fixture
def add(new_pin):
    return lambda host=HOST, *numbers, **members: AddDomain(
        domain=NewDomain(pattern=host, pins=[new_pin(n) for n in numbers or (1,)], **members)
    )


@pytest.fixture
def publish(stage):
    def one(number=None, who=BOB, role=Role.OPERATOR, approve=False, **how):
        intent = structs.replace(who, how=How(**how))
        return stage.publish("acme", number, intent, role=role, approve=approve)

    return one


def hosts(services, stream="main"):
    _, raw = services.published.version("acme", stream)
    document = Config.parse(parse_compact(raw, typ=config.TYP).payload)
    return [each.pattern for each in document.domains]


def versions(services, stream="main"):
    return [each.version for each in services.published.history("acme", stream)]


# -- gathering -----------------------------------------------------------------------------------


def test_what_is_staged_is_not_published(services, stage, add):
    done = stage.make("acme", add(), STAGED)
    assert isinstance(done, Staged)
    assert (done.stage, done.number, done.at, done.second_person) == (1, 1, None, False)
    assert done.changed[0] == f"+ domain {HOST} (enforce)"
    assert versions(services) == [1]
    assert services.domains.all("acme") == []


def test_a_change_is_staged_upon_those_before_it(services, stage, add, new_pin):
    stage.make("acme", add(), STAGED)
    done = stage.make("acme", AddPins(pattern=HOST, pins=[new_pin(2)]), STAGED)
    assert (done.stage, done.number) == (1, 2)
    (view,) = stage.all("acme")
    assert [each.author for each in view.changes] == ["alice", "alice"]
    assert view.revision == 2


def test_a_change_that_cannot_be_made_upon_them_is_not_staged(services, stage, add):
    stage.make("acme", add(), STAGED)
    with pytest.raises(ConflictError, match="is there already"):
        stage.make("acme", add(), STAGED)
    with pytest.raises(NotFoundError):
        stage.make("acme", RemoveDomain(pattern="other.example.com"), STAGED)
    assert len(stage.show("acme").changes) == 1


def test_the_staged_state_can_be_read(services, stage, add):
    stage.make("acme", add(), STAGED)
    assert [each.pattern for each in services.domains.all("acme", staged=True)] == [HOST]
    assert services.domains.show("acme", HOST, staged=True).mode == "enforce"
    assert services.pin_sets.all("acme", staged=True) == []
    assert services.domains.all("acme") == []
    assert versions(services) == [1]


def test_reading_the_staged_state_of_an_empty_stage_reads_what_is_published(services, add_domain):
    add_domain()
    assert [each.pattern for each in services.domains.all("acme", staged=True)] == [HOST]


def test_a_stage_is_bounded(services, stage, new_pin, add, monkeypatch):
    monkeypatch.setattr("livepin_server.services.publishing.stage._MOST_CHANGES", 2)
    stage.make("acme", add("a.example.com"), STAGED)
    stage.make("acme", add("b.example.com"), STAGED)
    with pytest.raises(ConflictError, match="at most 2 changes"):
        stage.make("acme", add("c.example.com"), STAGED)


def test_stages_are_bounded(services, stage, add, clock, monkeypatch):
    monkeypatch.setattr("livepin_server.services.publishing.stage_rows._MOST_STAGES", 1)
    at = structs.replace(ALICE, how=How(at=clock() + dt.timedelta(hours=1)))
    stage.make("acme", add("a.example.com"), at)
    with pytest.raises(ConflictError, match="at most 1 stages"):
        stage.make("acme", add("b.example.com"), at)


def test_no_account_and_nothing_staged_are_told_apart(stage, add):
    with pytest.raises(NotFoundError, match="no account 'nobody'"):
        stage.make("nobody", add(), STAGED)
    with pytest.raises(NotFoundError, match="nothing is staged in acme"):
        stage.show("acme")
    with pytest.raises(NotFoundError, match="there is no stage 9 in acme"):
        stage.show("acme", 9)


# -- trying out ----------------------------------------------------------------------------------


def test_a_trial_says_what_would_be_published_and_does_nothing(services, stage, add, new_pin):
    stage.make("acme", add(), STAGED)
    stage.make("acme", AddPins(pattern=HOST, pins=[new_pin(2)]), STAGED)
    found = stage.try_out("acme", None, BOB)
    (stream,) = found.streams
    assert (stream.stream, stream.version) == ("main", 1)
    assert len(stream.changed) == 3
    assert found.meanwhile == []
    assert versions(services) == [1]


def test_a_trial_names_what_was_published_since(services, stage, add, clock):
    stage.make("acme", add(), STAGED)
    clock.advance(seconds=5)
    stage.make("acme", add("b.example.com"), BOB)
    (since,) = stage.try_out("acme", None, BOB).meanwhile
    assert (since.version, since.author) == (2, "bob")


# -- publishing ----------------------------------------------------------------------------------


def test_a_stage_is_one_version_of_each_stream(services, stage, add, new_pin, publish):
    stage.make("acme", add(), STAGED)
    stage.make("acme", AddPins(pattern=HOST, pins=[new_pin(2)]), STAGED)
    stage.make("acme", add("b.example.com"), STAGED)
    (done,) = publish()
    assert (done.version, done.author, done.reason) == (2, "bob", "CHG-1")
    assert len(done.changed) == 5
    assert hosts(services) == [HOST, "b.example.com"]
    assert versions(services) == [2, 1]
    assert stage.all("acme") == []


def test_what_others_published_meanwhile_stays(services, stage, add, publish):
    stage.make("acme", add(), STAGED)
    stage.make("acme", add("b.example.com"), BOB)
    publish()
    assert hosts(services) == [HOST, "b.example.com"]


def test_what_does_not_fit_any_more_is_refused_and_stays_staged(services, stage, add, publish):
    stage.make("acme", add(), STAGED)
    stage.make("acme", add(), BOB)
    with pytest.raises(ConflictError, match="is there already"):
        publish()
    assert versions(services) == [2, 1]
    assert len(stage.show("acme").changes) == 1


def test_a_number_is_never_given_out_twice(services, stage, add, publish):
    stage.make("acme", add("a.example.com"), STAGED)
    stage.discard("acme", None, BOB)
    assert stage.make("acme", add("b.example.com"), STAGED).stage == 2


def test_a_stage_is_published_as_it_was_seen(services, stage, add, publish):
    stage.make("acme", add("a.example.com"), STAGED)
    seen = stage.show("acme").revision
    stage.make("acme", add("b.example.com"), STAGED)
    with pytest.raises(OutdatedError, match="stage 1 has changed"):
        publish(expected=seen)
    with pytest.raises(OutdatedError):
        stage.discard("acme", None, structs.replace(BOB, how=How(expected=seen)))
    publish(expected=seen + 1)
    assert hosts(services) == ["a.example.com", "b.example.com"]


def test_a_discarded_stage_leaves_nothing(services, stage, add):
    stage.make("acme", add(), STAGED)
    assert len(stage.discard("acme", None, BOB).changes) == 1
    assert stage.all("acme") == []
    assert services.domains.all("acme", staged=True) == []
    assert versions(services) == [1]


def test_who_may_not_make_a_change_does_not_publish_it_from_the_stage(
    services, stage, publish, clock
):
    stage.make("acme", AddStream(new=NewStream(name="canary")), STAGED)
    with pytest.raises(ForbiddenError, match="expected the role admin"):
        publish(role=Role.OPERATOR)
    (done,) = publish(role=Role.ADMIN)
    assert done.stream == "canary"


def test_a_stage_of_several_streams_is_published_at_once(services, stage, publish):
    stage.make("acme", AddStream(new=NewStream(name="canary")), BOB)
    stage.make("acme", SetDelivery(wanted=DeliveryChange(refresh_interval=60)), STAGED)
    done = publish(role=Role.ADMIN)
    assert sorted(each.stream for each in done) == ["canary", "main"]


# -- at a time -----------------------------------------------------------------------------------


def at(clock, **delta):
    return clock() + dt.timedelta(**delta)


def test_a_change_with_a_time_is_published_then(services, stage, add, clock):
    done = stage.make("acme", add(), structs.replace(ALICE, how=How(at=at(clock, hours=1))))
    assert done.at == at(clock, hours=1)
    assert stage.publish_due() == []
    clock.advance(hours=1)
    (published,) = stage.publish_due()
    assert (published.version, published.author, published.reason) == (2, "alice", "CHG-1")
    assert hosts(services) == [HOST]
    assert stage.publish_due() == []
    assert stage.all("acme") == []


def test_changes_with_a_time_do_not_wait_for_the_open_stage(services, stage, add, clock):
    stage.make("acme", add("a.example.com"), STAGED)
    stage.make("acme", add(), structs.replace(ALICE, how=How(at=at(clock, hours=1))))
    clock.advance(hours=2)
    stage.publish_due()
    assert hosts(services) == [HOST]
    assert [each.at for each in stage.all("acme")] == [None]


def test_the_open_stage_can_be_given_a_time(services, stage, add, publish, clock):
    stage.make("acme", add(), STAGED)
    view = publish(at=at(clock, days=1))
    assert (view.number, view.at) == (1, at(clock, days=1))
    stage.make("acme", add("b.example.com"), STAGED)  # on another stage
    clock.advance(days=1)
    (done,) = stage.publish_due()
    assert done.author == "bob"
    assert hosts(services) == [HOST]


def test_it_is_published_once_however_many_processes_look(services, stage, add, clock):
    from livepin_server.services.publishing import stage as module

    stage.make("acme", add(), structs.replace(ALICE, how=How(at=at(clock, hours=1))))
    clock.advance(hours=1)
    other = module.Stage(services.database, services.publisher, services.published, clock=clock)
    loaded = other._load

    def late(*arguments):
        found = loaded(*arguments)
        stage.publish_due()
        return found

    other._load = late
    assert other.publish_due() == []
    assert versions(services) == [2, 1]


def test_what_cannot_be_published_then_says_so_and_waits(services, stage, add, clock, caplog):
    stage.make("acme", add(), structs.replace(ALICE, how=How(at=at(clock, hours=1))))
    stage.make("acme", add(), BOB)
    clock.advance(hours=1)
    assert stage.publish_due() == []
    (view,) = stage.all("acme")
    assert "is there already" in view.failure
    assert stage.warnings("acme") == [f"stage 1 of acme was not published: {view.failure}"]
    assert "stage 1 of acme was not published" in caplog.text
    caplog.clear()
    stage.publish_due()
    assert caplog.text == ""


@pytest.mark.parametrize("end", ["revoked", "expired"])
def test_what_a_key_has_planned_does_not_outlive_it(services, stage, add, clock, end):
    """A thief cannot leave a change behind for later; nor can who has left."""
    expires = at(clock, minutes=30) if end == "expired" else None
    admin = Intent(author="admin")
    key, _ = services.api_keys.create("leaver", Role.OPERATOR, "acme", admin, expires=expires)
    planned = structs.replace(ALICE, key_id=key.id, how=How(at=at(clock, hours=1)))
    stage.make("acme", add(), planned)
    if end == "revoked":
        services.api_keys.revoke(key.id, admin)
    clock.advance(hours=1)
    assert stage.publish_due() == []
    assert stage.show("acme", 1).failure.startswith("the API key 'leaver', which gave it its time")
    assert hosts(services) == []
    stage.publish("acme", 1, BOB, role=Role.OPERATOR)
    assert hosts(services) == [HOST]


@pytest.mark.parametrize("data_folder", ["sqlite"], indirect=True)
def test_a_locked_database_is_no_failure(services, opened, stage, add, clock, pragma):
    stage.make("acme", add(), structs.replace(ALICE, how=How(at=at(clock, hours=1))))
    clock.advance(hours=1)
    pragma("busy_timeout=20")
    path = opened.data / "livepin.db"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert stage.publish_due() == []
        other.execute("ROLLBACK")
    assert stage.show("acme", 1).failure is None
    assert len(stage.publish_due()) == 1


@pytest.mark.parametrize("delta", [{"seconds": 0}, {"hours": -1}, {"days": 367}])
def test_a_time_is_soon_and_to_come(stage, add, clock, publish, delta):
    with pytest.raises(InvalidError, match="within a year from now"):
        stage.make("acme", add(), structs.replace(ALICE, how=How(at=at(clock, **delta))))
    stage.make("acme", add(), STAGED)
    if delta != {"days": 367}:
        return
    with pytest.raises(InvalidError, match="within a year from now"):
        publish(at=at(clock, **delta))


# -- a second person -----------------------------------------------------------------------------


@pytest.fixture
def two_persons(stage):
    stage.make("acme", SetGuards(wanted=GuardChange(second_person=True)), BOB)


def test_the_guards_are_kept(services, stage):
    assert stage.guards("acme") == GuardSettings()
    done = stage.make("acme", SetGuards(wanted=GuardChange(most_domains=7)), BOB)
    assert done == []
    assert stage.guards("acme").most_domains == 7
    assert versions(services) == [1]
    with pytest.raises(ConflictError, match="so already"):
        stage.make("acme", SetGuards(wanted=GuardChange(most_domains=7)), BOB)


@pytest.mark.usefixtures("two_persons")
def test_nothing_is_published_by_one_person_alone(services, stage, add, publish):
    with pytest.raises(ConflictError, match="by a second person") as caught:
        stage.make("acme", add(), ALICE)
    assert "livepin publish --approve" in caught.value.hint
    assert stage.make("acme", add(), STAGED).second_person
    with pytest.raises(ConflictError, match="by a second person"):
        publish()
    with pytest.raises(ConflictError, match="nobody approves their own changes"):
        publish(who=ALICE, approve=True)
    assert versions(services) == [1]
    (done,) = publish(approve=True)
    assert (done.version, done.author) == (2, "bob")


@pytest.mark.usefixtures("two_persons")
def test_one_of_several_authors_is_no_second_person(services, stage, add, publish):
    stage.make("acme", add(), STAGED)
    stage.make("acme", add("b.example.com"), structs.replace(BOB, how=How(stage=True)))
    for who in (ALICE, BOB):
        with pytest.raises(ConflictError, match="nobody approves their own"):
            publish(who=who, approve=True)
    publish(who=Intent(author="carol", key_id="c1"), approve=True)
    assert versions(services) == [2, 1]


@pytest.mark.usefixtures("two_persons")
def test_the_second_person_is_not_sent_away_by_the_first_alone(stage, publish):
    off = SetGuards(wanted=GuardChange(second_person=False))
    with pytest.raises(ConflictError, match="by a second person"):
        stage.make("acme", off, ALICE)
    stage.make("acme", off, STAGED)
    with pytest.raises(ConflictError, match="by a second person"):
        publish(who=ALICE, role=Role.ADMIN)
    assert publish(approve=True, role=Role.ADMIN) == []
    assert not stage.guards("acme").second_person


@pytest.mark.usefixtures("two_persons")
def test_a_time_does_not_replace_the_second_person(services, stage, add, publish, clock):
    stage.make("acme", add(), structs.replace(ALICE, how=How(at=at(clock, hours=1))))
    (warning,) = stage.warnings("acme")
    assert warning.endswith("and not approved: livepin publish 1 --approve")
    view = publish(1, approve=True)
    assert (view.approved_by, view.at) == ("bob", at(clock, hours=1))
    assert stage.warnings("acme") == []
    clock.advance(hours=1)
    (done,) = stage.publish_due()
    assert done.version == 2


@pytest.mark.usefixtures("two_persons")
def test_what_was_approved_is_not_forced_or_moved_by_the_first_person(
    services, stage, add, publish, clock
):
    """The approval was for how it would have been published: guarded, and at its time."""
    stage.make("acme", add(), structs.replace(ALICE, how=How(at=at(clock, hours=2))))
    assert publish(1, approve=True).approved_by == "bob"
    moved = publish(1, who=ALICE, at=at(clock, hours=1), force=True, confirmed=True)
    assert moved.approved_by is None
    clock.advance(hours=1)
    assert stage.publish_due() == []
    assert "before a second person had approved it" in stage.show("acme", 1).failure
    assert versions(services) == [1]


@pytest.mark.usefixtures("two_persons")
def test_the_approval_of_a_key_that_was_revoked_does_not_count(services, stage, add, clock):
    admin = Intent(author="admin")
    key, _ = services.api_keys.create("thief", Role.OPERATOR, "acme", admin)
    stage.make("acme", add(), structs.replace(ALICE, how=How(at=at(clock, hours=1))))
    approver = Intent(author="thief", key_id=key.id)
    stage.publish("acme", 1, approver, role=Role.OPERATOR, approve=True)
    services.api_keys.revoke(key.id, admin)
    clock.advance(hours=1)
    assert stage.publish_due() == []
    assert versions(services) == [1]


@pytest.mark.usefixtures("two_persons")
def test_what_nobody_approved_in_time_is_not_published(services, stage, add, publish, clock):
    stage.make("acme", add(), structs.replace(ALICE, how=How(at=at(clock, hours=1))))
    with pytest.raises(ConflictError, match="nobody approves their own"):
        publish(1, who=ALICE, approve=True)
    clock.advance(hours=1)
    assert stage.publish_due() == []
    assert "before a second person had approved it" in stage.show("acme", 1).failure
    (done,) = publish(1, approve=True)
    assert done.version == 2


def test_the_second_person_can_be_asked_for_by_hand(services, stage, add, publish):
    stage.make("acme", add(), STAGED)
    with pytest.raises(ConflictError, match="nobody approves their own"):
        publish(who=ALICE, approve=True)
    publish(approve=True)
    assert versions(services) == [2, 1]


# -- what somebody else published meanwhile -------------------------------------------------------


def expecting(version):
    return structs.replace(ALICE, how=How(expected=version))


def test_the_loser_is_told_what_changed_meanwhile(services, stage, add, new_pin):
    stage.make("acme", add(), BOB)
    stage.make("acme", AddPins(pattern=HOST, pins=[new_pin(2)]), BOB)
    change = RemovePin(pattern=HOST, sha256=new_pin(1).sha256)
    with pytest.raises(OutdatedError) as caught:
        stage.make("acme", change, expecting(2))
    assert str(caught.value) == (
        f"meanwhile was published: version 3 of main by bob (+ pin {HOST} {new_pin(2).sha256})"
    )
    assert versions(services) == [3, 2, 1]
    stage.make("acme", change, expecting(3))


def test_what_changed_meanwhile_is_told_instead_of_what_it_led_to(stage, add):
    stage.make("acme", add(), BOB)
    with pytest.raises(OutdatedError, match="version 2 of main by bob"):
        stage.make("acme", add(), expecting(1))
    with pytest.raises(ConflictError, match="is there already"):
        stage.make("acme", add(), expecting(2))


def test_a_new_signature_and_another_stream_change_nothing(services, stage, add):
    services.publisher.republish("acme", "main", BOB)
    stage.make("acme", AddStream(new=NewStream(name="canary")), BOB)
    stage.make("acme", add(), expecting(1))


def test_of_many_versions_some_are_told(stage, add):
    for number in range(5):
        stage.make("acme", add(f"h{number}.example.com", 1, 2, 3, 4), BOB)
    with pytest.raises(OutdatedError, match=r"version 2 .*, \.\.\.\); version 3 .*; and 2 more$"):
        stage.make("acme", add(), expecting(1))


def test_to_force_needs_a_reason(stage, add, publish):
    forced = Intent(author="alice", key_id="a1", how=How(force=True))
    with pytest.raises(InvalidError, match="expected a reason") as caught:
        stage.make("acme", add(), forced)
    assert caught.value.hint == "--reason TEXT"
    stage.make("acme", add(), STAGED)
    with pytest.raises(InvalidError, match="expected a reason"):
        publish(force=True)


def test_every_change_can_be_kept_and_made_later(services, stage, add, publish, new_pin, clock):
    """What is decoded is what was encoded, with times and settings."""
    timed = structs.replace(new_pin(5), not_after=clock() + dt.timedelta(days=90))
    stage.make("acme", add(), BOB)
    stage.make("acme", AddPins(pattern=HOST, pins=[timed]), STAGED)
    stage.make("acme", SetDomain(pattern=HOST, settings=DomainSettings(mode="report")), STAGED)
    publish()
    found = services.domains.show("acme", HOST)
    assert found.mode == "report"
    assert found.pins[-1].not_after == timed.not_after


def test_a_refused_change_is_no_error_of_ours(stage):
    with pytest.raises(ServiceError):
        stage.make("acme", RemoveDomain(pattern="!"), STAGED)
