"""Streams: copied, signed, moved between in one transaction; no app takes the config of another."""

import pytest
from livepin.documents import Mode
from livepin.errors import VerificationError
from livepin.trust import TrustedState
from livepin_server.errors import ConflictError, InvalidError, NotFoundError
from livepin_server.services.model import DomainSettings, DomainTaken, NewDomain
from livepin_server.storage.schema import configs, streams
from sqlalchemy import insert, update


@pytest.fixture
def take(services, intent):
    """Take a domain into a stream, from another one."""

    def one(pattern, stream, source, *, keep=False):
        wanted = DomainTaken(pattern=pattern, source=source, keep=keep)
        return services.streams.take("acme", stream, wanted, intent)

    return one


def patterns(config):
    return [each.pattern for each in config.domains]


# -- adding and listing --------------------------------------------------------------------------


def test_a_stream_starts_as_a_copy_and_then_goes_its_own_way(
    services, add_domain, add_set, make_stream, published, new_pin, intent, pin_text
):
    add_set("payments", 1)
    add_domain("a.test", 2, 3, mode="report", token=True, connect="10.0.0.1:8443", ca="PEM")
    services.domains.add("acme", NewDomain(pattern="b.test", pin_set="payments"), intent)
    done = make_stream("canary")
    assert (done.stream, done.version) == ("canary", 5)  # one counter for the account
    assert done.changed == ["+ stream canary, a copy of main"]
    for before, after in zip(
        services.domains.all("acme"), services.domains.all("acme", "canary"), strict=True
    ):
        assert after.stream == "canary"
        assert (before.pins, before.pin_set, before.mode, before.token, before.ca) == (
            after.pins, after.pin_set, after.mode, after.token, after.ca,
        )  # fmt: skip
    services.domains.add_pins("acme", "b.test", [new_pin(4)], "canary", intent)
    held = [str(each) for each in published("canary").pin_sets["payments"].pins]
    assert held == [pin_text(1), pin_text(4)]
    assert [str(each) for each in published().pin_sets["payments"].pins] == [pin_text(1)]


def test_streams_are_listed_with_their_newest_version(
    services, add_domain, add_set, make_stream, clock
):
    add_set()
    add_domain("a.test")
    clock.advance(hours=1)
    make_stream("canary")
    add_domain("b.test", stream="canary")
    canary, main = services.streams.all("acme")
    assert (canary.name, canary.version, canary.domains, canary.pin_sets) == ("canary", 5, 2, 1)
    assert (main.name, main.version, main.domains, main.pin_sets) == ("main", 3, 1, 1)
    assert canary.created == canary.issued == clock()
    assert (canary.expires - canary.issued).days == 14
    assert services.streams.show("acme", "canary") == canary


def test_a_stream_is_copied_from_another_than_main(services, add_domain, make_stream, published):
    make_stream("canary")
    add_domain("a.test", stream="canary")
    make_stream("beta", "canary")
    assert patterns(published("beta")) == ["a.test"]
    assert patterns(published()) == []


@pytest.mark.parametrize("name", ["", "Canary", "a.b", "a/b", "-a", "x" * 64, "canary\n", "é"])
def test_what_is_no_name_is_refused(make_stream, refused, name):
    hint = refused(InvalidError, lambda: make_stream(name), "expected a stream name of a-z")
    assert hint == "such as canary"


def test_a_stream_that_is_there_is_not_added_again(make_stream, refused):
    refused(ConflictError, lambda: make_stream("main"), "the stream main is there already")


def test_the_number_of_streams_is_bounded(services, make_stream):
    rows = [{"account": "acme", "name": f"s{n}", "created": services.clock()} for n in range(99)]
    services.database.write(lambda each: each.execute(insert(streams), rows))
    with pytest.raises(ConflictError, match="at most 100 streams in an account"):
        make_stream("one-more")


def test_a_stream_that_is_not_there_suggests_the_nearest(
    services, make_stream, add_domain, take, refused
):
    add_domain("a.test")
    make_stream("canary")
    for use in (
        lambda: make_stream("beta", "canarry"),
        lambda: services.streams.show("acme", "canarry"),
        lambda: take("a.test", "canarry", "main"),
        lambda: take("a.test", "main", "canarry"),
    ):
        hint = refused(NotFoundError, use, "there is no stream 'canarry'")
        assert hint == "did you mean canary?"
    with pytest.raises(NotFoundError, match="there is no account 'amce'"):
        services.streams.all("amce")


# -- what apps take ------------------------------------------------------------------------------


def test_an_app_of_one_stream_takes_no_config_of_another(services, make_stream, add_domain):
    make_stream("canary")
    state = TrustedState.from_bootstrap(services.published.bootstrap("acme", "canary"))
    add_domain("a.test")  # a higher version, of main
    _, raw = services.published.version("acme", "main")
    with pytest.raises(VerificationError) as caught:
        state.advance_config(raw)
    assert caught.value.rule == 5


def test_each_stream_is_delivered_and_signed_again_in_time(services, make_stream, clock):
    make_stream("canary")
    assert set(services.published.documents("acme").configs) == {"main", "canary"}
    clock.advance(days=8)
    done = services.publisher.resign_due()
    assert sorted(each.stream for each in done) == ["canary", "main"]
    assert services.publisher.resign_due() == []


# -- taking a domain -----------------------------------------------------------------------------


def test_a_domain_moves_with_its_pins_and_both_streams_are_published_at_once(
    services, add_domain, make_stream, take, published, pin_text
):
    make_stream("canary")
    add_domain("a.test", 1, 2, mode="report", connect="10.0.0.1:8443")
    before = services.domains.show("acme", "a.test")
    first, second = take("A.test", "canary", "main")
    assert (first.stream, first.changed) == ("canary", ["+ domain a.test, from main"])
    assert (second.stream, second.changed) == ("main", ["- domain a.test, to canary"])
    assert (second.version, first.reason, second.reason) == (
        first.version + 1, "rotation", "rotation",
    )  # fmt: skip
    after = services.domains.show("acme", "a.test", "canary")
    assert (after.pins, after.mode, after.connect) == (before.pins, before.mode, before.connect)
    assert patterns(published()) == []
    (domain,) = published("canary").domains
    assert [str(each) for each in domain.pins.pins] == [pin_text(1), pin_text(2)]
    take("a.test", "main", "canary")
    assert services.domains.show("acme", "a.test") == before


def test_if_one_stream_cannot_be_published_neither_is_changed(
    services, add_domain, make_stream, take, refused
):
    make_stream("canary")
    add_domain("a.test")
    _, raw = services.published.version("acme", "canary")
    # Clients of main would refuse whatever follows this; those of canary would not.
    damaged = update(configs).where(configs.c.stream == "main").values(document=raw)
    services.database.write(lambda each: each.execute(damaged))
    refused(ConflictError, lambda: take("a.test", "canary", "main"), "clients would refuse")


def test_a_domain_that_is_kept_is_in_both_streams(
    services, add_domain, make_stream, take, published
):
    make_stream("canary")
    add_domain("a.test", 1)
    (done,) = take("a.test", "canary", "main", keep=True)
    assert (done.stream, done.changed) == ("canary", ["+ domain a.test, as it is in main"])
    assert patterns(published()) == patterns(published("canary")) == ["a.test"]


def test_what_a_canary_has_tried_is_taken_into_main(
    services, add_domain, make_stream, take, published, new_pin, intent, pin_text
):
    add_domain("a.test", 1)
    make_stream("canary")
    services.domains.add_pins("acme", "a.test", [new_pin(2)], "canary", intent)
    services.domains.change("acme", "a.test", DomainSettings(mode="report"), "canary", intent)
    (done,) = take("a.test", "main", "canary", keep=True)
    assert done.changed == ["* domain a.test, as it is in canary"]
    (domain,) = published().domains
    assert domain.mode is Mode.REPORT
    assert [str(each) for each in domain.pins.pins] == [pin_text(1), pin_text(2)]


def test_a_copy_that_changes_nothing_publishes_nothing(add_domain, make_stream, take, refused):
    add_domain("a.test")
    make_stream("canary")
    refused(
        ConflictError,
        lambda: take("a.test", "canary", "main", keep=True),
        "a.test is in canary as it is in main already",
    )


def test_a_domain_that_is_there_already_is_not_moved(add_domain, make_stream, take, refused):
    add_domain("a.test")
    make_stream("canary")
    hint = refused(
        ConflictError, lambda: take("a.test", "canary", "main"), "a.test is in canary already"
    )
    assert hint == "to have it there as it is here: livepin stream copy"


def test_one_stream_is_not_two(add_domain, take, refused):
    add_domain("a.test")
    refused(InvalidError, lambda: take("a.test", "main", "main"), "two streams, found main twice")


def test_a_domain_that_is_not_in_the_source_suggests_the_nearest(
    add_domain, make_stream, take, refused
):
    make_stream("canary")
    add_domain("api.test")
    hint = refused(
        NotFoundError, lambda: take("apo.test", "canary", "main"), "no domain 'apo.test'"
    )
    assert hint == "did you mean api.test?"


# -- a domain that follows a shared set ----------------------------------------------------------


@pytest.fixture
def follow_in_main(services, make_stream, add_set, intent):
    """Have a domain of main follow the set `payments`, which an older stream `canary` has not."""
    make_stream("canary")
    add_set("payments", 1)
    for pattern in ("a.test", "b.test"):
        services.domains.add("acme", NewDomain(pattern=pattern, pin_set="payments"), intent)


def test_a_shared_set_goes_along_and_stays_with_those_that_follow_it(
    services, follow_in_main, take, published
):
    take("a.test", "canary", "main")
    assert services.pin_sets.show("acme", "payments", "canary").domains == ["a.test"]
    assert services.pin_sets.show("acme", "payments").domains == ["b.test"]
    (domain,) = published("canary").domains
    assert domain.pin_set == "payments"


def test_a_shared_set_that_is_there_with_the_same_pins_is_followed(
    services, follow_in_main, take, add_set
):
    add_set("payments", 1, stream="canary")
    take("a.test", "canary", "main")
    take("b.test", "canary", "main")
    found = services.pin_sets.show("acme", "payments", "canary")
    assert (found.domains, len(found.pins)) == (["a.test", "b.test"], 1)


def test_a_shared_set_that_is_there_with_other_pins_is_never_changed(
    follow_in_main, take, add_set, refused
):
    add_set("payments", 1, 2, stream="canary")
    for keep in (False, True):
        hint = refused(
            ConflictError,
            lambda keep=keep: take("a.test", "canary", "main", keep=keep),
            "the pin set payments of canary has other pins than that of main",
        )
        assert hint == "make them alike, or first: livepin pinset use a.test --own"


def test_the_set_that_was_followed_before_a_copy_stays(services, follow_in_main, take, add_domain):
    add_domain("a.test", 5, stream="canary")
    take("a.test", "main", "canary", keep=True)
    assert services.domains.show("acme", "a.test").pin_set == "a.test"
    assert services.pin_sets.show("acme", "payments").domains == ["b.test"]
    with pytest.raises(NotFoundError):
        services.pin_sets.show("acme", "payments", "canary")
