"""The thread that looks between tokens: it is there while it is wanted, and no longer."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable

import pytest
from livepin.client import threads, watching
from livepin.client.watching import Watching
from livepin.pins import Pin
from livepin.testing import DeliverySimulator

NAME = "livepin-signals"


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "_SHORTEST", 0.001)
    monkeypatch.setattr(watching, "_LONGEST", 0.002)


@pytest.fixture(autouse=True)
def others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the threads of clients alone that other tests have left open."""
    monkeypatch.setattr(sys.modules[__name__], "_others", set(_named()))


def running() -> int:
    return len(set(_named()) - _others)


def _named() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name == NAME]


_others: set[threading.Thread] = set()


def counting(times: int) -> tuple[threading.Event, Callable[[], None]]:
    """Give an event that is set when a function was called so many times; it raises each time."""
    done, calls = threading.Event(), []

    def look() -> None:
        calls.append(1)
        if len(calls) >= times:
            done.set()
        raise RuntimeError("of a check")

    return done, look


def test_it_looks_at_once_and_again_whatever_happens(often: None) -> None:
    done, look = counting(3)
    found = Watching(look)
    found.start()
    found.start()
    assert done.wait(10)
    assert running() == 1
    found.stop()
    assert running() == 0


def test_a_pause_is_between_fifteen_and_forty_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    bounds = watching._SHORTEST, watching._LONGEST
    assert bounds == (15.0, 40.0)


def test_it_does_not_start_once_stopped() -> None:
    found = Watching(lambda: None)
    found.stop()
    found.start()
    assert running() == 0


def test_it_stops_from_within() -> None:
    over = threading.Event()
    found = Watching(lambda: (found.stop(), over.set()))
    found.start()
    assert over.wait(10)
    found.stop()  # waits for it to end
    assert running() == 0


def test_where_no_thread_starts_tokens_are_looked_at_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refused(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    found = Watching(lambda: None)
    with monkeypatch.context() as no_threads:
        no_threads.setattr(threads.Background, "start", refused)
        found.start()
    assert running() == 0
    found.start()
    assert running() == 1
    found.stop()


def test_a_client_starts_it_with_its_first_token_and_ends_it(often: None) -> None:
    simulator = DeliverySimulator()
    simulator.pin("api.example.com", Pin(b"\1" * 32), token=True)
    with simulator.client() as pins:
        assert running() == 0
        pins.token("api.example.com")
        assert running() == 1
    assert running() == 0
    with simulator.client(signals=False) as pins:
        pins.token("api.example.com")
        assert running() == 0
