"""Findings: what stands against publishing, and a list that stays short."""

from __future__ import annotations

import msgspec
import pytest
from livepin_server.services.publishing.findings import (
    MOST_SAID,
    Finding,
    Findings,
    Limits,
    some,
)


def finding(code: str, *, forcible: bool = False) -> Finding:
    return Finding(code=code, domain="a.example", message="m", hint="h", forcible=forcible)


FOR_GOOD, BY_FORCE, ASKED = (
    finding("for-good"), finding("by-force", forcible=True), finding("asked"),
)  # fmt: skip
FOUND = Findings(refused=[FOR_GOOD, BY_FORCE], to_confirm=[ASKED], warnings=[finding("warning")])


@pytest.mark.parametrize(
    ("agreed", "left"),
    [
        ({}, [FOR_GOOD, BY_FORCE, ASKED]),
        ({"forced": True}, [FOR_GOOD, ASKED]),
        ({"confirmed": True}, [FOR_GOOD, BY_FORCE]),
        ({"forced": True, "confirmed": True}, [FOR_GOOD]),
    ],
)
def test_each_kind_is_answered_by_its_own_word_alone(agreed, left) -> None:
    assert FOUND.standing(**agreed) == left


def test_warnings_stop_nobody() -> None:
    assert Findings(warnings=[ASKED]).standing() == []


def test_a_long_list_says_how_long_it_is() -> None:
    few = [finding(str(number)) for number in range(MOST_SAID)]
    assert some(few) is few
    found = some([*few, *few])
    assert len(found) == MOST_SAID
    assert found[:-1] == few[:-1]
    assert (found[-1].code, found[-1].message) == ("more", "and 21 more like these")


def test_a_refusal_for_good_is_not_lost_where_the_list_is_cut() -> None:
    forcible = [finding(str(number), forcible=True) for number in range(2 * MOST_SAID)]
    assert Findings(refused=some(forcible)).standing(forced=True) == []
    found = Findings(refused=some([*forcible, FOR_GOOD]))
    assert [each.code for each in found.standing(forced=True)] == ["more"]


@pytest.mark.parametrize("number", [0, -1, 1_000_001, "many"])
def test_a_limit_is_a_number_of_domains(number) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"most_domains": number}, Limits)
    assert Limits().most_domains == 100
