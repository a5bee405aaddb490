"""The publisher and its guards together, against a real endpoint that the server looks at."""

from __future__ import annotations

import datetime as dt
import json
from contextlib import ExitStack

import pytest
from livepin.testing import RecordingServer, make_authority, make_chain
from livepin_server import folder
from livepin_server.errors import ConflictError, InvalidError, UnconfirmedError
from livepin_server.probing.many import Lookout
from livepin_server.services.changes import (
    AddDomain,
    AddPins,
    FollowPinSet,
    RemoveDomain,
    RemovePin,
    SetDelivery,
    SetDomain,
    SetGuards,
)
from livepin_server.services.delivery_settings import DeliveryChange
from livepin_server.services.guard_settings import GuardChange
from livepin_server.services.model import (
    DomainSettings,
    How,
    Intent,
    NewDomain,
    NewPin,
    NewStream,
    Role,
)
from msgspec import structs

HOST = "api.example.test"
ALICE = Intent(author="alice", reason="CHG-1")


@pytest.fixture(scope="module")
def served():
    """An endpoint: its place, its CA, and the pin of the key that it serves."""
    with ExitStack() as stack:
        authority = make_authority("Corp CA")
        chain = make_chain(HOST, authority=authority)
        server = stack.enter_context(RecordingServer(chain))
        yield f"127.0.0.1:{server.port}", authority.pem, str(chain.pin)


@pytest.fixture
def looks():
    """What the server looked at, look by look."""
    return []


@pytest.fixture
def services(data_folder, clock, looks):
    """The use cases, with guards that really look."""

    def look(targets):
        looks.append([each.host for each in targets])
        return Lookout().look(targets)

    with folder.opened(data_folder, {}, clock=clock, look=look) as opened:
        yield opened.services


@pytest.fixture
def make(services):
    """Publish a change."""

    def one(change, reason="CHG-1", **how):
        intent = structs.replace(ALICE, reason=reason, how=How(**how))
        (publication,) = services.stage.make("acme", change, intent)
        return publication

    return one


@pytest.fixture
def domain(served, new_pin):
    """Return a domain to add, with the pin that is served unless others are said."""
    connect, ca, pin = served

    def one(*pins, host=HOST, **members):
        found = [NewPin(sha256=each) for each in pins or (pin,)]
        return AddDomain(
            domain=NewDomain(pattern=host, pins=found, connect=connect, ca=ca, **members)
        )

    return one


def newest(services):
    return services.published.newest("acme", "main")


def test_a_pin_that_is_served_is_published_without_a_word_against_it(
    services, make, domain, pin_text, served, looks
):
    published = make(domain(served[2], pin_text(2)))
    assert published.version == 2
    assert looks == [[HOST]]


def test_a_typo_in_the_pin_is_refused(services, make, domain, pin_text, served):
    with pytest.raises(ConflictError, match=f"no pin of {HOST} matches") as caught:
        make(domain(pin_text(1)))
    assert served[2] in str(caught.value)
    assert "--force --reason" in caught.value.hint
    assert newest(services) == 1
    assert services.domains.all("acme") == []


def test_the_tired_operator_does_not_drop_what_is_served(services, make, domain, pin_text, served):
    make(domain(served[2], pin_text(2)))
    with pytest.raises(ConflictError, match=r"at this moment, which .* would not pin any more"):
        make(RemovePin(pattern=HOST, sha256=served[2]))
    assert newest(services) == 2
    assert len(services.domains.show("acme", HOST).pins) == 2


def test_what_is_served_is_not_dropped_by_looking_elsewhere(
    services, make, domain, pin_text, served, looks
):
    """A domain that is removed and added anew may name another endpoint, and another CA."""
    make(domain(served[2], pin_text(2)))
    authority = make_authority("Evil CA")
    chain = make_chain(HOST, authority=authority)
    with RecordingServer(chain) as evil:
        new = NewDomain(
            pattern=HOST,
            pins=[NewPin(sha256=str(chain.pin))],
            connect=f"127.0.0.1:{evil.port}",
            ca=authority.pem,
        )
        staged = structs.replace(ALICE, how=How(stage=True))
        for change in (RemoveDomain(pattern=HOST), AddDomain(domain=new)):
            services.stage.make("acme", change, staged)
        bob = Intent(author="bob")
        with pytest.raises(ConflictError, match=r"which .* would not pin any more"):
            services.stage.publish("acme", None, bob, role=Role.OPERATOR)
    assert newest(services) == 2
    lines = [line for each in services.stage.show("acme").changes for line in each.changed]
    assert f"+ domain {HOST} (enforce), at {new.connect}, private CA" in lines


def test_who_insists_says_why_and_is_told_of_it(services, make, domain, pin_text, served):
    make(domain(served[2], pin_text(2)))
    with pytest.raises(InvalidError, match="expected a reason"):
        make(RemovePin(pattern=HOST, sha256=served[2]), reason="", force=True)
    published = make(RemovePin(pattern=HOST, sha256=served[2]), force=True)
    assert published.version == 3
    (told,) = [each for each in published.warnings if each.startswith("published all the same: ")]
    assert served[2] in told
    entry = json.loads(services.audit.export("acme").splitlines()[-1])["entry"]
    assert (entry["reason"], entry["after"]["overruled"]) == ("CHG-1", [told])


def test_what_only_adds_a_pin_is_published_after_a_look_in_one_version(
    services, make, domain, pin_text, served, looks
):
    make(domain(served[2]))
    make(AddPins(pattern=HOST, pins=[NewPin(sha256=pin_text(2), backup=True)]))
    assert newest(services) == 3
    assert looks == [[HOST], [HOST]]


def test_a_pin_that_starts_tomorrow_alone_is_refused_whoever_insists(
    services, make, domain, served, clock
):
    later = NewPin(sha256=served[2], not_before=clock() + dt.timedelta(days=1))
    change = AddDomain(domain=NewDomain(pattern=HOST, pins=[later]))
    for how in ({}, {"force": True}):
        with pytest.raises(ConflictError, match=f"no pin of {HOST} counts now"):
            make(change, **how)
    assert newest(services) == 1


def test_too_much_at_once_is_refused_whoever_insists(services, make, domain, served, pin_text):
    make(domain(served[2]))
    make(domain(served[2], host="shop.example.test", mode="report"))
    services.stage.make("acme", SetGuards(wanted=GuardChange(most_domains=1)), ALICE)
    shared = structs.replace(ALICE, how=How(stage=True))
    for host in (HOST, "shop.example.test"):
        change = SetDomain(pattern=host, settings=DomainSettings(stale="refuse"))
        services.stage.make("acme", change, shared)
    trial = services.stage.try_out("acme", None, ALICE)
    (stream,) = trial.streams
    assert [each.code for each in stream.findings.refused] == ["too-many-domains"]


def test_what_weakens_a_token_domain_asks(services, make, domain, served):
    make(domain(served[2], token=True))
    off = SetDomain(pattern=HOST, settings=DomainSettings(mode="off"))
    for change in (off, RemoveDomain(pattern=HOST)):
        with pytest.raises(UnconfirmedError, match="apps will connect") as caught:
            make(change)
        assert len(caught.value.to_confirm) == 1
        assert newest(services) == 2
    assert make(off, confirmed=True).version == 3


def test_an_endpoint_that_nobody_sees_is_a_warning(services, make, domain, pin_text):
    change = AddDomain(
        domain=NewDomain(pattern=HOST, pins=[NewPin(sha256=pin_text(1))], connect="127.0.0.1:1")
    )
    (first, *_) = make(change).warnings
    assert "could not see whether apps get in" in first


def test_nothing_is_locked_while_it_looks(services, make, domain, served, clock):
    """Somebody publishes between the two tries: both are kept, and the look counts for both."""
    done = []
    real = services.publisher._look

    def look(targets):
        if not done:
            done.append(services.publisher.republish("acme", "main", ALICE).version)
        return real(targets)

    services.publisher._look = look
    assert make(domain(served[2])).version == 3
    assert done == [2]


def test_others_who_change_what_is_looked_at_for_ever_are_not_waited_for(
    services, make, domain, served
):
    services.publisher._look = lambda targets: {}
    with pytest.raises(ConflictError, match="faster than it can be looked at"):
        make(domain(served[2]))
    assert newest(services) == 1


def test_a_trial_says_what_would_be_refused_and_does_nothing(
    services, make, domain, pin_text, served
):
    make(domain(served[2], pin_text(2)))
    staged = structs.replace(ALICE, how=How(stage=True))
    services.stage.make("acme", RemovePin(pattern=HOST, sha256=served[2]), staged)
    (stream,) = services.stage.try_out("acme", None, ALICE).streams
    assert [each.code for each in stream.findings.refused] == ["drops-served-pin"]
    assert newest(services) == 2


def test_a_wildcard_has_no_host_to_look_at(services, make, served, looks, pin_text):
    change = AddDomain(
        domain=NewDomain(pattern="*.example.test", pins=[NewPin(sha256=pin_text(1))])
    )
    assert any("*.example.test" in each for each in make(change).warnings)
    assert looks == []


def test_a_shared_set_is_judged_for_each_host_that_follows_it(
    services, make, domain, served, pin_text, new_pin, add_set
):
    make(domain(served[2]))
    add_set("payments", 1, 2)
    with pytest.raises(ConflictError, match="at this moment"):
        make(FollowPinSet(pattern=HOST, pin_set="payments"))


# -- delivery -------------------------------------------------------------------------------------


@pytest.fixture
def delivery():
    """Where another server answers: its URL, its CA, and the pin of the key that it serves."""
    chain = make_chain("localhost")
    with RecordingServer(chain) as server:
        yield f"https://localhost:{server.port}", chain.authority.pem, str(chain.pin)


def test_delivery_is_not_moved_to_a_server_without_its_keys(services, make, delivery, looks):
    url, ca, pin = delivery
    services.streams.add("acme", NewStream(name="canary"), ALICE)
    wanted = DeliveryChange(urls=[url], ca=ca)
    with pytest.raises(ConflictError) as caught:
        make(SetDelivery(wanted=wanted))
    assert str(caught.value) == (  # once, though of two streams
        f"apps would refuse {url}: none of the delivery pins matches its key, {pin}"
    )
    assert looks == [["localhost"]]
    assert services.published.delivery("acme").urls != [url]
    how = How(force=True)
    done = services.stage.make("acme", SetDelivery(wanted=wanted), structs.replace(ALICE, how=how))
    assert [each.warnings for each in done] == [[f"published all the same: {caught.value}"]] * 2


def test_delivery_is_moved_to_where_its_keys_are_served(services, make, delivery):
    url, ca, pin = delivery
    published = make(SetDelivery(wanted=DeliveryChange(urls=[url], ca=ca, pins=[pin])))
    assert published.warnings == []


def test_nobody_leads_all_apps_into_the_void_unasked(services):
    services.streams.add("acme", NewStream(name="canary"), ALICE)
    change = SetDelivery(wanted=DeliveryChange(urls=["https://localhost:1"]))
    with pytest.raises(UnconfirmedError, match="nowhere that apps could fetch") as caught:
        services.stage.make("acme", change, ALICE)
    assert len(caught.value.to_confirm) == 1  # though of two streams
    assert newest(services) == 1
    agreed = structs.replace(ALICE, how=How(confirmed=True))
    assert len(services.stage.make("acme", change, agreed)) == 2
