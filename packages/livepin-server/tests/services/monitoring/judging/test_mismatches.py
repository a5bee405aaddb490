"""Pins that match nowhere, or not everywhere."""

from __future__ import annotations

import pytest
from livepin.pins import Pin, PinSet
from minted_sights import (
    API,
    DAY,
    HERE,
    NOW,
    V6,
    chain,
    following,
    found,
    held,
    pin,
    refused,
    sight,
    silent,
    text,
    view,
)
from msgspec import structs

CA = "pins:issuer"


def one(*arguments, **members):
    """The only finding."""
    (finding,) = found(*arguments, **members)
    return finding


def test_a_pinned_leaf_with_a_backup_is_all_right() -> None:
    assert found(sight(chain("leaf")), following("leaf")) == []


def test_any_certificate_of_a_verified_chain_may_be_the_pinned_one() -> None:
    for key in ("leaf", "ca", "root"):
        assert found(sight(chain("leaf")), following(key)) == []


def test_an_unpinned_certificate_shuts_out_every_app_that_enforces() -> None:
    finding = one(sight(chain("new")), following("old"))
    assert (finding.kind, finding.code, finding.severity) == (
        "pin_mismatch", "no-match", "critical",
    )  # fmt: skip
    assert finding.sentence == (
        f"no pin of {API} matches what {API} serves, {text('new')}: apps that follow main "
        "are refused"
    )
    assert finding.command == f"livepin pin add {API} {text('new')}"
    assert finding.key == f"pin_mismatch:main:{API}"
    assert finding.addresses == [HERE]
    assert finding.fingerprints == [text("new")]
    assert finding.pinned == [text("old"), text("spare")]


def test_where_it_is_only_reported_apps_connect() -> None:
    finding = one(sight(chain("new")), following("old", mode="report"))
    assert (finding.kind, finding.severity) == ("pin_mismatch", "warning")
    assert finding.sentence.endswith("connect all the same, and report it")


def test_where_pinning_is_off_it_says_what_would_happen() -> None:
    finding = one(sight(chain("new")), following("old", mode="off"))
    assert (finding.kind, finding.severity) == ("pin_mismatch", "info")
    assert finding.sentence.endswith("pinning is off; enforced, they would be refused")


def test_where_pinning_is_off_and_nothing_is_pinned_nothing_is_said() -> None:
    assert found(sight(chain("new")), following(backups=(), mode="off")) == []


def test_no_pin_at_all_matches_nothing() -> None:
    finding = one(sight(chain("new")), following(backups=(), pins=PinSet((Pin(None),))))
    assert (finding.kind, finding.pinned) == ("pin_mismatch", [])


def test_other_streams_and_ports_are_named_in_commands() -> None:
    finding = one(sight(chain("new")), following("old", stream="canary", pattern="*.example.com"))
    assert finding.command == f"livepin pin add '*.example.com' {text('new')} --stream canary"
    assert finding.key == "pin_mismatch:canary:*.example.com"


def test_both_keys_have_to_be_pinned_where_both_are_new() -> None:
    seen = held(sight(chain("ec")), sight(chain("rsa"), algorithm="rsa"))
    finding = one(seen, following("old"))
    assert finding.command == f"livepin pin add {API} {text('ec')} {text('rsa')}"
    assert f"{text('ec')} and {text('rsa')}" in finding.sentence


# -- issuers ---------------------------------------------------------------------------------------


def test_where_issuers_are_pinned_the_new_issuer_is_to_be() -> None:
    finding = one(sight(chain("leaf", "new-ca")), following("ca", level="intermediate"))
    assert finding.command == f"livepin pin add {API} {text('new-ca')} --pin-level intermediate"
    assert finding.fingerprints == [text("new-ca"), text("leaf")]
    assert finding.cause == f"{CA}:{text('new-ca')}"


def test_an_issuer_that_is_the_anchor_is_pinned_as_a_root() -> None:
    seen = chain("leaf", "new-root", "new-root")[:2]
    finding = one(sight(seen), following("root", level="root"))
    assert finding.command.endswith(f"{text('new-root')} --pin-level root")


def test_a_chain_of_one_has_no_other_key_to_pin() -> None:
    finding = one(sight(chain("leaf")[:1]), following("root", level="root"))
    assert finding.command == f"livepin pin add {API} {text('leaf')}"


# -- time ------------------------------------------------------------------------------------------


def test_a_pin_that_has_ended_is_said_to_have() -> None:
    finding = one(sight(chain("leaf")), following(pin("leaf", None, NOW)))
    assert "whose pin ended at 2026-11-23 12:00 UTC" in finding.sentence
    steps = finding.command.split(" && ")
    assert steps == [
        f"livepin pin remove {API} {text('leaf')}",
        f"livepin pin add {API} {text('leaf')} --pin-level leaf",
    ]


def test_a_pin_that_has_not_begun_is_said_not_to_have() -> None:
    late = pin("leaf", NOW + DAY)
    finding = one(sight(chain("leaf")), following(late, level=None))
    assert "whose pin counts from 2026-11-24 12:00 UTC on" in finding.sentence
    assert finding.command.endswith(f"livepin pin add {API} {text('leaf')}")


def test_the_last_pin_stays_so_another_one_comes_first() -> None:
    finding = one(sight(chain("leaf")), following(pin("leaf", None, NOW), backups=()))
    steps = finding.command.split(" && ")
    assert steps[0] == f"livepin pin new-backup {API} --out {API}-backup.key"
    assert len(steps) == 3


def test_a_pin_counts_from_its_first_second_on_and_to_its_last() -> None:
    assert found(sight(chain("leaf")), following(pin("leaf", NOW))) == []
    long = pin("leaf", None, NOW + 100 * DAY)
    assert found(sight(chain("leaf")), following(long)) == []


# -- partial ---------------------------------------------------------------------------------------


def test_some_addresses_are_named() -> None:
    seen = held(sight(chain("leaf")), sight(chain("new"), V6), sight(chain("new"), "192.0.2.8"))
    finding = one(seen, following("leaf"))
    assert (finding.kind, finding.code, finding.severity) == ("partial", "addresses", "critical")
    assert finding.addresses == ["192.0.2.8", V6]
    assert finding.sentence == (
        f"no pin of {API} matches what {API} serves at 192.0.2.8 and {V6}, {text('new')}: "
        "apps that follow main and get there are refused"
    )
    assert finding.key == f"partial:main:{API}"


@pytest.mark.parametrize(
    ("bad", "good", "name"), [("rsa", "ecdsa", "RSA"), ("ecdsa", "rsa", "ECDSA")]
)
def test_one_algorithm_is_named(bad, good, name) -> None:
    seen = held(sight(chain("leaf"), algorithm=good), sight(chain("new"), algorithm=bad))
    finding = one(seen, following("leaf"))
    assert (finding.kind, finding.code) == ("partial", "algorithm")
    assert f"matches the {name}" in finding.sentence
    assert f"apps that follow main and prefer {name}" in finding.sentence


def test_one_algorithm_at_one_address_is_told_by_its_address() -> None:
    seen = held(
        sight(chain("leaf")), sight(chain("new"), V6), sight(chain("leaf"), algorithm="rsa"),
        sight(chain("leaf"), V6, "rsa"),
    )  # fmt: skip
    finding = one(seen, following("leaf"))
    assert (finding.code, finding.addresses) == ("addresses", [V6])


@pytest.mark.parametrize(("mode", "severity"), [("report", "warning"), ("off", "info")])
def test_partial_is_as_grave_as_the_mode(mode, severity) -> None:
    seen = held(sight(chain("leaf")), sight(chain("new"), V6))
    assert one(seen, following("leaf", mode=mode)).severity == severity


def test_many_keys_and_addresses_make_a_finding_of_bounded_size() -> None:
    seen = held(*(sight(chain(f"new {n}"), f"192.0.2.{n}") for n in range(60)))
    finding = one(seen, following("old"))
    assert len(finding.addresses) == len(finding.fingerprints) == 20
    assert len(finding.command) < 2000
    assert "and 57 more" in finding.sentence


# -- what is no mismatch ---------------------------------------------------------------------------


def test_silence_and_refused_chains_are_no_mismatch() -> None:
    for seen in (silent("timeout"), refused(chain("new")[:1], "self-signed certificate")):
        kinds = {each.kind for each in found(seen, following("old"))}
        assert kinds in ({"unreachable"}, {"untrusted"})


def test_a_verified_sight_without_a_chain_is_no_mismatch() -> None:
    (finding,) = found(sight(verified=True), following("old"))
    assert finding.kind == "unreachable"


def test_without_a_domain_nothing_is_wrong() -> None:
    assert found(sight(chain("new"))) == []


def test_before_the_first_look_nothing_is_wrong() -> None:
    assert found(held(), following("old")) == []


def test_rows_that_a_config_does_not_have_yet_change_nothing() -> None:
    by = following("old")
    by = following("old", views=[*by.views, view(pin("new"))])
    assert one(sight(chain("new")), by).kind == "pin_mismatch"


@pytest.mark.parametrize("digest", ["", "sha256/", "sha256/=", "sha256/é", "é"])
def test_what_is_no_fingerprint_matches_nothing(digest) -> None:
    odd = structs.replace(chain("leaf")[0], sha256=digest)
    assert one(sight([odd]), following("leaf")).kind == "pin_mismatch"
