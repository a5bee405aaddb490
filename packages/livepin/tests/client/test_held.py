"""Data that is replaced in memory: each place where a pin check looks."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from livepin import Client
from livepin.client.held import Held
from livepin.client.judging import Seen
from livepin.documents import Override
from livepin.documents import override as override_document
from livepin.jose import PrivateKey, sign_compact
from livepin.pins import Pin, PinSet
from livepin.testing import DeliverySimulator, make_chain
from livepin.trust import TrustedOverride, TrustedState

HOST = "api.example.com"
PIN, EVIL = Pin(b"\1" * 32), Pin(b"\2" * 32)
FAKE = PinSet((EVIL,))


@pytest.fixture
def simulator() -> DeliverySimulator:
    found = DeliverySimulator()
    found.pin(HOST, PIN)
    return found


@pytest.fixture
def pins(simulator: DeliverySimulator) -> Iterator[Client]:
    with simulator.client() as found:
        found._judge.check(HOST, b"\1" * 32, tuple)  # remembers what is settled
        yield found


@pytest.fixture
def replaced(pins: Client, simulator: DeliverySimulator) -> Callable[[], list[str]]:
    held = Held(
        simulator.bootstrap(), pins._trusted, pins._judge, lambda: pins._judgings,
        clock=simulator.clock,
    )  # fmt: skip
    return lambda: list(held.replaced())


def put(found: Any, name: str, value: object) -> None:
    object.__setattr__(found, name, value)


def _pin(pins: Client) -> None:
    put(pins._trusted().config.pin_sets[HOST].pins[0], "sha256", EVIL.sha256)


def _pins(pins: Client) -> None:
    put(pins._trusted().config.pin_sets[HOST], "pins", (EVIL,))


def _index_of_pins(pins: Client) -> None:
    vars(pins._trusted().config.pin_sets[HOST])["_index"] = {EVIL.sha256: [EVIL]}


def _match_of_one(pins: Client) -> None:
    vars(pins._trusted().config.pin_sets[HOST])["match"] = lambda *_, **__: EVIL


def _domain(pins: Client) -> None:
    put(pins._trusted().config.domains[0], "pins", FAKE)


def _index(pins: Client) -> None:
    config = pins._trusted().config
    config._index[HOST] = replace(config.domains[0], pins=FAKE)


def _left_out(pins: Client) -> None:
    pins._trusted().config._index.clear()


def _set(pins: Client) -> None:
    pins._trusted().config.pin_sets.clear()


def _document(pins: Client) -> None:
    config = pins._trusted().config
    sets = {HOST: FAKE}
    domains = (replace(config.domains[0], pins=FAKE),)
    put(pins._trusted().trusted_config, "document", replace(config, pin_sets=sets, domains=domains))


def _fake_document(pins: Client) -> None:
    class Fake:
        lookup = staticmethod(lambda _: None)

    put(pins._trusted().trusted_config, "document", Fake())


def _foreign(pins: Client) -> None:
    """All of an account of the attacker's own, properly signed."""
    other = DeliverySimulator(clock=pins._clock)
    other.pin(HOST, EVIL)
    pins._trusted._state = TrustedState.from_bootstrap(other.bootstrap())


def _unsigned(pins: Client) -> None:
    put(pins._trusted().trusted_config, "raw", b"e30.e30.AA")


@pytest.mark.parametrize(
    "attack",
    [
        _pin, _pins, _index_of_pins, _match_of_one, _domain, _index, _left_out, _set, _document,
        _fake_document, _foreign, _unsigned,
    ],
)  # fmt: skip
def test_a_config_that_is_not_what_was_signed_is_found(
    pins: Client, replaced: Callable[[], list[str]], attack: Callable[[Client], None]
) -> None:
    assert replaced() == []
    attack(pins)
    assert "data of the config" in replaced()


def test_pins_that_are_remembered_by_host_are_compared(
    pins: Client, replaced: Callable[[], list[str]]
) -> None:
    assert pins._judge._settled[1]
    pins._judge._settled = pins._trusted(), {HOST: FAKE.unlimited}
    assert replaced() == ["data of remembered pins"]
    pins._judge._settled = pins._trusted(), {"other.example.com": FAKE.unlimited}
    assert replaced() == ["data of remembered pins"]
    pins._judge._settled = None, {HOST: FAKE.unlimited}  # of a config of before: not used
    assert replaced() == []


def test_chains_that_are_remembered_are_computed_again(
    pins: Client, replaced: Callable[[], list[str]]
) -> None:
    from cryptography.hazmat.primitives.serialization import Encoding

    chain = make_chain(HOST)
    der, leaf = chain.leaf.public_bytes(Encoding.DER), chain.pin.sha256 or b""
    remembered = pins.context()._verified
    key = None, HOST.upper(), der
    remembered[key] = Seen(HOST, leaf, (leaf, b"\3" * 32))
    assert replaced() == []
    for fake in (
        Seen(HOST, EVIL.sha256 or b""), Seen("other.example.com", leaf), Seen(HOST, leaf, (b"x",)),
    ):  # fmt: skip
        remembered[key] = fake
        assert replaced() == ["data of remembered chains"]


@pytest.mark.parametrize(
    "attack",
    [
        lambda pins: put(pins._judge, "check", lambda *_: None),
        lambda pins: put(pins._judge, "_trusted", lambda: None),
        lambda pins: put(pins._trusted, "adopt", lambda *_: None),
        lambda pins: put(pins.context(), "judge", lambda *_: None),
        lambda pins: put(pins.context(), "_judge", object()),
    ],
)
def test_objects_that_are_wired_otherwise_are_found(
    pins: Client, replaced: Callable[[], list[str]], attack: Callable[[Client], None]
) -> None:
    attack(pins)
    assert replaced() == ["data of the client"]


def test_newer_documents_are_what_was_signed(
    pins: Client, simulator: DeliverySimulator, replaced: Callable[[], list[str]]
) -> None:
    assert replaced() == []
    simulator.pin("other.example.com", PIN, EVIL)
    pins.refresh()
    assert replaced() == []
    simulator.keys["config"] = PrivateKey.generate()
    simulator.publish_root()
    simulator.publish()
    pins.refresh()
    assert pins.status().root_version == 2
    assert replaced() == []


def test_an_override_that_was_not_signed_is_found(
    pins: Client, simulator: DeliverySimulator, replaced: Callable[[], list[str]]
) -> None:
    state, now = pins._trusted(), simulator.clock()
    domain = replace(state.config.domains[0], pins=FAKE)
    document = Override(
        account=state.account, installation="i" * 43, root_version=1, version=1, issued=now,
        expires=now + dt.timedelta(hours=1), pin_sets={HOST: FAKE}, domains=(domain,),
    )  # fmt: skip
    payload = document.payload()

    def adopt(key: PrivateKey) -> TrustedOverride:
        raw = sign_compact(payload, typ=override_document.TYP, signer=key)
        active = TrustedOverride(raw, payload, Override.parse(payload))
        pins._trusted._state = replace(state, trusted_override=active)
        return active

    adopt(PrivateKey.generate())
    assert replaced() == ["data of the override"]
    active = adopt(simulator.keys["override"])
    assert replaced() == []
    put(active.document.domains[0], "pattern", "other.example.com")
    assert replaced() == ["data of the override"]


def test_what_changes_while_it_is_compared_is_no_finding(
    pins: Client, simulator: DeliverySimulator
) -> None:
    """It is left to who called: that the check could not run is said, nothing else."""

    def moving() -> Any:
        raise RuntimeError("dictionary changed size during iteration")

    held = Held(simulator.bootstrap(), pins._trusted, pins._judge, moving, clock=simulator.clock)
    with pytest.raises(RuntimeError):
        list(held.replaced())
