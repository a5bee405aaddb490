"""What is held: failures erase nothing, addresses come and go, and little may be confirmed."""

from __future__ import annotations

import datetime as dt

import pytest
from livepin.pins import Pin, PinSet
from livepin_server.services.monitoring import holding
from livepin_server.services.monitoring.model import Following, Held, Judging, MonitorSettings
from msgspec import structs

NOW = dt.datetime(2026, 11, 23, 12, tzinfo=dt.timezone.utc)
QUARTER = dt.timedelta(minutes=15)
NOTHING = Held()


@pytest.fixture
def folded(seeing):
    """Fold looks one after the other, a quarter of an hour apart."""

    def one(*looks, held=NOTHING):
        told = []
        for number, each in enumerate(looks):
            held, found = holding.fold(held, each, NOW + number * QUARTER)
            told.append([(c.address, c.left[:1], c.keys[:1]) for c in found])
        return held, told

    return one


def test_a_first_look_tells_of_each_certificate(seeing, folded):
    none = seeing.sight(seeing.failed("no_certificate"), algorithm="rsa")
    held, told = folded(seeing.look(seeing.sight(seeing.observation(1)), none))
    assert told == [[(seeing.ADDRESS, [], [seeing.key(1)])]]
    assert [each.algorithm for each in held.sights] == ["ecdsa", "rsa"]
    assert held.sights[0].since == NOW
    assert holding.expires(held) == dt.datetime(2027, 2, 1, tzinfo=dt.timezone.utc)
    assert holding.served(held) == {seeing.key(1), seeing.key(100)}


def test_what_has_not_changed_is_the_very_same_object(seeing, folded):
    first = seeing.look(seeing.sight(seeing.observation(1, elapsed_ms=3.0)))
    held, _ = folded(first)
    later = seeing.look(seeing.sight(seeing.observation(1, elapsed_ms=9.0)))
    for look in (later, seeing.look(seeing.sight(None))):
        after, told = holding.fold(held, look, NOW + QUARTER)
        assert after is held
        assert told == []


def test_words_of_a_failure_that_differ_are_no_change(seeing, folded):
    held, _ = folded(seeing.look(seeing.sight(seeing.failed("timeout", "after 9.8 s"))))
    look = seeing.look(seeing.sight(seeing.failed("timeout", "after 9.9 s" + 600 * "!")))
    assert holding.fold(held, look, NOW)[0] is held
    assert len(holding.fold(Held(), look, NOW)[0].sights[0].observation.error) == 500


def test_another_verified_path_of_the_same_chain_is_written(seeing, folded):
    held, _ = folded(seeing.look(seeing.sight(seeing.observation(1))))
    path = [seeing.certificate(1), seeing.certificate(101)]
    after, told = folded(seeing.look(seeing.sight(seeing.observation(1, chain=path))), held=held)
    assert after.sights[0].observation.chain == path
    assert told == [[]]


def test_a_renewal_tells_what_was_and_what_became(seeing, folded):
    looks = [seeing.look(seeing.sight(seeing.observation(each))) for each in (1, 2)]
    held, told = folded(*looks)
    assert told[1] == [(seeing.ADDRESS, [seeing.key(1)], [seeing.key(2)])]
    assert held.sights[0].since == NOW + QUARTER


def test_a_chain_is_there_since_it_was_first_seen_at_whichever_address(seeing, folded):
    """Names that give another address each time would else look new at each look."""
    looks = [
        seeing.look(seeing.sight(seeing.observation(n), address))
        for n, address in ((1, "192.0.2.1"), (1, "192.0.2.2"), (2, "192.0.2.2"), (2, "192.0.2.3"))
    ]
    assert [folded(*looks[:n])[0].sights[0].since for n in (1, 2, 3, 4)] == [
        NOW, NOW, NOW + 2 * QUARTER, NOW + 2 * QUARTER,
    ]  # fmt: skip


@pytest.mark.parametrize("failure", ["timeout", "reset", "refused", "tls"])
def test_a_failure_in_between_erases_nothing(seeing, folded, failure):
    good = seeing.look(seeing.sight(seeing.observation(1)))
    bad = seeing.look(seeing.sight(seeing.failed(failure)))
    changed = seeing.look(seeing.sight(seeing.observation(2)))
    held, told = folded(good, bad, bad, good)
    assert told[1:] == [[], [], []]
    assert held.before == []
    held, told = folded(good, bad, changed)
    assert told[2] == [(seeing.ADDRESS, [seeing.key(1)], [seeing.key(2)])]


def test_nor_does_one_of_the_whole_endpoint(seeing, folded):
    good = seeing.look(seeing.sight(seeing.observation(1)))
    dark = seeing.look(failure="no_name_server", error="nobody says")
    held, _ = folded(good, dark, dark)
    assert (held.sights, held.failure, held.since) == ([], "no_name_server", NOW + QUARTER)
    assert holding.fold(held, dark, NOW)[0] is held
    other, _ = holding.fold(held, seeing.look(failure="no_address"), NOW + 9 * QUARTER)
    assert (other.failure, other.since) == ("no_address", NOW + QUARTER)
    assert folded(good, dark, good)[1][1:] == [[], []]
    changed = seeing.look(seeing.sight(seeing.observation(2)))
    assert folded(good, dark, changed)[1][2] == [(seeing.ADDRESS, [seeing.key(1)], [seeing.key(2)])]


def test_a_look_that_says_nothing_is_a_failure(seeing):
    for look in (seeing.look(), seeing.look(seeing.sight(None))):
        held, told = holding.fold(Held(), look, NOW)
        assert (held.failure, held.error, told) == ("network", "the probe said nothing", [])


@pytest.mark.parametrize(
    ("failures", "blind"),
    [
        ([], False),
        (["timeout", "no_certificate"], True),
        (["untrusted"], False),
        (["untrusted", "timeout"], False),
    ],
)
def test_blind_is_who_is_shown_no_certificate(seeing, folded, failures, blind):
    sights = [seeing.sight(seeing.failed(each), f"192.0.2.{n}") for n, each in enumerate(failures)]
    held, _ = folded(seeing.look(*(sights or [seeing.sight(seeing.observation())])))
    assert holding.is_blind(held) is blind
    assert holding.is_blind(Held(failure="no_address"))


def test_an_address_that_vanishes_is_told_once(seeing, folded):
    both = seeing.look(
        seeing.sight(seeing.observation(1)), seeing.sight(seeing.observation(1), "192.0.2.2")
    )
    one = seeing.look(seeing.sight(seeing.observation(1)))
    held, told = folded(both, one, one)
    assert told[1:] == [[("192.0.2.2", [seeing.key(1)], [])], []]
    assert [each.address for each in held.sights] == [seeing.ADDRESS]


def test_addresses_that_are_others_each_time_are_no_flood(seeing, folded):
    looks = [
        seeing.look(
            seeing.sight(seeing.observation(1), f"192.0.2.{2 * number}"),
            seeing.sight(seeing.observation(1), f"192.0.2.{2 * number + 1}"),
        )
        for number in range(5)
    ]
    assert folded(*looks)[1][1:] == [[], [], [], []]


def test_a_new_address_with_a_certificate_of_its_own_is_told(seeing, folded):
    one = seeing.sight(seeing.observation(1))
    two = seeing.sight(seeing.observation(2), "192.0.2.2")
    assert folded(seeing.look(one), seeing.look(one, two))[1][1] == [
        ("192.0.2.2", [], [seeing.key(2)])
    ]


def test_a_certificate_of_an_algorithm_comes_and_goes(seeing, folded):
    rsa = seeing.look(seeing.sight(seeing.observation(3), algorithm="rsa"))
    none = seeing.look(seeing.sight(seeing.failed("no_certificate"), algorithm="rsa"))
    assert folded(none, rsa, none, none)[1] == [
        [],
        [(seeing.ADDRESS, [], [seeing.key(3)])],
        [(seeing.ADDRESS, [seeing.key(3)], [])],
        [],
    ]


def test_what_is_presented_counts_where_nothing_verifies(seeing, folded):
    bad = seeing.failed("untrusted", presented=[seeing.certificate(7)])
    held, told = folded(seeing.look(seeing.sight(bad)))
    assert told == [[(seeing.ADDRESS, [], [seeing.key(7)])]]
    assert holding.served(held) == set()
    assert holding.known(held, NOW) == []


def test_places_are_bounded_and_each_counts_once(seeing):
    many = [seeing.sight(seeing.observation(1), f"192.0.2.{n % 250}") for n in range(400)]
    held, _ = holding.fold(Held(), seeing.look(*many), NOW)
    assert len(held.sights) == holding.MOST_SIGHTS == len({e.address for e in held.sights})


# -- what `fast` may confirm ---------------------------------------------------------------------


def test_what_was_verified_may_be_confirmed_for_its_day(seeing, folded):
    none = seeing.sight(seeing.failed("no_certificate"), algorithm="rsa")
    look = seeing.look(seeing.sight(seeing.observation(1)), none)
    held, _ = folded(look)
    found = holding.known(held, NOW + QUARTER)
    assert [(e.algorithm, e.digest) for e in found] == [("ecdsa", f"{1:064x}"), ("rsa", "")]
    verified = 0
    for number in range(1, 10 * 96 + 1):
        now = NOW + number * QUARTER
        if not holding.known(held, now):
            verified += 1
            after, _ = holding.fold(held, look, now)
            assert after is not held  # it is written, once a day
            held = after
    assert verified == 10


def test_endpoints_are_not_all_verified_at_once(seeing):
    hours = set()
    for number in range(60):
        seen = seeing.observation(1, host=f"{number}.example.com")
        held, _ = holding.fold(Held(), seeing.look(seeing.sight(seen)), NOW)
        hours.add(next(h for h in range(25) if not holding.known(held, NOW + h * 4 * QUARTER)))
    assert len(hours) > 15


def test_what_has_expired_since_is_never_confirmed(seeing, folded):
    soon = NOW + dt.timedelta(seconds=1)
    ends = seeing.certificate(100, not_after=soon)
    held, _ = folded(
        seeing.look(seeing.sight(seeing.observation(1, chain=[seeing.certificate(1), ends])))
    )
    assert holding.known(held, NOW)
    assert holding.known(held, soon) == []


def test_nothing_is_confirmed_by_a_clock_that_was_set_back(seeing, folded):
    held, _ = folded(seeing.look(seeing.sight(seeing.observation(1))))
    assert holding.known(held, NOW - QUARTER) == []


def test_no_certificate_alone_is_nothing_to_confirm(seeing, folded):
    none = seeing.sight(seeing.failed("no_certificate"), algorithm="rsa")
    assert holding.known(folded(seeing.look(none))[0], NOW) == []
    unverified = seeing.sight(seeing.failed("untrusted", presented=[seeing.certificate(1)]))
    assert holding.known(folded(seeing.look(unverified, none))[0], NOW) == []


# -- whether pins match --------------------------------------------------------------------------


def following(*pins, mode="enforce"):
    return Following(
        stream="main", version=1, pattern="a", mode=mode, pins=PinSet(pins), views=[],
        settings=MonitorSettings(), apps="", published=NOW,
    )  # fmt: skip


def test_every_chain_has_to_satisfy_all_who_follow(seeing, folded):
    held, _ = folded(
        seeing.look(
            seeing.sight(seeing.observation(1)), seeing.sight(seeing.observation(2), "192.0.2.2")
        )
    )
    one, two, ca = (Pin.parse(seeing.key(number)) for number in (1, 2, 100))

    def match(*followed):
        return holding.pins_match(held, Judging(following=list(followed)), NOW)

    assert match(following(ca)) is match(following(one, two)) is True
    assert match(following(one)) is False
    assert match(following(ca), following(two)) is False
    assert match(following(ca), following(two, mode="off")) is True
    later = structs.replace(following(ca), pins=PinSet((Pin(ca.sha256, not_after=NOW),)))
    assert match(later) is False
    assert match() is match(following(one, mode="off")) is None
    assert holding.pins_match(Held(), Judging(following=[following(ca)]), NOW) is None


def test_a_key_that_is_none_matches_nothing(seeing, folded):
    chain = [seeing.certificate(1, sha256="sha256/short")]
    held, _ = folded(seeing.look(seeing.sight(seeing.observation(1, chain=chain))))
    by = Judging(following=[following(Pin.parse(seeing.key(1)))])
    assert holding.pins_match(held, by, NOW) is False
