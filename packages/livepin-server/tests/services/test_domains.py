"""Domains and pins: what is refused and how it is said; no domain ever loses its last pin."""

import datetime as dt

import msgspec
import pytest
from livepin.documents import Mode, Stale
from livepin_server.errors import (
    ConflictError,
    InvalidError,
    NotFoundError,
)
from livepin_server.services.domains import canonical
from livepin_server.services.model import DomainSettings, NewDomain, NewPin

UTC = dt.timezone.utc


# -- patterns ------------------------------------------------------------------------------------

CANONICAL = {
    "api.example.com": "api.example.com",
    "API.Example.COM.": "api.example.com",
    "*.example.com": "*.example.com",
    "*.EXAMPLE.com.": "*.example.com",
    "intranet": "intranet",
    "a_b.example.com": "a_b.example.com",
    "192.0.2.1": "192.0.2.1",
    "2001:DB8:0:0::1": "2001:db8::1",
    "[2001:db8::1]": "2001:db8::1",
    "::ffff:192.0.2.1": "192.0.2.1",
    "bücher.example": "xn--bcher-kva.example",
    "*.BÜCHER.example": "*.xn--bcher-kva.example",
    "xn--bcher-kva.example": "xn--bcher-kva.example",
    "straße.example": "xn--strae-oqa.example",
    "пример.example": "xn--e1afmkfd.example",
}


@pytest.mark.parametrize(("typed", "expected"), CANONICAL.items())
def test_a_pattern_is_kept_in_its_canonical_form(typed, expected):
    assert canonical(typed) == expected


@pytest.mark.parametrize(
    "typed",
    [
        "", ".", "*", "*.", "*.com", "*.*.example.com", "a.*.example.com", "*example.com",
        "https://api.example.com", "api.example.com:443", "api.example.com/path", "a@b.example",
        "a..example", "-a.example", "a-.example", "a b.example", "a\n.example", "x" * 64 + ".com",
        "a." * 130 + "com", "x" * 2000, "192.0.2", "192.0.2.256", "0x7f.1", "*.192.0.2.1",
        "fe80::1%eth0", "[::1", "\ud800.example", "٣.example", "。", "☃☃.example",
    ],
)  # fmt: skip
def test_what_is_no_pattern_is_refused_in_one_short_line(typed):
    with pytest.raises(InvalidError) as caught:
        canonical(typed)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("typed", ["https://api.example.com", "*.com", "192.0.2"])
def test_a_usual_mistake_gets_a_hint(typed):
    with pytest.raises(InvalidError) as caught:
        canonical(typed)
    assert caught.value.hint


# -- adding --------------------------------------------------------------------------------------


def test_a_domain_is_published_with_its_pins(services, add_domain, published, pin_text):
    found = add_domain("api.example.com", 1, 2)
    assert (found.version, found.author, found.reason) == (2, "alice", "rotation")
    assert found.changed == [
        "+ domain api.example.com (enforce)",
        f"+ pin api.example.com {pin_text(1)}",
        f"+ pin api.example.com {pin_text(2)}",
    ]
    (domain,) = published().domains
    assert domain.pattern == "api.example.com"
    assert (domain.mode, domain.stale, domain.token) == (Mode.ENFORCE, Stale.ENFORCE, False)
    assert [str(each) for each in domain.pins.pins] == [pin_text(1), pin_text(2)]


def test_the_settings_of_a_domain_are_published(add_domain, published):
    add_domain("*.example.com", mode="report", token=True, stale="refuse")
    (domain,) = published().domains
    assert (domain.mode, domain.stale, domain.token) == (Mode.REPORT, Stale.REFUSE, True)


def test_everything_about_a_domain_is_shown(services, add_domain, new_pin, intent, pin_text):
    new = NewDomain(
        pattern="API.example.com",
        pins=[new_pin(1, label="leaf"), new_pin(2, label="spare", backup=True)],
        connect="10.0.0.1:8443",
        ca="PEM",
    )
    services.domains.add("acme", new, intent)
    view = services.domains.show("acme", "api.EXAMPLE.com.")
    assert (view.pattern, view.stream, view.connect, view.ca) == (
        "api.example.com", "main", "10.0.0.1:8443", "PEM",
    )  # fmt: skip
    assert [(p.sha256, p.label, p.backup, p.author) for p in view.pins] == [
        (pin_text(1), "leaf", False, "alice"),
        (pin_text(2), "spare", True, "alice"),
    ]
    assert view.created == view.pins[0].created == dt.datetime(2026, 11, 23, 12, tzinfo=UTC)


def test_domains_are_listed_by_pattern(services, add_domain):
    for pattern in ("b.example.com", "a.example.com", "*.example.com"):
        add_domain(pattern)
    found = [view.pattern for view in services.domains.all("acme")]
    assert found == ["*.example.com", "a.example.com", "b.example.com"]


def test_the_same_domain_in_another_form_is_there_already(add_domain, refused):
    add_domain("bücher.example")
    hint = refused(ConflictError, lambda: add_domain("XN--BCHER-KVA.example."), "is there already")
    assert hint == "to add a pin: livepin pin add xn--bcher-kva.example"


def test_a_domain_without_pins_is_refused(services, intent, refused):
    new = NewDomain(pattern="api.example.com", pins=[])
    hint = refused(
        InvalidError, lambda: services.domains.add("acme", new, intent), "at least one pin"
    )
    assert hint == "livepin domain add takes it from the live endpoint"


def test_pins_and_a_pin_set_are_not_to_be_had_together(add_domain, refused):
    refused(InvalidError, lambda: add_domain(pin_set="payments"), "pins or a pin set .* both")


def test_what_is_no_pattern_is_not_added(add_domain, refused):
    hint = refused(InvalidError, lambda: add_domain("https://api.example.com"), "expected a host")
    assert hint == "give the bare host, without scheme, port or path"


def test_an_unknown_account_or_stream_suggests_the_nearest(services, add_domain, new_pin, intent):
    new = NewDomain(pattern="api.example.com", pins=[new_pin()])
    with pytest.raises(NotFoundError, match="no account 'acmee'") as caught:
        services.domains.add("acmee", new, intent)
    assert caught.value.hint == "did you mean acme?"
    with pytest.raises(NotFoundError, match="no stream 'mian'") as caught:
        add_domain("api.example.com", stream="mian")
    assert caught.value.hint == "did you mean main?"
    for look in (services.domains.all, services.published.history):
        with pytest.raises(NotFoundError):
            look("acme", "mian")


# -- pins ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sha256/",
        "A" * 43 + "=",
        "sha1/" + "A" * 43 + "=",
        "sha256/" + "A" * 42 + "=",
        "sha256/" + "A" * 44,
        "sha256/" + "A" * 42 + "B=",
        "sha256/" + "-" * 43 + "=",
        "sha256/" + "A" * 43 + "=\n",
        "sha256/é" + "A" * 42 + "=",
    ],
)
def test_what_is_no_pin_is_refused(services, add_domain, intent, refused, text):
    add_domain()
    bad = [NewPin(sha256=text)]
    new = NewDomain(pattern="b.example.com", pins=bad)
    domains = services.domains
    refused(InvalidError, lambda: domains.add("acme", new, intent), "expected")
    refused(
        InvalidError,
        lambda: domains.add_pins("acme", "api.example.com", bad, "main", intent),
        "expected",
    )
    refused(
        InvalidError,
        lambda: domains.remove_pin("acme", "api.example.com", text, "main", intent),
        "expected",
    )


def test_a_pin_twice_in_one_request_is_refused(services, add_domain, new_pin, intent, refused):
    refused(InvalidError, lambda: add_domain("api.example.com", 1, 1), "each pin once")


def test_pins_are_added_with_their_limits_in_time(services, add_domain, new_pin, intent, published):
    add_domain()
    start, end = dt.datetime(2027, 1, 1, tzinfo=UTC), dt.datetime(2028, 1, 1, tzinfo=UTC)
    new = [new_pin(2, not_before=start, not_after=end), new_pin(3)]
    found = services.domains.add_pins("acme", "API.example.com", new, "main", intent)
    assert [line[:2] for line in found.changed] == ["+ ", "+ "]
    _, second, third = published().domains[0].pins.pins
    assert (second.not_before, second.not_after) == (start, end)
    assert (third.not_before, third.not_after) == (None, None)


def test_limits_are_whole_seconds_as_in_a_config(services, add_domain, new_pin, intent):
    moment = dt.datetime(2027, 1, 1, 0, 0, 0, 999_999, tzinfo=UTC)
    found = [new_pin(1, not_before=moment, not_after=None), new_pin(2)]
    new = NewDomain(pattern="a.example.com", pins=found)
    services.domains.add("acme", new, intent)
    pin, _ = services.domains.show("acme", "a.example.com").pins
    assert pin.not_before == moment.replace(microsecond=0)


@pytest.mark.parametrize(
    ("not_before", "not_after"),
    [
        ("2027-01-01T00:00:00Z", "2027-01-01T00:00:00Z"),
        ("2027-01-01T00:00:01Z", "2027-01-01T00:00:00Z"),
        ("2027-01-01T00:00:00.1Z", "2027-01-01T00:00:00.9Z"),
        ("2027-01-01T00:00:00+00:00", "2027-01-01T00:30:00+01:00"),
        ("1969-12-31T23:59:59Z", None),
        ("0001-01-01T00:00:00Z", None),
        (None, "9999-12-31T23:59:59-00:01"),
    ],
)
def test_limits_that_no_config_can_say_are_refused(
    services, add_domain, new_pin, intent, refused, not_before, not_after
):
    add_domain()
    raw = {"sha256": new_pin(2).sha256, "not_before": not_before, "not_after": not_after}
    pin = msgspec.convert(raw, NewPin)
    refused(
        InvalidError,
        lambda: services.domains.add_pins("acme", "api.example.com", [pin], "main", intent),
        "expected",
    )


def test_a_time_without_a_zone_is_refused_at_the_edge_and_within(
    add_domain, services, new_pin, intent, refused
):
    with pytest.raises(msgspec.ValidationError, match="timezone"):
        msgspec.convert({"sha256": "", "not_before": "2027-01-01T00:00:00"}, NewPin)
    naive = dt.datetime(2027, 1, 1)  # noqa: DTZ001
    add_domain()
    for limits in ({"not_before": naive}, {"not_after": naive}):
        pin = new_pin(2, **limits)
        hint = refused(
            InvalidError,
            lambda pin=pin: services.domains.add_pins(
                "acme", "api.example.com", [pin], "main", intent
            ),
            "with its zone",
        )
        assert hint == "such as 2027-01-31T12:00:00Z"


def test_no_pins_at_all_cannot_be_added(services, add_domain, intent, refused):
    add_domain()
    refused(
        InvalidError,
        lambda: services.domains.add_pins("acme", "api.example.com", [], "main", intent),
        "at least one pin",
    )


def test_a_pin_that_is_there_cannot_be_added_again(services, add_domain, new_pin, intent, refused):
    add_domain("api.example.com", 1, 2)
    refused(
        ConflictError,
        lambda: services.domains.add_pins(
            "acme", "api.example.com", [new_pin(3), new_pin(2)], "main", intent
        ),
        "has the pin .* already",
    )


def test_two_domains_may_have_the_same_pin(add_domain, services):
    add_domain("a.example.com")
    add_domain("b.example.com")
    a, b = services.domains.all("acme")
    assert a.pins[0].sha256 == b.pins[0].sha256


def test_a_pin_is_removed_and_published(services, add_domain, intent, pin_text, published):
    add_domain("api.example.com", 1, 2)
    found = services.domains.remove_pin("acme", "api.example.com", pin_text(1), "main", intent)
    assert found.changed == [f"- pin api.example.com {pin_text(1)}"]
    assert [str(each) for each in published().domains[0].pins.pins] == [pin_text(2)]


@pytest.mark.parametrize("mode", ["enforce", "report", "off"])
def test_the_last_pin_of_a_domain_stays(services, add_domain, intent, refused, pin_text, mode):
    add_domain("api.example.com", 1, mode=mode)
    hint = refused(
        ConflictError,
        lambda: services.domains.remove_pin("acme", "api.example.com", pin_text(1), "main", intent),
        "is the last pin of api.example.com",
    )
    assert hint == "add another pin first, or remove the domain"


def test_a_pin_that_is_not_there_cannot_be_removed(services, add_domain, intent, refused, pin_text):
    add_domain()
    hint = refused(
        NotFoundError,
        lambda: services.domains.remove_pin("acme", "api.example.com", pin_text(9), "main", intent),
        "has no pin",
    )
    assert hint == "see: livepin pin list api.example.com"


# -- removing, and names that are not there ------------------------------------------------------


def test_a_domain_is_removed_with_its_pins_and_can_be_added_anew(
    services, add_domain, intent, published
):
    add_domain("a.example.com", 1, 2)
    add_domain("b.example.com", 1)
    found = services.domains.remove("acme", "A.example.com", "main", intent)
    assert found.changed == ["- domain a.example.com"]
    config = published()
    assert [each.pattern for each in config.domains] == ["b.example.com"]
    assert list(config.pin_sets) == ["b.example.com"]
    add_domain("a.example.com", 3)
    assert len(services.domains.show("acme", "a.example.com").pins) == 1


def test_a_domain_that_is_not_there_suggests_the_nearest(
    services, add_domain, new_pin, intent, refused
):
    add_domain("api.example.com")
    domains = services.domains
    for use in (
        lambda: domains.show("acme", "app.example.com"),
        lambda: domains.remove("acme", "app.example.com", "main", intent),
        lambda: domains.add_pins("acme", "app.example.com", [new_pin()], "main", intent),
        lambda: domains.remove_pin("acme", "app.example.com", new_pin().sha256, "main", intent),
    ):
        hint = refused(NotFoundError, use, "no domain 'app.example.com'")
        assert hint == "did you mean api.example.com?"


def test_without_any_domain_there_is_nothing_to_suggest(services):
    with pytest.raises(NotFoundError) as caught:
        services.domains.show("acme", "api.example.com")
    assert caught.value.hint == "there is no domain yet"


# -- mode, token and stale -----------------------------------------------------------------------


def test_settings_are_changed_and_what_is_not_said_stays(services, add_domain, published, intent):
    add_domain()
    wanted = DomainSettings(mode="off", token=True)
    done = services.domains.change("acme", "API.example.com", wanted, "main", intent)
    assert done.changed == [
        "* domain api.example.com: mode enforce -> off",
        "* domain api.example.com: token off -> on",
    ]
    (found,) = published().domains
    assert (found.mode, found.token, found.stale) == (Mode.OFF, True, Stale.ENFORCE)
    services.domains.change(
        "acme", "api.example.com", DomainSettings(stale="refuse"), "main", intent
    )
    (found,) = published().domains
    assert (found.mode, found.token, found.stale) == (Mode.OFF, True, Stale.REFUSE)


def test_only_what_differs_is_in_the_history(services, add_domain, intent):
    add_domain(token=True)
    wanted = DomainSettings(mode="report", token=True)
    done = services.domains.change("acme", "api.example.com", wanted, "main", intent)
    assert done.changed == ["* domain api.example.com: mode enforce -> report"]


@pytest.mark.parametrize(
    ("pattern", "wanted", "kind", "match"),
    [
        ("api.example.com", DomainSettings(), InvalidError, "expected mode, token or stale"),
        (
            "api.example.com",
            DomainSettings(mode="enforce", token=False),
            ConflictError,
            "api.example.com has mode enforce, token off already",
        ),
        ("b.example.com", DomainSettings(mode="off"), NotFoundError, "no domain"),
        ("!", DomainSettings(mode="off"), InvalidError, "expected a host name"),
    ],
)
def test_a_change_that_is_none_publishes_nothing(
    services, add_domain, refused, intent, pattern, wanted, kind, match
):
    add_domain()
    refused(kind, lambda: services.domains.change("acme", pattern, wanted, "main", intent), match)
