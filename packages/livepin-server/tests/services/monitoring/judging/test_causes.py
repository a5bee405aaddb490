"""What has one cause, and what has not: the stories of ADR 0031."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest
from livepin_server.services.monitoring.judging import Place
from livepin_server.services.monitoring.model import Held
from minted_sights import (
    API,
    DAY,
    NOW,
    V6,
    certificate,
    chain,
    following,
    found,
    held,
    pin,
    refused,
    sight,
    silent,
    text,
)
from msgspec import structs

GOOGLE = "WE1,O=Google Trust Services,C=US"


def causes(seen, *by, host=API, **members):
    """The causes of what is wrong with a host."""
    place = Place(host=host, port=443, vantage=members.pop("vantage", "here"), endpoint=1)
    return {each.cause for each in found(seen, *by, place=place, **members)}


def rolled_out(number, *, by=GOOGLE, **life):
    """A certificate of a host's own, by an issuer that it shares with others."""
    return sight(chain(f"leaf {number}", by, **life))


@pytest.mark.parametrize("level", ["intermediate", "leaf", None])
def test_a_roll_out_over_500_hosts_with_a_leaf_each_is_one(level) -> None:
    said = set()
    for number in range(500):
        host = f"api-{number}.example.com"
        by = following(f"old {number}", level=level, pattern=host)
        said |= causes(rolled_out(number), by, host=host)
    assert len(said) == 1


def test_a_roll_out_over_weeks_to_an_issuer_that_is_not_pinned_is_one() -> None:
    said = set()
    for number in range(40):
        by = following("old-ca", level="intermediate")
        said |= causes(rolled_out(number, age=number), by)
    assert said == {"pins:issuer:google trust services"}


def test_the_keys_of_one_issuer_are_one_issuer() -> None:
    by = following("old-ca", level="root")
    ecdsa = causes(sight(chain("ec", "WE1,O=Google Trust Services,C=US")), by)
    rsa = causes(sight(chain("rsa", "WR1,O=Google Trust Services,C=US")), by)
    assert ecdsa == rsa


def test_one_leaf_for_many_hosts_is_one() -> None:
    shared = sight(chain("shared"))
    said = [
        causes(shared, following("x", pattern=h), host=h) for h in ("a.example", "b.example.net")
    ]
    assert said[0] == said[1]


def test_two_domains_that_break_for_unrelated_reasons_are_two() -> None:
    assert not causes(sight(chain("a", "ca-1")), following("x")) & causes(
        sight(chain("b", "ca-2")), following("x")
    )
    monday, friday = rolled_out(1, age=5), rolled_out(2, age=1)
    assert not causes(monday, following("x")) & causes(friday, following("x"))


def test_the_day_is_that_of_utc_wherever_a_time_was_written() -> None:
    seen = chain("leaf")
    plus_2 = timezone(2 * (NOW - NOW + DAY / 24))
    moved = structs.replace(seen[0], not_before=seen[0].not_before.astimezone(plus_2))
    assert causes(sight(seen), following("x")) == causes(sight([moved, *seen[1:]]), following("x"))


def test_what_becomes_partial_goes_on_as_what_it_was() -> None:
    some = held(sight(chain("new")), sight(chain("leaf"), V6))
    every = held(sight(chain("new")), sight(chain("new"), V6))
    assert causes(some, following("leaf")) == causes(every, following("leaf"))


def test_what_is_only_reported_is_no_part_of_what_breaks() -> None:
    """Who has acknowledged the one must hear of the other."""
    seen = sight(chain("new"))
    assert not causes(seen, following("x")) & causes(seen, following("x", mode="report"))


def test_a_pin_that_has_ended_is_one_for_all_that_serve_its_key() -> None:
    ended = following(pin("ca", None, NOW - DAY))
    assert causes(sight(chain("a")), ended) == causes(sight(chain("b")), ended)


def test_streams_that_follow_one_host_have_one_cause_the_gravest_ones() -> None:
    report = following("ca", stream="canary", level="intermediate", mode="report")
    by = (report, following("old", pattern="*.example.com"))
    keys = [(each.stream, each.cause) for each in found(sight(chain("new", "new-ca")), *by)]
    cause = f"pins:keys:{text('new-ca')}:{NOW - 30 * DAY:%Y-%m-%d}"
    assert keys == [("canary", cause), ("main", cause)]


# -- certificates that expire, or are not trusted --------------------------------------------------


def test_certificates_that_expire_on_one_day_are_one_and_on_two_are_two() -> None:
    by = following(GOOGLE, level="intermediate")
    first, second = (causes(rolled_out(n, age=80, left=n), by) for n in (5, 6))
    assert not first & second
    assert first == causes(rolled_out(9, age=70, left=5), by)


def test_a_certificate_that_expired_goes_on_as_what_was_told_before() -> None:
    by = following("leaf")
    seen = chain("leaf", age=80, left=1)
    before = {each for each in causes(sight(seen), by) if each.startswith("expiry:")}
    after = causes(refused(seen[:2], "certificate has expired"), by, now=NOW + 2 * DAY)
    assert before == after


def test_the_certificate_of_an_issuer_expires_for_all_that_it_issued() -> None:
    ca = certificate("ca", left=-1)
    one, two = (refused([certificate(n), ca], "certificate has expired") for n in ("a", "b"))
    assert causes(one, following("x")) == causes(two, following("x"))
    ahead = refused([certificate("a"), ca], "certificate has expired")
    assert causes(ahead, following("x"), now=NOW - 9 * DAY) == {"untrusted:expired:" + text("ca")}


def test_the_wrong_certificate_is_told_by_its_key_and_the_unknown_issuer_by_its_name() -> None:
    by = following("x")
    missing = "unable to get local issuer certificate"
    for said in ("Hostname mismatch", "self-signed certificate", missing):
        one, two = (refused([certificate(each, by="CN=x,O=Acme")], said) for each in ("a", "b"))
        assert (causes(one, by) == causes(two, by)) is (said == missing)


def test_texts_of_strangers_are_short_and_plain_in_a_cause() -> None:
    for name in ("O=" + "x" * 5000, "O=\x1b[2J\u202e", "O=\ud800", "CN=\n"):
        (cause,) = causes(refused([certificate("a", by=f"CN=x,{name}")], "revoked"), following("x"))
        assert cause.isprintable()
        assert cause.isascii()
        assert len(cause) < 200


def test_a_day_that_utc_does_not_have_is_a_day() -> None:
    first = datetime(1, 1, 1, tzinfo=timezone(DAY / 12))
    seen = [structs.replace(certificate("leaf"), not_before=first)]
    assert causes(sight(seen), following("x")) == {f"pins:keys:CN=ca:{first:%Y-%m-%d}"}


# -- nothing answers -------------------------------------------------------------------------------


def test_an_outage_of_ones_own_network_is_one_whatever_each_host_says() -> None:
    said = set()
    for number, failure in enumerate(["timeout", "network", "timeout", None]):
        said |= causes(silent(failure, f"198.51.{number}.7"), following("x"), host=f"{number}.net")
    for failure in ("no_name_server", "timeout"):
        said |= causes(Held(failure=failure, since=NOW), following("x"))
    assert said == {"unreachable:here"}
    assert causes(silent("timeout"), following("x"), vantage="eu-west") == {"unreachable:eu-west"}


def test_what_says_no_is_one_for_each_network() -> None:
    by = following("x")
    near = causes(silent("refused", "192.0.2.7"), by) | causes(silent("reset", "192.0.2.200"), by)
    assert near == {"unreachable:here:192.0.2.0/24"}
    assert causes(silent("refused", "192.0.3.7"), by) == {"unreachable:here:192.0.3.0/24"}
    assert causes(silent("tls", V6), by) == {"unreachable:here:2001:db8::/48"}
    assert causes(silent("tls", "socket"), by) == {"unreachable:here:socket"}
    assert causes(Held(failure="tls"), by) == {f"unreachable:here:{API}"}


def test_one_address_that_is_silent_is_no_outage_of_ones_own() -> None:
    seen = held(sight(chain("leaf")), silent("timeout", "198.51.100.7"))
    assert causes(seen, following("leaf")) == {"unreachable:here:198.51.100.0/24"}


def test_names_that_are_gone_are_one_for_each_zone() -> None:
    gone = Held(failure="no_address", since=NOW)
    said = [causes(gone, following("x"), host=h) for h in ("a.example.com", "b.example.com")]
    assert said[0] == said[1] == {"unreachable:name:example.com"}


def test_keys_hold_nothing_that_comes_and_goes() -> None:
    by = following("leaf", pin("rsa", None, NOW + 9 * DAY), backups=())
    first = held(sight(chain("leaf", age=80, left=9)), silent("timeout", V6))
    then = held(sight(chain("leaf", age=81, left=8), "192.0.2.9"), silent("reset", "192.0.2.1"))
    assert [e.key for e in found(first, by)] == [e.key for e in found(then, by, now=NOW + DAY / 2)]
