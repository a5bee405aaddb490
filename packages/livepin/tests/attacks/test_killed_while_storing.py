"""Killed at any moment of its writes: what an app had reported as enforced, it goes on enforcing.

Two kills in each run of the tests, fifty in `make torture`: by chance, and before a system call.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import pytest
from livepin import Bootstrap
from livepin.testing import DeliverySimulator, FakeClock
from livepin.trust import TrustedState

pytestmark = [
    pytest.mark.skipif(os.name != "posix", reason="SIGKILL is a signal of POSIX"),
    pytest.mark.timeout(3600),
    pytest.mark.torture,
]

# Forks a process for each round, which spares as many starts of Python.
APP = """
import os, pathlib, sys
from livepin.client import FileStore
from livepin.client.trusted import Trusted
from livepin.testing import DeliverySimulator

folder, ours = pathlib.Path(sys.argv[1]), DeliverySimulator()
bootstrap = ours.bootstrap()
(folder / "bootstrap.json").write_bytes(bootstrap.to_json())

def say(text):
    os.write(1, f"{text}\\n".encode())  # in one piece, whatever kills us

def app():
    trusted = Trusted(
        bootstrap, FileStore(folder / "state.json"), clock=ours.clock, on_change=lambda: None)
    say(os.getpid())
    while True:
        held = trusted()
        say(f"{held.config.version} {trusted.problem}")
        raw = ours.sign(ours.document(version=held.config.version + 1))
        trusted.adopt(held.advance_config(raw))

for _ in sys.stdin:
    pid = os.fork()
    if pid == 0:
        app()
    _, status = os.waitpid(pid, 0)
    say(f"ended {os.waitstatus_to_exitcode(status)}")
"""


def enforced_until_killed(child: subprocess.Popen[str], count: int, pause: float) -> list[int]:
    """Return what an app reported before SIGKILL, `pause` seconds after its line `count`."""
    lines: IO[str] = child.stdout  # type: ignore[assignment]
    assert child.stdin is not None
    child.stdin.write("\n")
    child.stdin.flush()
    pid = int(lines.readline())
    killer = threading.Timer(pause, os.kill, (pid, signal.SIGKILL))
    reported: list[int] = []
    for line in lines:
        if line.startswith("ended"):
            assert line == f"ended {-signal.SIGKILL}\n"
            break
        version, problem = line.split(" ", 1)
        assert problem == "None\n"
        reported.append(int(version))
        if len(reported) == count:
            killer.start()
    killer.join()
    return reported


def test_after_each_kill_the_state_is_the_old_or_the_new_and_never_an_older(
    tmp_path: Path, torture: Any
) -> None:
    command = [sys.executable, "-c", APP, str(tmp_path)]
    stored = 1
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        for _ in range(torture.kills):
            count, pause = torture.chance.randint(2, 6), torture.chance.uniform(0, 0.01)
            reported = enforced_until_killed(child, count, pause)
            assert reported == list(range(stored, stored + len(reported)))
            bootstrap = Bootstrap.parse((tmp_path / "bootstrap.json").read_bytes())
            state = TrustedState.load(
                (tmp_path / "state.json").read_bytes(), bootstrap, now=FakeClock()()
            )
            stored = state.config.version
            assert stored in (reported[-1], reported[-1] + 1)
            assert not (tmp_path / "state.json.corrupt").exists()
        assert child.stdin is not None
        child.stdin.close()
    torture.count("kills", torture.kills)
    torture.count("writes", stored)


# Adopts one config after another, and says which it had enforced before it begins with the next.
ADOPTING = """
import os, pathlib, sys
from livepin import Bootstrap
from livepin.client import FileStore
from livepin.client.trusted import Trusted
from livepin.testing import FakeClock

folder = pathlib.Path(sys.argv[1])
bootstrap = Bootstrap.parse((folder / "bootstrap.json").read_bytes())
trusted = Trusted(
    bootstrap, FileStore(folder / "state.json"), clock=FakeClock(), on_change=lambda: None)
for raw in sorted((folder / "configs").iterdir()):
    state = trusted()
    if int(raw.name) > state.config.version:
        state = state.advance_config(raw.read_bytes())
    trusted.adopt(state)
    assert trusted.problem is None, trusted.problem
    os.write(1, f"{trusted().config.version}\\n".encode())
"""
# What a store asks of the system, and how often for one config.
CALLS = {"openat": 4, "read": 4, "unlink": 1, "write": 1, "fsync": 2, "rename": 1, "close": 4}
CONFIGS = 3


def test_before_any_system_call_the_state_is_the_old_or_the_new(
    tmp_path: Path, torture: Any, strace: Callable[..., list[str]]
) -> None:
    ours = DeliverySimulator()
    bootstrap = ours.bootstrap()
    (tmp_path / "bootstrap.json").write_bytes(bootstrap.to_json())
    (tmp_path / "configs").mkdir()
    path = tmp_path / "state.json"
    watched = [path, path.with_name("state.json.tmp"), path.with_name("state.json.lock"), tmp_path]
    stored, kills = 1, 0
    while kills < torture.kills:
        for each in (tmp_path / "configs").iterdir():
            each.unlink()
        for version in range(stored + 1, stored + 1 + CONFIGS):
            raw = ours.sign(ours.document(version=version))
            (tmp_path / "configs" / f"{version:09}").write_bytes(raw)
        call, most = torture.chance.choice(sorted(CALLS.items()))
        when = torture.chance.randint(1, most * CONFIGS)
        command = strace(f"{call}:signal=KILL:when={when}", *watched)
        done = subprocess.run(
            [*command, sys.executable, "-c", ADOPTING, str(tmp_path)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode in (0, -signal.SIGKILL), done.stderr
        kills += done.returncode == -signal.SIGKILL
        reported = [stored, *map(int, done.stdout.split())]
        state = TrustedState.from_bootstrap(bootstrap)
        if path.exists():
            state = TrustedState.load(path.read_bytes(), bootstrap, now=FakeClock()())
        assert state.config.version in (reported[-1], reported[-1] + 1)
        stored = state.config.version
        assert not (tmp_path / "state.json.corrupt").exists()
    torture.count("kills", kills)
    torture.count("writes", stored)
