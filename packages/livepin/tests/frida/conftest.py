"""Frida as a process, one for all tests, and apps that it attaches to."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
from livepin.testing import (
    Authority,
    Chain,
    DeliverySimulator,
    RecordingServer,
    make_authority,
    make_chain,
)

HERE = Path(__file__).parent
HOST = "localhost"
FRIDA = HERE.parents[3] / ".frida" / "bin" / "python"


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


@pytest.fixture(scope="session")
def frida(
    tmp_path_factory: pytest.TempPathFactory, missing: Callable[[str], NoReturn]
) -> Iterator[Talker]:
    """Frida: it attaches to processes, and does what `driver.py` says."""
    if not FRIDA.exists():
        missing("Frida is not here; install it with: .ci/counterparts")
    folder = tmp_path_factory.mktemp("frida")
    with contextlib.closing(Talker(FRIDA, HERE / "driver.py", TMPDIR=str(folder))) as found:
        yield found
    _end_helpers(folder)


def _end_helpers(folder: Path) -> None:
    """End what Frida has started from its temporary folder, and leaves for some seconds."""
    for each in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (each / "cmdline").read_bytes().startswith(bytes(folder)):
                os.kill(int(each.name), signal.SIGTERM)
                deadline = time.monotonic() + 10
                while each.exists() and time.monotonic() < deadline:
                    time.sleep(0.01)


@pytest.fixture(scope="session")
def authority() -> Authority:
    """A CA that the app's device trusts, and that certified an attacker too."""
    return make_authority("Public CA")


@pytest.fixture(scope="session")
def chain(authority: Authority) -> Chain:
    """The chain that is pinned."""
    return make_chain(HOST, authority=authority)


@pytest.fixture(scope="session")
def rogues(authority: Authority) -> tuple[Chain, Chain]:
    """Two chains of an attacker's."""
    return make_chain(HOST, authority=authority), make_chain(HOST, authority=authority)


@pytest.fixture
def service(chain: Chain) -> Iterator[DeliverySimulator]:
    """The delivery service, over TLS: it pins the API, and gives tokens for it."""
    found = DeliverySimulator(clock=lambda: dt.datetime.now(dt.timezone.utc))
    with RecordingServer(chain, respond=found.respond, post=found.post) as server:
        found.urls = (f"https://{HOST}:{server.port}",)
        found.delivery_pins, found.ca = (chain.pin,), chain.authority.pem
        found.pin(HOST, chain.pin, token=True)
        yield found


@pytest.fixture
def rogue(rogues: tuple[Chain, Chain]) -> Iterator[RecordingServer]:
    """The attacker's server."""
    with RecordingServer(rogues[0]) as running:
        yield running


@pytest.fixture
def app(service: DeliverySimulator, chain: Chain, tmp_path: Path) -> Iterator[Talker]:
    """An app in a process of its own, to be attacked."""
    settings = tmp_path / "settings.json"
    bootstrap = service.bootstrap().to_text()
    settings.write_text(json.dumps({"bootstrap": bootstrap, "ca": chain.authority.pem}))
    with contextlib.closing(Talker(sys.executable, HERE / "app.py", settings)) as found:
        found.heard("started")
        yield found
