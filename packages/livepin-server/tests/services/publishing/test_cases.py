"""Which domain decides at a pattern before and after a change, and what is looked at."""

from __future__ import annotations

import pytest
from livepin_server.probing.probe import Target
from livepin_server.services.publishing.cases import cases, command
from livepin_server.services.publishing.difference import difference

API, ANY = "api.example.com", "*.example.com"


def case_of(before, after, known=None):
    """The only case of a change."""
    (found,) = cases(difference(before, after), known or {})
    return found


def test_a_host_that_goes_is_left_to_the_wildcard_that_covers_it(make_config) -> None:
    found = case_of(make_config({API: [1], ANY: [2]}), make_config({ANY: [2]}))
    assert (found.pattern, found.was.pattern, found.now.pattern) == (API, API, ANY)
    assert found.judged_anew
    assert found.target == Target(host=API)


@pytest.mark.parametrize(
    ("known", "before", "targets"),
    [
        ({}, {}, [Target(host=API)]),
        ({}, None, [Target(host=API)]),
        ({API: Target(host=API, port=8443)}, {}, [Target(host=API, port=8443), Target(host=API)]),
        (
            {API: Target(host=API, port=1)},
            {API: Target(host=API, port=1)},
            [Target(host=API, port=1)],
        ),
    ],
)
def test_where_a_change_leads_away_from_is_looked_at_too(
    make_config, known, before, targets
) -> None:
    change = difference(make_config({API: [1]}), make_config({API: [2]}))
    (found,) = cases(change, known, before)
    assert found.targets == targets
    (new,) = cases(difference(make_config(), make_config({API: [2]})), known, before)
    assert new.left is None  # nothing was enforced there


def test_a_host_that_comes_was_the_wildcards(make_config) -> None:
    found = case_of(make_config({ANY: [2]}), make_config({API: [1], ANY: [2]}))
    assert (found.was.pattern, found.now.pattern) == (ANY, API)
    same = case_of(make_config({ANY: [2]}), make_config({API: [2], ANY: [2]}))
    assert not same.judged_anew  # apps accept there what they accepted


def test_a_wildcard_that_goes_is_left_to_a_wider_one(make_config) -> None:
    before = make_config({"*.eu.example.com": [1], ANY: [2]})
    found = case_of(before, make_config({ANY: [2]}))
    assert (found.was.pattern, found.now.pattern) == ("*.eu.example.com", ANY)


@pytest.mark.parametrize(
    ("before", "after", "anew"),
    [
        ({}, {}, False),
        ({}, {"token": True}, False),
        ({}, {"stale": "refuse"}, False),
        ({"mode": "report"}, {}, True),
        ({"mode": "off"}, {}, True),
        ({}, {"mode": "report"}, False),
        ({}, {"pins": [1, 2]}, True),
        ({}, {"pins": [2]}, True),
        ({"mode": "report"}, {"mode": "report", "pins": [2]}, False),
        (None, {}, True),
        (None, {"mode": "report"}, False),
        ({}, None, False),
    ],
)
def test_apps_judge_anew_where_enforced_pins_are_others(make_config, before, after, anew) -> None:
    def config(said):
        return make_config({} if said is None else {API: {"pins": [1]} | said})

    found = cases(difference(config(before), config(after)), {})
    assert [each.judged_anew for each in found] == ([] if before == after else [anew])


def test_what_is_known_of_an_endpoint_is_what_is_looked_at(make_config) -> None:
    inside = Target(host=API, connect="10.0.0.5:8443", ca="PEM")
    found = case_of(make_config(), make_config({API: [1]}), {API: inside})
    assert found.target is inside
    assert case_of(make_config(), make_config({ANY: [1]})).target is None
    named = Target(host="www.example.com")
    assert case_of(make_config(), make_config({ANY: [1]}), {ANY: named}).target is named


def test_a_command_is_one_that_can_be_typed(make_config) -> None:
    change = difference(None, make_config())
    assert command("pin add", change, API, "PIN") == f"livepin pin add {API} PIN"
    canary = difference(None, make_config(stream="canary"))
    assert command("pin add", canary, ANY) == f"livepin pin add '{ANY}' --stream canary"
