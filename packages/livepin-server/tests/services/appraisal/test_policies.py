"""Policies: versions, a dry run over the last day, and nobody shut out or let in unasked."""

from __future__ import annotations

import msgspec
import pytest
from livepin_server.attestation.policy import DEFAULT, SHIPPED, AppPolicy, Policy
from livepin_server.errors import (
    InvalidError,
    NotFoundError,
    OutdatedError,
    UnconfirmedError,
)
from livepin_server.services.apps.model import NewApp
from livepin_server.services.model import How, Intent
from livepin_server.services.tokens.recording import Seen
from livepin_server.storage.schema import proofs
from sqlalchemy import insert

ONE, TWO, THREE = "1" * 22, "2" * 22, "3" * 22
UNASKED = Intent(author="bob")
APPLE = {"team": "ABCDE12345", "bundle": "com.example"}


@pytest.fixture(autouse=True)
def registered(services, intent) -> None:
    """Apps that can prove every level."""
    for name in ("shop", "bank"):
        services.apps.add("acme", NewApp(name=name, apple=APPLE), intent)


@pytest.fixture
def prove(services, clock):
    """Have it that an installation proved a level."""

    def one(identity: str, level: str, *, format: str = "x", bound: bool = True) -> None:  # noqa: A002
        row = {
            "account": "acme", "id": identity, "format": format, "app": "shop", "level": level,
            "bound": bound, "said": '{"boot": "verified"}', "moment": clock(),
        }  # fmt: skip
        services.database.write(lambda connection: connection.execute(insert(proofs).values(**row)))

    return one


def test_as_shipped_there_is_version_0(services) -> None:
    view = services.policies.show("acme")
    assert (view.version, view.policy, view.weights) == (0, DEFAULT, dict(SHIPPED))
    assert services.policies.versions("acme") == []
    assert services.tokens.load("acme").policy is DEFAULT


def test_a_policy_that_is_set_is_a_version_in_the_log_and_in_force(
    services, intent, entries, clock
) -> None:
    first, second = Policy(threshold=90), Policy(threshold=90, signals={"proxy": 10})
    assert services.policies.set("acme", first, intent).policy.version == 1
    done = services.policies.set("acme", second, intent)
    assert (done.policy.version, done.policy.policy) == (2, second)
    assert (done.policy.author, done.policy.created) == ("alice", clock())
    assert done.policy.weights["proxy"] == 10
    assert [each.version for each in services.policies.versions("acme")] == [2, 1]
    assert services.policies.show("acme", 1).policy == first
    assert services.policies.show("acme", 0).policy == DEFAULT
    loaded = services.tokens.load("acme")
    assert (loaded.policy, loaded.policy_version) == (second, 2)
    last = entries("policy.set")[-1]
    assert (last.target, last.before, last.after) == (
        "2", {"threshold": 90}, {"threshold": 90, "signals": {"proxy": 10}},
    )  # fmt: skip


def test_versions_and_accounts_that_are_not_there_are_said(services) -> None:
    with pytest.raises(NotFoundError, match="there is no policy 3"):
        services.policies.show("acme", 3)
    with pytest.raises(NotFoundError, match="there is no account"):
        services.policies.show("acne")


def test_names_that_cannot_be_are_refused(services, intent) -> None:
    wrong = Policy(signals={"No": 1})
    with pytest.raises(InvalidError, match="expected signals"):
        services.policies.set("acme", wrong, intent)
    with pytest.raises(InvalidError, match="expected signals"):
        services.policies.effect("acme", wrong)


def test_a_policy_that_was_changed_meanwhile_is_not_overwritten(services, intent) -> None:
    seen = msgspec.structs.replace(intent, how=How(confirmed=True, expected=0))
    services.policies.set("acme", Policy(threshold=90), seen)
    with pytest.raises(OutdatedError, match="expected policy 0 in force, found 1"):
        services.policies.set("acme", Policy(threshold=80), seen)


def test_the_dry_run_says_who_would_be_refused_and_why(services, see, found, clock) -> None:
    see(THREE, found("debugger"))
    clock.advance(days=1)
    see(ONE, found("debugger"))
    see(TWO, found("injected_code"))
    see("4" * 22, found(), app="other")
    effect = services.policies.effect("acme", Policy(signals={"debugger": "fatal"}))
    assert (effect.installations, effect.refused_before, effect.refused) == (3, 1, 2)
    assert (effect.newly_refused, effect.newly_passing) == (1, 0)
    (group,) = effect.newly
    assert (group.app, group.rule, group.installations, group.example) == ("shop", "signal", 1, ONE)
    assert group.why == "the signal debugger is fatal: x"
    effect = services.policies.effect("acme", Policy(mode="report"))
    assert (effect.newly_refused, effect.newly_passing, effect.newly) == (0, 1, [])
    assert services.policies.show("acme").version == 0


def test_the_dry_run_knows_what_was_proved(services, see, found, prove) -> None:
    for name in (ONE, TWO, THREE):
        see(name, found())
    prove(ONE, "platform")
    prove(ONE, "hardware_app", format="y")
    prove(TWO, "platform", bound=False)
    effect = services.policies.effect("acme", Policy(level="platform"))
    (group,) = effect.newly
    assert (group.why, group.installations) == ("expected the level platform, found self", 2)
    assert group.example in (TWO, THREE)
    assert effect.newly_refused == 2
    effect = services.policies.effect("acme", Policy(level="hardware_app", relayable=True))
    assert effect.newly_refused == 2


def test_what_shuts_apps_out_is_agreed_to(services, see, found) -> None:
    see(ONE, found("debugger"))
    policy = Policy(signals={"debugger": "fatal"})
    with pytest.raises(UnconfirmedError, match="1 of 1 installations of the last day that pass"):
        services.policies.set("acme", policy, UNASKED)
    agreed = msgspec.structs.replace(UNASKED, how=How(confirmed=True))
    assert services.policies.set("acme", policy, agreed).effect.newly_refused == 1


def test_one_among_many_that_is_shut_out_is_agreed_to(services, see, found, clock) -> None:
    """A small app could vanish whole."""
    for number in range(120):
        services.recording.note(
            Seen("acme", f"{number:022}", f"{number:043}", "shop", "main", 1, clock())
        )
    see(ONE, found("debugger"), app="small")
    with pytest.raises(UnconfirmedError, match="1 of 121 installations"):
        services.policies.set("acme", Policy(signals={"debugger": "fatal"}), UNASKED)


@pytest.mark.parametrize(
    ("policy", "text"),
    [
        (Policy(mode="report"), "nobody would be refused any more"),
        (Policy(signals={"injected_code": 0}), "injected_code would no longer be fatal"),
        (
            Policy(apps={"bank": AppPolicy(mode="report")}),
            "of bank nobody would be refused any more",
        ),
        (Policy(relayable=True), "evidence that may be that of another device would count"),
    ],
)
def test_what_lets_attackers_in_is_agreed_to(services, policy: Policy, text: str) -> None:
    with pytest.raises(UnconfirmedError, match=text):
        services.policies.set("acme", policy, UNASKED)


@pytest.mark.parametrize("after", [Policy(), Policy(apps={"x": AppPolicy()}, other_apps="take")])
def test_that_any_app_may_ask_is_agreed_to(services, intent, after: Policy) -> None:
    """Whoever calls himself another app would escape what his own must prove."""
    services.policies.set("acme", Policy(apps={"bank": AppPolicy()}), intent)
    with pytest.raises(UnconfirmedError, match="does not name would no longer be refused"):
        services.policies.set("acme", after, UNASKED)


def test_a_lower_level_is_agreed_to(services, intent) -> None:
    apps = {"shop": AppPolicy(level="self"), "bank": AppPolicy(level="self")}
    services.policies.set("acme", Policy(level="self", apps=apps), intent)
    weaker = Policy(level=None, apps={"shop": AppPolicy(level="self")})
    with pytest.raises(UnconfirmedError) as caught:
        services.policies.set("acme", weaker, UNASKED)
    assert caught.value.to_confirm == [
        "the level needed would be lower (every app: self to none; bank: self to none)"
    ]
    stronger = Policy(level="self", apps=apps, threshold=50, signals={"proxy": 20})
    assert services.policies.set("acme", stronger, UNASKED).policy.version == 2


def test_an_installation_is_explained(services, see, found, prove, clock, intent) -> None:
    see(ONE, found("debugger", "proxy"))
    prove(ONE, "platform", bound=False)
    services.policies.set("acme", Policy(level="platform", threshold=50), intent)
    found_ = services.appraising.explain("acme", ONE)
    assert (found_.verdict, found_.rule, found_.policy) == ("fail", "score", 1)
    assert (found_.score, found_.threshold) == (60, 50)
    assert (found_.level, found_.needed, found_.mode) == ("self", "platform", "enforce")
    assert [(each.signal, each.weight) for each in found_.signals] == [
        ("debugger", 60), ("proxy", 0),
    ]  # fmt: skip
    (proof,) = found_.proofs
    assert (proof.level, proof.bound, proof.counts) == ("platform", False, False)
    assert proof.said == {"boot": "verified"}
    services.installations.decide("acme", ONE, "pass", intent)
    assert services.appraising.explain("acme", "latest").decided.verdict == "pass"
    with pytest.raises(NotFoundError):
        services.appraising.explain("acme", TWO)


@pytest.mark.parametrize(
    ("policy", "text"),
    [
        (Policy(apps={"shp": AppPolicy(level="platform")}), "shp could never prove the level"),
        (Policy(apps={"shop": AppPolicy(release=True)}), "there is no release of shop in force"),
    ],
)
def test_what_nothing_could_prove_is_refused(services, intent, policy: Policy, text: str) -> None:
    """It would shut an app out for good."""
    for one in (services.policies.effect, lambda *how: services.policies.set(*how, intent)):
        with pytest.raises(InvalidError, match=text):
            one("acme", policy)
