"""The override of a tester's device, brought to a second device of the same app."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from livepin.client import Client

if TYPE_CHECKING:
    from conftest import Pentest


def test_it_unpins_the_device_that_it_names(pentest: Pentest) -> None:
    """The control."""
    pins = pentest.start()
    assert not pentest.reaches(pins, pentest.rogue)
    pentest.unpin(pins)
    assert pentest.reaches(pins, pentest.genuine)


def test_another_device_behind_the_same_proxy_stays_pinned(pentest: Pentest) -> None:
    pentest.unpin(pentest.start())
    other = pentest.start("other")
    assert other.installation_thumbprint  # it has a key, and asks
    assert not pentest.reaches(other, pentest.rogue)
    assert other.status().override is None


def test_a_service_that_gives_it_to_another_device_is_refused(pentest: Pentest) -> None:
    pins, other = pentest.start(), pentest.start("other")
    pentest.unpin(pins)
    theirs = pentest.simulator.overrides[pins.installation_thumbprint]
    pentest.refuses(other, theirs, rule=9)


def _copy_store(tmp_path: Path) -> None:
    shutil.copy(tmp_path / "tester", tmp_path / "other")


def test_a_store_that_is_copied_unpins_no_device_with_a_key_of_its_own(
    pentest: Pentest, tmp_path: Path
) -> None:
    pentest.unpin(pentest.start())
    assert pentest.start("other").installation_thumbprint
    _copy_store(tmp_path)
    other = pentest.start("other")
    assert other.status().override is None
    assert other.status().store_problem is None
    assert not pentest.reaches(other, pentest.rogue)


def test_a_store_that_is_copied_unpins_no_device_without_a_key(
    pentest: Pentest, tmp_path: Path
) -> None:
    pentest.unpin(pentest.start())
    _copy_store(tmp_path)
    other: Client = pentest.start("other")
    assert other.status().override is None
    assert not pentest.reaches(other, pentest.rogue)
    assert not (tmp_path / "other.key").exists()
