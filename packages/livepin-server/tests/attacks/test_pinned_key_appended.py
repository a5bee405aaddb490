"""Somebody sits between and hopes that the monitor keeps quiet.

The pinned certificate of the real server is public: he sends it along after his own. He has no
chain that verifies, or one by an issuer that nobody pinned. He writes into his certificates what
would look well on a terminal, or what would have him taken for trouble that people know already.
"""

from __future__ import annotations

import shlex

import pytest
from minted_sights import (
    API,
    NOW,
    V6,
    certificate,
    chain,
    following,
    found,
    held,
    refused,
    sight,
    silent,
    text,
)
from msgspec import structs

OWN = certificate("attacker", by="attacker")
PINNED = following("leaf")


def test_a_pinned_certificate_that_is_sent_along_unverified_matches_nothing() -> None:
    (finding,) = found(refused([OWN, *chain("leaf")], "self-signed certificate"), PINNED)
    assert (finding.kind, finding.severity) == ("untrusted", "critical")


def test_a_pinned_certificate_that_is_sent_along_a_verified_chain_matches_nothing() -> None:
    seen = sight(chain("attacker", "other-ca"))
    sent = [*seen.observation.presented, certificate("leaf")]
    seen = structs.replace(seen, observation=structs.replace(seen.observation, presented=sent))
    (finding,) = found(seen, PINNED)
    assert finding.kind == "pin_mismatch"


def test_a_chain_that_an_engine_gives_without_having_verified_it_matches_nothing() -> None:
    seen = sight(chain("leaf"), verified=False, failure="untrusted", error="x: y")
    assert [each.kind for each in found(seen, PINNED)] == ["untrusted"]


def test_an_attacker_at_one_address_is_not_covered_by_the_others() -> None:
    seen = held(sight(chain("leaf")), refused([OWN], "self-signed certificate", V6))
    (finding,) = found(seen, PINNED)
    assert (finding.kind, finding.severity, finding.addresses) == ("untrusted", "critical", [V6])


def test_silence_at_one_address_does_not_hide_the_attacker_at_another() -> None:
    seen = held(silent("timeout"), sight(chain("attacker", "other-ca"), V6))
    assert {each.kind for each in found(seen, PINNED)} == {"pin_mismatch", "unreachable"}


def test_he_does_not_join_what_is_only_reported_and_long_acknowledged() -> None:
    seen = sight(chain("attacker", "other-ca"))
    (known,) = found(seen, following("old", mode="report"))
    (attack,) = found(seen, PINNED)
    assert attack.cause != known.cause


@pytest.mark.parametrize("said", ["\x1b[2J\x1b[H", "a\r\nb", "\u202egnp.", "\ud800", "x" * 9999])
def test_what_he_writes_does_nothing_to_terminals_and_mails(said) -> None:
    lying = structs.replace(OWN, subject=f"CN={said}", issuer=f"CN={said}", names=[said] * 50)
    for reason in ("Hostname mismatch", "unable to get issuer certificate", f"odd {said}"):
        for finding in found(refused([lying, lying], reason), PINNED):
            assert finding.sentence.isprintable()
            assert len(finding.sentence) < 1500
            assert finding.cause.isprintable()


@pytest.mark.parametrize("host", ["a;reboot", "$(reboot)", "a b", "--force", "a'b"])
def test_a_host_is_one_word_of_a_command(host) -> None:
    by = following("leaf", pattern=host)
    (finding,) = found(sight(chain("new")), by, now=NOW)
    words = shlex.split(finding.command)
    assert words == ["livepin", "pin", "add", host, text("new")]
    assert API in finding.sentence
