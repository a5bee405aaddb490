"""The domains of an override: the config's own, whole, in another mode; and nothing beside them."""

from __future__ import annotations

from typing import Any

import pytest
from livepin.documents import Config, Mode, Stale
from livepin.pins import Pin
from livepin.trust import TrustedState
from livepin_server.errors import InvalidError
from livepin_server.services.overrides.building import Wanted, domains, pin_sets
from livepin_server.services.overrides.model import NewOverride


def wanted(*hosts: str, **members: Any) -> Wanted:
    if not members:
        members = {"mode": "off"}
    return Wanted.of(NewOverride(installation="latest", domains=list(hosts), **members))


@pytest.fixture
def config(services, add_domain) -> Config:
    """A config with a host that has tokens, one below a wildcard, and a host that stands alone."""
    add_domain("*.example.com", 1)
    add_domain("api.example.com", 2, token=True)
    add_domain("*.deep.example.com", 3, stale="refuse")
    add_domain("other.example.net", 4)
    return TrustedState.from_bootstrap(services.published.bootstrap("acme", "main")).config


def test_a_host_keeps_its_pins_and_all_that_is_not_said(config):
    (found,) = domains(config, wanted("api.example.com"))
    base = config.lookup("api.example.com")
    assert (found.pattern, found.mode) == ("api.example.com", Mode.OFF)
    assert (found.pins, found.token, found.stale) == (base.pins, True, base.stale)
    assert pin_sets([found]) == {base.pin_set: base.pins}


def test_a_host_that_a_wildcard_covers_has_what_the_wildcard_says(config):
    (found,) = domains(config, wanted("www.example.com", mode="report"))
    assert (found.pattern, found.mode, found.token) == ("www.example.com", Mode.REPORT, False)
    assert found.pins == config.lookup("www.example.com").pins


def test_with_a_wildcard_come_the_domains_below_it_each_as_it_is(config):
    found = {each.pattern: each for each in domains(config, wanted("*.example.com"))}
    assert sorted(found) == ["*.deep.example.com", "*.example.com", "api.example.com"]
    assert {each.mode for each in found.values()} == {Mode.OFF}
    assert found["api.example.com"].token
    assert found["*.deep.example.com"].stale is Stale.REFUSE
    assert len(pin_sets(tuple(found.values()))) == 3


def test_pins_of_its_own_take_the_place_of_the_configs(config, pin_text):
    own = pin_text(9)
    for mode, expected in (
        (None, Mode.ENFORCE),
        ("enforce", Mode.ENFORCE),
        ("report", Mode.REPORT),
    ):
        one = wanted("api.example.com", pins=[own, own], mode=mode)
        (found,) = domains(config, one)
        assert (found.mode, found.pins.pins, found.token) == (expected, (Pin.parse(own),), True)
        assert one.pin_texts == [own]


def test_hosts_are_normalised_and_each_stands_once(config):
    one = wanted("API.Example.com.", "api.example.com", "other.example.net")
    assert [each.pattern for each in domains(config, one)] == [
        "api.example.com", "other.example.net",
    ]  # fmt: skip


def test_a_host_that_the_config_does_not_list_is_refused_with_what_was_meant(config):
    with pytest.raises(
        InvalidError, match=r"the config of main does not list api\.exampel"
    ) as found:
        domains(config, wanted("api.exampel.com"))
    assert found.value.hint == "did you mean api.example.com?"
    for each in ("example.com", "*.example.net", "*.com.example"):
        with pytest.raises(InvalidError):
            domains(config, wanted(each))


@pytest.mark.parametrize(
    ("members", "text"),
    [
        ({"mode": None}, "expected the mode off or report, or pins"),
        ({"mode": "enforce"}, "expected the mode off or report, or pins"),
        ({"mode": "off", "pins": [f"sha256/{'A' * 43}="]}, "with the mode off no pins"),
        ({"pins": ["sha256/x"]}, "expected base64 of 32 bytes"),
        ({"mode": "off", "domains": ["https://x"]}, "expected a host name"),
    ],
)
def test_what_makes_no_sense_is_refused(members, text):
    hosts = members.pop("domains", ["api.example.com"])
    with pytest.raises(InvalidError, match=text) as found:
        wanted(*hosts, **members)
    assert found.value.hint or "base64" in text
