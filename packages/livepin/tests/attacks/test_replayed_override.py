"""An override of before, given again by who has kept it: after its end, and under a new root."""

from __future__ import annotations

from typing import TYPE_CHECKING

from livepin.client import Client
from livepin.jose import PrivateKey

if TYPE_CHECKING:
    from conftest import Pentest


def unpinned(pentest: Pentest) -> tuple[Client, bytes]:
    """Return a device that is unpinned, and by what."""
    pins = pentest.start()
    pentest.unpin(pins)
    return pins, pentest.simulator.overrides[pins.installation_thumbprint]


def test_after_its_early_end_it_is_refused(pentest: Pentest) -> None:
    pins, raw = unpinned(pentest)
    pentest.simulator.end_override(pins.installation_thumbprint)
    pins.refresh()
    pentest.refuses(pins, raw, rule=7)
    pentest.refuses(pentest.start(), raw, rule=7)


def test_after_its_time_it_does_nothing_with_a_clock_that_is_set_back(pentest: Pentest) -> None:
    pins, raw = unpinned(pentest)
    pentest.clock.advance(days=2)
    assert pins.status().override is None
    pentest.clock.advance(days=-2)
    pentest.ignores(pins, raw)


def test_who_keeps_its_end_away_keeps_it_no_longer_than_it_was_for(pentest: Pentest) -> None:
    """What was signed for a day holds for a day, where nobody is told otherwise."""
    pins, raw = unpinned(pentest)
    pentest.simulator.end_override(pins.installation_thumbprint)
    pentest.serve(pins, raw)
    pins.refresh()
    assert pentest.reaches(pins, pentest.rogue)
    pentest.clock.advance(days=1)
    pentest.ignores(pins, raw)


def test_under_a_new_root_it_is_refused(pentest: Pentest) -> None:
    """So root N+1 ends what a thief of the override key has signed."""
    pins, raw = unpinned(pentest)
    stolen, pentest.simulator.keys["override"] = (
        pentest.simulator.keys["override"],
        PrivateKey.generate(),
    )
    pentest.simulator.publish_root()
    pentest.simulator.publish()
    pentest.serve(pins, raw)
    pins.refresh()
    assert pins.status().override is None
    pentest.refuses(pins, raw, rule=2)
    later = pentest.simulator.override_document(pins.installation_thumbprint, version=99)
    pentest.refuses(pins, pentest.simulator.sign_override(later, key=stolen), rule=2)
