"""What one config changes against another: every word of it, in an order that never varies."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from livepin.documents import Config
from livepin.pins import Pin, PinSet
from livepin.testing import make_authority
from livepin_server.services.publishing.difference import MOST_DOMAINS, MOST_PINS, difference

API, SHOP = "api.example.com", "shop.example.com"
FIRST, LATER = (datetime(2027, month, 1, 12, tzinfo=timezone.utc) for month in (1, 2))


# -- domains and their own pins -------------------------------------------------------------------


def test_what_comes_and_goes_is_said_as_the_history_says_it(make_config, pin_text) -> None:
    before = make_config({API: [1], SHOP: [2, 3]})
    after = make_config({API: [1, 4], "pay.example.com": {"pins": [5], "mode": "report"}})
    found = difference(before, after)
    assert found.lines() == [
        f"+ pin {API} {pin_text(4)}",
        "+ domain pay.example.com (report)",
        f"+ pin pay.example.com {pin_text(5)}",
        f"- domain {SHOP}",
    ]
    assert found.touched == [API, "pay.example.com", SHOP]
    assert difference(after, before).lines() == [
        f"- pin {API} {pin_text(4)}",
        "- domain pay.example.com",
        f"+ domain {SHOP} (enforce)",
        f"+ pin {SHOP} {pin_text(2)}",
        f"+ pin {SHOP} {pin_text(3)}",
    ]


def test_a_changed_domain_says_what_it_was_and_what_it_is(make_config) -> None:
    before = make_config({API: [1]})
    after = make_config({API: {"pins": [1], "mode": "off", "token": True, "stale": "refuse"}})
    assert difference(before, after).lines() == [
        f"* domain {API}: mode enforce -> off",
        f"* domain {API}: token off -> on",
        f"* domain {API}: stale enforce -> refuse",
    ]
    assert difference(before, after).touched == [API]
    assert difference(None, after).lines()[0] == f"+ domain {API} (off), token on, stale refuse"


@pytest.mark.parametrize(
    "said", [{"mode": "report"}, {"mode": "off"}, {"token": True}, {"stale": "refuse"}]
)
def test_each_member_by_itself_touches_a_domain(make_config, said) -> None:
    before, after = make_config({API: [1]}), make_config({API: {"pins": [1]} | said})
    for pair in ((before, after), (after, before)):
        assert difference(*pair).touched == [API]
        assert len(difference(*pair).lines()) == 1


def test_a_pin_goes_before_another_comes(make_config, pin_text) -> None:
    before, after = make_config({API: [1, 2, 3]}), make_config({API: [4, 2, 5]})
    assert difference(before, after).lines() == [
        f"- pin {API} {pin_text(1)}",
        f"- pin {API} {pin_text(3)}",
        f"+ pin {API} {pin_text(4)}",
        f"+ pin {API} {pin_text(5)}",
    ]


def test_a_host_of_one_label_is_named_without_the_dot_of_its_set(make_config, pin_text) -> None:
    before, after = make_config({"localhost": [1]}), make_config({"localhost": [1, 2]})
    assert difference(before, after).lines() == [f"+ pin localhost {pin_text(2)}"]
    assert difference(before, after).touched == ["localhost"]


# -- limits in time -------------------------------------------------------------------------------


def test_the_same_key_at_other_times_is_a_change(make_config, pin, pin_text) -> None:
    always, until = make_config({API: [1]}), make_config({API: [pin(1, None, LATER)]})
    found = difference(always, until)
    end = "until 2027-02-01T12:00:00Z"
    assert found.lines() == [f"* pin {API} {pin_text(1)}: always -> {end}"]
    assert found.touched == [API]
    both = make_config({API: [pin(1, FIRST, LATER)]})
    assert difference(until, both).lines() == [
        f"* pin {API} {pin_text(1)}: {end} -> from 2027-01-01T12:00:00Z {end}"
    ]
    assert difference(make_config(), both).lines()[1:] == [
        f"+ pin {API} {pin_text(1)}, from 2027-01-01T12:00:00Z {end}"
    ]


def test_a_key_may_count_at_several_times(make_config, pin, pin_text) -> None:
    twice = [pin(1, None, FIRST), pin(1, LATER, None)]
    before, after = make_config({API: [1]}), make_config({API: twice})
    times = "from 2027-02-01T12:00:00Z or until 2027-01-01T12:00:00Z"
    assert difference(before, after).lines() == [f"* pin {API} {pin_text(1)}: always -> {times}"]
    assert difference(after, make_config({API: twice[::-1]})).lines() == []
    assert difference(before, make_config({API: [1, 1]})).touched == []


def test_a_pin_of_an_unknown_algorithm_is_a_change_though_it_matches_nothing(make_config) -> None:
    before, after = make_config({API: [1]}), make_config({API: [1, Pin(None)]})
    found = difference(before, after)
    assert found.lines() == [f"+ pin {API} (unknown algorithm)"]
    assert found.touched == [API]  # a newer app may match it
    assert found.after == {"pin_sets": {API: [{}]}}


# -- shared sets ----------------------------------------------------------------------------------


def test_a_shared_set_is_said_once_and_touches_all_that_follow(make_config, pin_text) -> None:
    hosts = {f"host-{n:03}.example.com": "payments" for n in range(150)}
    before = make_config(hosts | {API: [9]}, {"payments": [1, 2]})
    after = make_config(hosts | {API: [9]}, {"payments": [2, 3]})
    found = difference(before, after)
    assert found.lines() == [
        f"- pin set payments {pin_text(1)}",
        f"+ pin set payments {pin_text(3)}",
    ]
    assert found.touched == sorted(hosts)


def test_following_another_set_is_said_of_the_domain(make_config, pin_text) -> None:
    own = make_config({API: [1]})
    shared = make_config({API: "payments"}, {"payments": [1, 2]})
    assert difference(own, shared).lines() == [
        f"* domain {API}: pin set its own -> payments",
        "+ pin set payments",
        f"+ pin set payments {pin_text(1)}",
        f"+ pin set payments {pin_text(2)}",
    ]
    assert difference(own, shared).touched == [API]
    back = difference(shared, own)
    assert back.lines() == [
        f"* domain {API}: pin set payments -> its own",
        f"+ pin {API} {pin_text(1)}",
        "- pin set payments",
    ]
    assert difference(None, shared).lines()[0] == f"+ domain {API} (enforce), pin set payments"


def test_following_the_same_pins_by_another_name_touches_nothing(make_config) -> None:
    own = make_config({API: [1, 2], SHOP: [3]}, {"payments": [1, 2]})
    shared = make_config({API: "payments", SHOP: [3]}, {"payments": [2, 1]})
    for pair in ((own, shared), (shared, own)):
        assert difference(*pair).touched == []
    assert difference(own, shared).lines() == [f"* domain {API}: pin set its own -> payments"]
    # Its own set starts as a copy, which says it all.
    assert difference(shared, own).lines() == [f"* domain {API}: pin set payments -> its own"]


def test_who_comes_to_a_set_that_changes_is_touched_only_by_what_is_new_to_him(
    make_config,
) -> None:
    before = make_config({API: [1], SHOP: "payments"}, {"payments": [2]})
    after = make_config({API: "payments", SHOP: "payments"}, {"payments": [1]})
    assert difference(before, after).touched == [SHOP]
    assert difference(after, before).touched == [SHOP]


def test_a_set_that_nobody_follows_touches_nothing(make_config) -> None:
    before = make_config({API: [1]}, {"spare": [2]})
    found = difference(before, make_config({API: [1]}, {"spare": [3]}))
    assert len(found.lines()) == 2
    assert found.touched == []


# -- delivery -------------------------------------------------------------------------------------


def test_each_member_of_delivery_is_said(make_config, pin_text) -> None:
    pem = make_authority("CA").pem
    before = make_config(recovery_urls=("http://a.example.com",))
    after = make_config(
        urls=("https://b.example.com", "https://c.example.com"), delivery_pins=[100, 101], ca=pem,
        refresh_interval=timedelta(seconds=60), stale_grace=timedelta(days=1),
    )  # fmt: skip
    assert difference(before, after).lines() == [
        "* delivery: URLs https://pins.example.com -> https://b.example.com, https://c.example.com",
        "* delivery: recovery URLs http://a.example.com -> none",
        f"+ delivery pin {pin_text(101)}",
        "* delivery: CA those of the system -> a private one",
        "* delivery: refresh interval 300 s -> 60 s",
        "* delivery: stale grace 604800 s -> 86400 s",
    ]
    assert difference(before, after).touched == []
    lines = difference(after, before).lines()
    assert lines[1] == "* delivery: recovery URLs none -> http://a.example.com"
    assert lines[3] == "* delivery: CA a private one -> those of the system"
    other = difference(make_config(ca=pem), make_config(ca=make_authority("CA").pem))
    assert other.lines() == ["* delivery: CA a private one -> another one"]
    assert other.before.keys() == other.after.keys() == {"delivery"}
    assert other.before["delivery"].keys() == {"ca_sha256"}
    assert other.before != other.after


def test_the_order_of_delivery_urls_counts(make_config) -> None:
    urls = ("https://a.example.com", "https://b.example.com")
    found = difference(make_config(urls=urls), make_config(urls=urls[::-1]))
    assert found.lines() == [
        "* delivery: URLs https://a.example.com, https://b.example.com -> "
        "https://b.example.com, https://a.example.com"
    ]


def test_the_first_config_of_a_stream_is_all_new(make_config, pin_text) -> None:
    found = difference(None, make_config({API: [1]}, recovery_urls=("http://a.example.com",)))
    assert found.lines() == [
        f"+ domain {API} (enforce)",
        f"+ pin {API} {pin_text(1)}",
        "delivery is now https://pins.example.com",
    ]
    assert found.before == {}
    assert found.after["delivery"]["recovery_urls"] == ["http://a.example.com"]


# -- for the audit log ----------------------------------------------------------------------------


def test_only_the_members_that_differ_are_kept(make_config, pin, pin_text) -> None:
    before = make_config({API: [1, 2], SHOP: [3], "old.example.com": [4]})
    after = make_config({API: {"pins": [1, pin(5, FIRST)], "mode": "report"}, SHOP: [3]})
    found = difference(before, after)
    digest = {number: pin_text(number).removeprefix("sha256/") for number in range(9)}
    assert found.before == {
        "domains": {
            API: {"mode": "enforce"},
            "old.example.com": {
                "pin_set": "old.example.com", "mode": "enforce", "token": False,
                "stale": "enforce",
            },
        },
        "pin_sets": {
            API: [{"sha256": digest[2]}],
            "old.example.com": [{"sha256": digest[4]}],
        },
    }  # fmt: skip
    start = int(FIRST.timestamp())
    assert found.after == {
        "domains": {API: {"mode": "report"}},
        "pin_sets": {API: [{"sha256": digest[5], "not_before": start}]},
    }


def test_no_difference_is_no_members(make_config) -> None:
    same = make_config({API: [1]}, version=1), make_config({API: [1]}, version=2, root_version=9)
    found = difference(*same)
    assert (found.lines(), found.touched, found.before, found.after) == ([], [], {}, {})


def test_thousands_of_changes_are_kept_in_part(make_config) -> None:
    many = make_config({f"host-{n:04}.example.com": [n] for n in range(1000)})
    few = make_config({API: range(10), "big.example.com": range(1000)})
    found = difference(many, few)
    assert list(found.before["domains"]) == [f"host-{n:04}.example.com" for n in range(198)]
    assert sum(map(len, found.before["pin_sets"].values())) == MOST_PINS
    assert sum(map(len, found.after["pin_sets"].values())) == MOST_PINS
    assert len(found.before["domains"]) + len(found.after["domains"]) == MOST_DOMAINS
    assert len(msgspec.json.encode([found.before, found.after])) < 128 * 1024
    assert len(found.lines()) == 1000 + 2 + 1010


# -- any two configs ------------------------------------------------------------------------------

hosts = st.sampled_from(["a.example.com", "b.example.com", "*.example.com", "localhost", "::1"])
limits = st.sampled_from([None, FIRST, LATER])
pins = st.integers(1, 3) | st.tuples(st.integers(1, 3), limits, limits) | st.just("unknown")
several = st.lists(pins, min_size=1, max_size=3)
entries = st.fixed_dictionaries(
    {"pins": several | st.sampled_from(["one", "two"])},
    optional={
        "mode": st.sampled_from(["enforce", "report", "off"]),
        "token": st.booleans(),
        "stale": st.sampled_from(["enforce", "refuse"]),
    },
)
drafts = st.tuples(
    st.dictionaries(hosts, entries, max_size=4),
    st.fixed_dictionaries({"one": several, "two": several}),
)


@pytest.fixture(scope="session")
def drawn(make_config, pin):
    """Return the config of a draft; a set that nobody follows is in no config."""

    def one(draft) -> Config:
        domains, shared = draft
        return make_config(
            {host: each | {"pins": held(each["pins"])} for host, each in domains.items()},
            {name: held(found) for name, found in shared.items() if follows(domains, name)},
        )

    def held(said):
        if isinstance(said, str):
            return said
        given = (Pin(None) if each == "unknown" else each for each in said)
        return [pin(*each) if isinstance(each, tuple) else each for each in given]

    return one


def follows(domains, name: str) -> bool:
    """Whether any domain follows a shared set."""
    return any(each["pins"] == name for each in domains.values())


def protection(config: Config) -> dict[str, object]:
    """What an app does at each pattern, whatever the sets are called."""
    return {
        each.pattern: (each.mode, each.token, each.stale, frozenset(each.pins.pins))
        for each in config.domains
    }


def shuffled(config: Config, seed: int) -> Config:
    """The same config in another order."""
    chance = random.Random(seed)

    def order(found):
        return tuple(chance.sample(found, len(found)))

    sets = {name: PinSet(order(pins.pins)) for name, pins in order([*config.pin_sets.items()])}
    domains = order([replace(each, pins=sets[each.pin_set]) for each in config.domains])
    return replace(config, domains=domains, pin_sets=sets)


@settings(deadline=None, max_examples=100)
@given(drafts, drafts, st.integers())
def test_what_is_touched_is_what_apps_would_do_otherwise(drawn, one, other, seed) -> None:
    before, after = drawn(one), drawn(other)
    was, now = protection(before), protection(after)
    found = difference(before, after)
    assert found.touched == sorted(p for p in was.keys() | now.keys() if was.get(p) != now.get(p))
    assert difference(after, before).touched == found.touched
    assert difference(shuffled(before, seed), shuffled(after, seed + 1)).touched == found.touched


@settings(deadline=None, max_examples=100)
@given(drafts, drafts, st.integers())
def test_nothing_is_said_exactly_where_nothing_differs(drawn, one, other, seed) -> None:
    before, after = drawn(one), drawn(other)
    found = difference(before, after)
    differ = protection(before) != protection(after) or {
        each.pattern: each.pin_set for each in before.domains
    } != {each.pattern: each.pin_set for each in after.domains}
    assert bool(found.lines()) == differ
    assert bool(found.before or found.after) == differ
    assert difference(before, shuffled(before, seed)).lines() == []
    again = difference(before, shuffled(after, seed))
    assert sorted(again.lines()) == sorted(found.lines())
    assert (again.before.keys(), again.after.keys()) == (found.before.keys(), found.after.keys())
    assert len(found.lines()) == len(set(found.lines()))
