"""The pin check on its own: which chain may speak for which host, by which config and clock."""

from __future__ import annotations

import datetime as dt
import logging
import time
from collections.abc import Sequence
from typing import Any

import pytest
from livepin.client.judge import ConfigJudge, DeliveryJudge, Unlisted
from livepin.documents import Domain, Mode, Stale
from livepin.errors import PinMismatchError, StaleConfigError, UnlistedHostError
from livepin.pins import Pin, PinSet
from livepin.testing import DeliverySimulator
from livepin.trust import TrustedState

HOST = "api.example.com"
LEAF, BETWEEN, ROOT, OTHER = (bytes([n]) * 32 for n in range(1, 5))


def judge_of(simulator: DeliverySimulator, unlisted: Unlisted = "system") -> ConfigJudge:
    state = TrustedState.from_bootstrap(simulator.bootstrap())
    return ConfigJudge(lambda: state, clock=simulator.clock, unlisted=unlisted)


def check(judge: ConfigJudge | DeliveryJudge, host: str = HOST) -> PinMismatchError | None:
    return judge.check(host, LEAF, lambda: (LEAF, BETWEEN, ROOT))


def never() -> Sequence[bytes]:
    raise AssertionError("the chain is looked at only where the leaf does not decide")


@pytest.mark.parametrize("key", [LEAF, BETWEEN, ROOT])
def test_each_key_of_the_chain_may_be_pinned(simulator: DeliverySimulator, key: bytes) -> None:
    simulator.pin(HOST, Pin(OTHER), Pin(key))
    assert check(judge_of(simulator)) is None


def test_the_chain_is_not_looked_at_where_the_leaf_decides(simulator: DeliverySimulator) -> None:
    simulator.pin(HOST, Pin(LEAF))
    assert judge_of(simulator).check(HOST, LEAF, never) is None


@pytest.mark.parametrize(
    "pins",
    [(Pin(OTHER),), (Pin(OTHER), Pin(None)), (Pin(bytes(32)),)],
    ids=["other", "unknown", "0"],
)
def test_a_chain_without_a_pinned_key_is_refused(
    simulator: DeliverySimulator, pins: tuple[Pin, ...]
) -> None:
    simulator.pin(HOST, *pins)
    with pytest.raises(PinMismatchError):
        check(judge_of(simulator))


def test_report_mode_returns_the_mismatch_and_off_mode_nothing(
    simulator: DeliverySimulator,
) -> None:
    simulator.pin(HOST, Pin(OTHER), mode=Mode.REPORT)
    error = check(judge_of(simulator))
    assert error is not None
    assert error.expected == (str(Pin(OTHER)),)
    simulator.pin(HOST, Pin(LEAF), mode=Mode.REPORT)
    assert check(judge_of(simulator)) is None
    simulator.pin(HOST, Pin(OTHER), mode=Mode.OFF)
    assert judge_of(simulator).check(HOST, LEAF, never) is None


HOUR = dt.timedelta(hours=1)


@pytest.mark.parametrize(
    ("start", "end", "passes"),
    [
        (-HOUR, HOUR, True),
        (dt.timedelta(0), HOUR, True),
        (None, dt.timedelta(0), False),
        (HOUR, None, False),
        (None, -HOUR, False),
    ],
)
def test_a_pin_counts_within_its_time(
    simulator: DeliverySimulator,
    start: dt.timedelta | None,
    end: dt.timedelta | None,
    passes: bool,
) -> None:
    now = simulator.clock()
    limits = [None if each is None else now + each for each in (start, end)]
    simulator.pin(HOST, Pin(LEAF, *limits), Pin(OTHER, None, now + HOUR))
    judge = judge_of(simulator)
    if passes:
        assert check(judge) is None
    else:
        with pytest.raises(PinMismatchError) as caught:
            check(judge)
        assert caught.value.expected == (str(Pin(OTHER)),)


@pytest.mark.parametrize("level", ["leaf", "chain"])
def test_a_clock_that_is_set_back_does_not_bring_an_ended_pin_back(
    simulator: DeliverySimulator, level: str
) -> None:
    key = LEAF if level == "leaf" else ROOT
    simulator.pin(HOST, Pin(key, None, simulator.clock()), Pin(OTHER))
    judge = judge_of(simulator)
    simulator.clock.advance(days=-400)  # type: ignore[attr-defined]
    with pytest.raises(PinMismatchError):
        check(judge)


def test_where_no_pin_is_in_force_nothing_passes(simulator: DeliverySimulator) -> None:
    simulator.pin(HOST, Pin(LEAF, None, simulator.clock() + HOUR))
    judge = judge_of(simulator)
    assert check(judge) is None
    simulator.clock.advance(hours=1)  # type: ignore[attr-defined]
    with pytest.raises(PinMismatchError, match="no pin in force"):
        check(judge)


@pytest.mark.parametrize(
    ("passed", "words"),
    [
        ({"seconds": 30}, "30 s ago"),
        ({"seconds": 119}, "119 s ago"),
        ({"minutes": 3}, "3 min ago"),
        ({"hours": 47}, "47 h ago"),
        ({"days": 3}, "3 d ago"),
        ({"days": -3}, "-3 d ago"),
    ],
)
def test_a_mismatch_says_how_old_the_config_is(
    simulator: DeliverySimulator, passed: dict[str, float], words: str
) -> None:
    simulator.pin(HOST, Pin(OTHER))
    judge = judge_of(simulator)
    simulator.clock.advance(**passed)  # type: ignore[attr-defined]
    with pytest.raises(PinMismatchError) as caught:
        check(judge)
    assert f"config version {simulator.version}, issued {words}" in str(caught.value)
    assert caught.value.config_age == dt.timedelta(**passed).total_seconds()


STALE_AFTER = dt.timedelta(days=14)


@pytest.mark.parametrize("mode", [Mode.ENFORCE, Mode.REPORT])
def test_a_domain_that_refuses_stale_pins_does_so_after_the_grace(
    simulator: DeliverySimulator, mode: Mode
) -> None:
    simulator.pin(HOST, Pin(LEAF), stale=Stale.REFUSE, mode=mode)
    judge, start = judge_of(simulator), simulator.clock()
    grace = TrustedState.from_bootstrap(simulator.bootstrap()).config.stale_grace
    clock: Any = simulator.clock
    for moment, refused in [
        (start + STALE_AFTER + grace - dt.timedelta(seconds=1), False),
        (start + STALE_AFTER + grace, True),
        (start + 10 * STALE_AFTER + grace, True),
    ]:
        clock.now = moment
        if not refused:
            assert check(judge) is None
            continue
        with pytest.raises(StaleConfigError) as caught:
            check(judge)
        assert caught.value.host == HOST
        assert f"config version {simulator.version} expired on 2026-12-07" in str(caught.value)
        assert "needs a connection to the delivery service" in str(caught.value)


@pytest.mark.parametrize("settings", [{"stale": Stale.ENFORCE}, {"mode": Mode.OFF}])
def test_other_domains_are_judged_on_when_stale(
    simulator: DeliverySimulator, settings: dict[str, Any]
) -> None:
    simulator.pin(HOST, Pin(LEAF), **({"stale": Stale.REFUSE} | settings))
    judge = judge_of(simulator)
    simulator.clock.advance(days=1000)  # type: ignore[attr-defined]
    assert check(judge) is None


# -- hosts that no domain covers ---------------------------------------------------------------


def test_an_unlisted_host_is_warned_about_once_with_the_nearest_name(
    simulator: DeliverySimulator, caplog: pytest.LogCaptureFixture
) -> None:
    simulator.pin(HOST, Pin(LEAF))
    judge = judge_of(simulator)
    with caplog.at_level(logging.WARNING, "livepin"):
        for _ in range(3):
            assert judge.check("api.exmaple.com", OTHER, never) is None
        judge.check("elsewhere.net", OTHER, never)
        judge.check(HOST, LEAF, never)
    near, far = (record.getMessage() for record in caplog.records)
    assert near == (
        "api.exmaple.com is not pinned: no domain of the config covers it "
        "(did you mean api.example.com?)"
    )
    assert "livepin domain add elsewhere.net" in far
    assert judge.unlisted_hosts == ("api.exmaple.com", "elsewhere.net")


def test_the_nearest_name_is_looked_for_once(simulator: DeliverySimulator) -> None:
    """Each look compares with all names of a config: milliseconds, on an event loop too."""
    pins = PinSet((Pin(LEAF),))
    simulator.publish(
        pin_sets={"api": pins},
        domains=tuple(
            Domain(pattern=f"api{n}.service.example.com", pin_set="api", pins=pins)
            for n in range(2000)
        ),
    )
    judge = judge_of(simulator)
    start = time.thread_time()
    check(judge, "telemetry.service.example.com")
    first = time.thread_time() - start
    for _ in range(50):
        check(judge, "telemetry.service.example.com")
    assert time.thread_time() - start < 10 * first


def test_an_unlisted_host_is_refused_where_that_is_wanted(simulator: DeliverySimulator) -> None:
    simulator.pin(HOST, Pin(LEAF))
    judge = judge_of(simulator, "refuse")
    with pytest.raises(UnlistedHostError, match=r"did you mean api\.example\.com") as caught:
        judge.check("api.exmaple.com", LEAF, never)
    assert caught.value.host == "api.exmaple.com"
    with pytest.raises(UnlistedHostError, match=r"livepin domain add elsewhere\.net"):
        judge.check("elsewhere.net", LEAF, never)
    assert check(judge) is None


def test_a_crawler_does_not_fill_the_memory(simulator: DeliverySimulator) -> None:
    judge = judge_of(simulator)
    for n in range(1100):
        judge.check(f"host-{n}.example", LEAF, never)
    assert len(judge.unlisted_hosts) == 1024


# -- delivery hosts ----------------------------------------------------------------------------


@pytest.mark.parametrize("key", [LEAF, ROOT])
def test_delivery_hosts_are_judged_by_the_delivery_pins(
    simulator: DeliverySimulator, key: bytes
) -> None:
    assert check(delivery_judge(simulator, Pin(key)), "pins.example.com") is None


def test_delivery_pins_are_for_delivery_hosts_only(simulator: DeliverySimulator) -> None:
    simulator.pin(HOST, Pin(LEAF))
    with pytest.raises(UnlistedHostError, match="is not a delivery host"):
        check(delivery_judge(simulator, Pin(LEAF)))


def test_the_pins_of_a_domain_do_not_count_for_delivery(simulator: DeliverySimulator) -> None:
    simulator.pin("pins.example.com", Pin(LEAF))
    with pytest.raises(PinMismatchError) as caught:
        check(delivery_judge(simulator, Pin(OTHER)), "pins.example.com")
    assert caught.value.expected == (str(Pin(OTHER)),)


def delivery_judge(simulator: DeliverySimulator, *pins: Pin) -> DeliveryJudge:
    simulator.delivery_pins = pins
    simulator.publish()
    state = TrustedState.from_bootstrap(simulator.bootstrap())
    return DeliveryJudge(lambda: state, frozenset({"pins.example.com"}), clock=simulator.clock)
