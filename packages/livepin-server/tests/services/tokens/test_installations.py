"""Installations: recorded in batches, listed, tagged, and judged by operators."""

from __future__ import annotations

from datetime import timedelta

import pytest
from livepin import tokens
from livepin_server.bus.memory import TokensChanged
from livepin_server.errors import (
    ConflictError,
    ForbiddenError,
    InvalidError,
    NotFoundError,
    UnavailableError,
)
from livepin_server.services.tokens import recording
from livepin_server.services.tokens.recording import Recording, Seen
from msgspec import structs

pytestmark = pytest.mark.parametrize("data_folder", ["sqlite", "postgresql"], indirect=True)
ONE, TWO, THREE = ("1" * 22, "2" * 22, "3" * 22)


def seen(name, moment, **changes):
    base = Seen(
        account="acme", id=name, thumbprint=name + "t" * 21, app="app", stream="main",
        config_version=1, moment=moment,
    )  # fmt: skip
    return base._replace(**changes)


@pytest.fixture
def known(services, clock):
    """Two installations that were seen, the second one later."""
    for minutes, name in enumerate((ONE, TWO)):
        services.recording.note(seen(name, clock() + timedelta(minutes=minutes)))
    services.recording.keep()
    return services.installations


def test_what_was_noted_is_there_once_it_is_written(services, clock):
    services.recording.note(seen(ONE, clock()))
    assert services.installations.all("acme") == []
    services.recording.keep()
    (found,) = services.installations.all("acme")
    assert (found.id, found.app, found.config_version) == (ONE, "app", 1)
    assert (found.first_seen, found.last_seen) == (clock(), clock())
    assert (found.rule, found.tags) == (None, [])


def test_the_last_request_counts_and_the_first_is_remembered(services, clock):
    services.recording.note(seen(ONE, clock()))
    services.recording.keep()
    later = clock() + timedelta(hours=1)
    services.recording.note(seen(ONE, clock(), config_version=2))
    services.recording.note(seen(ONE, later, config_version=3, app="new", stream="canary"))
    services.recording.keep()
    (found,) = services.installations.all("acme")
    assert (found.config_version, found.app, found.stream) == (3, "new", "canary")
    assert (found.first_seen, found.last_seen) == (clock(), later)


def test_many_are_written_in_several_transactions(services, clock, monkeypatch):
    monkeypatch.setattr(recording, "_AT_A_TIME", 2)
    for number in range(5):
        services.recording.note(seen(f"{number:022}", clock()))
    services.recording.keep()
    assert len(services.installations.all("acme")) == 5


def test_what_could_not_be_written_is_written_next_time(services, clock, monkeypatch):
    def refuse(change):
        raise UnavailableError("gone")

    services.recording.note(seen(ONE, clock(), config_version=1))
    with monkeypatch.context() as patched:
        patched.setattr(services.database, "write", refuse)
        with pytest.raises(UnavailableError):
            services.recording.keep()
    services.recording.note(seen(TWO, clock()))
    services.recording.keep()
    assert {each.id for each in services.installations.all("acme")} == {ONE, TWO}


def test_it_is_bounded(services, clock, monkeypatch):
    monkeypatch.setattr(recording, "MOST", 1)
    found = Recording(services.database, services.verdicts)
    found.note(seen(ONE, clock()))
    found.note(seen(TWO, clock()))
    found.note(seen(ONE, clock(), config_version=9))
    found.keep()
    assert found.missed == 1
    (kept,) = services.installations.all("acme")
    assert (kept.id, kept.config_version) == (ONE, 9)


def test_the_one_seen_last_comes_first(known):
    assert [each.id for each in known.all("acme")] == [TWO, ONE]
    assert [each.id for each in known.all("acme", limit=1)] == [TWO]
    assert known.show("acme", "latest").id == TWO
    assert known.show("acme", ONE).id == ONE


def test_what_nobody_knows_is_not_found(services, known, intent):
    for name in (THREE,):
        with pytest.raises(NotFoundError):
            known.show("acme", name)
        with pytest.raises(NotFoundError):
            known.tag("acme", name, ["beta"], intent)
        with pytest.raises(NotFoundError):
            known.decide("acme", name, None, intent)
    for name in ("short", "x" * 23, "*" * 22, ONE + "\n"):
        with pytest.raises(InvalidError, match="22 characters"):
            known.show("acme", name)


def test_the_latest_of_none_is_not_found(services, intent):
    for step in (
        lambda: services.installations.show("acme", "latest"),
        lambda: services.installations.decide("acme", "latest", "block", intent),
    ):
        with pytest.raises(NotFoundError):
            step()


def test_one_that_was_never_seen_can_be_blocked(services, intent):
    """It was seen elsewhere: in a log of the backend."""
    found = services.installations.decide("acme", THREE, "block", intent)
    assert (found.id, found.app, found.rule.verdict) == (THREE, None, "block")
    assert services.installations.show("acme", THREE) == found
    lifted = services.installations.decide("acme", THREE, None, intent)
    assert lifted.rule is None


def test_a_rule_has_author_reason_and_end(known, intent, clock):
    end = clock() + timedelta(hours=1)
    rule = known.decide("acme", ONE, "block", intent, expires=end).rule
    assert (rule.verdict, rule.expires) == ("block", end)
    assert (rule.author, rule.reason, rule.created) == (intent.author, intent.reason, clock())
    clock.advance(hours=1)
    assert known.show("acme", ONE).rule is None


def test_the_last_decision_counts(known, intent):
    known.decide("acme", ONE, "block", intent)
    assert known.decide("acme", ONE, "pass", intent).rule.verdict == "pass"


def test_a_decision_needs_a_reason_and_an_end_to_come(known, intent, clock):
    silent = structs.replace(intent, reason="")
    with pytest.raises(InvalidError, match="expected a reason"):
        known.decide("acme", ONE, "block", silent)
    with pytest.raises(InvalidError, match="an end to come"):
        known.decide("acme", ONE, "block", intent, expires=clock())
    assert known.show("acme", ONE).rule is None
    known.decide("acme", ONE, "block", intent)
    assert known.decide("acme", ONE, None, silent).rule is None


def test_what_was_not_decided_is_not_lifted(known, intent):
    with pytest.raises(ConflictError, match="nothing is decided"):
        known.decide("acme", ONE, None, intent)


def test_tags_are_kept_beside_what_is_decided(known, intent):
    known.decide("acme", ONE, "fail", intent)
    found = known.tag("acme", ONE, ["beta", "lab", "beta"], intent)
    assert (found.tags, found.rule.verdict) == (["beta", "lab"], "fail")
    assert known.decide("acme", ONE, None, intent).tags == ["beta", "lab"]
    assert [each.id for each in known.all("acme", tag="beta")] == [ONE]
    assert known.all("acme", tag="none") == []
    with pytest.raises(InvalidError, match="at most 16 tags"):
        known.tag("acme", ONE, [f"t{n}" for n in range(17)], intent)
    assert len(known.tag("acme", ONE, [f"t{n}" for n in range(16)], intent).tags) == 16


def test_a_tag_changes_nothing_of_what_was_decided(known, intent):
    rule = known.decide("acme", ONE, "block", intent).rule
    other = structs.replace(intent, author="carol", reason="")
    assert known.tag("acme", ONE, ["lab"], other).rule == rule


@pytest.mark.parametrize("tag", ["", "a b", "a\n", "\u00e4", "x" * 64])
def test_a_tag_is_a_word(known, intent, tag):
    with pytest.raises(InvalidError, match="expected tags"):
        known.tag("acme", ONE, ["lab", tag], intent)


def test_tags_are_told_apart_to_the_letter(known, intent):
    known.tag("acme", ONE, ["lab_1"], intent)
    known.tag("acme", TWO, ["labx1", "lab"], intent)
    assert [each.id for each in known.all("acme", tag="lab_1")] == [ONE]
    assert [each.id for each in known.all("acme", tag="lab")] == [TWO]


def test_the_tag_for_tests_is_for_admins_to_give_and_to_take(known, intent):
    for tags in (["test"], ["lab", "test"]):
        with pytest.raises(ForbiddenError, match="the role admin to give or take the tag test"):
            known.tag("acme", ONE, tags, intent)
    assert known.show("acme", ONE).tags == []
    assert known.tag("acme", ONE, ["test"], intent, by_admin=True).tags == ["test"]
    with pytest.raises(ForbiddenError):
        known.tag("acme", ONE, ["lab"], intent)
    assert known.tag("acme", ONE, ["test", "lab"], intent).tags == ["lab", "test"]
    assert known.decide("acme", ONE, "block", intent).tags == ["lab", "test"]
    assert known.tag("acme", ONE, [], intent, by_admin=True).tags == []


def test_a_thumbprint_names_an_installation_that_was_never_seen_too(known, intent):
    thumbprint = "n" * 43
    with pytest.raises(NotFoundError):
        known.show("acme", thumbprint)
    found = known.tag("acme", thumbprint, ["test"], intent, by_admin=True)
    assert (found.id, found.last_seen) == (tokens.installation_id("acme", thumbprint), None)
    assert known.show("acme", thumbprint) == known.show("acme", found.id) == found
    assert known.decide("acme", thumbprint, "block", intent).id == found.id


def test_one_that_was_never_seen_stands_last(known, intent):
    known.decide("acme", THREE, "block", intent)
    assert [each.id for each in known.all("acme")] == [TWO, ONE, THREE]
    assert [each.id for each in known.all("acme", limit=2)] == [TWO, ONE]
    known.decide("acme", THREE, None, intent)
    assert known.all("acme", tag="lab") == []


def test_an_older_request_does_not_come_after_a_newer_one(services, clock):
    later = clock() + timedelta(hours=1)
    for moment, version in ((later, 9), (clock(), 8)):
        services.recording.note(seen(ONE, moment, config_version=version))
        services.recording.keep()
    (found,) = services.installations.all("acme")
    assert (found.last_seen, found.config_version) == (later, 9)


def test_who_asks_no_more_is_forgotten_unless_something_is_decided(services, known, intent, clock):
    known.decide("acme", ONE, "block", intent)
    services.recording.forget(clock() + timedelta(hours=1))
    assert [each.id for each in known.all("acme")] == [ONE]
    assert known.show("acme", ONE).app == "app"
    services.recording.forget(clock())
    assert known.show("acme", ONE).app == "app"


def test_of_an_account_that_is_not_there_nothing_is_known(known, intent):
    for step in (
        lambda: known.all("beta"),
        lambda: known.show("beta", ONE),
        lambda: known.decide("beta", ONE, "block", intent),
        lambda: known.tag("beta", ONE, ["lab"], intent),
    ):
        with pytest.raises(NotFoundError, match="account"):
            step()


def test_each_decision_is_in_the_log_and_announced(services, known, intent, monkeypatch):
    """To the other servers with the commit, to this one afterwards."""
    told, elsewhere = [], []
    monkeypatch.setattr(services.bus, "enclose", lambda _, news: elsewhere.append(news))
    end = services.bus.subscribe(told.append, TokensChanged)
    known.decide("acme", ONE, "block", intent)
    end()
    assert told == elsewhere == [TokensChanged(account="acme")]
    entry = services.audit.log("acme", _all()).items[0].entry
    assert (entry.action, entry.target, entry.reason) == (
        "installation.block", ONE, intent.reason,
    )  # fmt: skip
    assert entry.before == {"verdict": None, "expires": None, "tags": []}
    assert entry.after == {"verdict": "block", "expires": None, "tags": []}


def _all():
    from livepin_server.services.audit.log import Wanted

    return Wanted()


def test_another_account_has_installations_of_its_own(services, known):
    with pytest.raises(NotFoundError):
        services.installations.all("other")
