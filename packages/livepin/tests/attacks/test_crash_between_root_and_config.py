"""A process that is killed in the middle of an update: a new root, and its config not yet."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from livepin.jose import PrivateKey
from livepin.testing import RecordingServer

if TYPE_CHECKING:
    from conftest import Device

pytestmark = pytest.mark.skipif(os.name != "posix", reason="SIGKILL is a signal of POSIX")

APP = """
import os, signal, sys, livepin

class Dying(livepin.FileStore):
    '''A store whose process is killed right after, or in the middle of, one of its writes.'''

    saves = 0

    def save(self, data):
        self.saves += 1
        last = self.saves == int(sys.argv[3])
        if last and sys.argv[4] == "within":
            with open(sys.argv[2] + ".tmp", "wb") as file:
                file.write(data[: len(data) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        super().save(data)
        if last:
            os.kill(os.getpid(), signal.SIGKILL)

pins = livepin.Client(sys.argv[1], store=Dying(sys.argv[2]), push=False, reports=False)
print(pins.status().root_version, flush=True)
pins.refresh()
print("finished", flush=True)
"""


class Crash:
    """Runs the app of a device in a process of its own that is killed."""

    def __init__(self, device: Device, folder: Path) -> None:
        self._device = device
        self._bootstrap = folder / "bootstrap.json"

    def run(self, save: int, when: str = "after") -> None:
        """Let the update be killed with its n-th write to the store."""
        self._device.stop()
        self._bootstrap.write_bytes(self._device.bootstrap.to_json())
        arguments = [str(self._bootstrap), str(self._device.path), str(save), when]
        child = subprocess.run(
            [sys.executable, "-c", APP, *arguments], capture_output=True, text=True, timeout=60
        )
        assert child.returncode == -signal.SIGKILL, child.stderr
        assert "finished" not in child.stdout


@pytest.fixture
def crash(device: Device, tmp_path: Path) -> Crash:
    return Crash(device, tmp_path)


@pytest.fixture
def changed(device: Device, servers: tuple[RecordingServer, RecordingServer]) -> Any:
    """A device that knows root 1; since then root 2 and 3 came, with other config keys."""
    device.simulator.publish()
    device.update()
    for _ in range(2):
        device.simulator.keys["config"] = PrivateKey.generate()
        device.simulator.publish_root()
    device.simulator.publish()
    return device


@pytest.mark.parametrize(
    ("save", "when", "root"),
    [(1, "after", 2), (2, "after", 3), (1, "within", 1), (2, "within", 2), (3, "within", 3)],
)
def test_the_state_is_whole_and_the_next_update_ends_what_was_begun(
    changed: Device,
    crash: Crash,
    servers: tuple[RecordingServer, RecordingServer],
    save: int,
    when: str,
    root: int,
) -> None:
    genuine, rogue = servers
    version = changed.simulator.version - 1
    crash.run(save, when)
    changed.offer(b"", {})  # nothing can be fetched: the device lives on what it has stored
    changed.start()
    assert changed.order == (root, version)  # the old config, under the newer root
    assert changed.pins.status().store_problem is None
    assert not changed.reaches(rogue)
    assert changed.reaches(genuine)
    changed.update()
    assert changed.order == (3, changed.simulator.version)
    changed.start()
    assert changed.order == (3, changed.simulator.version)


def test_a_crash_right_after_the_config_loses_nothing(changed: Device, crash: Crash) -> None:
    crash.run(3)
    changed.start()
    assert changed.order == (3, changed.simulator.version)


def test_crashes_at_each_step_still_get_there(changed: Device, crash: Crash) -> None:
    """An app that is killed soon after each start goes one step further each time."""
    reached = []
    for _ in range(3):
        crash.run(1)
        changed.start()
        reached.append(changed.order)
    version = changed.simulator.version
    assert reached == [(2, version - 1), (3, version - 1), (3, version)]


def test_a_config_under_the_old_root_does_not_come_back_after_the_crash(
    changed: Device, crash: Crash
) -> None:
    """The stored root alone takes the old config key out."""
    ours = changed.simulator
    crash.run(2)
    changed.start()
    changed.refuses(ours.sign(ours.document(version=999, root_version=1)), rule=2)
