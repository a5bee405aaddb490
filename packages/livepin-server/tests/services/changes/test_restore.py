"""An old config's content is published again, as a new version."""

from __future__ import annotations

import datetime as dt

import pytest
from livepin.documents import Config, config
from livepin.jose import parse_compact
from livepin.trust import TrustedState
from livepin_server.errors import ConflictError, NotFoundError
from livepin_server.services.changes import (
    AddDomain,
    AddPins,
    FollowPinSet,
    RemoveDomain,
    ReplacePins,
    RestoreConfig,
    SetDomain,
)
from livepin_server.services.model import DomainSettings, How, NewDomain
from msgspec import structs

HOST = "api.example.com"


@pytest.fixture
def make(services, intent):
    """Publish a change; return its version."""

    def one(change):
        return services.stage.make("acme", change, intent)[0].version

    return one


@pytest.fixture
def content(services):
    """Return what a version of the stream says of domains and pins."""

    def one(version=None):
        _, raw = services.published.version("acme", "main", version)
        document = Config.parse(parse_compact(raw, typ=config.TYP).payload)
        pins = {name: {str(p) for p in found.pins} for name, found in document.pin_sets.items()}
        return {structs_of(each) for each in document.domains}, pins

    return one


def structs_of(domain):
    return (domain.pattern, domain.pin_set, domain.mode, domain.token, domain.stale)


def test_it_goes_back_by_going_forward(services, make, content, new_pin, add_domain):
    first = add_domain(HOST, 1, 2).version
    make(AddDomain(domain=NewDomain(pattern="new.example.com", pins=[new_pin(3)])))
    make(SetDomain(pattern=HOST, settings=DomainSettings(mode="report", token=True)))
    make(AddPins(pattern=HOST, pins=[new_pin(4)]))
    before = TrustedState.from_bootstrap(services.published.bootstrap("acme", "main"))
    version = make(RestoreConfig(version=first))
    assert version == first + 4
    assert content() == content(first)
    assert before.advance_config(services.published.version("acme", "main")[1]).order[1] == version


def test_what_a_removed_domain_had_comes_back(services, make, content, add_domain, new_pin):
    first = add_domain(HOST, 1, 2).version
    make(RemoveDomain(pattern=HOST))
    make(RestoreConfig(version=first))
    assert content() == content(first)
    labels = [each.label for each in services.domains.show("acme", HOST).pins]
    assert labels == [f"restored from version {first}"] * 2


def test_notes_of_pins_that_are_there_stay(services, make, intent, new_pin):
    new = NewDomain(
        pattern=HOST, pins=[new_pin(1, label="old", backup=True)], connect="192.0.2.1:443"
    )
    first = services.domains.add("acme", new, intent).version
    created = services.domains.show("acme", HOST).created
    make(AddPins(pattern=HOST, pins=[new_pin(2)]))
    make(SetDomain(pattern=HOST, settings=DomainSettings(mode="report")))
    make(RestoreConfig(version=first))
    found = services.domains.show("acme", HOST)
    assert [(each.label, each.backup) for each in found.pins] == [("old", True)]
    assert (found.connect, found.created, found.mode) == ("192.0.2.1:443", created, "enforce")


def test_shared_sets_and_who_follows_them(services, make, content, add_domain, add_set, new_pin):
    add_set("payments", 7)
    add_domain(HOST, 1)
    followed = make(FollowPinSet(pattern=HOST, pin_set="payments"))
    make(ReplacePins(name="payments", pins=[new_pin(8)]))
    make(FollowPinSet(pattern=HOST, pin_set=None))
    make(RestoreConfig(version=followed))
    assert content() == content(followed)
    assert services.domains.show("acme", HOST).pin_set == "payments"
    make(RestoreConfig(version=followed - 1))
    assert services.domains.show("acme", HOST).pin_set == HOST
    assert [each.name for each in services.pin_sets.all("acme")] == ["payments"]


def test_limits_in_time_come_back(services, make, content, add_domain, new_pin, clock):
    later = clock() + dt.timedelta(days=30)
    add_domain()
    first = make(AddPins(pattern=HOST, pins=[new_pin(2, not_after=later)]))
    make(RemoveDomain(pattern=HOST))
    make(RestoreConfig(version=first))
    assert services.domains.show("acme", HOST).pins[1].not_after == later


def test_delivery_stays_as_it_is(services, make, add_domain, intent):
    first = add_domain().version
    make(RemoveDomain(pattern=HOST))
    before = services.published.delivery("acme")
    make(RestoreConfig(version=first))
    assert services.published.delivery("acme") == before


def test_nothing_to_restore_is_not_published(services, make, add_domain):
    version = add_domain().version
    with pytest.raises(ConflictError, match=f"main is as in version {version} already"):
        make(RestoreConfig(version=version))
    assert services.published.newest("acme", "main") == version


def test_a_version_of_another_stream_is_none(services, make, make_stream):
    version = make_stream("canary").version
    for number in (version, 99):
        with pytest.raises(NotFoundError, match=f"no config version {number} in acme/main"):
            make(RestoreConfig(version=number))


def test_it_can_be_staged(services, make, content, add_domain, intent):
    first = add_domain().version
    make(RemoveDomain(pattern=HOST))
    staged = structs.replace(intent, how=How(stage=True))
    services.stage.make("acme", RestoreConfig(version=first), staged)
    assert [each.pattern for each in services.domains.all("acme", staged=True)] == [HOST]
    assert services.domains.all("acme") == []
