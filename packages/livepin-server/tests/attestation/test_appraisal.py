"""The appraisal: which rule decides, and that the shipped policy refuses what it is to refuse."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from livepin_server.attestation.appraisal import UNASKED, Appraisal, appraise, weighed
from livepin_server.attestation.attested import LEVELS, Attested, EvidenceError
from livepin_server.attestation.claims import (
    NOTHING,
    Claims,
    Proof,
    Refused,
    Signal,
    Signals,
    claims_of,
    proof_of,
    refused,
)
from livepin_server.attestation.policy import DEFAULT, SHIPPED, AppPolicy, Policy, higher, rank

NOW = datetime(2026, 11, 26, 12, tzinfo=timezone.utc)
HARDWARE = Proof(format="apple-app-attest", level="hardware_app", moment=NOW)


def found(*names: str, **more: Any) -> Claims:
    """Return the claims of a process that found these signals."""
    signals = tuple(Signal(each, "x") for each in names)
    return claims_of((), Signals(format="signals", sdk="python", found=signals, **more), ())


def judged(policy: Policy = DEFAULT, claims: Claims = NOTHING, *standing: Proof) -> Appraisal:
    return appraise(policy, "shop", claims, standing, NOW)


def verdict(*arguments: Any) -> tuple[str, str]:
    appraisal = judged(*arguments)
    assert appraisal.passes is (appraisal.verdict != "fail")
    assert bool(appraisal.why) is (appraisal.verdict != "pass")
    return appraisal.verdict, appraisal.rule


# -- as shipped ----------------------------------------------------------------------------------


def test_who_says_nothing_passes_as_shipped() -> None:
    assert judged() is UNASKED
    assert judged(DEFAULT, found()).level == "self"


@pytest.mark.parametrize("signal", ["injected_code", "replaced_sdk_function", "changed_code"])
def test_code_put_into_the_process_is_fatal_as_shipped(signal: str) -> None:
    appraisal = judged(DEFAULT, found("proxy", signal))
    assert (appraisal.verdict, appraisal.rule) == ("fail", "signal")
    assert appraisal.why == f"the signal {signal} is fatal: x"


@pytest.mark.parametrize("signal", [name for name, each in SHIPPED.items() if each != "fatal"])
def test_nothing_else_refuses_by_itself_as_shipped(signal: str) -> None:
    assert verdict(DEFAULT, found(signal)) == ("pass", "pass")


def test_what_an_ordinary_machine_shows_passes_as_shipped() -> None:
    ordinary = "proxy", "ca_override", "tracing", "anonymous_code", "replaced_ssl_function"
    assert verdict(DEFAULT, found(*ordinary, unchecked=("changed_code",))) == ("pass", "pass")


def test_several_suspicions_together_refuse_as_shipped() -> None:
    appraisal = judged(DEFAULT, found("debugger", "preloaded_library", "anonymous_code"))
    assert (appraisal.verdict, appraisal.rule, appraisal.score) == ("fail", "score", 100)
    assert appraisal.why == (
        "anonymous_code, debugger, preloaded_library weigh 100 of 100"
    )  # fmt: skip


def test_a_signal_weighs_once_however_often_it_is_found() -> None:
    twice = claims_of(
        (),
        Signals(
            format="signals", sdk="x", found=(Signal("debugger", "a"), Signal("debugger", "b"))
        ),
        (),
    )
    assert judged(DEFAULT, twice).score == 60


# -- the policy ----------------------------------------------------------------------------------


def test_weights_that_differ_count_and_others_stay() -> None:
    policy = Policy(signals={"proxy": "fatal", "injected_code": 20, "own_kind": 7})
    assert verdict(policy, found("proxy")) == ("fail", "signal")
    assert verdict(policy, found("injected_code")) == ("pass", "pass")
    assert weighed(policy, found("own_kind", "debugger", "unknown")) == {
        "own_kind": 7, "debugger": 60, "unknown": 0,
    }  # fmt: skip


def test_in_report_mode_nobody_is_refused_and_it_is_told() -> None:
    assert verdict(Policy(mode="report"), found("injected_code")) == ("report", "signal")
    own = Policy(apps={"shop": AppPolicy(mode="report")})
    assert verdict(own, found("injected_code")) == ("report", "signal")
    own = Policy(mode="report", apps={"shop": AppPolicy(mode="enforce")})
    assert verdict(own, found("injected_code")) == ("fail", "signal")


@pytest.mark.parametrize("needed", LEVELS)
@pytest.mark.parametrize("held", [None, *LEVELS])
def test_a_level_that_is_needed_must_be_proved(needed, held) -> None:
    standing = [] if held is None else [Proof(format="x", level=held, moment=NOW)]
    expected = ("pass", "pass") if rank(held) >= rank(needed) else ("fail", "level")
    for policy in (Policy(level=needed), Policy(apps={"shop": AppPolicy(level=needed)})):
        assert verdict(policy, NOTHING, *standing) == expected


def test_an_app_needs_the_higher_of_its_own_level_and_that_of_all() -> None:
    policy = Policy(level="platform", apps={"shop": AppPolicy(level="self")})
    assert policy.of("shop").level == "platform"
    assert verdict(policy, found()) == ("fail", "level")
    assert judged(policy, found()).why == "expected the level platform, found self"


def test_a_proof_counts_as_long_as_it_is_fresh() -> None:
    policy = Policy(level="hardware_app", fresh=3600)
    for age, expected in ((3599, "pass"), (3600, "fail"), (-60, "pass")):
        old = msgspec.structs.replace(HARDWARE, moment=NOW - timedelta(seconds=age))
        assert verdict(policy, NOTHING, old)[0] == expected


def test_that_a_key_is_in_hardware_counts_for_a_season() -> None:
    """It cannot be attested a second time, and what attested it may be revoked since."""
    old = Proof(format="x", level="hardware_key", moment=NOW - timedelta(days=89))
    assert verdict(Policy(level="hardware_key"), NOTHING, old) == ("pass", "pass")
    assert verdict(Policy(level="hardware_app"), NOTHING, old) == ("fail", "level")
    older = Proof(format="x", level="hardware_key", moment=NOW - timedelta(days=90))
    assert verdict(Policy(level="hardware_key"), NOTHING, older) == ("fail", "level")


def test_relayable_evidence_counts_only_where_the_policy_says_so() -> None:
    loose = Proof(format="workload-jwt", level="platform", bound=False, moment=NOW)
    assert verdict(Policy(level="platform"), NOTHING, loose) == ("fail", "level")
    assert verdict(Policy(level="platform", relayable=True), NOTHING, loose) == ("pass", "pass")


def test_whoever_calls_himself_another_app_does_not_escape() -> None:
    policy = Policy(apps={"bank": AppPolicy(level="hardware_app")})
    assert verdict(policy, NOTHING, HARDWARE) == ("fail", "app")
    assert judged(policy).why == "the app shop is not one of the policy"
    policy = msgspec.structs.replace(policy, other_apps="take")
    assert verdict(policy) == ("pass", "pass")


def test_an_app_may_need_the_files_of_a_release() -> None:
    policy = Policy(apps={"shop": AppPolicy(release=True)})
    assert verdict(policy, found()) == ("fail", "release")
    measured = claims_of([Proof(format="measurements", level="self")], None, ())
    assert verdict(policy, measured) == ("pass", "pass")


def test_what_hardware_proved_does_not_excuse_a_fatal_signal() -> None:
    assert verdict(Policy(level="hardware_app"), found("injected_code"), HARDWARE) == (
        "fail", "signal",
    )  # fmt: skip


def test_refused_evidence_and_what_was_not_looked_for_can_be_weighed() -> None:
    refusal = refused({"format": "x"}, EvidenceError("root", "odd"))
    policy = Policy(signals={"refused_evidence": "fatal", "unchecked": 100})
    assert verdict(policy, claims_of((), None, [refusal])) == ("fail", "signal")
    assert judged(policy, claims_of((), None, [refusal])).why == (
        "the signal refused_evidence is fatal"
    )
    assert verdict(policy, found(unchecked=("debugger",))) == ("fail", "score")


def test_only_platforms_and_hardware_need_what_was_proved_before() -> None:
    assert not DEFAULT.needs_standing("shop")
    assert not Policy(level="self").needs_standing("shop")
    assert Policy(level="platform").needs_standing("shop")
    policy = Policy(apps={"shop": AppPolicy(level="hardware_key")}, other_apps="take")
    assert (policy.needs_standing("shop"), policy.needs_standing("web")) == (True, False)


@pytest.mark.parametrize(
    ("policy", "text"),
    [
        (Policy(signals={"No": 1}), "expected signals of a-z, 0-9 and _"),
        (Policy(signals={"a" * 41: 1}), "expected signals of a-z, 0-9 and _"),
        (Policy(signals={"proxy": 1001}), "proxy: expected a weight of 0 to 1000, or fatal"),
        (Policy(signals={"proxy": -1}), "proxy: expected a weight of 0 to 1000, or fatal"),
        (Policy(apps={"a b": AppPolicy()}), "expected names of apps"),
    ],
)
def test_a_policy_names_what_can_be(policy: Policy, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        policy.check()


def test_a_policy_is_stored_by_what_differs() -> None:
    policy = Policy(level="self", apps={"shop": AppPolicy(level="platform", release=True)})
    text = msgspec.json.encode(policy)
    assert text == (
        b'{"level":"self","apps":{"shop":{"level":"platform","release":true}}}'
    )  # fmt: skip
    assert msgspec.json.decode(text, type=Policy) == policy
    policy.check()


def test_levels_are_ordered() -> None:
    assert [rank(each) for each in (None, *LEVELS)] == [0, 1, 2, 3, 4]
    assert higher(None, None) is None
    assert higher("platform", "self") == "platform"


# -- claims --------------------------------------------------------------------------------------


def test_claims_that_are_alike_are_equal_whatever_their_order() -> None:
    one, other = found("proxy", "tracing"), found("tracing", "proxy")
    assert one == other
    assert msgspec.json.encode(one) == msgspec.json.encode(other)
    assert msgspec.json.decode(msgspec.json.encode(one), type=Claims) == one


def test_what_is_kept_of_claims_is_bounded() -> None:
    """Anybody can claim something else with each key."""
    small = found("proxy")
    assert small.kept() is small
    signals = tuple(Signal(f"kind_{each}", "x" * 200) for each in range(32))
    refusals = [refused({"format": "x"}, EvidenceError("root", "y" * 300)) for _ in range(16)]
    many = claims_of((), Signals(format="signals", sdk="x", found=signals), refusals)
    assert len(msgspec.json.encode(many)) > 10_000
    kept = many.kept()
    assert len(msgspec.json.encode(kept)) < 4096
    assert [each.signal for each in kept.signals] == [each.signal for each in many.signals]
    assert {each.check for each in kept.refused} == {"root"}
    assert judged(DEFAULT, kept).score == judged(DEFAULT, many).score


def test_a_refusal_is_bounded_and_printable() -> None:
    error = EvidenceError("root", "a\x1b[31m\n\u202e" + "b" * 1000)
    reason = refused({"format": "x"}, error).reason
    assert len(reason) == 300
    assert reason.isascii()
    assert reason.isprintable()
    assert refused({"format": "x"}, error) == Refused(format="x", check="root", reason=reason)


def test_what_was_attested_is_proved() -> None:
    attested = Attested(format="x", level="platform", bound=False, said={"a": "b"})
    assert proof_of(attested) == Proof(format="x", level="platform", bound=False)


SOUND = {
    "format": "signals",
    "sdk": "python",
    "found": [{"signal": "proxy", "detail": "HTTPS_PROXY"}],
    "checked": ["proxy"],
    "unchecked": ["debugger"],
    "later": 1,
}


def test_signals_are_read_and_members_of_later_are_left_out() -> None:
    signals = Signals.read(SOUND)
    assert signals.found == (Signal("proxy", "HTTPS_PROXY"),)
    assert (signals.checked, signals.unchecked) == (("proxy",), ("debugger",))


@pytest.mark.parametrize(
    "changes",
    [
        {"found": None},
        {"found": [{"signal": "proxy"}] * 33},
        {"found": [{"signal": "Proxy"}]},
        {"found": [{"signal": "proxy\n"}]},
        {"found": [{"signal": "proxy", "detail": "x\n"}]},
        {"found": [{"signal": "a" * 41}]},
        {"found": [{"signal": "proxy", "detail": "x" * 201}]},
        {"found": [{"signal": "proxy", "detail": "\x1b[2J"}]},
        {"found": ["proxy"]},
        {"sdk": 1},
        {"sdk": "x" * 64},
        {"unchecked": ["x"] * 65},
        {"checked": [1]},
    ],
)
def test_signals_that_are_none_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(EvidenceError, match=r"^malformed: ") as caught:
        Signals.read(SOUND | changes)
    assert caught.value.check == "malformed"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(changes=st.dictionaries(st.sampled_from(list(SOUND)[1:]), json_values))
def test_signals_of_any_kind_are_read_or_refused(changes: dict[str, Any]) -> None:
    try:
        signals = Signals.read(SOUND | changes)
    except EvidenceError:
        return
    assert judged(DEFAULT, claims_of((), signals, ())).verdict in ("pass", "fail")
