"""What all tests share: the counterparts they need, and the coverage gates of `make test`."""

from __future__ import annotations

import gc
import io
import os
import random
import shutil
import signal
import subprocess
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest

# A counterpart, and how a person installs it.
COUNTERPARTS = {
    "nginx": "apt install nginx-light",
    "postgres": "apt install postgresql",
    "initdb": "apt install postgresql",
    "curl": "apt install curl",
    "age": "apt install age",
    "aapt2": "apt install aapt android-framework-res",
    "javac": "apt install default-jdk-headless",
    "okhttp.jar": "apt install libokhttp-java",
    "okio.jar": "apt install libokhttp-java",
    "bash": "apt install bash",
    "zsh": "apt install zsh",
    "fish": "apt install fish",
    "softhsm2-util": "apt install softhsm2",
    "libsofthsm2.so": "apt install softhsm2",
    "prometheus-alertmanager": "apt install prometheus-alertmanager",
    "promtool": "apt install prometheus",
    "strace": "apt install strace",
    "unshare": "apt install util-linux",
    "faketime": "apt install faketime",
    "mount": "apt install mount",
    "umount": "apt install mount",
    "mitmdump": ".ci/counterparts",
    "envoy": ".ci/counterparts",
    "moto_server": ".ci/counterparts",
    "azurite-blob": ".ci/counterparts",
    "node": "apt install npm",
}

_UNMEASURED = {"attacks", "frida", "mitmproxy", "nodes"}  # folders

_MEASURED = "COVERAGE_PROCESS_CONFIG"  # a variable by which processes know that they are measured

# What a file of the core may not have: a branch that no test takes.
CORE_GATE, REST_GATE = 100.0, 95.0
CORE = [
    "*/livepin/errors.py",
    "*/livepin/pins.py",
    "*/livepin/hostnames.py",
    "*/livepin/jsontext.py",
    "*/livepin/certificates.py",
    "*/livepin/jose.py",
    "*/livepin/tokens.py",
    "*/livepin/documents/*.py",
    "*/livepin/bootstrap.py",
    "*/livepin/trust.py",
]


@pytest.fixture(scope="session")
def counterpart() -> Callable[[str], str]:
    """Give the path of what a test talks to; without it the test is skipped.

    With `CI` set it fails instead.
    """

    def find(name: str) -> str:
        here = Path(__file__).parent
        own = [here / each / "bin" for each in (".mitmproxy", ".envoy", ".moto")]
        own.append(here / ".azurite" / "node_modules" / ".bin")
        beside = ["/usr/sbin", "/usr/local/sbin", *Path("/usr/lib/postgresql").glob("*/bin")]
        path = (
            shutil.which(name, path=":".join(map(str, own)))
            or shutil.which(name)
            or shutil.which(name, path=":".join(map(str, beside)))
            or shutil.which(name, os.R_OK, path="/usr/share/java:/usr/lib/softhsm")
        )
        if path is None:
            missing_here(f"{name} is not here; install it with: {COUNTERPARTS[name]}")
        return path

    return find


@pytest.fixture(scope="session")
def missing() -> Callable[[str], NoReturn]:
    """Say what is missing here: that skips the test, but with `CI` set it fails."""
    return missing_here


def missing_here(text: str) -> NoReturn:
    """Skip a test, or fail it in CI, in words."""
    if os.environ.get("CI"):
        pytest.fail(text)
    pytest.skip(text)


@pytest.fixture(scope="session")
def strace(counterpart: Callable[[str], str]) -> Callable[..., list[str]]:
    """Give the command under which system calls of a process fail, or end it.

    `strace("fdatasync:error=EIO:when=3", path)` is the start of a command line: of each thread
    of what follows, the third such call on that path fails; without a path, on any.
    """
    program = counterpart("strace")
    command = [program, "-f", "-e", "signal=none"]
    tried = subprocess.run([*command, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        missing_here(f"strace may not trace here, it needs CAP_SYS_PTRACE: {tried.stderr}")

    def one(fault: str, *paths: Path, log: str | Path = os.devnull) -> list[str]:
        calls = fault.partition(":")[0]
        found = [*command, "-o", str(log), "-e", f"trace={calls}", "-e", f"inject={fault}"]
        if "signal=" not in fault:
            found.append("--seccomp-bpf")  # much faster, but no signal is sent then
        return [*found, *(part for path in paths for part in ("-P", str(path)))]

    return one


def pytest_configure() -> None:
    """Let tests send Ctrl-C to their children also where a shell runs this in the background.

    Such a shell ignores SIGINT, and whatever it starts inherits that.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """Let the garbage collector pass over what stays: modules, and the tests themselves.

    There are half a million of these, to look at which takes a tenth of a second each time.
    """
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Measure no coverage where clients and servers are attacked or killed.

    What they do is covered where it is specified, and measuring takes a third as long as they do.
    """
    for item in items:
        if not _UNMEASURED.isdisjoint(item.path.parts):
            item.add_marker(pytest.mark.no_cover)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Measure no process either that such a test starts: that takes longer than many of them."""
    measured = os.environ.get(_MEASURED)
    if measured is None or item.get_closest_marker("no_cover") is None:
        return (yield)
    del os.environ[_MEASURED]
    try:
        return (yield)
    finally:
        os.environ[_MEASURED] = measured


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that `make test` uses when it runs everything, and those of `make torture`."""
    parser.addoption("--coverage-gates", action="store_true", help="fail below the coverage gates")
    parser.addoption("--kills", type=int, default=2, help="of each test that kills")
    parser.addoption("--chaos", type=float, default=2.0, help="seconds of each test in chaos")
    parser.addoption("--torture-seed", type=int, default=1, help="what chance starts from in these")


@dataclass(frozen=True)
class Torture:
    """How long a test that `make torture` makes long is to go on, and what chance decides in it."""

    kills: int
    seconds: float
    chance: random.Random
    count: Callable[[str, int], None]


@pytest.fixture
def torture(request: pytest.FixtureRequest, record_property: Callable[..., None]) -> Torture:
    """Give how often, how long, and by which chance; `count` tells what was done, for its page."""
    options = request.config.option
    seed = f"{options.torture_seed} {request.node.name}"
    chance = random.Random(seed)  # noqa: S311 - to be repeated
    return Torture(options.kills, options.chaos, chance, record_property)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the run if the core is not covered whole, or the rest by less than 95 %."""
    if not session.config.getoption("--coverage-gates") or hasattr(session.config, "workerinput"):
        return
    if session.exitstatus != pytest.ExitCode.OK:
        return
    below = session.config.stash[_BELOW] = _below_the_gates()
    if below:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Show what the gates found."""
    for line in config.stash.get(_BELOW, []):
        terminalreporter.write_line(line, red=True)


def _below_the_gates() -> list[str]:
    import coverage

    measured = coverage.Coverage()
    measured.load()
    found = []
    gates = [("the core", CORE_GATE, CORE, None), ("the rest", REST_GATE, None, CORE)]
    for name, gate, include, omit in gates:
        text = io.StringIO()
        percent = measured.report(
            include=include, omit=omit, file=text, show_missing=True, skip_covered=True
        )
        if percent < gate:
            found += [f"{name}: expected {gate} % of branches covered, found {percent:.2f} %"]
            found += text.getvalue().splitlines()
    return found


_BELOW = pytest.StashKey[list[str]]()
