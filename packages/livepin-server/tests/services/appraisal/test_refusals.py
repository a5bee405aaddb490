"""Channels are told of installations that are refused: the first at once, then once in an hour."""

from __future__ import annotations

from datetime import timedelta
from typing import get_args

import msgspec
import pytest
from livepin_server.attestation.appraisal import Rule, appraise
from livepin_server.attestation.policy import DEFAULT, AppPolicy, Policy
from livepin_server.services.appraisal import refusals
from livepin_server.services.appraisal.refusals import Refused
from livepin_server.services.appraisal.verdicts import Verdicts
from livepin_server.services.monitoring import outbox as module
from livepin_server.services.monitoring.channel_kinds import Email, NewChannel
from livepin_server.services.monitoring.model import Notice
from livepin_server.services.tokens.recording import Recording, Seen
from livepin_server.storage.schema import outbox

ONE, TWO, THREE = "1" * 22, "2" * 22, "3" * 22
NAMED = Policy(apps={"shop": AppPolicy(), "bank": AppPolicy()})


@pytest.fixture
def channel(services, intent):
    """Add a channel."""

    def one(name="ops", **members):
        settings = Email(to=["ops@example.com"])
        services.channels.add("acme", NewChannel(name=name, settings=settings, **members), intent)

    return one


@pytest.fixture
def told(services):
    """Return the notices that were put, the oldest first."""

    def one(channel="ops"):
        query = outbox.select().where(outbox.c.channel == channel).order_by(outbox.c.id)
        with services.database.reading() as connection:
            rows = connection.execute(query).all()
        assert len({row.key for row in rows}) == len(rows)
        return [msgspec.json.decode(row.body, type=Notice) for row in rows]

    return one


def test_the_first_that_is_refused_is_told_at_once_with_the_command_that_explains(
    see, found, channel, told, clock
):
    channel()
    see(ONE, found())
    assert told() == []
    see(ONE, found("injected_code"))
    (notice,) = told()
    assert (notice.kind, notice.event, notice.severity) == (
        "installation_refused", "happened", "warning",
    )  # fmt: skip
    assert (notice.incident, notice.apps, notice.moment) == (None, "shop", clock())
    assert notice.title == "an installation of shop was refused"
    assert notice.sentence == (
        f"The installation {ONE} of shop was refused: it found a signal in itself that the policy "
        "takes for fatal."
    )
    assert notice.command == f"livepin policy explain {ONE}"
    assert notice.lines == [
        "apps that are neither registered nor in the policy share this notice",
        "what follows within an hour is only counted; all of them: "
        "livepin installation list --failing",
    ]


def test_those_that_follow_are_counted_in_the_next_one(see, found, channel, told, clock):
    channel()
    for each in (ONE, TWO, THREE):
        see(each, found("injected_code"))
        clock.advance(minutes=29)
    assert len(told()) == 1
    clock.advance(minutes=3)
    see("4" * 22, found("injected_code"))
    _, last = told()
    assert "4" * 22 in last.sentence
    assert last.lines[0] == "2 more followed the last notice like this, of 2026-11-23 12:00 UTC"
    clock.advance(hours=1)
    see("5" * 22, found("injected_code"))
    assert "followed the last" not in told()[-1].lines[0]  # there were none


def test_each_app_of_the_policy_and_each_rule_has_notices_of_its_own(
    see, found, channel, told, services, intent
):
    channel()
    services.policies.set("acme", NAMED, intent)
    see(ONE, found("injected_code"))
    see(TWO, found("injected_code"), app="bank")
    see(THREE, found("injected_code"), app="other")
    assert [(each.apps, each.subject.split("-")[0]) for each in told()] == [
        ("shop", "signal"), ("bank", "signal"), ("other", "app"),
    ]  # fmt: skip
    assert len({each.subject for each in told()}) == 3
    assert len(told()[0].lines) == 1


def test_what_is_only_reported_is_info_and_keeps_back_nothing_of_what_is_enforced(
    see, found, channel, told, services, intent
):
    channel(severity="info")
    channel("loud")
    services.policies.set("acme", Policy(mode="report"), intent)
    see(ONE, found("injected_code"))
    (notice,) = told()
    assert notice.severity == "info"
    assert "would be refused, were the policy enforced: it found" in notice.sentence
    assert told("loud") == []
    services.policies.set("acme", Policy(), intent)
    see(ONE, found("injected_code"))
    assert [each.severity for each in told("loud")] == ["warning"]


def test_a_tag_chooses_them_and_a_channel_of_other_tags_is_not_told(see, found, channel, told):
    channel("apps", tags=["installations"])
    channel("net", tags=["network"])
    see(ONE, found("injected_code"))
    assert (len(told("apps")), told("net")) == (1, [])


def test_another_server_or_one_that_was_started_anew_tells_nothing_within_the_hour(
    see, found, channel, told, services, clock
):
    """Nor with a clock that is a little behind."""
    channel()
    see(ONE, found("injected_code"))
    (first,) = told()

    def behind():
        return clock() - timedelta(seconds=5)

    other = Recording(services.database, Verdicts(services.database, clock=behind))
    claims = found("injected_code")
    appraisal = appraise(DEFAULT, "shop", claims, (), clock())
    other.note(Seen("acme", TWO, "t" * 43, "shop", "main", 1, clock(), claims, appraisal))
    other.keep()
    assert told() == [first]


def test_a_clock_that_was_far_ahead_once_silences_nobody_for_long(see, found, channel, told, clock):
    channel()
    clock.advance(days=400)
    see(ONE, found("injected_code"))
    clock.advance(days=-400)
    see(TWO, found("injected_code"))
    assert len(told()) == 2


def test_a_notice_that_cannot_be_put_takes_the_entry_with_it(
    see, found, channel, told, entries, services, monkeypatch
):
    """Both are written in one transaction, and both later."""
    channel()
    with monkeypatch.context() as patched:
        patched.setattr(module, "put_for", _full)
        with pytest.raises(RuntimeError):
            see(ONE, found("injected_code"))
    assert (entries("installation.verdict"), told()) == ([], [])
    services.recording.keep()
    assert (len(entries("installation.verdict")), len(told())) == (1, 1)


@pytest.mark.parametrize("rule", get_args(Rule))
def test_each_rule_is_said_in_words_and_an_id_is_no_option(rule, channel, told, services, clock):
    channel()
    some = [Refused("-" + "a" * 21, "shop", rule, "fail")]
    services.database.write(lambda each: refusals.tell(each, "acme", some, clock()))
    (notice,) = told()
    assert notice.sentence.endswith(f": {refusals._BROKEN[rule]}.")
    assert notice.command == f"livepin policy explain -- -{'a' * 21}"


def _full(*_args, **_more):
    raise RuntimeError("full")
