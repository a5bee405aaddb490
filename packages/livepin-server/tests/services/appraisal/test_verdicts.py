"""Verdicts that change: in the audit log with reasons, once, and never by the thousand."""

from __future__ import annotations

import logging
from datetime import timedelta

import pytest
from livepin_server.attestation.appraisal import appraise
from livepin_server.attestation.claims import NOTHING
from livepin_server.attestation.policy import DEFAULT, Policy
from livepin_server.errors import UnavailableError
from livepin_server.services.appraisal import verdicts
from livepin_server.services.appraisal.verdicts import Verdicts
from livepin_server.services.tokens.recording import Recording, Seen

ONE, TWO = "1" * 22, "2" * 22


def test_a_verdict_that_changes_is_in_the_log_with_its_reason(see, entries, found, caplog) -> None:
    see(ONE, found())
    assert entries("installation.verdict") == []  # who passes from the start is no news
    with caplog.at_level(logging.WARNING, "livepin.tokens"):
        see(ONE, found("injected_code"))
    assert caplog.messages == [
        f"installation {ONE} of acme: verdict fail, the signal injected_code is fatal: x"
    ]
    see(ONE, found("injected_code"))
    see(ONE, found())
    first, last = entries("installation.verdict")
    assert (first.author, first.target) == ("livepin", ONE)
    assert (first.before, last.before) == ({"verdict": "pass"}, {"verdict": "fail"})
    assert first.after == {
        "verdict": "fail", "rule": "signal", "why": "the signal injected_code is fatal: x",
        "level": "self", "app": "shop", "policy": 0, "refused": [],
    }  # fmt: skip
    assert last.after["verdict"] == "pass"


def test_one_that_fails_from_the_start_is_news(see, entries, found) -> None:
    see(ONE, found("injected_code"))
    (entry,) = entries("installation.verdict")
    assert entry.before is None


def test_what_is_only_reported_is_told_too(see, entries, found, services, intent) -> None:
    services.policies.set("acme", Policy(mode="report"), intent)
    see(ONE, found("injected_code"))
    (entry,) = entries("installation.verdict")
    assert (entry.after["verdict"], entry.after["policy"]) == ("report", 1)
    assert services.installations.show("acme", ONE).verdict == "report"


def test_another_server_tells_it_once_more_to_nobody(see, entries, found, services, clock) -> None:
    """Each server knows only what it saw itself; what is stored decides."""
    see(ONE, found("injected_code"))
    other = Recording(services.database, Verdicts(services.database, clock=clock))
    for claims in (found("injected_code"), found()):
        other.note(
            Seen(
                account="acme",
                id=ONE,
                thumbprint="t" * 43,
                app="shop",
                stream="main",
                config_version=1,
                moment=clock(),
                claims=claims,
                appraisal=appraise(DEFAULT, "shop", claims, (), clock()),
            )
        )
        other.keep()
        assert len(entries("installation.verdict")) == 1 + (claims == found())
    see(ONE, found("injected_code"))  # by the first one, to which nothing has changed
    assert services.installations.show("acme", ONE).verdict == "fail"


def test_a_flood_of_failing_installations_does_not_fill_the_log(
    services, entries, found, clock, monkeypatch
) -> None:
    """Anybody can make keys, and claim anything."""
    monkeypatch.setattr(verdicts, "MOST_TOLD", 5)
    claims = found("injected_code")
    appraisal = appraise(DEFAULT, "shop", claims, (), clock())

    def flood(first: int, number: int) -> None:
        for at in range(first, first + number):
            services.recording.note(
                Seen(
                    "acme", f"{at:022}", f"{at:043}", "shop", "main", 1, clock(), claims, appraisal
                )
            )
        services.recording.keep()

    flood(0, 20)
    flood(20, 600)
    listed = entries("installation.verdict")
    assert [each.after.get("more") for each in listed] == [None] * 5 + [{"fail": 15}, {"fail": 600}]
    clock.advance(minutes=1)
    flood(700, 3)
    assert len(entries("installation.verdict")) == 10


def test_that_one_passes_again_is_told_after_a_restart(
    see, entries, found, services, clock
) -> None:
    """Nor by another server: none knows of the refusal but from what is stored."""
    see(ONE, found("injected_code"))
    restarted = Recording(services.database, Verdicts(services.database, clock=clock))
    restarted.note(Seen("acme", ONE, "t" * 43, "shop", "main", 1, clock(), found()))
    restarted.keep()
    _, last = entries("installation.verdict")
    assert (last.before, last.after["verdict"]) == ({"verdict": "fail"}, "pass")


def test_it_needs_attention_for_a_day(see, found, services, clock, intent) -> None:
    assert services.verdicts.notes() == []
    see(ONE, found("injected_code"))
    see(TWO, found("debugger"))
    (note,) = services.verdicts.notes()
    assert (note.account, note.text) == (
        "acme",
        "1 installation of acme was refused in the last day: livepin installation list --failing",
    )
    clock.advance(days=1)
    assert services.verdicts.notes() == []


def test_an_installation_that_claims_other_things_each_time_leaves_few_behind(
    see, found, services, clock
) -> None:
    for at in range(5):
        see(ONE, found(f"made_up_{at}"))
        clock.advance(seconds=1)
    services.recording.forget_claims(clock())
    with services.database.reading() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM claims").scalar() == 1
    assert services.appraising.explain("acme", ONE).signals[0].signal == "made_up_4"


def test_claims_are_kept_once_and_forgotten_after_those_who_made_them(
    see, found, services, clock
) -> None:
    see(ONE, found("debugger"))
    see(TWO, found("debugger"))
    assert services.appraising.explain("acme", ONE).signals[0].signal == "debugger"
    see(ONE, found())
    see(ONE, NOTHING)
    assert services.appraising.explain("acme", ONE).signals == []
    clock.advance(days=2)
    services.recording.forget(clock() - timedelta(days=1))
    services.recording.forget_claims(clock() - timedelta(days=1))
    see(TWO, NOTHING)
    with services.database.reading() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM claims").scalar() == 0


def test_what_cannot_be_written_is_written_later(services, found, clock, monkeypatch) -> None:
    """The verdict that was not stored is not taken for told."""
    claims = found("injected_code")
    appraisal = appraise(DEFAULT, "shop", claims, (), clock())
    seen = Seen("acme", ONE, "t" * 43, "shop", "main", 1, clock(), claims, appraisal)
    services.recording.note(seen)
    with monkeypatch.context() as patched:

        def full(_change):
            raise UnavailableError("full")

        patched.setattr(services.database, "write", full)
        with pytest.raises(UnavailableError):
            services.recording.keep()
    services.recording.keep()
    assert services.installations.show("acme", ONE).verdict == "fail"
