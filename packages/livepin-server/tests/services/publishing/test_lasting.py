"""Pins in time: which count now, whether another follows, whether there is a backup."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from livepin.pins import Pin, PinSet
from livepin_server.services.model import PinView
from livepin_server.services.publishing.lasting import Counting

API = "api.example.com"
NOW = datetime(2026, 11, 23, 12, tzinfo=timezone.utc)
TOMORROW, YESTERDAY = NOW + timedelta(days=1), NOW - timedelta(days=1)


def view(text: str, *, backup: bool = False, level: str | None = "leaf") -> PinView:
    """A pin as the rows keep it."""
    return PinView(
        sha256=text, label="", level=level, backup=backup, not_before=None, not_after=None,
        created=NOW, author="alice",
    )  # fmt: skip


# -- no pin that counts ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ([(TOMORROW, None)], "the next one does from 2026-11-24 12:00 UTC on"),
        ([(None, YESTERDAY)], "all have ended"),
        ([(None, NOW)], "all have ended"),  # the end is exclusive
        ([(None, YESTERDAY), (TOMORROW, None)], "the next one does from 2026-11-24 12:00 UTC on"),
    ],
)
def test_pins_of_which_none_counts_now_are_refused_for_good(
    make_config, judged, pin, limits, said
) -> None:
    pins = [pin(number, *each) for number, each in enumerate(limits, 1)]
    found = judged(make_config({API: [9]}), make_config({API: pins}), {API: [[1]]})
    (first, *_) = found.standing(forced=True, confirmed=True)
    assert (first.code, first.domain) == ("no-pin-in-force", API)
    assert first.message == f"no pin of {API} counts now, {said}: every app would be refused"
    assert first.hint == f"first add one that counts now: livepin pin add {API} PIN"


def test_a_pin_of_an_unknown_algorithm_counts_for_nothing(make_config, judged) -> None:
    found = judged(make_config({API: [9]}), make_config({API: [Pin(None)]}))
    assert "all have ended" in found.standing(forced=True)[0].message


def test_a_pin_counts_from_its_first_second_on(make_config, judged, pin, codes) -> None:
    after = make_config({API: [pin(1, NOW), 2]})
    assert codes(judged(make_config({API: [2]}), after, {API: [[2]]})) == {}


@pytest.mark.parametrize("mode", ["report", "off"])
def test_pins_that_are_not_enforced_may_be_of_any_time(make_config, judged, pin, mode) -> None:
    after = make_config({API: {"pins": [pin(1, TOMORROW)], "mode": mode}})
    assert judged(make_config(), after).refused == []


def test_a_domain_that_nobody_touches_keeps_nobody_from_another(make_config, judged, pin) -> None:
    """Its pins have ended long ago; to cure that, or another domain, must stay possible."""
    old = {"old.example.com": [pin(1, None, YESTERDAY)]}
    before, after = make_config(old | {API: [2]}), make_config(old | {API: [2, 3]})
    assert judged(before, after, {API: [[2]]}).refused == []


def test_a_wildcard_whose_pins_have_ended_is_no_place_to_leave_a_host_to(
    make_config, judged, pin
) -> None:
    any_host = {"*.example.com": [pin(1, None, YESTERDAY)]}
    found = judged(make_config(any_host | {API: [2]}), make_config(any_host))
    assert found.refused[0].domain == API
    assert found.refused[0].message.startswith("no pin of *.example.com counts now")


# -- the end of the last one ----------------------------------------------------------------------


def test_pins_that_end_soon_without_another_are_warned_of(make_config, judged, pin) -> None:
    soon, late = NOW + timedelta(days=30), NOW + timedelta(days=31)
    for end, warned in ((soon, True), (late, False)):
        after = make_config({API: [pin(1, None, end), pin(2, None, NOW + timedelta(days=2))]})
        found = judged(make_config({API: [1]}), after, {API: [[1]]})
        said = [each.message for each in found.warnings if each.code == "pins-end"]
        text = f"no pin of {API} counts from 2026-12-23 12:00 UTC on: apps are refused then"
        assert said == ([text] if warned else [])


@pytest.mark.parametrize(
    ("start", "warned"),
    [(TOMORROW, "served-pin-ends"), (TOMORROW + timedelta(seconds=1), "pins-end")],
)
def test_a_pin_that_takes_over_in_time_leaves_no_gap(
    make_config, judged, pin, codes, start, warned
) -> None:
    after = make_config({API: [pin(2, start), pin(1, None, TOMORROW)]})
    found = judged(make_config({API: [1]}), after, {API: [[1]]})
    assert codes(found) == {"warnings": [warned]}


moments = st.none() | st.integers(-3, 5).map(lambda days: NOW + timedelta(days=days))
any_pins = st.lists(
    st.builds(Pin, st.sampled_from([b"1" * 32, b"2" * 32, None]), moments, moments), min_size=1
).map(lambda pins: PinSet(tuple(pins)))


@settings(deadline=None, max_examples=200)
@given(any_pins)
def test_the_end_is_the_first_moment_without_a_pin(pins) -> None:
    end = Counting(NOW).of(pins).end
    limits = {each for pin in pins.pins for each in (pin.not_before, pin.not_after) if each}
    later = sorted(each for each in limits | {NOW} if each >= NOW)
    # Between two limits nothing changes, so that these moments are all there are.
    bare = next((each for each in later if not pins.texts(now=each)), None)
    assert end == bare
    assert all(pins.texts(now=first) for first, _ in pairwise(later) if end and first < end)


# -- backups --------------------------------------------------------------------------------------


def warned(found) -> bool:
    return "no-backup-pin" in [each.code for each in found.warnings]


def test_a_domain_without_a_backup_pin_is_warned_of(make_config, judged) -> None:
    found = judged(make_config(), make_config({API: [1]}), {API: [[1]]})
    (only,) = found.warnings
    assert only.message == (
        f"{API} has no backup pin: if its key is lost, apps are refused until they get another "
        "config"
    )
    assert only.hint == f"livepin pin new-backup {API} --out backup.key"


@pytest.mark.parametrize(
    ("pins", "served", "expected"),
    [
        ([1, 2], [[1]], False),
        ([2, 1], [[1]], False),
        ([1, 2], [[1, 2]], False),  # the CA's is not the one in use
        ([1, 2], [[1], [2]], True),  # both are, at two addresses
        ([1, 2], [], False),
        ([1], [], True),
        ([1, 1], [[1]], True),
    ],
)
def test_without_the_rows_any_pin_that_is_not_in_use_is_a_backup(
    make_config, judged, pins, served, expected
) -> None:
    found = judged(make_config(), make_config({API: pins}), {API: served} if served else {})
    assert warned(found) == expected


@pytest.mark.parametrize(
    ("marks", "served", "expected"),
    [
        ({1: {}, 2: {}}, [[1]], True),  # nobody said that it is one
        ({1: {}, 2: {"backup": True}}, [[1]], False),
        ({1: {"backup": True}, 2: {}}, [[1]], True),  # the backup is in use
        ({1: {"backup": True}, 2: {}}, [], False),  # nobody saw which one is
        ({1: {"backup": True}, 2: {"backup": True}}, [], False),
        ({1: {"backup": True}}, [], True),
        ({1: {"level": "root"}, 2: {"level": "root"}}, [[9, 1]], False),
        ({1: {"level": "root"}, 2: {"level": "root"}}, [], False),
        ({1: {"level": "leaf"}, 2: {"level": "root"}}, [[1, 2]], True),
        ({1: {"level": "root"}, 2: {"level": "intermediate"}}, [[9, 1]], True),
        ({}, [[1]], True),
    ],
)
def test_the_rows_tell_which_pins_are_backups(
    make_config, judged, pin_text, marks, served, expected
) -> None:
    views = {API: [view(pin_text(number), **said) for number, said in marks.items()]}
    after = make_config({API: [1, 2] if len(marks) != 1 else [1]})
    found = judged(make_config(), after, {API: served} if served else {}, views=views)
    assert warned(found) == expected


def test_what_the_rows_tell_of_a_set_holds_for_all_that_follow_it(
    make_config, judged, pin_text
) -> None:
    hosts = {f"host-{n}.example.com": "payments" for n in range(3)}
    after = make_config(hosts, {"payments": [1, 2]})
    for backup in (True, False):
        views = {"payments": [view(pin_text(1)), view(pin_text(2), backup=backup)]}
        found = judged(make_config(), after, {host: [[1]] for host in hosts}, views=views)
        without = [each.domain for each in found.warnings if each.code == "no-backup-pin"]
        assert without == ([] if backup else [*hosts])


def test_a_backup_that_has_ended_is_none(make_config, judged, pin) -> None:
    for end in (YESTERDAY, NOW):
        after = make_config({API: [1, pin(2, None, end)]})
        assert warned(judged(make_config(), after, {API: [[1]]}))
    later = make_config({API: [1, pin(2, TOMORROW)]})
    assert not warned(judged(make_config(), later, {API: [[1]]}))


def test_what_is_not_enforced_needs_no_backup(make_config, judged, codes) -> None:
    after = make_config({API: {"pins": [1], "mode": "report"}})
    assert codes(judged(make_config(), after)) == {}
