"""Self-healing on its own: how long it waits, how often it fetches, whom it makes wait."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

import pytest
from livepin.client import healing as healing_module
from livepin.client.healing import Healing
from livepin.errors import PinMismatchError

HOST = "api.example.com"


class Pins:
    """Pins that are right, or become right after some fetches, or by themselves."""

    def __init__(self, right_after: float = float("inf")) -> None:
        self.changed = threading.Condition()
        self.fetches: list[float] = []
        self.right = False
        self._right_after = right_after
        self.overridden = False
        self.asked: list[float] = []
        self.healing = Healing(self._fetch, self.changed, ask=self._ask)

    def heal(self, leaf: str = "sha256/leaf", host: str = HOST) -> bool:
        return self.healing.heal(mismatch(leaf, host), lambda: self.right)

    def publish(self) -> None:
        with self.changed:
            self.right = True
            self.changed.notify_all()

    def _fetch(self, timeout: float) -> None:
        assert 0 < timeout <= healing_module.DEADLINE
        self.fetches.append(timeout)
        if len(self.fetches) >= self._right_after:
            self.publish()

    def _ask(self, timeout: float) -> None:
        assert 0 < timeout <= healing_module.DEADLINE
        self.asked.append(timeout)
        if self.overridden:
            self.publish()


def mismatch(leaf: str = "sha256/leaf", host: str = HOST) -> PinMismatchError:
    return PinMismatchError(
        "no pinned key", host=host, chain=(leaf,), expected=(), config_version=1, config_age=0
    )


def seconds(step: Callable[[], object]) -> float:
    start = time.monotonic()
    step()
    return time.monotonic() - start


@pytest.fixture
def timing(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Set the numbers of the module for one test."""

    def set_numbers(**numbers: float) -> None:
        for name, value in numbers.items():
            monkeypatch.setattr(healing_module, name, value)

    return set_numbers


@pytest.fixture(autouse=True)
def _quick(timing: Callable[..., None]) -> None:
    timing(DEADLINE=0.3, _PAUSE=0.02, _FIRST_BACKOFF=60.0)


def test_the_shipped_numbers_are_those_that_are_promised() -> None:
    import importlib.util

    spec = importlib.util.find_spec("livepin.client.healing")
    assert spec is not None
    assert spec.loader is not None
    fresh = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fresh)
    assert (fresh.DEADLINE, fresh._PAUSE, fresh._FIRST_BACKOFF) == (5.0, 1.0, 5.0)
    assert fresh._LOOK == 15.0
    assert (fresh._BURST, fresh._PER_SECOND, fresh._LONGEST_BACKOFF) == (20.0, 0.2, 300.0)


def test_nothing_is_fetched_where_the_chain_passes_already() -> None:
    pins = Pins()
    pins.right = True
    assert pins.heal()
    assert pins.fetches == []


def test_the_first_fetch_may_be_enough() -> None:
    pins = Pins(right_after=1)
    assert pins.heal()
    assert len(pins.fetches) == 1


def test_a_late_pin_is_fetched_again_until_it_is_there() -> None:
    pins = Pins(right_after=4)
    assert pins.heal()
    assert len(pins.fetches) == 4


def test_a_pin_that_arrives_otherwise_ends_the_wait(timing: Callable[..., None]) -> None:
    timing(DEADLINE=30.0, _PAUSE=60.0)
    pins = Pins()
    threading.Timer(0.05, pins.publish).start()
    assert seconds(lambda: pins.heal()) < 10
    assert len(pins.fetches) == 1


def test_a_chain_that_stays_wrong_is_refused_at_the_deadline() -> None:
    pins = Pins()
    took = seconds(lambda: pins.heal() and pytest.fail("nothing was published"))
    assert 0.3 <= took < 5
    assert 2 <= len(pins.fetches) <= 1 + 0.3 / (0.02 * 0.5)


def test_an_override_is_asked_for_where_the_newest_config_does_not_help() -> None:
    pins = Pins()
    pins.overridden = True
    assert pins.heal()
    assert (len(pins.fetches), len(pins.asked)) == (1, 1)


def test_no_override_is_asked_for_where_the_newest_config_helps() -> None:
    pins = Pins(right_after=1)
    assert pins.heal()
    assert pins.asked == []


def test_an_override_is_asked_for_once_while_a_handshake_waits() -> None:
    pins = Pins()
    assert not pins.heal()
    assert len(pins.fetches) > len(pins.asked) == 1


def test_an_override_is_looked_for_beside_a_chain_that_is_refused_at_once(
    timing: Callable[..., None],
) -> None:
    timing(_LOOK=0.0)
    pins = Pins()
    assert not pins.heal()
    pins.overridden = True
    assert not pins.heal()  # refused at once; the look is for the next one
    with pins.changed:
        assert pins.changed.wait_for(lambda: pins.right, timeout=10)
    assert pins.heal()
    assert len(pins.asked) == 2


def test_the_pause_lies_between_fetches_of_all_waiting_handshakes_together(
    timing: Callable[..., None],
) -> None:
    timing(DEADLINE=0.4, _PAUSE=0.25)
    pins = Pins()
    threads = [threading.Thread(target=pins.heal, args=(f"sha256/{n}",)) for n in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert 1 <= len(pins.fetches) <= 3


def test_a_refused_chain_is_not_waited_for_again_during_its_back_off() -> None:
    pins = Pins()
    assert not pins.heal()
    fetched = len(pins.fetches)
    assert seconds(lambda: pins.heal() and pytest.fail("nothing was published")) < 0.2
    assert len(pins.fetches) == fetched


def test_handshakes_that_wait_together_make_the_back_off_no_longer() -> None:
    pins = Pins()
    threads = [threading.Thread(target=pins.heal) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert pins.healing._blocked[HOST, "sha256/leaf"][1] == 60.0


def test_while_a_chain_is_refused_at_once_newer_pins_are_looked_for(
    timing: Callable[..., None],
) -> None:
    pins = Pins()
    assert not pins.heal()
    fetched = len(pins.fetches)
    timing(_LOOK=0.0)
    pins.healing._next_look = 0.0
    pins._right_after = fetched + 1
    with pins.changed:
        assert not pins.heal()  # not held up
        assert pins.changed.wait_for(lambda: pins.right, timeout=10)
    assert pins.heal()
    assert len(pins.fetches) == fetched + 1


def test_refused_connections_look_no_more_often_than_the_pause_and_the_cap(
    timing: Callable[..., None],
) -> None:
    timing(DEADLINE=0.0, _LOOK=60.0)
    pins = Pins()
    started: list[object] = []
    pins.healing._refresh = started.append
    for _ in range(10):
        assert not pins.heal()  # the first waits in vain, after it nobody looks for a while
    assert started == []
    pins.healing._next_look = 0.0
    for _ in range(10):
        assert not pins.heal()
    pins.healing._next_look, pins.healing._tokens, pins.healing._filled = 0.0, 0.0, math.inf
    assert not pins.heal()
    for thread in threading.enumerate():
        if thread.name == "livepin-look":
            thread.join(timeout=10)
    assert len(started) == 1


def test_a_process_without_room_for_threads_looks_another_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pins = Pins()
    assert not pins.heal()
    pins.healing._next_look = 0.0

    def no_room(_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", no_room)
    assert not pins.heal()


def test_a_back_off_does_not_hold_back_pins_that_are_there_meanwhile() -> None:
    pins = Pins()
    assert not pins.heal()
    pins.publish()
    assert pins.heal()


@pytest.mark.parametrize(
    ("leaf", "host"), [("sha256/other", HOST), ("sha256/leaf", "www.example.com")]
)
def test_an_attacker_does_not_use_up_the_attempt_of_another_chain_or_host(
    leaf: str, host: str
) -> None:
    pins = Pins()
    assert not pins.heal()
    fetched = len(pins.fetches)
    pins._right_after = fetched + 1
    assert pins.heal(leaf, host)


def test_the_back_off_doubles_up_to_its_longest(timing: Callable[..., None]) -> None:
    timing(DEADLINE=0.0, _FIRST_BACKOFF=5.0, _LONGEST_BACKOFF=12.0)
    pins = Pins()
    found = []
    for _ in range(4):
        pins.healing._blocked = {
            key: (0.0, backoff) for key, (_, backoff) in pins.healing._blocked.items()
        }
        assert not pins.heal()
        found.append(pins.healing._blocked[HOST, "sha256/leaf"][1])
    assert found == [5.0, 10.0, 12.0, 12.0]


def test_after_its_back_off_a_chain_is_tried_again_and_success_forgets_it(
    timing: Callable[..., None],
) -> None:
    timing(_FIRST_BACKOFF=0.0, _LONGEST_BACKOFF=0.0)
    pins = Pins()
    assert not pins.heal()
    pins._right_after = len(pins.fetches) + 1
    assert pins.heal()
    assert pins.healing._blocked == {}


def test_what_is_remembered_is_bounded(timing: Callable[..., None]) -> None:
    timing(DEADLINE=0.0, _MOST_REMEMBERED=3)
    pins = Pins()
    for n in range(10):
        assert not pins.heal(f"sha256/{n}")
    assert [leaf for _, leaf in pins.healing._blocked] == ["sha256/7", "sha256/8", "sha256/9"]


def test_all_hosts_together_fetch_no_more_than_the_cap(timing: Callable[..., None]) -> None:
    timing(DEADLINE=0.01, _PAUSE=0.0, _BURST=3.0, _PER_SECOND=0.0)
    pins = Pins()
    pins.healing._tokens = 3.0
    for n in range(10):
        assert not pins.heal(f"sha256/{n}")
    assert len(pins.fetches) == 3


def test_the_cap_fills_again_with_time(timing: Callable[..., None]) -> None:
    timing(_PAUSE=0.0, _BURST=1.0, _PER_SECOND=50.0, DEADLINE=30.0)
    pins = Pins(right_after=3)
    pins.healing._tokens = 0.0
    assert pins.heal()
    assert len(pins.fetches) == 3


def test_a_slow_fetch_holds_no_lock_that_another_host_needs() -> None:
    entered, release = threading.Event(), threading.Event()

    def fetch(_: float) -> None:
        entered.set()
        release.wait(timeout=10)

    healing = Healing(fetch, threading.Condition())
    thread = threading.Thread(target=healing.heal, args=(mismatch(), lambda: release.is_set()))
    thread.start()
    assert entered.wait(timeout=10)
    assert healing.heal(mismatch(host="www.example.com"), lambda: True)
    release.set()
    thread.join(timeout=10)
    assert not thread.is_alive()
