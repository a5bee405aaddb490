"""What apps will say to what endpoints serve: refused where it is known, warned of where not."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import msgspec
import pytest
from livepin_server.probing.probe import Target
from livepin_server.services.publishing.difference import difference
from livepin_server.services.publishing.findings import Limits
from livepin_server.services.publishing.guards import judge, needed
from livepin_server.services.publishing.served import MOST_LOOKED_AT

API, ANY = "api.example.com", "*.example.com"
NOW = datetime(2026, 11, 23, 12, tzinfo=timezone.utc)
LEAF, INTERMEDIATE, ROOT, OTHER = 1, 2, 3, 4
CHAIN = [LEAF, INTERMEDIATE, ROOT]
FORCE = "to publish it all the same: --force --reason TEXT"


def test_to_drop_the_pin_that_is_served_is_refused_unless_forced(
    make_config, judged, pin_text
) -> None:
    before, after = make_config({API: [LEAF, OTHER]}), make_config({API: [OTHER]})
    found = judged(before, after, {API: [CHAIN]})
    (only,) = found.refused
    assert (only.code, only.domain, only.forcible) == ("drops-served-pin", API, True)
    assert only.message == (
        f"{API} serves {pin_text(LEAF)} at this moment, which {API} would not pin any more: "
        "apps that follow main would be refused"
    )
    assert only.hint == f"change the certificate first, and keep the pin until then; {FORCE}"
    assert found.standing(forced=True) == []


def test_an_endpoint_that_the_change_looks_away_from_counts_as_well(
    make_config, seen, pin_text
) -> None:
    old, new = Target(host=API), Target(host=API, connect="192.0.2.9:443")
    change = difference(make_config({API: [LEAF]}), make_config({API: [OTHER]}))
    known, before = {API: new}, {API: old}
    for observed in ([], [seen(API, OTHER)]):
        observations = {old: [seen(API, *CHAIN)], new: observed}
        (only,) = judge(change, known, observations, Limits(), now=NOW, before=before).refused
        assert (only.code, pin_text(LEAF) in only.message) == ("drops-served-pin", True)


def test_a_pin_that_ends_now_is_dropped_too(make_config, judged, pin, codes) -> None:
    before = make_config({API: [LEAF, OTHER]})
    after = make_config({API: [pin(LEAF, None, NOW), OTHER]})
    assert codes(judged(before, after, {API: [CHAIN]}))["refused"] == ["drops-served-pin"]


def test_the_leafs_pin_stays_even_where_a_ca_is_pinned_too(make_config, judged, pin_text) -> None:
    """The leaf is the same on every device; the chain above it is what each device verifies."""
    before = make_config({API: [LEAF, INTERMEDIATE]})
    (only,) = judged(before, make_config({API: [INTERMEDIATE]}), {API: [CHAIN]}).refused
    assert only.code == "drops-served-pin"
    assert only.message.endswith(
        f": only {pin_text(INTERMEDIATE)}, the key of a CA, lets apps in, and a device may verify "
        "another chain"
    )


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([LEAF, INTERMEDIATE], [LEAF]),
        ([LEAF, ROOT, OTHER], [LEAF, OTHER]),
        ([INTERMEDIATE, ROOT], [INTERMEDIATE]),
        ([LEAF, OTHER], [LEAF]),
        ([LEAF], [OTHER, LEAF]),
        ([LEAF, OTHER], [LEAF, INTERMEDIATE]),
    ],
)
def test_what_the_leaf_does_not_need_may_go(make_config, judged, before, after) -> None:
    found = judged(make_config({API: before}), make_config({API: after}), {API: [CHAIN]})
    assert found.refused == []


def test_the_last_pin_of_the_chain_may_not_go(make_config, judged, pin_text) -> None:
    before, after = make_config({API: [ROOT, OTHER]}), make_config({API: [OTHER]})
    (only,) = judged(before, after, {API: [CHAIN]}).refused
    assert only.code == "drops-served-pin"
    assert f"serves {pin_text(ROOT)} at this moment" in only.message


def test_pins_that_match_nothing_are_refused_unless_forced(make_config, judged, pin_text) -> None:
    found = judged(make_config(), make_config({API: [OTHER]}), {API: [CHAIN]})
    (only,) = found.refused
    assert (only.code, only.forcible) == ("no-chain-matches", True)
    assert only.message == (
        f"no pin of {API} matches what {API} serves at this moment, {pin_text(LEAF)}: apps that "
        "follow main would be refused"
    )
    assert only.hint == (
        f"if that key is yours: livepin domain add {API} --pin {pin_text(LEAF)}; {FORCE}"
    )


@pytest.mark.parametrize("mode", ["report", "off"])
def test_to_enforce_pins_that_match_nothing_is_refused(
    make_config, judged, pin_text, codes, mode
) -> None:
    before = make_config({API: {"pins": [OTHER], "mode": mode}}, stream="canary")
    after = make_config({API: [OTHER]}, stream="canary")
    (only,) = judged(before, after, {API: [CHAIN]}).refused
    assert only.code == "no-chain-matches"
    assert "apps that follow canary would be refused" in only.message
    assert only.hint == (
        f"if that key is yours: livepin pin add {API} {pin_text(LEAF)} --stream canary; {FORCE}"
    )
    # The other way it is nothing that an endpoint decides.
    assert judged(after, before, {API: [CHAIN]}).refused == []


def test_to_add_a_pin_that_does_not_help_is_refused(make_config, judged) -> None:
    """The certificate was changed too early, and in the hurry another key was pinned."""
    before, after = make_config({API: [OTHER]}), make_config({API: [OTHER, 5]})
    (only,) = judged(before, after, {API: [CHAIN]}).refused
    assert only.code == "no-chain-matches"
    assert judged(before, make_config({API: [OTHER, LEAF]}), {API: [CHAIN]}).refused == []


def test_a_host_below_a_wildcard_goes_back_to_the_wildcards_pins(make_config, judged) -> None:
    before = make_config({API: [LEAF], ANY: [OTHER]})
    (only,) = judged(before, make_config({ANY: [OTHER]}), {API: [CHAIN]}).refused
    assert (only.code, only.domain) == ("drops-served-pin", API)
    assert f"which {ANY} would not pin any more" in only.message
    assert judged(before, make_config(), {}).refused == []  # apps no longer pin it


# -- the end of what matches ----------------------------------------------------------------------


@pytest.mark.parametrize("days", [1, 30])
def test_until_when_the_key_that_is_served_gets_apps_in_is_said(
    make_config, judged, pin, pin_text, codes, days
) -> None:
    """It is the slow way to drop the pin that is served: a backup is left, and nobody serves it."""
    end = NOW + timedelta(days=days)
    before = make_config({API: [LEAF, OTHER]})
    found = judged(before, make_config({API: [pin(LEAF, None, end), OTHER]}), {API: [CHAIN]})
    assert codes(found) == {"warnings": ["served-pin-ends"]}
    assert found.warnings[0].message == (
        f"no pin of {API} matches what {API} serves at this moment, {pin_text(LEAF)}, from "
        f"{end:%Y-%m-%d} 12:00 UTC on: apps are refused then"
    )
    assert found.warnings[0].hint == (
        f"change the certificate before then, and see: livepin domain check {API}"
    )


@pytest.mark.parametrize(
    ("start", "end", "others"),
    [
        (None, NOW + timedelta(days=31), [OTHER]),
        (None, None, [OTHER]),
        (None, NOW + timedelta(days=1), [OTHER, INTERMEDIATE]),  # it matches what is served, too
        (NOW, None, [OTHER]),
    ],
)
def test_what_goes_on_to_match_is_nothing_to_say(
    make_config, judged, pin, codes, start, end, others
) -> None:
    after = make_config({API: [pin(LEAF, start, end), *others]})
    assert codes(judged(make_config({API: [LEAF, *others]}), after, {API: [CHAIN]})) == {}


def test_of_several_addresses_the_first_whose_key_ends_is_named(
    make_config, judged, pin, pin_text, codes
) -> None:
    end = NOW + timedelta(days=2)
    after = make_config({API: [OTHER, pin(LEAF, None, end), pin(5, None, end)]})
    seen = {API: [[6], [OTHER], CHAIN, [5]]}
    found = judged(make_config({API: [OTHER, LEAF, 5]}), after, seen)
    assert codes(found)["warnings"][:2] == ["not-matched-everywhere", "served-pin-ends"]
    assert pin_text(LEAF) in found.warnings[1].message


# -- several addresses ----------------------------------------------------------------------------


def test_one_address_that_matches_is_enough_and_the_others_are_named(
    make_config, judged, pin_text, codes
) -> None:
    found = judged(
        make_config({API: [LEAF]}), make_config({API: [LEAF, OTHER]}), {API: [CHAIN, [5], [6]]}
    )
    assert codes(found) == {"warnings": ["not-matched-everywhere"]}
    assert found.warnings[0].message == (
        f"no pin of {API} matches what {API} serves at 192.0.2.2, 192.0.2.3, {pin_text(5)}: apps "
        "that get there are refused"
    )
    command = f"livepin pin add {API} {pin_text(5)}"
    assert found.warnings[0].hint == f"if that key is yours: {command}"


def test_to_drop_the_pin_of_one_address_is_refused_for_the_apps_that_get_there(
    make_config, judged, pin_text
) -> None:
    before, after = make_config({API: [LEAF, 5]}), make_config({API: [LEAF]})
    found = judged(before, after, {API: [CHAIN, [5, INTERMEDIATE]]})
    (only,) = found.refused
    assert only.code == "drops-served-pin"
    assert only.message.startswith(f"{API} serves {pin_text(5)} at this moment")
    assert only.message.endswith("apps that get to 192.0.2.2 would be refused")


def test_where_nothing_is_left_is_said_before_where_a_ca_is_left(
    make_config, judged, pin_text
) -> None:
    before, after = make_config({API: [LEAF, 5, INTERMEDIATE]}), make_config({API: [INTERMEDIATE]})
    (only,) = judged(before, after, {API: [CHAIN, [5, ROOT]]}).refused
    assert only.message.startswith(f"{API} serves {pin_text(5)} at this moment")
    assert only.message.endswith("apps that get to 192.0.2.2 would be refused")


def test_an_address_that_was_not_verified_says_nothing(make_config, judged, codes) -> None:
    before, after = make_config({API: [LEAF]}), make_config({API: [LEAF, OTHER]})
    assert codes(judged(before, after, {API: [[], CHAIN]})) == {}
    found = judged(make_config(), make_config({API: [OTHER, 5]}), {API: [[], CHAIN]})
    assert codes(found) == {"refused": ["no-chain-matches"]}


# -- who was not seen -----------------------------------------------------------------------------


def test_who_cannot_be_seen_is_never_said_to_have_wrong_pins(make_config, judged, codes) -> None:
    before, after = make_config({API: [LEAF, OTHER]}), make_config({API: [OTHER, 5]})
    found = judged(before, after, {API: [[]]})
    assert codes(found) == {"warnings": ["not-seen"]}
    assert found.warnings[0].message == (
        f"the server could not see whether apps get in at {API}: {API}: it did not answer in time"
    )
    assert found.warnings[0].hint == f"look from where one can: livepin domain check {API}"


def test_what_was_only_presented_speaks_neither_for_nor_against(make_config, seen, codes) -> None:
    """Neither the pinned key in it, nor that it has none."""
    for pins in ([LEAF, 5], [OTHER, 5]):
        change = difference(make_config(), make_config({API: pins}))
        (target,) = needed(change, {})
        shown = seen(API, presented=CHAIN)
        claimed = msgspec.structs.replace(seen(API, *CHAIN), verified=False)
        found = judge(change, {}, {target: [shown, claimed]}, Limits(), now=NOW)
        assert codes(found) == {"warnings": ["not-seen"]}


def test_of_a_wildcard_nobody_knows_a_host_to_look_at(make_config, judged, codes) -> None:
    before, after = make_config(), make_config({ANY: [LEAF, OTHER]})
    assert needed(difference(before, after), {}) == []
    found = judged(before, after)
    assert codes(found) == {"warnings": ["not-seen"]}
    assert found.warnings[0].message == (
        f"the server could not see whether apps get in at {ANY}: it is no host that one can look at"
    )
    assert found.warnings[0].hint == "look from where one can: livepin domain check HOST"


def test_of_a_wildcard_a_host_may_be_named(make_config, judged) -> None:
    named = {ANY: Target(host="www.example.com")}
    before, after = make_config(), make_config({ANY: [OTHER, 5]})
    (only,) = judged(before, after, {"www.example.com": [CHAIN]}, known=named).refused
    assert f"no pin of {ANY} matches what www.example.com serves" in only.message
    (warning,) = judged(before, after, {"www.example.com": [[]]}, known=named).warnings
    assert warning.hint == "look from where one can: livepin domain check www.example.com"


def test_pins_that_only_come_shut_out_nobody_so_nobody_has_to_be_seen(
    make_config, judged, codes
) -> None:
    before, after = make_config({API: [LEAF]}), make_config({API: [LEAF, OTHER]})
    assert codes(judged(before, after, {API: [[]]})) == {}
    enforced = make_config({API: {"pins": [LEAF], "mode": "report"}})
    assert codes(judged(enforced, after, {API: [[]]})) == {"warnings": ["not-seen"]}


def test_where_nothing_says_why_it_was_not_seen_it_is_not_believed_either(
    make_config, seen
) -> None:
    change = difference(make_config(), make_config({API: [OTHER, 5]}))
    (target,) = needed(change, {})
    silent = msgspec.structs.replace(seen(API), error=None)
    (only,) = judge(change, {}, {target: [silent]}, Limits(), now=NOW).warnings
    assert only.message.endswith(": no chain was verified")


def test_no_more_endpoints_are_looked_at_than_one_look_takes(make_config, judged) -> None:
    many = {f"host-{n:03}.example.com": [LEAF, OTHER] for n in range(MOST_LOOKED_AT + 7)}
    before, after = make_config(), make_config(many)
    goals = needed(difference(before, after), {})
    assert [each.host for each in goals] == sorted(many)[:MOST_LOOKED_AT]
    seen = {host: [CHAIN] for host in many}
    found = judged(before, after, seen, limits=Limits(most_domains=1000))
    assert found.refused == []
    assert [each.code for each in found.warnings] == ["not-seen"] * 7
    assert "it is none of the 200 endpoints that are looked at" in found.warnings[0].message


@pytest.mark.parametrize("said", [{"token": True}, {"stale": "refuse"}, {"mode": "off"}])
def test_what_no_endpoint_decides_is_not_looked_at(make_config, said) -> None:
    before, after = make_config({API: [LEAF]}), make_config({API: {"pins": [LEAF]} | said})
    assert needed(difference(before, after), {}) == []
    assert needed(difference(before, make_config()), {}) == []


def test_an_endpoint_that_many_share_is_looked_at_once(make_config) -> None:
    one = Target(host="lb.example.com")
    hosts = [f"host-{n}.example.com" for n in range(5)]
    change = difference(make_config(), make_config({host: [LEAF] for host in hosts}))
    assert needed(change, dict.fromkeys(hosts, one)) == [one]
