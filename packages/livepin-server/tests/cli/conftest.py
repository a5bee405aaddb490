"""What the tests of the commands share: a data folder, a running server, endpoints, a shell."""

from __future__ import annotations

import codecs
import json
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from livepin.testing import Authority, Chain, RecordingServer, make_authority, make_chain
from livepin_server.cli.api import Local, connected
from livepin_server.cli.app import main

PASSPHRASE = "correct horse battery staple"
DELIVERY = "https://pins.example.com:8443"
_PATIENCE = 60.0  # seconds, on a busy machine


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed, as JSON."""
        return json.loads(self.out)


Run = Callable[..., Ended]


def unseen(host: str) -> str:
    """Return what a command says when the server could not look at a host that has no address."""
    return (
        f"warning: the server could not see whether apps get in at {host}: {host} does not "
        f"resolve to an address; look from where one can: livepin domain check {host}\n"
    )


# What a command ends with that adds a domain where no channel is.
NOBODY = (
    "warning: nobody will be told if apps are about to break: "
    "livepin channel add email ops --to ops@example.com\n"
)

# The command after which somebody will be.
TOLD = ("channel", "add", "email", "ops", "--to", "ops@example.com")


def no_backup(host: str) -> str:
    """Return what a command says of a host whose next key is not pinned."""
    return (
        f"warning: {host} has no backup pin: if its key is lost, apps are refused until they get "
        f"another config; livepin pin new-backup {host} --out backup.key\n"
    )


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Start each test in an empty folder, with no variable of Livepin's set.

    Nor are the processes that it starts measured for coverage, which takes longer than they do.
    """
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
    for name in [*os.environ]:
        if (name.startswith("LIVEPIN_") and name != "LIVEPIN_DEBUG") or name in (
            "NO_COLOR",
            "FORCE_COLOR",
        ):
            monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LIVEPIN_PROFILES", str(tmp_path / "profiles"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder as `livepin init` makes it; tests copy it."""
    folder = tmp_path_factory.mktemp("template")
    passphrase = folder / "passphrase"
    passphrase.write_text(PASSPHRASE)
    code = main(
        [
            "init", str(folder / "data"), "--account", "acme", "--url", DELIVERY,
            "--root-key", str(folder / "root.key"), "--passphrase-file", str(passphrase),
            "--port", "0", "--management-port", "0", "--json",
        ]
    )  # fmt: skip
    assert code == 0
    return folder / "data"


@pytest.fixture
def data(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder of this test's own, which LIVEPIN_DATA names."""
    found = tmp_path / "data"
    shutil.copytree(template, found)
    monkeypatch.setenv("LIVEPIN_DATA", str(found))
    return found


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command in this process."""

    def one(*arguments: object) -> Ended:
        capsys.readouterr()
        code = main([str(each) for each in arguments])
        found = capsys.readouterr()
        return Ended(code, found.out, found.err)

    return one


@pytest.fixture
def shell(tmp_path: Path) -> Run:
    """Run a command as a process of its own, without a terminal."""

    def one(*arguments: object, **environment: str) -> Ended:
        done = subprocess.run(
            [sys.executable, "-m", "livepin", *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, **environment},
            timeout=_PATIENCE,
            check=False,
        )
        return Ended(done.returncode, done.stdout, done.stderr)

    return one


class Terminal:
    """A command on a terminal of its own, at which a person types."""

    def __init__(self, *arguments: str) -> None:
        self._here, there = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "livepin", *arguments],
            stdin=there,
            stdout=there,
            stderr=there,
            start_new_session=True,
        )
        os.close(there)
        self.text = ""
        self._decode = codecs.getincrementaldecoder("utf-8")().decode  # a read may end in a letter

    def until(self, expected: str) -> str:
        """Return what was printed, up to a text."""
        deadline = time.monotonic() + _PATIENCE
        while expected not in self.text:
            assert time.monotonic() < deadline, self.text
            self._read()
        return self.text

    def type(self, text: str) -> None:
        """Type."""
        os.write(self._here, text.encode())

    def end(self) -> int:
        """Return the exit code."""
        while self._read():
            pass
        os.close(self._here)
        return self.process.wait(timeout=60)

    def _read(self) -> bool:
        if not select.select([self._here], [], [], 60)[0]:
            raise AssertionError(self.text)
        try:
            found = os.read(self._here, 65536)
        except OSError:  # the other side is closed
            return False
        self.text += self._decode(found)
        return bool(found)


@pytest.fixture
def terminal() -> type[Terminal]:
    """Run a command on a terminal, at which the test types."""
    return Terminal


class Served:
    """A `livepin serve` process on a data folder."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.process = subprocess.Popen(
            [sys.executable, "-m", "livepin", "serve", "--data", str(data)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "LIVEPIN_DELIVERY_HOST": "127.0.0.1"},
        )
        deadline = time.monotonic() + _PATIENCE
        while not (data / "run" / "management.json").exists():
            assert self.process.poll() is None, "the server ended"
            assert time.monotonic() < deadline, "the server did not start"
            time.sleep(0.02)

    @property
    def url(self) -> str:
        """Where management listens."""
        found = json.loads((self.data / "run" / "management.json").read_text())
        return f"https://127.0.0.1:{found['port']}"

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal; return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(timeout=_PATIENCE)


@contextmanager
def serving(data: Path) -> Iterator[Served]:
    """Run a server for a while."""
    server = Served(data)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.end()


@pytest.fixture
def start() -> Iterator[Callable[[Path], Served]]:
    """Run servers of this test's own."""
    with ExitStack() as stack:
        yield lambda data: stack.enter_context(serving(data))


@pytest.fixture(scope="module")
def served(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A running server that the tests of a module share."""
    found = tmp_path_factory.mktemp("served") / "data"
    shutil.copytree(template, found)
    with serving(found) as server:
        yield server


@pytest.fixture(scope="session")
def authority() -> Authority:
    """A private CA."""
    return make_authority("Corp CA")


@pytest.fixture(scope="session")
def chain(authority: Authority) -> Chain:
    """A chain of three for the names and addresses that tests use."""
    names = ("localhost", "*.example.test", "127.0.0.1", "::1")
    return make_chain(*names, authority=authority, intermediate=True)


@pytest.fixture
def ca(authority: Authority, tmp_path: Path) -> Path:
    """The file of the private CA."""
    found = tmp_path / "corp-ca.pem"
    found.write_text(authority.pem)
    return found


@pytest.fixture
def endpoint() -> Iterator[Callable[[Chain], RecordingServer]]:
    """Start real TLS endpoints."""
    with ExitStack() as stack:
        yield lambda chain: stack.enter_context(RecordingServer(chain))


@pytest.fixture
def api(chain: Chain, endpoint: Callable[[Chain], RecordingServer]) -> RecordingServer:
    """A TLS endpoint with the chain of three."""
    return endpoint(chain)


@pytest.fixture
def key_of(served: Served) -> Callable[..., str]:
    """Make API keys of the running server, as an admin does over the management API."""

    def make(role: str, account: str | None = None) -> str:
        with connected(Local(data=served.data)) as api:
            name = f"{role} {time.monotonic_ns()}"
            body = {"name": name, "role": role, "account": account}
            return str(api.call("POST", "/v1/api-keys", body)["key"])

    return make


@pytest.fixture
def remote(served: Served, monkeypatch: pytest.MonkeyPatch) -> Served:
    """The running server, as LIVEPIN_URL, LIVEPIN_API_KEY and LIVEPIN_CA name it."""
    monkeypatch.delenv("LIVEPIN_DATA", raising=False)
    monkeypatch.setenv("LIVEPIN_URL", served.url)
    monkeypatch.setenv("LIVEPIN_CA", str(served.data / "tls" / "ca.pem"))
    monkeypatch.setenv("LIVEPIN_API_KEY", (served.data / "operator.key").read_text())
    return served
