"""Overrides of one installation: when they are asked for, by whom, and what is made of them."""

from __future__ import annotations

import datetime as dt
import logging
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from livepin.client import Answer, Client, FileStore, Request
from livepin.client import healing as healing_module
from livepin.documents import Mode
from livepin.errors import FetchError, PinMismatchError, VerificationError
from livepin.jose import PrivateKey
from livepin.pins import Pin
from livepin.testing import DeliverySimulator

HOST, OTHER = "api.example.com", "other.example.com"
PIN, PROXY = Pin(b"\1" * 32), Pin(b"\2" * 32)
DELIVERY, COPY, SECOND = (
    "https://pins.example.com",
    "http://copy.example.net",
    "http://second.example.net",
)


class Network:
    """What lies between an app and where documents are: it notes what is asked for, and blocks."""

    def __init__(self, simulator: DeliverySimulator) -> None:
        self.simulator = simulator
        self.asked: list[Request] = []
        self.blocked: tuple[str, ...] = ()
        self.older: tuple[str, ...] = ()  # copies from before there were overrides

    def fetch(self, request: Request) -> Answer:
        self.asked.append(request)
        if request.url.startswith(self.blocked):
            raise FetchError(f"{request.url}: no network")
        if request.url.startswith(self.older) and "/override/" in request.url:
            return Answer(status=404)
        return self.simulator.fetch(request)

    @property
    def overrides(self) -> list[str]:
        """Where an override was asked for, and whose."""
        found = [each.url for each in self.asked if "/override/" in each.url]
        self.asked.clear()
        return found


@pytest.fixture
def simulator() -> DeliverySimulator:
    found = DeliverySimulator(urls=(DELIVERY,))
    found.pin(OTHER, PIN)
    found.pin(HOST, PIN)
    return found


@pytest.fixture
def network(simulator: DeliverySimulator) -> Network:
    return Network(simulator)


@pytest.fixture
def pins(simulator: DeliverySimulator, network: Network) -> Iterator[Client]:
    with simulator.client(fetcher=network) as found:
        yield found


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch) -> Callable[..., bool]:
    """Tell whether a chain stays refused, after a shorter wait than in an app."""

    def heal(pins: Client, host: str = HOST) -> bool:
        monkeypatch.setattr(healing_module, "DEADLINE", 1.0)
        return not pins.heal(mismatch(host))

    return heal


def mismatch(host: str = HOST) -> PinMismatchError:
    return PinMismatchError(
        "no pinned key", host=host, chain=(str(PROXY),), expected=(), config_version=1, config_age=0
    )


def url(base: str, pins: Client) -> str:
    return f"{base}/v1/acme/override/{pins.installation_thumbprint}"


def use(pins: Client) -> None:
    """Want a connection, without making one."""
    pins.context().wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname=HOST)


def eventually(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


def in_force(pins: Client) -> dict[str, Mode]:
    found = pins.status().override
    return {} if found is None else dict(found.modes)


# -- on a mismatch -----------------------------------------------------------------------------


def test_a_mismatch_brings_the_override(
    simulator: DeliverySimulator, network: Network, pins: Client, refused: Callable[..., bool]
) -> None:
    simulator.override(pins.installation_thumbprint, HOST, mode=Mode.OFF)
    assert pins.heal(mismatch())
    assert [each.url for each in network.asked] == [
        f"{DELIVERY}/v1/acme/config/main",
        url(DELIVERY, pins),
    ]
    assert network.asked[1].headers["Cache-Control"] == "no-cache"
    assert in_force(pins) == {HOST: Mode.OFF}
    assert refused(pins, OTHER)


def test_an_override_may_hold_pins_of_its_own(simulator: DeliverySimulator, pins: Client) -> None:
    simulator.override(pins.installation_thumbprint, HOST, PROXY)
    assert pins.heal(mismatch())
    assert in_force(pins) == {HOST: Mode.ENFORCE}


def test_who_has_no_key_asks_for_no_override_and_makes_none(
    simulator: DeliverySimulator, network: Network, tmp_path: Path, refused: Callable[..., bool]
) -> None:
    with simulator.client(fetcher=network, store=tmp_path / "state") as pins:
        assert refused(pins)
        assert network.overrides == []
        assert pins.status().installation_id is None
    assert not (tmp_path / "state.key").exists()


def test_a_key_of_before_is_enough(
    simulator: DeliverySimulator, network: Network, tmp_path: Path
) -> None:
    with simulator.client(store=tmp_path / "state") as pins:
        simulator.override(pins.installation_thumbprint, HOST, mode=Mode.OFF)
    with simulator.client(fetcher=network, store=tmp_path / "state") as pins:
        assert pins.heal(mismatch())
        assert network.overrides == [url(DELIVERY, pins)]


def test_without_a_mismatch_nobody_asks(
    simulator: DeliverySimulator, network: Network, pins: Client
) -> None:
    simulator.override(pins.installation_thumbprint, HOST, mode=Mode.OFF)
    pins.refresh()
    use(pins)
    eventually(lambda: len(network.asked) == 2)
    assert network.overrides == []


# -- where it is asked for ---------------------------------------------------------------------


def test_where_delivery_fails_recovery_urls_are_asked(
    simulator: DeliverySimulator, network: Network
) -> None:
    simulator.recovery_urls = (COPY,)
    simulator.publish()
    network.blocked = (DELIVERY,)
    with simulator.client(fetcher=network) as pins:
        simulator.override(pins.installation_thumbprint, HOST, mode=Mode.OFF)
        assert pins.heal(mismatch())
        assert network.overrides == [url(DELIVERY, pins), url(COPY, pins)]


def test_a_copy_that_is_older_does_not_hide_one(
    simulator: DeliverySimulator, network: Network
) -> None:
    simulator.recovery_urls = (COPY, SECOND)
    simulator.publish()
    network.blocked, network.older = (DELIVERY,), (COPY,)
    with simulator.client(fetcher=network) as pins:
        simulator.override(pins.installation_thumbprint, HOST, mode=Mode.OFF)
        assert pins.heal(mismatch())


def test_that_there_is_none_is_taken_from_the_service_alone(
    simulator: DeliverySimulator, network: Network, refused: Callable[..., bool]
) -> None:
    simulator.recovery_urls = (COPY,)
    simulator.publish()
    with simulator.client(fetcher=network) as pins:
        whose = url(DELIVERY, pins)
        assert refused(pins)
        assert network.overrides == [whose]
        assert pins.status().override_problem is None


def test_the_roots_that_it_names_are_fetched_first(
    simulator: DeliverySimulator, network: Network, pins: Client
) -> None:
    """The config under the new root is not there yet."""
    simulator.keys["override"] = PrivateKey.generate()
    simulator.publish_root()
    simulator.override(pins.installation_thumbprint, HOST, mode=Mode.OFF)
    assert pins.heal(mismatch())
    assert network.asked[-1].url == f"{DELIVERY}/v1/acme/root/2"
    assert (pins.status().root_version, in_force(pins)) == (2, {HOST: Mode.OFF})


# -- what is taken -----------------------------------------------------------------------------


def test_one_that_a_rule_refuses_changes_nothing_and_is_told_once(
    simulator: DeliverySimulator, pins: Client, caplog: pytest.LogCaptureFixture
) -> None:
    simulator.override(pins.installation_thumbprint, HOST, mode=Mode.OFF)
    assert pins.heal(mismatch())
    simulator.override(pins.installation_thumbprint, "elsewhere.example.com", mode=Mode.OFF)
    for _ in range(2):
        pins.refresh()
    problem = "rule 9: the config does not list elsewhere.example.com"
    assert pins.status().override_problem == problem
    assert caplog.text.count(problem) == 1
    assert in_force(pins) == {HOST: Mode.OFF}
    assert pins.status().last_error is None
    simulator.override(pins.installation_thumbprint, OTHER, mode=Mode.REPORT)
    pins.refresh()
    assert pins.status().override_problem is None
    assert in_force(pins) == {OTHER: Mode.REPORT}


def test_one_in_force_is_told_once_and_its_end_too(
    simulator: DeliverySimulator, pins: Client, caplog: pytest.LogCaptureFixture
) -> None:
    simulator.override(pins.installation_thumbprint, HOST, mode=Mode.OFF)
    assert pins.heal(mismatch())
    for _ in range(2):
        simulator.publish()
        pins.refresh()
    text = f"this installation is not pinned at {HOST} until 2026-11-24 "
    assert caplog.text.count(text) == 1
    simulator.end_override(pins.installation_thumbprint)
    pins.refresh()
    pins.refresh()
    assert caplog.text.count("the override of this installation has ended") == 1


def test_the_log_tells_other_pins_from_none(
    simulator: DeliverySimulator, pins: Client, caplog: pytest.LogCaptureFixture
) -> None:
    simulator.override(pins.installation_thumbprint, HOST, PROXY)
    assert pins.heal(mismatch())
    assert f"this installation has pins of its own at {HOST} until" in caplog.text
    assert "not pinned" not in caplog.text


def test_until_is_when_it_ends_by_the_clock_or_by_run_time(
    simulator: DeliverySimulator, pins: Client
) -> None:
    simulator.override(pins.installation_thumbprint, HOST, mode=Mode.OFF)
    assert pins.heal(mismatch())
    found, now = pins.status().override, simulator.clock()
    assert found is not None
    assert dt.timedelta() <= now + dt.timedelta(days=1) - found.until < dt.timedelta(minutes=1)
    simulator.clock.advance(hours=20)
    found = pins.status().override
    assert found is not None
    assert found.until == now + dt.timedelta(days=1)


# -- while it is in force ----------------------------------------------------------------------


def test_its_early_end_is_heard_at_the_next_refresh(
    simulator: DeliverySimulator, network: Network, pins: Client, refused: Callable[..., bool]
) -> None:
    simulator.override(pins.installation_thumbprint, HOST, mode=Mode.OFF)
    assert pins.heal(mismatch())
    simulator.end_override(pins.installation_thumbprint)
    network.asked.clear()
    pins.refresh()
    assert network.overrides == [url(DELIVERY, pins)]
    assert pins.status().override is None
    pins.refresh()
    assert network.overrides == []
    assert refused(pins)


def test_no_answer_does_not_end_it(
    simulator: DeliverySimulator, network: Network, pins: Client
) -> None:
    simulator.override(pins.installation_thumbprint, HOST, mode=Mode.OFF)
    assert pins.heal(mismatch())
    network.older = (DELIVERY,)
    pins.refresh()
    simulator.reachable = False
    with pytest.raises(FetchError):
        pins.refresh()
    assert in_force(pins) == {HOST: Mode.OFF}


def test_a_stored_one_is_in_force_at_the_start_and_asked_about(
    simulator: DeliverySimulator,
    network: Network,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = FileStore(tmp_path / "state")
    with simulator.client(store=store) as pins:
        simulator.override(pins.installation_thumbprint, HOST, mode=Mode.OFF)
        assert pins.heal(mismatch())
    simulator.end_override(pins.installation_thumbprint)
    caplog.clear()
    with simulator.client(store=store, fetcher=network) as pins:
        assert in_force(pins) == {HOST: Mode.OFF}
        assert f"this installation is not pinned at {HOST} until" in caplog.text
        assert network.asked == []
        use(pins)
        eventually(lambda: pins.status().override is None)
        assert network.overrides == [url(DELIVERY, pins)]


def test_it_ends_by_run_time_in_a_process_that_goes_on(
    simulator: DeliverySimulator,
    pins: Client,
    caplog: pytest.LogCaptureFixture,
    refused: Callable[..., bool],
) -> None:
    """The clock stands still. Nothing is asked for, no connection is wanted."""
    caplog.set_level(logging.INFO)
    second = dt.timedelta(seconds=1)
    simulator.override(pins.installation_thumbprint, HOST, mode=Mode.OFF, lifetime=second)
    use(pins)
    assert pins.heal(mismatch())
    eventually(lambda: "the override of this installation has ended" in caplog.text)
    assert pins.status().override is None
    assert pins._trusted._state.trusted_override is None
    caplog.clear()
    assert refused(pins)  # the service still has it: no news, and no problem
    assert pins.status().override is None
    assert pins.status().override_problem is None
    assert "was not taken" not in caplog.text


def test_the_token_of_a_host_is_that_of_the_override(
    simulator: DeliverySimulator, pins: Client
) -> None:
    simulator.override(pins.installation_thumbprint, HOST, mode=Mode.OFF, token=True)
    assert not pins.needs_token(HOST)
    assert pins.heal(mismatch())
    assert pins.needs_token(HOST)


def test_other_layers_keep_the_pins_of_the_config(
    simulator: DeliverySimulator, pins: Client
) -> None:
    before = pins.pins()
    simulator.override(pins.installation_thumbprint, HOST, mode=Mode.OFF)
    assert pins.heal(mismatch())
    assert pins.pins() == before


def test_what_refuses_a_config_is_no_problem_of_the_override(
    simulator: DeliverySimulator, pins: Client
) -> None:
    simulator.config = simulator.sign(
        simulator.document(version=simulator.version + 1), key=PrivateKey.generate()
    )
    simulator.version += 1
    with pytest.raises(VerificationError):
        pins.refresh()
    assert pins.status().override_problem is None
