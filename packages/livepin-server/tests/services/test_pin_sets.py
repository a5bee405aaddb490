"""Shared pin sets: one for many domains; none in use is ever empty, and nothing is unpinned."""

import pytest
from livepin_server.errors import ConflictError, InvalidError, NotFoundError
from livepin_server.services.model import MOST_PINS, NewDomain, NewPinSet
from livepin_server.storage.schema import pin_sets
from sqlalchemy import insert, select


@pytest.fixture
def follow(services, intent):
    """Have a domain follow a shared set, or its own with None."""

    def one(pattern, name, stream="main"):
        return services.domains.follow("acme", pattern, name, stream, intent)

    return one


def texts(pins):
    return [str(each) for each in pins]


# -- adding and showing --------------------------------------------------------------------------


def test_a_set_is_kept_with_its_pins_and_travels_once_a_domain_follows_it(
    services, add_set, published, pin_text, new_pin, intent
):
    done = add_set("payments", 1, 2)
    assert (done.version, done.author, done.reason) == (2, "alice", "rotation")
    assert done.changed == [
        "+ pin set payments",
        f"+ pin set payments {pin_text(1)} key 1",
        f"+ pin set payments {pin_text(2)} key 2",
    ]
    view = services.pin_sets.show("acme", "payments")
    assert (view.name, view.stream, view.domains) == ("payments", "main", [])
    assert [each.sha256 for each in view.pins] == [pin_text(1), pin_text(2)]
    assert published().pin_sets == {}
    for pattern in ("b.example.com", "a.example.com"):
        new = NewDomain(pattern=pattern, pin_set="payments")
        services.domains.add("acme", new, intent)
    assert services.pin_sets.all("acme") == [services.pin_sets.show("acme", "payments")]
    assert services.pin_sets.show("acme", "payments").domains == ["a.example.com", "b.example.com"]
    config = published()
    assert list(config.pin_sets) == ["payments"]
    assert [each.pin_set for each in config.domains] == ["payments", "payments"]
    assert texts(config.domains[0].pins.pins) == [pin_text(1), pin_text(2)]


def test_a_domain_says_that_its_set_is_shared(services, add_domain, add_set, intent):
    add_set()
    add_domain("a.example.com")
    add_domain("intranet")
    done = services.domains.add("acme", NewDomain(pattern="b.test", pin_set="payments"), intent)
    assert done.changed == ["+ domain b.test (enforce), pin set payments"]
    assert [(each.pin_set, each.shared) for each in services.domains.all("acme")] == [
        ("a.example.com", False), ("payments", True), ("intranet.", False),
    ]  # fmt: skip


def test_a_host_of_one_label_and_a_set_of_its_name_do_not_meet(
    services, add_domain, add_set, pin_text, published
):
    add_set("payments", 1)
    done = add_domain("payments", 2)
    assert done.changed[1] == f"+ pin payments {pin_text(2)}"
    assert texts(services.domains.show("acme", "payments").pins[0].sha256.split()) == [pin_text(2)]
    assert services.pin_sets.show("acme", "payments").domains == []
    assert list(published().pin_sets) == ["payments."]


@pytest.mark.parametrize(
    "name", ["", "api.example.com", "*.example.com", "Payments", "a_b", "-a", "a-", "x" * 64, "a\n"]
)
def test_what_is_no_name_is_refused(add_set, refused, name):
    hint = refused(InvalidError, lambda: add_set(name), "expected a pin set name of a-z")
    assert hint == "a set that is named after a host is that domain's own"


def test_a_set_that_is_there_is_not_added_again(add_set, refused):
    add_set()
    hint = refused(ConflictError, lambda: add_set(), "the pin set payments is there already")
    assert hint == "livepin pinset update payments"


def test_no_set_is_ever_empty(services, add_set, intent, refused):
    empty = NewPinSet(name="payments", pins=[])
    pin_sets = services.pin_sets
    refused(InvalidError, lambda: pin_sets.add("acme", empty, intent), "at least one pin")
    add_set()
    refused(
        InvalidError,
        lambda: pin_sets.replace("acme", "payments", [], "main", intent),
        "at least one pin",
    )


def test_a_set_holds_a_public_trust_store_three_times_and_no_more(
    services, add_set, new_pin, intent, refused, published
):
    add_set("trust-roots", *range(MOST_PINS))
    services.domains.add("acme", NewDomain(pattern="a.test", pin_set="trust-roots"), intent)
    assert len(published().domains[0].pins.pins) == MOST_PINS
    one_more = [new_pin(MOST_PINS)]
    match = f"at most {MOST_PINS} pins in a set, found {MOST_PINS + 1}"
    refused(
        ConflictError,
        lambda: services.domains.add_pins("acme", "a.test", one_more, "main", intent),
        match,
    )
    refused(ConflictError, lambda: add_set("more", *range(MOST_PINS + 1)), match)


def test_the_number_of_sets_is_bounded(services, add_set, refused):
    keys = [{"account": "acme", "stream": "main", "name": f"set-{n}"} for n in range(999)]
    add_set("set-999")
    services.database.write(lambda each: each.execute(insert(pin_sets), keys))
    with pytest.raises(ConflictError, match="at most 1000 pin sets in a stream"):
        add_set("one-more")


def test_a_set_that_is_not_there_suggests_the_nearest(
    services, add_set, add_domain, new_pin, intent, follow, refused
):
    add_set("payments")
    add_domain("a.test", 5)
    sets, new = services.pin_sets, NewDomain(pattern="b.test", pin_set="paymets")
    for use in (
        lambda: sets.show("acme", "paymets"),
        lambda: sets.replace("acme", "paymets", [new_pin(3)], "main", intent),
        lambda: sets.remove("acme", "paymets", "main", intent),
        lambda: follow("a.test", "paymets"),
        lambda: services.domains.add("acme", new, intent),
    ):
        hint = refused(NotFoundError, use, "there is no pin set 'paymets'")
        assert hint == "did you mean payments?"
    for look in (sets.all, lambda account, stream: sets.show(account, "payments", stream)):
        with pytest.raises(NotFoundError, match="no stream"):
            look("acme", "mian")


def test_the_set_of_another_domain_cannot_be_followed(add_domain, add_set, follow, refused):
    add_set()
    add_domain("a.test", 1)
    add_domain("b.test", 2)
    refused(NotFoundError, lambda: follow("b.test", "a.test"), "no pin set 'a.test'")


# -- following -----------------------------------------------------------------------------------


def test_a_domain_follows_a_set_and_has_its_own_no_more(
    services, add_domain, add_set, follow, published, pin_text
):
    add_set("payments", 2)
    add_domain("a.test", 1)
    done = follow("A.test", "payments")
    assert done.changed == ["* domain a.test: pin set its own -> payments"]
    (domain,) = published().domains
    assert (domain.pin_set, texts(domain.pins.pins)) == ("payments", [pin_text(2)])
    query = select(pin_sets.c.name)
    with services.database.reading() as connection:
        assert connection.scalars(query).all() == ["payments"]


def test_a_domain_goes_from_one_set_to_another(services, add_domain, add_set, follow):
    add_set("payments", 1)
    add_set("shop", 2)
    add_domain("a.test", 1)
    follow("a.test", "payments")
    assert follow("a.test", "shop").changed == ["* domain a.test: pin set payments -> shop"]
    assert [(each.name, each.domains) for each in services.pin_sets.all("acme")] == [
        ("payments", []), ("shop", ["a.test"]),
    ]  # fmt: skip


@pytest.mark.parametrize("pattern", ["a.test", "*.a.test", "192.0.2.1", "2001:db8::1", "intranet"])
def test_a_set_of_its_own_starts_as_a_copy_so_that_nothing_is_unpinned(
    services, add_domain, add_set, follow, published, pin_text, new_pin, intent, pattern
):
    add_set("payments", 1, 2)
    add_domain(pattern, 3)
    add_domain("b.test", 3)
    follow(pattern, "payments")
    follow("b.test", "payments")
    before = services.domains.show("acme", pattern)
    done = follow(pattern, None)
    assert done.changed == [f"* domain {pattern}: pin set payments -> its own"]
    after = services.domains.show("acme", pattern)
    assert (after.shared, after.pins) == (False, before.pins)  # with labels, author and day
    services.domains.add_pins("acme", pattern, [new_pin(4)], "main", intent)
    by_pattern = {each.pattern: texts(each.pins.pins) for each in published().domains}
    assert by_pattern[pattern] == [pin_text(1), pin_text(2), pin_text(4)]
    assert by_pattern["b.test"] == [pin_text(1), pin_text(2)]


def test_what_is_so_already_publishes_nothing(add_domain, add_set, follow, refused):
    add_set()
    add_domain("a.test")
    refused(ConflictError, lambda: follow("a.test", None), "a.test follows a pin set of its own")
    follow("a.test", "payments")
    refused(ConflictError, lambda: follow("a.test", "payments"), "follows the pin set payments")
    refused(NotFoundError, lambda: follow("b.test", "payments"), "no domain 'b.test'")


# -- changing ------------------------------------------------------------------------------------


@pytest.fixture
def shared(add_domain, add_set, follow):
    """Two domains that follow the set `payments` with the keys 1 and 2."""
    add_set("payments", 1, 2)
    for pattern in ("a.test", "b.test"):
        add_domain(pattern, 1)
        follow(pattern, "payments")


def test_pins_of_one_domain_are_pins_of_all_that_follow_the_set(
    services, shared, new_pin, intent, pin_text, published
):
    done = services.domains.add_pins("acme", "a.test", [new_pin(3)], "main", intent)
    assert done.changed == [f"+ pin set payments {pin_text(3)}"]
    done = services.domains.remove_pin("acme", "b.test", pin_text(1), "main", intent)
    assert done.changed == [f"- pin set payments {pin_text(1)} key 1"]
    for domain in published().domains:
        assert texts(domain.pins.pins) == [pin_text(2), pin_text(3)]


def test_the_last_pin_of_a_shared_set_stays(services, shared, intent, pin_text, refused):
    services.domains.remove_pin("acme", "b.test", pin_text(1), "main", intent)
    refused(
        ConflictError,
        lambda: services.domains.remove_pin("acme", "a.test", pin_text(2), "main", intent),
        "is the last pin of a.test",
    )


def test_a_set_is_replaced_in_one_publication_and_what_stays_keeps_its_label(
    services, shared, new_pin, intent, pin_text, published, clock
):
    before = services.pin_sets.show("acme", "payments").pins
    clock.advance(hours=1)
    new = [new_pin(3, label="next"), new_pin(2, label="another word")]
    done = services.pin_sets.replace("acme", "payments", new, "main", intent)
    assert done.changed == [
        f"- pin set payments {pin_text(1)} key 1",
        f"+ pin set payments {pin_text(3)} next",
    ]
    after = services.pin_sets.show("acme", "payments").pins
    assert after[0] == before[1]
    assert (after[1].sha256, after[1].created) == (pin_text(3), clock())
    assert texts(published().domains[1].pins.pins) == [pin_text(2), pin_text(3)]


def test_a_replacement_may_only_take_away(services, shared, new_pin, intent, pin_text):
    done = services.pin_sets.replace("acme", "payments", [new_pin(2)], "main", intent)
    assert done.changed == [f"- pin set payments {pin_text(1)} key 1"]


def test_a_replacement_by_the_same_pins_publishes_nothing(
    services, shared, new_pin, intent, refused
):
    new = [new_pin(2), new_pin(1)]
    refused(
        ConflictError,
        lambda: services.pin_sets.replace("acme", "payments", new, "main", intent),
        "the pin set payments holds these pins already",
    )


# -- removing ------------------------------------------------------------------------------------


def test_a_set_that_is_followed_is_not_removed(services, shared, intent, refused):
    hint = refused(
        ConflictError,
        lambda: services.pin_sets.remove("acme", "payments", "main", intent),
        "the pin set payments is followed by a.test, b.test$",
    )
    assert hint == "give each another one first: livepin pinset use a.test --own"


def test_many_followers_are_named_in_one_short_line(
    services, add_set, add_domain, follow, intent, refused
):
    add_set()
    for number in range(6):
        add_domain(f"h{number}.test")
        follow(f"h{number}.test", "payments")
    refused(
        ConflictError,
        lambda: services.pin_sets.remove("acme", "payments", "main", intent),
        r"followed by h0.test, h1.test, h2.test, h3.test, h4.test \.\.\.$",
    )


def test_a_set_that_nobody_follows_any_more_is_removed(services, shared, follow, intent, published):
    follow("a.test", None)
    services.domains.remove("acme", "b.test", "main", intent)  # the set outlives its last domain
    done = services.pin_sets.remove("acme", "payments", "main", intent)
    assert done.changed == ["- pin set payments"]
    assert services.pin_sets.all("acme") == []
    assert list(published().pin_sets) == ["a.test"]
