"""mitmproxy as a process, one for all tests, and a device that trusts its CA."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from livepin.client import Client, healing
from livepin.pins import Pin
from livepin.testing import (
    Authority,
    Chain,
    DeliverySimulator,
    make_authority,
    make_chain,
    pin_of,
)

HOSTS = "localhost", "api.example.com"
_PATIENCE = 20.0  # seconds


@dataclass(frozen=True)
class Sight:
    """What mitmproxy saw: its own log, in full detail, and the requests that it could read."""

    log: str
    read: list[Any]


class Mitmproxy:
    """`mitmdump` between the tests and their servers: as a reverse proxy, and by CONNECT."""

    def __init__(self, program: str, folder: Path) -> None:
        self._target = folder / "target"
        self._lines: list[str] = []
        self._more = threading.Condition()
        self._process = subprocess.Popen(
            [
                program,
                *("--mode", "regular@localhost:0"),
                *("--mode", "reverse:https://localhost:1@127.0.0.1:0"),
                *("--scripts", str(Path(__file__).with_name("addon.py"))),
                *("--set", f"confdir={folder}", "--set", "ssl_insecure=true"),
                *("--set", "termlog_verbosity=debug", "--set", "proxy_debug=true"),
                *("--set", "flow_detail=4"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(folder),
                "PYTHONUTF8": "1",
                "PYTHONUNBUFFERED": "1",
                "LIVEPIN_TARGET": str(self._target),
            },
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        try:
            (ports,) = self._wait_for(0, "running")
        except BaseException:
            self.close()
            raise
        self._reverse: int = ports["reverse"]
        self._regular: int = ports["regular"]
        self.proxy = f"http://127.0.0.1:{self._regular}"
        self.ca = (folder / "mitmproxy-ca-cert.pem").read_text()

    @property
    def pin(self) -> Pin:
        """The pin of its CA's key."""
        return pin_of(x509.load_pem_x509_certificate(self.ca.encode()))

    def before(self, port: int) -> str:
        """Return the authority of URLs that lead through it to the server on `port`."""
        self._target.write_text(str(port))
        return f"localhost:{self._reverse}"

    def mark(self) -> int:
        """Return where the log of what comes next begins."""
        with self._more:
            return len(self._lines)

    def seen_since(self, mark: int) -> Sight:
        """Wait until the clients of now have gone, and return what there was to see."""
        with socket.create_connection(("127.0.0.1", self._regular), timeout=10) as fence:
            own = fence.getsockname()[1]
        self._wait(lambda: own in self._told(mark, "disconnected"))
        self._wait(
            lambda: (
                sorted(self._told(mark, "connected")) == sorted(self._told(mark, "disconnected"))
            )
        )
        assert len(self._told(mark, "connected")) > 1, "nobody came through mitmproxy"
        with self._more:
            log = "".join(self._lines[mark:])
        return Sight(log, self._told(mark, "head", "body", "message"))

    def close(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(timeout=10)
        self._reader.join(timeout=10)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._more:
                self._lines.append(line)
                self._more.notify_all()

    def _told(self, mark: int, *kinds: str) -> list[Any]:
        with self._more:
            told = [line for line in self._lines[mark:] if line.startswith("livepin ")]
        found = [json.loads(line.partition(" ")[2]) for line in told]
        return [about for what, about in found if what in kinds]

    def _wait_for(self, mark: int, kind: str) -> list[Any]:
        self._wait(lambda: bool(self._told(mark, kind)))
        return self._told(mark, kind)

    def _wait(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _PATIENCE
        with self._more:
            while not condition():
                if self._process.poll() is not None or time.monotonic() > deadline:
                    pytest.fail("mitmdump: " + "".join(self._lines[-40:]))
                self._more.wait(0.5)


@pytest.fixture(scope="session")
def mitmproxy(
    counterpart: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mitmproxy]:
    running = Mitmproxy(counterpart("mitmdump"), tmp_path_factory.mktemp("mitmproxy"))
    yield running
    running.close()


@pytest.fixture(scope="session")
def authority() -> Authority:
    return make_authority()


@pytest.fixture(scope="session")
def chain(authority: Authority) -> Chain:
    """The chain of the API that the app is for."""
    return make_chain(*HOSTS, authority=authority)


@pytest.fixture
def trusted(authority: Authority, mitmproxy: Mitmproxy) -> str:
    """What the device trusts: mitmproxy's CA is one of them."""
    return authority.pem + mitmproxy.ca


@pytest.fixture
def simulator(chain: Chain) -> DeliverySimulator:
    """The account: it pins the API's key for each host."""
    found = DeliverySimulator()
    for host in HOSTS:
        found.pin(host, chain.pin)
    return found


@pytest.fixture
def pins(simulator: DeliverySimulator, trusted: str) -> Iterator[Client]:
    with simulator.client(ca=trusted) as found:
        yield found


@pytest.fixture(autouse=True)
def device(trusted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's own bundle holds mitmproxy's CA too; no proxy of the machine's takes part."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "trusted.pem").write_text(trusted)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "trusted.pem"))


@pytest.fixture(autouse=True)
def _quick_healing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a refused handshake wait for newer pins for less than five seconds."""
    monkeypatch.setattr(healing, "DEADLINE", 0.2)
