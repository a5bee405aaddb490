"""Old documents, replayed: the pins of a key that leaked since then were genuine once."""

from __future__ import annotations

import datetime as dt
import ssl
from typing import TYPE_CHECKING

import pytest
from livepin import Pin
from livepin.certificates import spki_fingerprint
from livepin.testing import RecordingServer
from livepin.trust import TrustedState

if TYPE_CHECKING:
    from conftest import Account, Device


def test_an_older_config_is_refused_before_and_after_a_restart(device: Device) -> None:
    older = device.simulator.publish()
    device.simulator.publish()
    device.update()
    device.refuses(older, rule=7)
    device.start()
    device.refuses(older, rule=7)


def test_the_config_of_the_bootstrap_is_refused_once_there_was_a_newer_one(
    device: Device,
) -> None:
    device.simulator.publish()
    device.update()
    device.start()
    device.refuses(device.bootstrap.config, rule=7)


def test_each_config_that_was_ever_published_is_refused(device: Device) -> None:
    older = [device.simulator.publish() for _ in range(5)]
    device.simulator.publish()
    device.update()
    device.start()
    for raw in older:
        device.refuses(raw, rule=7)


def test_a_config_under_an_older_root_is_refused_after_a_restart(device: Device) -> None:
    """Not even one with a higher version: a higher root starts the count anew."""
    ours = device.simulator
    older = ours.sign(ours.document(version=999))
    ours.publish_root()
    ours.publish()
    device.update()
    device.start()
    device.refuses(older, rule=7)


def test_the_pins_of_a_leaked_key_do_not_come_back(
    device: Device, servers: tuple[RecordingServer, RecordingServer]
) -> None:
    """The rogue server holds the old key; it was pinned, and is not any more."""
    genuine, rogue = servers
    new_pins = device.simulator.pin_sets["localhost"].pins
    old = device.simulator.pin("localhost", *_pins_of(rogue))
    device.update()
    assert device.reaches(rogue)
    device.simulator.pin("localhost", *new_pins)
    device.update()
    device.refuses(old, rule=7)
    assert not device.reaches(rogue)
    device.start()
    assert not device.reaches(rogue)
    assert device.reaches(genuine)


def _pins_of(server: RecordingServer) -> tuple[Pin, ...]:
    pem = ssl.get_server_certificate(("127.0.0.1", server.port))
    return (Pin(spki_fingerprint(ssl.PEM_cert_to_DER_cert(pem))),)


def test_an_older_bootstrap_does_not_lower_what_the_store_holds(device: Device) -> None:
    """An old package of the app, installed over the new one."""
    first = device.bootstrap
    device.simulator.publish()
    device.start(device.simulator.bootstrap())
    device.simulator.publish_root()
    device.simulator.publish()
    device.update()
    held = device.holds()
    device.start(first)
    assert device.holds() == held


def test_an_override_that_was_ended_early_does_not_come_back(account: Account, refused) -> None:
    """It is still in date, and the empty one that ended it is over: the floor remembers both."""
    give = {"thumbprint": account.thumbprint, "now": account.now}
    lent = account.override(5, expires=account.at(days=6))
    state = account.state().advance_override(lent, **give)
    state = state.advance_override(account.override(6, domains=[]), **give)
    refused(7, state.advance_override, lent, **give)
    state = state.with_run_time(dt.timedelta(days=1), now=account.now)
    assert state.trusted_override is None
    refused(7, state.advance_override, lent, **give)
    restarted = TrustedState.load(state.dump(), account.bootstrap(), **give)
    refused(7, restarted.advance_override, lent, **give)


@pytest.mark.parametrize("version", [1, 2, 3])
def test_an_older_root_is_refused(account: Account, refused, version: int) -> None:
    state = account.state()
    roots = {n: account.root(n) for n in (2, 3)}
    for raw in roots.values():
        state = state.advance_root(raw)
    refused(6, state.advance_root, roots.get(version, account.root(1)))
