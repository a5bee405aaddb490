"""Somebody between one vantage and an API, who wants the mail that tells of him to pin his key.

The mail of a wrong key names the command that pins it. So before it is told, the other vantages
look as well: either they see that key, too, or it is told that somebody sits between.
"""

from __future__ import annotations

from datetime import timedelta

import pytest
from livepin_server.probing.looks import Look, Sight
from minted_sights import certificate, sight
from msgspec import structs

HOST = "api.example.com"
LEASE = timedelta(minutes=2)
VANTAGES = ("eu-west", "here")


class World:
    """Two vantages that look at one API, each of which sees the key of a number."""

    def __init__(self, services, clock, pin_text):
        self._services, self._clock, self._text = services, clock, pin_text
        self.keys = dict.fromkeys(VANTAGES, 1)
        self.told, self.looks = [], dict.fromkeys(VANTAGES, 0)
        for each in VANTAGES:
            services.endpoints.ensure_vantage(each)

    def go_on(self):
        """Go on to where it is the turn of eu-west."""
        due = self._services.schedule.next_due("eu-west") - self._clock()
        self._clock.advance(seconds=due.total_seconds() + 1)

    def run(self, seconds, *, looking=VANTAGES, step=1):
        for _ in range(0, seconds, step):
            self._clock.advance(seconds=step)
            for each in VANTAGES:
                self._services.beats.beat(each, each, 0)
            for each in looking:
                self._look(each)

    def _look(self, vantage):
        claims = self._services.schedule.claim(vantage, 10, lease=LEASE)
        self.looks[vantage] += len(claims)
        if not claims:
            return
        self._services.schedule.complete([(each, self._seen(vantage)) for each in claims])
        self.told += [
            (each.kind, each.notice.command)
            for each in self._services.incidents.all("acme")
            if each.kind != "at_risk"
        ]

    def _seen(self, vantage):
        key = self.keys[vantage]
        own = structs.replace(certificate(str(key)), sha256=self._text(key))
        seen = sight([own, certificate("ca")]).observation
        seen = structs.replace(seen, digest=f"{key:064x}")
        given = {"address": "192.0.2.1", "algorithm": "ecdsa", "engine": "verified"}
        return Look(id=0, sights=[Sight(observation=seen, **given)])


@pytest.fixture
def world(services, clock, pin_text, add_domain):
    add_domain(HOST, 1, 2)
    found = World(services, clock, pin_text)
    found.run(60, step=10)
    assert found.told == []
    return found


def test_a_key_that_one_vantage_sees_is_told_as_interception_from_the_first_word(world, clock):
    """The others look at once, though it is not their turn, and what they saw long ago counts."""
    clock.advance(minutes=16)
    world.run(1)
    looks = world.looks["here"]
    world.keys["eu-west"] = 666
    world.go_on()
    world.run(30)
    assert {kind for kind, _ in world.told} == {"interception_suspected"}
    assert not [command for _, command in world.told if "pin add" in command]
    assert 0 < world.looks["here"] - looks < 10


def test_a_key_that_all_vantages_see_is_told_in_seconds_with_the_command_that_pins_it(
    world, pin_text
):
    world.keys = dict.fromkeys(VANTAGES, 3)
    world.go_on()
    world.run(30)
    assert {*world.told} == {("pin_mismatch", f"livepin pin add {HOST} {pin_text(3)}")}


def test_while_no_other_vantage_looks_it_is_told_late_and_without_that_command(world):
    world.keys["eu-west"] = 666
    world.go_on()
    world.run(350, looking=["eu-west"], step=5)
    assert world.told == []
    world.run(20, looking=["eu-west"], step=5)
    assert {*world.told} == {("pin_mismatch", f"livepin domain check {HOST}")}
