"""Sweeping: what is due is looked at and kept, whatever is slow, fails, or is stopped."""

from __future__ import annotations

import logging
import threading
import time
from datetime import timedelta

import pytest
from livepin.testing import FakeClock
from livepin_server.errors import UnavailableError
from livepin_server.monitor.sweeping import LEASE, MOST, PATIENCE, Sweeping
from livepin_server.probing.looks import Known, Look
from livepin_server.services.monitoring.model import Claimed, Held

PATIENT = 30  # seconds, on a busy machine


class Due:
    """Rows that are due, given out once, as `Schedule` does; and what became of them."""

    def __init__(self, count, clock):
        self.waiting = list(range(count))
        self.clock = clock
        self.kept, self.given_back, self.claims = [], [], []
        self.trouble, self.rounds = None, 0
        self.asked = threading.Event()
        self.next = None

    @property
    def seen(self):
        return [endpoint for some in self.kept for endpoint in some]

    def claim(self, vantage, most, *, lease):
        self.rounds += 1
        if self.trouble is not None:
            raise self.trouble
        self.claims.append((vantage, most, lease))
        some, self.waiting = self.waiting[:most], self.waiting[most:]
        return [
            Claimed(
                endpoint=100 + each, account="acme", host=f"host-{each}.example.com", port=443,
                connect="127.0.0.1:8443", ca="pem", every=900, vantage=vantage, fence=1,
                held=Held(), known=[Known(address="127.0.0.1", algorithm="rsa", digest="d")],
            )
            for each in some
        ]  # fmt: skip

    def complete(self, done):
        self.kept.append([claimed.endpoint for claimed, _ in done])
        for claimed, look in done:
            assert look.error == claimed.host  # each look with its own claim
        return len(done)

    def give_back(self, claims):
        self.given_back += [each.endpoint for each in claims]

    def next_due(self, _):
        self.asked.set()
        return self.next


class Prober:
    """Answers at once; what is held waits until it is freed, as slow servers do."""

    def __init__(self):
        self.questions, self.held, self.deaf = [], set(), set()
        self.trouble = None
        self.free = threading.Event()

    def look(self, questions, *, seconds):
        assert seconds == PATIENCE
        self.questions += questions
        if self.trouble is not None:
            raise self.trouble
        slow = [each for each in questions if each.host in self.held]
        for each in questions:
            if each.host not in self.held | self.deaf:
                yield Look(id=each.id, error=each.host)
        for each in slow:
            assert self.free.wait(PATIENT)
            yield Look(id=each.id, error=each.host)

    def close(self):
        self.free.set()


class Beats:
    def __init__(self):
        self.all = []

    def beat(self, vantage, worker, looks):
        self.all.append((vantage, worker, looks))


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def due(clock):
    return Due(3, clock)


@pytest.fixture
def prober():
    found = Prober()
    yield found
    found.close()


@pytest.fixture
def beats():
    return Beats()


@pytest.fixture
def sweeping(due, prober, beats, clock):
    return Sweeping(
        due, beats, prober, vantage="eu-west", worker="w", clock=clock, again=0.01, idle=0.1
    )


@pytest.fixture
def running(sweeping):
    """Give a function that starts the loop; the test's end stops it."""
    threads = []

    def start():
        threads.append(threading.Thread(target=sweeping.run))
        threads[0].start()
        return threads[0]

    yield start
    sweeping.stop()
    for each in threads:
        each.join(PATIENT)
        assert not each.is_alive()


def test_a_batch_is_claimed_looked_at_and_kept(sweeping, due, prober):
    assert sweeping.once() == 3
    assert due.claims == [("eu-west", MOST, LEASE)]
    assert sorted(due.seen) == [100, 101, 102]
    assert due.given_back == []
    first = prober.questions[0]
    assert (first.host, first.port) == ("host-0.example.com", 443)
    assert (first.connect, first.ca) == ("127.0.0.1:8443", "pem")
    assert first.known == [Known(address="127.0.0.1", algorithm="rsa", digest="d")]


def test_nothing_is_asked_where_nothing_is_due(sweeping, due, prober):
    due.waiting = []
    assert sweeping.once() == 0
    assert prober.questions == []


def test_a_slow_endpoint_holds_no_other(sweeping, due, prober, running, until):
    prober.held = {"host-1.example.com"}
    running()
    until(lambda: sorted(due.seen) == [100, 102])
    prober.free.set()
    until(lambda: sorted(due.seen) == [100, 101, 102])


def test_many_looks_are_kept_some_at_a_time(sweeping, due):
    due.waiting = list(range(250))
    assert sweeping.once() == 250
    assert max(map(len, due.kept)) == 100
    assert len(due.kept) < 30


def test_stopping_gives_back_what_was_not_seen(sweeping, due, prober, running, until):
    prober.held = {"host-1.example.com"}
    thread = running()
    until(lambda: len(due.seen) == 2)
    sweeping.stop()
    thread.join(PATIENT)
    assert due.given_back == [101]
    assert not prober.free.is_set()  # it did not wait for it


def test_what_cannot_be_given_back_waits_for_its_lease(
    sweeping, due, prober, running, until, caplog
):
    def refuse(_):
        raise UnavailableError("the database is away")

    due.give_back = refuse
    prober.held = {"host-1.example.com"}
    thread = running()
    until(lambda: len(due.seen) == 2)
    sweeping.stop()
    thread.join(PATIENT)
    assert "1 endpoints are due again only after the lease" in caplog.text


def test_a_database_that_is_away_ends_nothing_and_is_logged_once(
    due, running, until, caplog, sweeping
):
    caplog.set_level(logging.INFO)
    due.trouble = UnavailableError("the database is away")
    running()
    until(lambda: due.rounds > 3)
    due.trouble = None
    until(lambda: len(due.seen) == 3)
    until(lambda: "looked at again" in caplog.text)
    assert caplog.text.count("what is due from eu-west cannot be looked at") == 1


def test_what_cannot_be_kept_does_not_hold_the_others_of_the_batch(sweeping, due):
    due.waiting = list(range(250))
    keep, calls = due.complete, []

    def complete(done):
        calls.append(len(done))
        if len(calls) == 1:
            raise UnavailableError("the database is away")
        return keep(done)

    due.complete = complete
    with pytest.raises(UnavailableError, match="the database is away"):
        sweeping.once()
    assert sum(calls) == 250
    assert len(due.seen) == 250 - calls[0]
    assert due.given_back == []  # it was looked at; it is due again after the lease


def test_a_prober_that_fails_ends_nothing(sweeping, due, prober, caplog):
    prober.trouble = RuntimeError("no child")
    with pytest.raises(RuntimeError, match="3 endpoints were not looked at"):
        sweeping.once()
    assert sorted(due.given_back) == [100, 101, 102]
    assert "the prober failed" in caplog.text


def test_what_there_was_no_time_for_is_given_back_and_comes_first_next(
    sweeping, due, prober, caplog
):
    prober.deaf = {"host-2.example.com"}
    for _ in range(2):
        due.waiting = [0, 1, 2]
        assert sweeping.once() == 2
    assert due.given_back == [102, 102]
    assert [each.host[:6] for each in prober.questions[3:]] == ["host-2", "host-0", "host-1"]
    assert caplog.text.count("1 of 3 endpoints wait for the next batch") == 1


def test_an_answer_that_nobody_asked_for_is_dropped(sweeping, due, prober):
    look = prober.look

    def more(questions, *, seconds):
        yield Look(id=77, error="a stranger")
        found = list(look(questions, seconds=seconds))
        yield from (*found, found[0])

    prober.look = more
    assert sweeping.once() == 3
    assert sorted(due.seen) == [100, 101, 102]


def test_it_sleeps_until_something_is_due(sweeping, due, running, until, clock):
    due.waiting = []
    due.next = clock() + timedelta(hours=1)
    running()
    until(due.asked.is_set)
    due.waiting = [7]
    sweeping.wake()
    until(lambda: due.kept == [[107]])


@pytest.fixture
def gathering(due, prober, beats, clock):
    """Give a function that runs the loop with a pause after small batches, and more due after one.

    It returns how long the next batch was waited for.
    """

    def run(gather):
        complete, claim, moments = due.complete, due.claim, []

        def completing(done):
            kept = complete(done)
            if not due.waiting and not moments:
                due.waiting = [500]
                moments.append(time.monotonic())
            return kept

        def claiming(vantage, most, *, lease):
            if moments:
                moments.append(time.monotonic())
                sweeping.stop()
            return claim(vantage, most, lease=lease)

        due.complete, due.claim = completing, claiming
        sweeping = Sweeping(
            due, beats, prober, vantage="here", worker="w", clock=clock, idle=PATIENT, gather=gather
        )
        thread = threading.Thread(target=sweeping.run)
        thread.start()
        thread.join(PATIENT)
        sweeping.stop()
        return moments[1] - moments[0]

    return run


def test_after_a_small_batch_others_are_waited_for(gathering):
    assert gathering(0.2) >= 0.2


def test_after_a_large_batch_nothing_is_waited_for(gathering, due):
    due.waiting = list(range(101))
    assert gathering(3600) < PATIENT


def test_what_another_process_makes_due_is_found_without_a_word(sweeping, due, running, until):
    due.waiting = []
    running()
    until(due.asked.is_set)
    due.waiting = [7]
    until(lambda: due.kept == [[107]])


def test_it_is_not_busy_while_nothing_is_due(sweeping, due, running, until):
    due.waiting = []
    running()
    until(lambda: due.rounds > 1)
    before = due.rounds
    assert before < 20


def test_a_worker_beats_while_it_looks_and_while_it_waits(
    sweeping, due, beats, clock, running, until
):
    running()
    until(lambda: due.asked.is_set())
    assert beats.all[0] == ("eu-west", "w", 0)
    clock.advance(seconds=31)
    sweeping.wake()
    until(lambda: len(beats.all) > 1)
    assert beats.all[-1] == ("eu-west", "w", 3)


def test_it_beats_although_the_clock_was_set_back(sweeping, due, beats, clock):
    sweeping.once()
    clock.advance(hours=-1)
    due.waiting = [1]
    sweeping.once()
    assert len(beats.all) == 2


def test_a_lease_is_longer_than_a_batch_may_take(due, prober, beats, clock):
    with pytest.raises(ValueError, match="longer than a batch"):
        Sweeping(
            due, beats, prober, vantage="here", worker="w", clock=clock,
            lease=timedelta(seconds=PATIENCE),
        )  # fmt: skip
