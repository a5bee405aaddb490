"""The running parts: endpoints follow what is published, and everything ends in order."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta

import pytest
from livepin.testing import FakeClock
from livepin_server.bus.memory import Announcement, MemoryBus, MonitorWanted
from livepin_server.errors import UnavailableError
from livepin_server.monitor.running import Monitor, jobs, notify, notifying_by

PATIENT = 30  # seconds, on a busy machine


class Room:
    """Endpoints, schedule and beats, that remember what they were asked."""

    def __init__(self):
        self.endpoints = self.schedule = self.beats = self
        self.synced, self.vantages, self.trouble = [], [], None
        self.claims = 0

    def sync(self, account=None):
        if self.trouble is not None:
            raise self.trouble
        self.synced.append(account)

    def ensure_vantage(self, vantage):
        self.vantages.append(vantage)
        if self.trouble is not None:
            raise self.trouble

    def claim(self, *_, **__):
        self.claims += 1
        return []

    def next_due(self, _):
        return None

    def beat(self, *_):
        pass


class Prober:
    def __init__(self):
        self.closed = threading.Event()

    def close(self):
        self.closed.set()


@pytest.fixture
def room():
    return Room()


@pytest.fixture
def prober():
    return Prober()


@pytest.fixture
def bus():
    return MemoryBus()


@pytest.fixture
def monitored(room, prober, bus):
    """Run something beside a monitor."""

    def one(story):
        async def both():
            monitor = Monitor(room, prober, bus, clock=FakeClock(), vantage="eu-west")
            task = asyncio.create_task(monitor.run())
            try:
                await story(monitor)
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            return monitor

        return asyncio.run(both())

    return one


async def happens(condition):
    async with asyncio.timeout(PATIENT):
        while not condition():
            await asyncio.sleep(0.005)


def news(account="acme"):
    return Announcement(account=account, stream="main", root_version=1, version=2)


def test_endpoints_follow_what_is_announced(monitored, room, bus):
    async def story(_):
        await happens(lambda: room.claims)
        assert room.vantages == ["eu-west"]
        bus.announce(news())
        await happens(lambda: room.synced == ["acme"])
        bus.announce(MonitorWanted(account="other"))
        await happens(lambda: room.synced == ["acme", "other"])

    monitored(story)


def test_what_was_not_heard_is_brought_in_step_once_there_is_hearing_again(monitored, room):
    async def story(monitor):
        await happens(lambda: room.claims)
        monitor.in_step(False)
        monitor.in_step(True)
        await happens(lambda: room.vantages == ["eu-west", "eu-west"])

    monitored(story)


def test_a_database_that_is_away_at_the_start_ends_nothing(monitored, room, bus, caplog):
    room.trouble = UnavailableError("the database is away")

    async def story(_):
        await happens(lambda: room.claims)
        room.trouble = None
        bus.announce(news())
        await happens(lambda: room.synced == ["acme"])

    monitored(story)
    assert "is not in step; it is tried again" in caplog.text


def test_the_end_closes_the_prober_and_hears_nothing_more(monitored, room, prober, bus):
    async def story(_):
        await happens(lambda: room.claims)

    monitor = monitored(story)
    assert prober.closed.is_set()
    assert bus._subscribers == []
    bus.announce(news())
    monitor.in_step(True)
    assert room.synced == []
    assert not [each for each in threading.enumerate() if each.name == "livepin-sweeping"]


def test_a_monitor_that_ends_before_it_began_closes_its_prober(room, prober, bus):
    begun = threading.Event()
    room.ensure_vantage = lambda _: begun.wait(0.2)

    async def story():
        task = asyncio.create_task(Monitor(room, prober, bus, clock=FakeClock()).run())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(story())
    assert prober.closed.is_set()
    assert room.claims == 0


def test_notices_are_told_until_the_end_and_what_is_wanted_wakes_who_tells(services, clock, bus):
    async def story():
        notifying = notifying_by(services.outbox, services.channels, None, clock=clock)
        woken = []
        wake = notifying.wake
        notifying.wake = lambda: (woken.append(1), wake())
        task = asyncio.create_task(notify(notifying, bus))
        await asyncio.sleep(0)
        bus.announce(MonitorWanted(account="acme"))
        await happens(lambda: woken)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        before = len(woken)
        bus.announce(MonitorWanted(account="acme"))
        assert len(woken) == before

    asyncio.run(story())


def test_the_jobs_do_what_hangs_on_time(services, clock):
    found = {each.name: each for each in jobs(services, clock=clock)}
    assert set(found) == {"remind", "silence", "monitor-history"}
    services.beats.beat("here", "killed", 1)
    clock.advance(days=8)
    services.beats.beat("here", "one", 1)
    for each in found.values():
        each.run()
    assert [each.worker for each in services.beats.all()] == ["one"]
    assert found["monitor-history"].first <= timedelta(hours=1).total_seconds()
    assert found["monitor-history"].seconds == timedelta(days=1).total_seconds()
