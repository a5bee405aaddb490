"""Frida as a process that attaches to others, and an app to be attached to, spoken to in lines."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
FRIDA = HERE.parents[3] / ".frida" / "bin" / "python"
REPLACED_FUNCTION = """
from livepin.client.judge import ConfigJudge
ConfigJudge.check = lambda *_: None
"""
REPLACED_DATA = """
import gc, livepin
pins, = [each for each in gc.get_objects() if type(each) is livepin.Client]
domain = pins._trusted().config._index["localhost"]
fake = livepin.PinSet((livepin.Pin.parse("{pin}"),))
object.__setattr__(domain, "pins", fake)
pins._judge._settled = None, {{}}
"""


class Talker:
    """A process that answers a JSON object per line with another."""

    def __init__(self, *command: str | Path, **environment: str) -> None:
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
            env=os.environ | environment,
        )
        self.pid = self._process.pid

    def ask(self, what: str, about: object = None) -> Any:
        """Have something done, and return what came of it."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({what: about}) + "\n")
        self._process.stdin.flush()
        return self.heard(what)

    def heard(self, what: str) -> Any:
        """Wait for an answer."""
        assert self._process.stdout is not None
        answer = json.loads(self._process.stdout.readline() or '{"error": "it has ended"}')
        assert what in answer, answer
        return answer[what]

    def close(self) -> None:
        """Let it end, by itself if it can."""
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(timeout=10)


@contextlib.contextmanager
def attacher(folder: Path) -> Iterator[Talker]:
    """Run Frida, with its temporary files in a folder: it does what `frida_driver.py` says."""
    command = FRIDA, HERE / "frida_driver.py"
    with contextlib.closing(Talker(*command, TMPDIR=str(folder))) as found:
        yield found
    _end_helpers(folder)


@contextlib.contextmanager
def attacked(settings: Path) -> Iterator[Talker]:
    """Run an app in a process of its own, as these settings say."""
    with contextlib.closing(Talker(sys.executable, HERE / "attacked_app.py", settings)) as found:
        found.heard("started")
        yield found


def _end_helpers(folder: Path) -> None:
    """End what Frida has started from its temporary folder, and leaves for some seconds."""
    for each in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (each / "cmdline").read_bytes().startswith(bytes(folder)):
                os.kill(int(each.name), signal.SIGTERM)
                deadline = time.monotonic() + 10
                while each.exists() and time.monotonic() < deadline:
                    time.sleep(0.01)
