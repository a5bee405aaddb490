"""Findings, from what one look found to what is certain: every transition, and sequences."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from livepin_server.services.monitoring.incidents.states import (
    AT_ONCE,
    AWAITED,
    DOUBTS,
    ELSEWHERE,
    GOOD,
    MOST_FINDINGS,
    PATIENCE,
    RECOVERY,
    SECOND_LOOK,
    TABLE,
    Sign,
    State,
    bounded,
    needs,
    step,
)
from livepin_server.services.monitoring.model import Finding, Judged, Kind

NOW = datetime(2026, 11, 23, 12, tzinfo=timezone.utc)
HOST = "api.example.com"


def found(kind="pin_mismatch", **members):
    whole = {
        "kind": kind, "code": "code", "severity": "critical", "key": kind, "cause": "cause",
        "host": HOST, "port": 443, "sentence": "wrong", "addresses": ["192.0.2.1"],
    }  # fmt: skip
    return Finding(**(whole | members))


def judged(*findings, **members):
    return Judged(
        account="acme", endpoint=1, vantage="here", host=HOST, port=443, findings=list(findings),
        **members,
    )  # fmt: skip


class Endpoint:
    """Looks at one endpoint, one after the other."""

    def __init__(self):
        self.now = NOW
        self.held = {}

    def look(self, *findings, after=timedelta(minutes=1), **members):
        self.now += after
        self.step = step(list(self.held.values()), judged(*findings, **members), self.now)
        self.held |= {each.key: each for each in self.step.kept}
        for each in self.step.over:
            del self.held[each.key]
        return {key: each.state for key, each in self.held.items()}


@pytest.fixture
def endpoint():
    return Endpoint()


# -- the tables ----------------------------------------------------------------------------------


def test_every_sign_in_every_state_has_its_transition():
    states = {None, "suspect", "firing"}
    # What is not held cannot be missed, and what is firing needs no further confirmation.
    impossible = {(None, "good"), (None, "mended"), (None, "unknown"), ("firing", "seen")}
    assert {*TABLE} == {(s, g) for s in states for g in get_args(Sign)} - impossible
    assert {*TABLE.values()} == states
    assert {*DOUBTS.values()} == {None, "doubted", "firing"}


@pytest.mark.parametrize("kind", get_args(Kind))
def test_each_kind_takes_its_number_of_looks_in_a_row_and_two_good_ones_end_it(endpoint, kind):
    wrong = found(kind)
    for _ in range(needs(wrong) - 1):
        assert endpoint.look(wrong) == {kind: "suspect"}
        assert endpoint.step.again == (PATIENCE if kind == "unreachable" else AT_ONCE)
    assert endpoint.look(wrong) == {kind: "firing"}
    assert endpoint.step.again is None
    for _ in range(GOOD - 1):
        assert endpoint.look() == {kind: "firing"}
        assert endpoint.step.again == RECOVERY
    assert endpoint.look() == {}
    assert endpoint.step.again is None


@pytest.mark.parametrize("kind", ["pin_mismatch", "partial", "untrusted"])
def test_other_vantages_look_before_it_is_certain_but_are_not_waited_for_for_ever(endpoint, kind):
    awaited = found(kind, awaits=["eu-west"])
    for _ in range(10):
        assert endpoint.look(awaited, after=ELSEWHERE) == {kind: "suspect"}
        assert endpoint.step.again == ELSEWHERE
    assert endpoint.look(found(kind), after=ELSEWHERE) == {kind: "firing"}
    assert endpoint.look(awaited) == {kind: "firing"}
    assert endpoint.step.again is None
    late = Endpoint()
    late.look(awaited)
    late.look(awaited, after=AWAITED - ELSEWHERE)
    assert late.look(awaited, after=ELSEWHERE) == {kind: "firing"}


def test_what_is_firing_waits_for_nobody_under_another_name(endpoint):
    endpoint.look(found("partial"))
    endpoint.look(found("partial"))
    state = endpoint.look(found("pin_mismatch", awaits=["eu-west"]))
    assert state == {"partial": "firing", "pin_mismatch": "firing"}


def test_what_hangs_on_time_alone_is_certain_at_once_and_a_restart_of_a_minute_wakes_nobody():
    assert {kind for kind in get_args(Kind) if needs(found(kind)) == 1} == {
        "at_risk", "would_break",
    }  # fmt: skip
    # From the first of the looks to the last.
    assert (needs(found("unreachable")) - 1) * PATIENCE > timedelta(minutes=1)


def test_looks_that_come_faster_do_not_make_a_restart_an_outage(endpoint):
    dark = found("unreachable")
    for _ in range(59):
        assert endpoint.look(dark, after=timedelta(seconds=1)) == {"unreachable": "suspect"}
    endpoint.look(dark, after=timedelta(seconds=1))
    assert endpoint.look(dark, after=timedelta(seconds=1)) == {"unreachable": "firing"}


def test_one_good_look_is_not_enough_and_a_bad_one_begins_the_count_anew(endpoint):
    wrong = found("at_risk")
    endpoint.look(wrong)
    endpoint.look()
    assert endpoint.look(wrong) == {"at_risk": "firing"}
    assert endpoint.held["at_risk"].good == 0
    assert endpoint.look() == {"at_risk": "firing"}
    assert endpoint.look() == {}


def test_it_is_known_since_it_was_first_seen(endpoint):
    endpoint.look(found())
    first = endpoint.now
    endpoint.look(found(severity="warning"))
    held = endpoint.held["pin_mismatch"]
    assert (held.since, held.seen, held.finding.severity) == (first, endpoint.now, "warning")


# -- where nothing answers, nothing is good ------------------------------------------------------


@pytest.mark.parametrize(
    ("silent", "kept"),
    [
        (found("unreachable", addresses=[]), True),
        (found("unreachable", addresses=["192.0.2.1", "192.0.2.2"]), True),
        (found("unreachable", addresses=["192.0.2.2"]), False),
    ],
)
def test_a_wrong_key_is_not_mended_by_an_outage(endpoint, silent, kept):
    endpoint.look(found())
    endpoint.look(found())
    for _ in range(3):
        state = endpoint.look(silent)
    assert ("pin_mismatch" in state) is kept
    assert state["unreachable"] == "firing"


def test_what_has_no_address_is_not_mended_by_an_outage_of_all(endpoint):
    endpoint.look(found("at_risk", addresses=[]))
    for _ in range(3):
        state = endpoint.look(found("unreachable"))
    assert state["at_risk"] == "firing"
    for _ in range(3):
        state = endpoint.look(found("unreachable", severity="warning"))
    assert "at_risk" not in state


def test_a_wrong_key_is_not_mended_by_a_move_to_an_address_that_does_not_answer(endpoint):
    endpoint.look(found())
    endpoint.look(found())
    elsewhere = found("unreachable", addresses=["192.0.2.9"])
    for _ in range(3):
        state = endpoint.look(elsewhere, addresses=["192.0.2.9"], blind=True)
    assert state == {"pin_mismatch": "firing", "unreachable": "firing"}
    for _ in range(GOOD):
        state = endpoint.look(addresses=["192.0.2.9"])
    assert state == {}


def test_where_nobody_follows_any_more_being_blind_keeps_nothing(endpoint):
    endpoint.look(found("at_risk"))
    for _ in range(GOOD):
        state = endpoint.look(blind=True)
    assert state == {}


@pytest.mark.parametrize("broken", ["pin_mismatch", "untrusted", "interception_suspected"])
@pytest.mark.parametrize("risk", [found("at_risk", code="no-backup"), found("would_break")])
def test_a_risk_is_not_over_while_no_app_gets_in(endpoint, broken, risk):
    endpoint.look(risk)
    for _ in range(3):
        state = endpoint.look(found(broken))
    assert state == {risk.kind: "firing", broken: "firing"}
    for _ in range(GOOD):
        state = endpoint.look()
    assert state == {}


@pytest.mark.parametrize(
    ("broken", "risk", "kept"),
    [
        (found("partial"), found("at_risk", code="no-backup"), False),  # judged where apps get in
        (found(stream="canary"), found("at_risk", code="no-backup"), False),
        (found(), found("at_risk", code="expires"), False),  # of the new certificate
        (found("untrusted"), found("at_risk", code="expires"), True),  # it has expired by now
        (found(severity="warning"), found("would_break"), False),  # only reported
    ],
)
def test_what_was_judged_in_a_break_is_over_as_ever(endpoint, broken, risk, kept):
    endpoint.look(risk)
    for _ in range(GOOD):
        state = endpoint.look(broken)
    assert (risk.kind in state) is kept


def test_a_suspicion_stays_while_nothing_answers(endpoint):
    endpoint.look(found())
    state = endpoint.look(found("unreachable"))
    assert state == {"pin_mismatch": "suspect", "unreachable": "suspect"}
    assert endpoint.look(found())["pin_mismatch"] == "firing"


# -- a second look that disagrees ----------------------------------------------------------------


def test_one_look_that_disagrees_is_kept_silently_and_a_second_within_a_day_is_told(endpoint):
    endpoint.look(found())
    assert endpoint.look() == {SECOND_LOOK: "doubted"}
    endpoint.look(found(), after=timedelta(hours=23))
    assert endpoint.look() == {SECOND_LOOK: "firing"}
    told = endpoint.held[SECOND_LOOK].finding
    assert (told.kind, told.severity, told.host) == ("interception_suspected", "warning", HOST)
    assert "more than once within a day" in told.sentence
    assert told.command == f"livepin domain check {HOST}"


def test_a_day_without_another_one_ends_the_doubt(endpoint):
    endpoint.look(found())
    endpoint.look()
    assert endpoint.look(after=timedelta(hours=23)) == {SECOND_LOOK: "doubted"}
    assert endpoint.look(after=timedelta(hours=1)) == {}
    for _ in range(2):
        endpoint.look(found())
        state = endpoint.look()
    assert state == {SECOND_LOOK: "firing"}
    assert endpoint.look(after=timedelta(days=1)) == {}


def test_two_looks_that_disagree_on_different_days_are_one_each(endpoint):
    endpoint.look(found())
    endpoint.look()
    endpoint.look(found(), after=timedelta(days=2))
    assert endpoint.look() == {SECOND_LOOK: "doubted"}


def test_the_reverse_is_a_disagreement_as_well(endpoint):
    endpoint.look(found())
    endpoint.look(found())
    for _ in range(2):
        endpoint.look()
        state = endpoint.look(found())
    assert state == {"pin_mismatch": "firing", SECOND_LOOK: "firing"}


def test_it_goes_on_as_long_as_looks_disagree(endpoint):
    for _ in range(4):
        endpoint.look(found(), after=timedelta(hours=20))
        state = endpoint.look()
    assert state == {SECOND_LOOK: "firing"}
    assert endpoint.held[SECOND_LOOK].times == 4


def test_another_address_and_another_kind_are_no_disagreement(endpoint):
    endpoint.look(found())
    assert endpoint.look(addresses=["192.0.2.7"]) == {}
    endpoint.look(found())
    assert endpoint.look(addresses=["192.0.2.1"]) == {SECOND_LOOK: "doubted"}
    other = Endpoint()
    other.look(found("unreachable"))
    assert other.look() == {}


def test_a_wrong_key_at_all_addresses_then_at_some_is_the_same_trouble(endpoint):
    """Addresses come and go: each look of a roll-out may call it otherwise."""
    endpoint.look(found("pin_mismatch"))
    assert endpoint.look(found("partial")) == {"partial": "firing"}
    assert endpoint.look(found("pin_mismatch"))["pin_mismatch"] == "firing"


# -- bounds --------------------------------------------------------------------------------------


def test_of_one_key_the_worst_finding_counts_and_no_endpoint_has_more_than_its_share(endpoint):
    endpoint.look(found(severity="info"), found(severity="critical"), found(severity="warning"))
    assert endpoint.held["pin_mismatch"].finding.severity == "critical"
    other = Endpoint()
    some = [found(key=f"key {number}", severity="info") for number in range(500)]
    state = other.look(*some, found())
    assert len(state) == MOST_FINDINGS
    assert "pin_mismatch" in state


def test_a_judge_cannot_write_into_the_doubts(endpoint):
    assert endpoint.look(found(key=SECOND_LOOK)) == {}


@pytest.mark.parametrize("text", ["k" * 401, "a\x00b", "a\nb", "\ud800"])
def test_a_key_that_the_database_cannot_keep_is_told_by_its_digest(text):
    assert bounded("pin_mismatch:main") == "pin_mismatch:main"
    kept = bounded(text)
    assert len(kept) <= 400
    assert kept.isprintable()
    assert bounded(f"{text}x") != kept
    kept.encode()


# -- any sequence --------------------------------------------------------------------------------

_KINDS = st.sampled_from(["pin_mismatch", "partial", "at_risk", "unreachable", "untrusted"])
_LOOKS = st.lists(
    st.tuples(st.frozensets(_KINDS, max_size=3), st.sampled_from([0, 1, 40, 3600, 86400])),
    max_size=40,
)


@given(_LOOKS)
def test_nothing_fires_that_was_not_seen_and_nothing_that_is_seen_is_silent(looks):
    endpoint = Endpoint()
    for kinds, seconds in looks:
        before = dict(endpoint.held)
        state = endpoint.look(*map(found, sorted(kinds)), after=timedelta(seconds=seconds))
        assert kinds <= state.keys()
        for key, became in state.items():
            assert became in get_args(State)
            was = before.get(key)
            if became == "firing" and (was is None or was.state != "firing"):
                assert key in kinds or key == SECOND_LOOK
        suspects = [key for key in kinds if state[key] == "suspect"]
        assert bool(suspects) <= (endpoint.step.again is not None)
    for _ in range(GOOD):
        endpoint.look(after=timedelta(days=1))
    assert endpoint.look(after=timedelta(days=1)) == {}
