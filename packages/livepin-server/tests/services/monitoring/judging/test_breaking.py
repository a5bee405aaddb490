"""What is staged, and what a part of the fleet still holds, against what is served."""

from __future__ import annotations

from datetime import timedelta

import pytest
from livepin.pins import PinSet
from minted_sights import (
    API,
    DAY,
    NOW,
    V6,
    chain,
    following,
    found,
    held,
    holding,
    pin,
    refused,
    sight,
    silent,
    text,
)

LEAF = sight(chain("leaf"))


def one(*arguments, **members):
    """The only finding."""
    (finding,) = found(*arguments, **members)
    return finding


def test_an_older_config_that_apps_hold_would_refuse_what_is_served() -> None:
    old = holding("old", version=5, installations=12, of=200)
    finding = one(LEAF, following("leaf"), holding=[old])
    assert (finding.kind, finding.code, finding.severity) == ("would_break", "held", "warning")
    assert finding.sentence == (
        f"config version 5 of main, which 12 of 200 installations hold, would refuse what {API} "
        f"serves, {text('leaf')}: apps with it are refused where they cannot fetch the newest"
    )
    assert finding.command == "livepin installation list"
    assert finding.key == f"would_break:held:main:{API}"


def test_several_older_configs_are_one_finding_that_counts_them_together() -> None:
    old = [holding("old", version=n, installations=1, of=200) for n in (5, 3, 4)]
    finding = one(LEAF, following("leaf"), holding=old)
    assert "config versions 3, 4 and 5 of main, which 3 of 200 installations" in finding.sentence


@pytest.mark.parametrize(
    ("count", "of", "severity"), [(20, 200, "warning"), (21, 200, "critical"), (0, 0, "warning")]
)
def test_a_large_part_of_the_fleet_is_critical(count, of, severity) -> None:
    old = holding("old", installations=count, of=of)
    assert one(LEAF, following("leaf"), holding=[old]).severity == severity


@pytest.mark.parametrize(
    "old",
    [
        holding("leaf"),
        holding("old", mode="report"),
        holding("old", mode="off"),
        holding("old", stream="canary"),
        holding("old", pins=None),
    ],
)
def test_what_lets_apps_in_is_no_trouble(old) -> None:
    assert found(LEAF, following("leaf"), holding=[old]) == []


def test_what_the_newest_config_refuses_is_said_once() -> None:
    old = holding("old", installations=1, of=2)
    assert one(LEAF, following("new"), holding=[old]).kind == "pin_mismatch"


@pytest.mark.parametrize(
    ("own", "at", "breaks"),
    [
        (pin("leaf", begins=NOW + DAY), NOW + 2 * DAY, False),
        (pin("leaf", ends=NOW + DAY), NOW + 2 * DAY, True),
        (pin("leaf", begins=NOW + DAY), None, True),
        (pin("leaf", ends=NOW + DAY), None, False),
        (pin("leaf", begins=NOW - DAY), NOW - 2 * DAY, False),  # it is due: by what counts now
    ],
)
def test_a_stage_with_a_time_is_judged_by_the_pins_that_count_then(own, at, breaks) -> None:
    staged = holding(version=None, stage=5, at=at, pins=PinSet((own, pin("spare"))))
    wrong = found(LEAF, following("leaf"), holding=[staged])
    assert [each.code for each in wrong] == ["staged"] * breaks


@pytest.mark.parametrize("seen", [silent("timeout"), refused(chain("leaf")[:1], "revoked")])
def test_what_nobody_verified_is_judged_by_no_config(seen) -> None:
    assert one(seen, following("leaf"), holding=[holding("old")]).kind != "would_break"


def test_a_part_of_the_addresses_is_named() -> None:
    seen = held(LEAF, sight(chain("new"), V6))
    finding = one(seen, following("leaf", "new"), holding=[holding("leaf", of=2)])
    assert f"what {API} at {V6} serves, {text('new')}" in finding.sentence
    assert finding.addresses == [V6]


# -- staged ----------------------------------------------------------------------------------------


def test_a_staged_change_that_drops_the_pin_in_use_is_told_of() -> None:
    stage = holding("next", version=None, stage=4)
    finding = one(LEAF, following("leaf"), holding=[stage])
    assert (finding.kind, finding.code, finding.severity) == ("would_break", "staged", "warning")
    assert finding.sentence == (
        f"stage 4 has no pin that matches what {API} serves, {text('leaf')}: apps that follow "
        "main will be refused once it is published"
    )
    assert finding.command == f"livepin pin add {API} {text('leaf')} --stage"
    assert (finding.cause, finding.key) == ("staged:4", f"would_break:staged-4:main:{API}")


@pytest.mark.parametrize(
    ("after", "severity"), [(25, "warning"), (24, "critical"), (-1, "critical")]
)
def test_a_stage_that_is_published_soon_is_critical(after, severity) -> None:
    at = NOW + timedelta(hours=after)
    finding = one(LEAF, following("leaf"), holding=[holding("x", version=None, stage=4, at=at)])
    assert finding.severity == severity
    assert finding.sentence.endswith(f"once it is published at {at:%Y-%m-%d %H:%M} UTC")
    assert finding.command == "livepin discard 4"


def test_a_stage_without_a_number_is_what_is_staged() -> None:
    finding = one(LEAF, following("leaf"), holding=[holding("x", version=None, at=NOW + DAY)])
    assert finding.sentence.startswith("what is staged has no pin")
    assert (finding.command, finding.cause) == ("livepin discard", "staged:")


def test_a_stage_that_begins_to_enforce_shuts_out_who_is_only_reported() -> None:
    stage = holding("old", version=None, stage=4)
    kinds = [each.kind for each in found(LEAF, following("old", mode="report"), holding=[stage])]
    assert kinds == ["pin_mismatch", "would_break"]


def test_two_stages_are_two_causes_and_one_stage_of_two_streams_is_one() -> None:
    stages = [
        holding("x", version=None, stage=4, at=NOW + DAY),
        holding("x", version=None, stage=5),
        holding("x", version=None, stage=4, at=NOW + DAY, stream="canary"),
    ]
    both = following("leaf"), following("leaf", stream="canary")
    causes = [each.cause for each in found(LEAF, *both, holding=stages)]
    assert sorted(causes) == ["staged:4", "staged:4", "staged:5"]


def test_held_and_staged_are_two_findings() -> None:
    both = [holding("x", version=None, stage=4), holding("old", of=2)]
    assert len(found(LEAF, following("leaf"), holding=both)) == 2
