"""What apps will say where they fetch their configs: no later config puts right what is wrong."""

from __future__ import annotations

import pytest
from livepin.testing import make_authority
from livepin_server.probing.probe import Target
from livepin_server.services.publishing.channel import to_look_at
from livepin_server.services.publishing.difference import difference

OLD, NEW, THIRD = ("https://pins.example.com", "https://new.example.com:8443",
                   "https://third.example.com")  # fmt: skip
KEY, CA_KEY, WRONG = 100, 101, 7
API = "api.example.com"


@pytest.fixture
def judge_channel(make_config, judged):
    """Judge a change of the delivery URLs by what was seen of their hosts."""

    def one(before, after, served=None, **members):
        return judged(make_config(urls=before), make_config(urls=after, **members), served)

    return one


def test_a_url_whose_key_no_delivery_pin_matches_is_refused_unless_forced(
    judge_channel, pin_text
) -> None:
    found = judge_channel((OLD,), (NEW,), {"new.example.com": [[WRONG, CA_KEY]]})
    (only,) = found.refused
    assert (only.code, only.domain, only.forcible) == ("delivery-refused", "", True)
    assert only.message == (
        f"apps would refuse {NEW}: none of the delivery pins matches its key, {pin_text(WRONG)}"
    )
    assert only.hint == (
        "does a server with the keys of delivery answer there? its host belongs into "
        "delivery_urls of livepin.toml, then: livepin delivery renew-keys; "
        "to publish it all the same: --force --reason TEXT"
    )
    assert found.standing(forced=True) == []


def test_a_url_that_serves_a_pinned_key_is_changed_without_a_word(judge_channel, codes) -> None:
    assert codes(judge_channel((OLD,), (NEW,), {"new.example.com": [[WRONG, KEY]]})) == {}


def test_a_chain_that_the_ca_of_delivery_does_not_verify_is_refused(
    make_config, judged, seen, codes
) -> None:
    """A certificate of a public CA: it was only presented, and no app goes by another CA."""
    pem = make_authority("CA").pem
    before, after = make_config(urls=(OLD,), ca=pem), make_config(urls=(NEW,), ca=pem)
    found = judged(before, after, {"new.example.com": [seen("new.example.com", presented=[KEY])]})
    assert codes(found) == {"refused": ["delivery-refused"]}


def test_to_lead_all_apps_to_where_nobody_answers_is_asked(judge_channel, codes) -> None:
    found = judge_channel((OLD,), (NEW, THIRD), {"new.example.com": [[]]})
    assert codes(found) == {"to confirm": ["no-delivery-seen"]}
    assert found.to_confirm[0].message == (
        "the server sees nowhere that apps could fetch the next config: "
        f"{NEW}: new.example.com: it did not answer in time; {THIRD}: it was not looked at"
    )
    assert found.standing(confirmed=True) == []


def test_to_take_away_the_one_url_that_answers_is_asked(judge_channel, codes) -> None:
    """What stays was there before, and has not answered for a year."""
    served = {"new.example.com": [[]], "pins.example.com": [[KEY]]}
    assert codes(judge_channel((OLD, NEW), (NEW,), served)) == {"to confirm": ["no-delivery-seen"]}
    assert codes(judge_channel((OLD, NEW), (OLD,), served)) == {}


def test_one_more_url_that_does_not_answer_yet_is_warned_of(judge_channel, codes) -> None:
    found = judge_channel((OLD,), (OLD, NEW), {"new.example.com": [[]], "pins.example.com": [[]]})
    assert codes(found) == {"warnings": ["delivery-not-seen"]}
    assert found.warnings[0].hint == "look from where one can: livepin delivery check"


def test_a_url_that_apps_refuse_already_does_not_stand_against_its_cure(
    judge_channel, codes
) -> None:
    served = {"new.example.com": [[KEY]], "pins.example.com": [[WRONG]]}
    found = judge_channel((OLD,), (OLD, NEW), served)
    assert codes(found) == {"warnings": ["delivery-refused-somewhere"]}


def test_one_of_two_addresses_with_a_wrong_key_is_named(judge_channel, codes) -> None:
    found = judge_channel((OLD,), (NEW,), {"new.example.com": [[KEY], [WRONG]]})
    assert codes(found) == {"warnings": ["delivery-refused-somewhere"]}
    assert f"apps are refused at {NEW}, 192.0.2.2: " in found.warnings[0].message


def test_pins_that_the_served_key_does_not_have_are_refused(judge_channel, codes) -> None:
    served = {"pins.example.com": [[KEY]]}
    found = judge_channel((OLD,), (OLD,), served, delivery_pins=[WRONG])
    assert codes(found) == {"refused": ["delivery-refused"]}
    assert codes(judge_channel((OLD,), (OLD,), served, delivery_pins=[KEY, WRONG])) == {}


def test_another_ca_is_looked_at_as_apps_will(make_config) -> None:
    pem = make_authority("CA").pem
    before, after = make_config(urls=(OLD, NEW)), make_config(urls=(OLD, NEW), ca=pem)
    assert to_look_at(difference(before, after)) == [
        Target(host="pins.example.com", ca=pem),
        Target(host="new.example.com", port=8443, ca=pem),
    ]


def test_what_does_not_concern_the_channel_is_not_looked_at(make_config) -> None:
    before = make_config(urls=(OLD, NEW))
    for after in (
        make_config({API: [1]}, urls=(OLD, NEW)),
        make_config(urls=(NEW, OLD)),
        make_config(urls=(OLD, NEW), delivery_pins=[KEY, WRONG]),
        make_config(urls=(OLD, NEW), recovery_urls=("http://a.example.com",)),
    ):
        assert to_look_at(difference(before, after)) == []
    assert to_look_at(difference(None, before)) == []
