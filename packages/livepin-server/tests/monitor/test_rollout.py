"""Many endpoints, many times, over hours and days: how often people are told, and of what.

Schedule, judge, incidents, outbox and database are the real ones. What is looked at is made up, and
the time of day is moved: five hundred real servers over a day would take just that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

import pytest
from livepin.testing import FakeClock
from livepin_server.probing.looks import Look, Sight
from livepin_server.services.composition import Services
from livepin_server.services.model import NewDomain, NewPin
from livepin_server.services.monitoring.channel_kinds import NewChannel, Webhook
from livepin_server.services.monitoring.model import (
    HERE,
    Claimed,
    IncidentView,
    MonitorChange,
    Notice,
)
from livepin_server.storage.schema import outbox
from minted_sights import chain, sight, silent, text
from msgspec import json
from sqlalchemy import select

LEASE, MINUTE, HOUR, DAY = (timedelta(minutes=n) for n in (2, 1, 60, 24 * 60))
AWAY = "eu-west"
A, B = "192.0.2.7", "192.0.2.8"
CUSTOMERS = [f"*.{name}.example.com" for name in ("one", "two", "three", "four", "five")]
API, PAY = "api.example.com", "pay.example.org"

pytestmark = pytest.mark.no_cover  # days of what the tests of each part do in moments

See = Callable[[Claimed], Look]


def serving(key: str, *addresses: str, by: str = "cdn ca") -> Look:
    """A look that found a verified chain with this key at each address, of ECDSA alone."""
    sights = [
        each
        for address in addresses or (A,)
        for each in (
            sight(chain(key, by), address),
            silent("no_certificate", address, algorithm="rsa"),
        )
    ]
    return _look(sights)


def both(*looks: Look) -> Look:
    """One look with what several found."""
    return Look(id=0, sights=[each for look in looks for each in look.sights], elapsed_ms=12.0)


def dead(failure: str) -> Look:
    """A look to which nothing answered."""
    if failure == "no_name_server":
        return Look(id=0, failure=failure, error="no name server answers", elapsed_ms=12.0)
    return _look([silent(failure, algorithm=each) for each in ("ecdsa", "rsa")])


def _look(sighted: Iterable) -> Look:
    sights = [
        Sight(
            address=each.address, algorithm=each.algorithm, engine="verified",
            observation=each.observation,
        )
        for each in sighted
    ]  # fmt: skip
    return Look(id=0, sights=sights, elapsed_ms=12.0)


class Fleet:
    """The endpoints of `acme`, who looks at them, and what was told."""

    def __init__(self, services: Services, clock: FakeClock) -> None:
        self.services, self.clock = services, clock
        self.looks = 0
        self.step = timedelta(seconds=1)  # of a worker, at least, so that many are one batch
        self._reminded = clock()

    def pass_by(self, lasts: timedelta, see: See | dict[str, See]) -> None:
        """Let time pass: look at what is due when it is, and remind each minute as servers do."""
        sights = see if isinstance(see, dict) else {HERE: see}
        end, due = self.clock() + lasts, self._due(sights)
        while self.clock() < end:
            soon = min(*due.values(), self._reminded + MINUTE, end)
            self.clock.now = max(self.clock() + self.step, soon)
            if min(due.values()) <= self.clock():
                for vantage, one in sights.items():
                    self._sweep(vantage, one)
                due = self._due(sights)
            if self.clock() - self._reminded >= MINUTE:
                self._reminded = self.clock()
                self.services.incidents.remind()

    def _due(self, vantages: Iterable[str]) -> dict[str, datetime]:
        found = {each: self.services.schedule.next_due(each) for each in vantages}
        return {name: self.clock() + DAY if at is None else at for name, at in found.items()}

    def _sweep(self, vantage: str, see: See) -> None:
        self.services.beats.beat(vantage, "one", 1)
        while claims := self.services.schedule.claim(vantage, 500, lease=LEASE):
            done = [(each, see(each)) for each in claims]
            assert self.services.schedule.complete(done) == len(claims)
            self.looks += len(claims)

    def told(self) -> list[Notice]:
        """Everything that was put into the outbox, in order."""
        with self.services.database.reading() as connection:
            bodies = connection.scalars(select(outbox.c.body).order_by(outbox.c.id)).all()
        return [json.decode(each, type=Notice) for each in bodies]

    def events(self) -> list[str]:
        """The events of all that was told."""
        return [each.event for each in self.told()]

    def incidents(self) -> tuple[list[IncidentView], list[IncidentView]]:
        """Those that are open, and those that are over."""
        found = self.services.incidents
        return found.all("acme"), found.all("acme", resolved=True)


@pytest.fixture
def fleet(services, clock, intent) -> Fleet:
    """Nothing that is monitored so far, and a channel that wants to be told of everything."""
    hook = Webhook(url="https://localhost:1/ops", allow_private=True)
    new = NewChannel(name="ops", severity="info", settings=hook)
    services.channels.add("acme", new, intent)
    services.endpoints.ensure_vantage(HERE)
    return Fleet(services, clock)


@pytest.fixture
def monitored(services, intent) -> Callable[..., None]:
    """Pin a domain to the key `right` and a spare one, and have hosts of it looked at."""

    def one(pattern: str, *hosts: str) -> None:
        pins = [NewPin(sha256=text("right")), NewPin(sha256=text("spare"), backup=True)]
        services.domains.add("acme", NewDomain(pattern=pattern, pins=pins), intent)
        if hosts:
            change = MonitorChange(hosts=list(hosts))
            services.monitoring_settings.change("acme", pattern, change, intent)
        services.endpoints.sync("acme")

    return one


@pytest.fixture
def cdn(fleet, monitored) -> Fleet:
    """Five hundred endpoints of one CDN, that belong to five domains."""
    for pattern in CUSTOMERS:
        monitored(pattern, *(pattern.replace("*", str(number)) for number in range(100)))
    fleet.step = timedelta(seconds=40)
    fleet.pass_by(16 * MINUTE, healthy)
    assert fleet.looks >= 500
    assert fleet.told() == []
    return fleet


def healthy(_: Claimed) -> Look:
    """All is well."""
    return serving("right")


def renewed(claimed: Claimed) -> Look:
    """A certificate of its own for each host, by the issuer of before, whose key nobody pinned."""
    return serving(f"new {claimed.host}")


def check_opened_once(fleet: Fleet, kind: str) -> IncidentView:
    """Require one incident of 500 endpoints, that was opened once, and return it."""
    (incident,), over = fleet.incidents()
    assert (incident.kind, incident.count, over) == (kind, 500, [])
    told = fleet.told()
    assert [each.event for each in told].count("opened") == 1
    assert told[0].event == "opened"
    assert {each.incident for each in told} == {incident.number}
    return incident


def check_recovered_once(fleet: Fleet, least: timedelta, most: timedelta) -> None:
    """Require that the only incident is over, and that it was told once, with its duration."""
    open_ones, (incident,) = fleet.incidents()
    assert open_ones == []
    ends = [each for each in fleet.told() if each.event == "resolved"]
    assert len(ends) == 1
    assert fleet.told()[-1] == ends[0]
    lasted = (incident.resolved - ends[0].since).total_seconds()
    assert ends[0].duration == lasted
    assert least.total_seconds() <= lasted <= most.total_seconds()


def test_a_roll_out_over_a_whole_cdn_is_one_incident(cdn: Fleet, clock: FakeClock) -> None:
    began, order = clock(), {}

    def rolling(claimed: Claimed) -> Look:
        """One more host each seven seconds: all of them have it after an hour."""
        number = order.setdefault(claimed.host, len(order))
        is_new = clock() - began >= number * timedelta(seconds=7)
        return renewed(claimed) if is_new else healthy(claimed)

    cdn.pass_by(90 * MINUTE, rolling)
    check_opened_once(cdn, "pin_mismatch")
    assert len(cdn.told()) <= 4
    cdn.pass_by(30 * MINUTE, healthy)
    check_recovered_once(cdn, 85 * MINUTE, 120 * MINUTE)
    cdn.pass_by(HOUR, healthy)
    check_recovered_once(cdn, 85 * MINUTE, 120 * MINUTE)


@pytest.mark.parametrize("failure", ["timeout", "no_name_server"])
def test_an_outage_of_everything_is_told_once_and_is_over_once(cdn: Fleet, failure: str) -> None:
    cdn.pass_by(40 * MINUTE, lambda _: dead(failure))
    incident = check_opened_once(cdn, "unreachable")
    assert set(cdn.events()) <= {"opened", "grew"}
    assert len(cdn.told()) <= 2
    assert any("nothing at all answers from here" in each for each in incident.notice.lines)
    assert not any("pin add" in each.command for each in cdn.told())
    cdn.pass_by(30 * MINUTE, healthy)
    check_recovered_once(cdn, 20 * MINUTE, 60 * MINUTE)


def test_two_domains_that_have_nothing_in_common_are_two_incidents(fleet, monitored) -> None:
    monitored(API)
    monitored(PAY)
    fleet.pass_by(16 * MINUTE, healthy)
    issuers = {API: "one ca", PAY: "another ca"}
    fleet.pass_by(20 * MINUTE, lambda each: serving(f"new {each.host}", by=issuers[each.host]))
    open_ones, _ = fleet.incidents()
    assert sorted(each.endpoints for each in open_ones) == [[f"{API}:443"], [f"{PAY}:443"]]
    assert fleet.events() == ["opened", "opened"]
    assert {each.domain for each in fleet.told()} == {API, PAY}
    fleet.pass_by(20 * MINUTE, healthy)
    assert Counter(fleet.events()) == {"opened": 2, "resolved": 2}


@pytest.mark.parametrize("minutes", [1, 7, 20, 45])
def test_a_flap_over_a_day_floods_nobody(fleet, monitored, clock, minutes: int) -> None:
    monitored(API)
    fleet.pass_by(16 * MINUTE, healthy)
    fleet.step, began = MINUTE, clock()

    def flapping(claimed: Claimed) -> Look:
        is_good = (clock() - began) // timedelta(minutes=minutes) % 2
        return healthy(claimed) if is_good else renewed(claimed)

    fleet.pass_by(DAY, flapping)
    assert fleet.looks > DAY / timedelta(minutes=15)
    assert len(fleet.told()) <= 20


def test_a_good_look_at_one_address_silences_nothing_that_still_fires(fleet, monitored) -> None:
    monitored(API)
    good, bad = serving("right", A), serving("new", B)
    fleet.pass_by(16 * MINUTE, lambda _: serving("right", A, B))
    fleet.pass_by(20 * MINUTE, lambda _: serving("new", A, B))
    (incident,), _ = fleet.incidents()
    fleet.pass_by(5 * HOUR, lambda _: both(good, bad))
    (still,), over = fleet.incidents()
    assert (still.number, over) == (incident.number, [])
    assert "resolved" not in fleet.events()
    assert B in " ".join(still.notice.addresses)
    assert A not in " ".join(still.notice.addresses)
    fleet.pass_by(20 * MINUTE, lambda _: serving("right", A, B))
    check_recovered_once(fleet, 5 * HOUR, 6 * HOUR)


def test_an_answer_of_the_dns_without_the_address_that_fires_silences_nothing(
    fleet, monitored
) -> None:
    monitored(API)
    fleet.pass_by(16 * MINUTE, lambda _: serving("right", A, B))
    fleet.pass_by(20 * MINUTE, lambda _: both(serving("right", A), serving("new", B)))
    (incident,), _ = fleet.incidents()
    looks = fleet.looks
    fleet.pass_by(
        HOUR,
        lambda _: (
            serving("right", A)
            if fleet.looks == looks
            else both(serving("right", A), serving("new", B))
        ),
    )
    (still,), over = fleet.incidents()
    assert (still.number, over) == (incident.number, [])
    assert "resolved" not in fleet.events()


def test_an_interception_at_one_vantage_is_told_as_that(fleet, monitored, services) -> None:
    services.endpoints.ensure_vantage(AWAY)
    monitored(API)
    fleet.pass_by(16 * MINUTE, {HERE: healthy, AWAY: healthy})
    fleet.pass_by(HOUR, {HERE: healthy, AWAY: lambda _: serving("box", by="box ca")})
    open_ones, over = fleet.incidents()
    assert [each.kind for each in open_ones] == ["interception_suspected"]
    assert over == []
    told = fleet.told()
    assert {each.kind for each in told} == {"interception_suspected"}
    assert not any("pin add" in each.command for each in told)
    fleet.pass_by(20 * MINUTE, {HERE: healthy, AWAY: healthy})
    check_recovered_once(fleet, 40 * MINUTE, 80 * MINUTE)


def test_a_new_key_that_comes_to_all_vantages_is_no_interception(
    fleet, monitored, services
) -> None:
    services.endpoints.ensure_vantage(AWAY)
    monitored(API)
    fleet.pass_by(16 * MINUTE, {HERE: healthy, AWAY: healthy})
    fleet.pass_by(HOUR, {HERE: renewed, AWAY: renewed})
    open_ones, _ = fleet.incidents()
    assert [each.kind for each in open_ones] == ["pin_mismatch"]
