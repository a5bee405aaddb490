"""Challenges: one request, one installation, a quarter of an hour, on one node or on several."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from livepin.jose import b64url_decode, b64url_encode
from livepin_server.services.tokens.challenges import AHEAD, LIFETIME, Challenges

NOW = datetime(2026, 11, 26, 12, tzinfo=timezone.utc)
KEY, OURS, OTHER = b"k" * 32, "o" * 43, "x" * 43
SECOND = timedelta(seconds=1)


@pytest.fixture
def node():
    return Challenges(KEY)


@pytest.fixture
def another():
    return Challenges(KEY)


def test_a_challenge_is_good_once(node):
    text = node.make("acme", OURS, NOW)
    assert len(text) == 43
    assert node.spend(text, "acme", OURS, NOW)
    assert not node.spend(text, "acme", OURS, NOW)
    assert node.spend(node.make("acme", OURS, NOW), "acme", OURS, NOW)


def test_it_is_for_one_installation_in_one_account(node):
    text = node.make("acme", OURS, NOW)
    assert not node.spend(text, "acme", OTHER, NOW)
    assert not node.spend(text, "other", OURS, NOW)
    assert node.spend(text, "acme", OURS, NOW)


@pytest.mark.parametrize(("late", "good"), [(LIFETIME - SECOND, True), (LIFETIME, False)])
def test_it_lives_a_quarter_of_an_hour(node, late, good):
    assert node.spend(node.make("acme", OURS, NOW), "acme", OURS, NOW + late) is good


def test_another_key_makes_no_challenge(node):
    forged = Challenges(b"x" * 32).make("acme", OURS, NOW)
    assert not node.spend(forged, "acme", OURS, NOW)


@pytest.mark.parametrize("at", range(32))
def test_a_changed_challenge_is_refused(node, at):
    raw = bytearray(b64url_decode(node.make("acme", OURS, NOW).encode()))
    raw[at] ^= 1
    assert not node.spend(b64url_encode(bytes(raw)).decode(), "acme", OURS, NOW)


@given(st.text(max_size=60) | st.binary(max_size=40).map(lambda raw: b64url_encode(raw).decode()))
def test_rubbish_is_refused(text):
    assert not Challenges(KEY).spend(text, "acme", OURS, NOW)


def test_what_another_process_made_is_refused_until_one_hears_what_it_spends(node, another):
    text = another.make("acme", OURS, NOW)
    assert not node.spend(text, "acme", OURS, NOW)
    node.hears(True, NOW)
    assert not node.spend(text, "acme", OURS, NOW)  # it may have been spent before
    later = NOW + AHEAD
    text = another.make("acme", OURS, later)
    assert node.spend(text, "acme", OURS, later)
    node.hears(False, later)
    for moment in (later, later + AHEAD, later + LIFETIME):  # as long as it is deaf
        assert not node.spend(another.make("acme", OURS, moment), "acme", OURS, moment)
        assert node.spend(node.make("acme", OURS, moment), "acme", OURS, moment)


def test_who_was_deaf_does_not_know_which_of_its_own_were_spent_meanwhile(node, another):
    for each in (node, another):
        each.hears(True, NOW - AHEAD)
    text = node.make("acme", OURS, NOW)
    node.hears(False, NOW)
    assert another.spend(text, "acme", OURS, NOW)
    node.hears(True, NOW)
    assert not node.spend(text, "acme", OURS, NOW)


def test_a_node_that_only_hears_forgets_too(node, another):
    moment = NOW
    for _ in range(40):
        another.fresh.clear()
        assert another.spend(another.make("acme", OURS, moment), "acme", OURS, moment)
        node.spent_elsewhere(another.fresh, moment)
        moment += timedelta(minutes=1)
    assert sum(map(len, node._spent.values())) <= 17
    node.spent_elsewhere(another.fresh, NOW + timedelta(days=1))  # from a clock that is behind
    assert sum(map(len, node._spent.values())) == 0


def test_what_was_spent_elsewhere_is_refused(node, another):
    node.hears(True, NOW - AHEAD)
    text = another.make("acme", OURS, NOW)
    assert another.spend(text, "acme", OURS, NOW)
    node.spent_elsewhere(another.fresh, NOW)
    assert not node.spend(text, "acme", OURS, NOW)
    assert node.fresh == []


def test_its_own_that_another_spent_is_refused(node, another):
    another.hears(True, NOW - AHEAD)
    text = node.make("acme", OURS, NOW)
    assert another.spend(text, "acme", OURS, NOW)
    node.spent_elsewhere(another.fresh, NOW)
    assert not node.spend(text, "acme", OURS, NOW)


def test_a_challenge_of_the_future_is_refused_but_for_a_clock_that_is_a_little_ahead(node):
    assert not node.spend(node.make("acme", OURS, NOW + AHEAD + SECOND), "acme", OURS, NOW)
    assert node.spend(node.make("acme", OURS, NOW + AHEAD), "acme", OURS, NOW)


def test_what_is_too_old_is_forgotten(node):
    moment = NOW
    for _ in range(40):
        assert node.spend(node.make("acme", OURS, moment), "acme", OURS, moment)
        moment += timedelta(minutes=1)
    assert sum(map(len, node._spent.values())) <= 17


def test_what_is_not_too_old_yet_is_still_good_when_others_are_forgotten(node):
    minute = timedelta(minutes=1)
    issued = NOW + minute - SECOND
    for moment in (issued - 2 * minute, issued):
        assert node.spend(node.make("acme", OURS, moment), "acme", OURS, moment)
    text = node.make("acme", OURS, issued)
    late = issued + LIFETIME - SECOND
    assert node.spend(node.make("acme", OURS, late), "acme", OURS, late)
    assert len(node._spent) == 2
    assert node.spend(text, "acme", OURS, late)


def test_a_clock_that_is_set_back_makes_no_challenge_good_again(node):
    text = node.make("acme", OURS, NOW)
    assert node.spend(text, "acme", OURS, NOW)
    year = timedelta(days=365)
    ahead = node.make("acme", OURS, NOW + year)
    assert node.spend(ahead, "acme", OURS, NOW + year)
    assert not node.spend(text, "acme", OURS, NOW)
    assert not node.spend(ahead, "acme", OURS, NOW)
    minute = NOW + timedelta(minutes=1)
    assert node.spend(node.make("acme", OURS, minute), "acme", OURS, minute)
