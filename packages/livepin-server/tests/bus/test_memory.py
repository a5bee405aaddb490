"""The bus of one process: everybody hears everything, in order, and nobody spoils it."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from livepin_server.bus.memory import Announcement, MemoryBus


def news(version):
    return Announcement(account="acme", stream="main", root_version=1, version=version)


@pytest.fixture
def bus():
    return MemoryBus()


def test_every_subscriber_hears_every_announcement_in_order(bus):
    heard = [[], [], []]
    for each in heard:
        bus.subscribe(each.append)
    for version in range(1, 6):
        bus.announce(news(version))
    assert heard == [[news(version) for version in range(1, 6)]] * 3


def test_subscribers_are_told_in_the_order_of_their_subscription(bus):
    order = []
    for name in "abc":
        bus.subscribe(lambda _, name=name: order.append(name))
    bus.announce(news(1))
    assert order == ["a", "b", "c"]


def test_without_subscribers_nothing_happens(bus):
    bus.announce(news(1))


def test_who_has_unsubscribed_hears_nothing_more(bus):
    heard, other = [], []
    end = bus.subscribe(heard.append)
    bus.subscribe(other.append)
    bus.announce(news(1))
    end()
    end()  # again does no harm
    bus.announce(news(2))
    assert [each.version for each in heard] == [1]
    assert [each.version for each in other] == [1, 2]


def test_a_subscriber_that_raises_is_logged_and_the_others_hear(bus, caplog):
    heard = []

    def failing(_):
        raise RuntimeError("closed loop")

    bus.subscribe(failing)
    bus.subscribe(heard.append)
    bus.announce(news(7))
    assert heard == [news(7)]
    assert "closed loop" in caplog.text
    assert "version=7" in caplog.text


def test_a_subscriber_may_unsubscribe_while_it_is_told(bus):
    heard = []

    def once(announcement):
        heard.append(announcement)
        end()

    end = bus.subscribe(once)
    bus.announce(news(1))
    bus.announce(news(2))
    assert heard == [news(1)]


def test_a_subscriber_may_subscribe_another_while_it_is_told(bus):
    heard = []
    bus.subscribe(lambda _: bus.subscribe(heard.append))
    bus.announce(news(1))
    assert heard == []
    bus.announce(news(2))
    assert heard == [news(2)]


def test_a_slow_subscriber_holds_up_its_announcer_alone(bus):
    entered, go_on, heard = threading.Event(), threading.Event(), []

    def slow(announcement):
        if announcement.version == 1:
            entered.set()
            assert go_on.wait(30)

    bus.subscribe(slow)
    bus.subscribe(heard.append)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(bus.announce, news(1))
        assert entered.wait(30)
        bus.announce(news(2))  # from this thread, at once
        bus.subscribe(lambda _: None)()
        assert heard == [news(2)]
        go_on.set()
        first.result(30)
    assert heard == [news(2), news(1)]


def test_announcements_of_many_threads_all_arrive(bus):
    heard = []
    bus.subscribe(heard.append)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda version: bus.announce(news(version)), range(200)))
    assert sorted(each.version for each in heard) == list(range(200))
