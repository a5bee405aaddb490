"""A change of the master key killed at each step and at any moment: no private key is ever lost.

Two kills by chance in each run of the tests, fifty in `make torture`.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import signal
import ssl
import subprocess
import sys
import threading

import httpx
import pytest
from killing import attached
from livepin.trust import TrustedState
from livepin_server.layout import RUN_FILE
from livepin_server.services import key_rows
from livepin_server.services.model import Intent, Role

INTENT = Intent(author="bob")
DATABASES = pytest.mark.parametrize(
    "database", ["data_folder", "postgres_folder"], ids=["on SQLite", "on PostgreSQL"]
)

# Forks a process for each round, which spares the starts of Python.
REKEYING = """
import os, pathlib, signal, sys
from livepin.testing import FakeClock
from livepin_server import folder, lock
from livepin_server.services.model import Intent
from sqlalchemy import event
from sqlalchemy.engine import Engine

FILES = {"open", "os.rename", "os.remove"}

def rekey(data, last):
    steps = 0
    def step(*_):
        nonlocal steps
        steps += 1
        if steps == last:
            os.kill(os.getpid(), signal.SIGKILL)
    def on_audit(name, arguments):
        if name in FILES and "master.key" in str(arguments[0]):
            step()
    with lock.holding(data), folder.opened(data, {}, clock=FakeClock()) as opened:
        sys.addaudithook(on_audit)
        event.listen(Engine, "before_cursor_execute", step)
        event.listen(Engine, "commit", step)
        opened.services.private_keys.rekey(Intent(author="bob"))
        step()
        os.write(1, f"{steps}\\n".encode())
    os._exit(0)

for line in sys.stdin:
    data, last = line.split()
    pid = os.fork()
    if pid == 0:
        rekey(pathlib.Path(data), int(last))
    _, status = os.waitpid(pid, 0)
    os.write(1, f"ended {os.waitstatus_to_exitcode(status)}\\n".encode())
"""


class Rekeying:
    """Changes the master key of a data folder, in a process that is killed at a step."""

    def __init__(self, process):
        self._process = process

    def __call__(self, data, last):
        """Return what was said before the end, and the exit code."""
        self._process.stdin.write(f"{data} {last}\n")
        self._process.stdin.flush()
        said = []
        for line in self._process.stdout:
            if line.startswith("ended"):
                return said, int(line.split()[1])
            said.append(line.strip())
        raise AssertionError("the process that forks has ended")


@pytest.fixture
def rekeying():
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", REKEYING], **pipes) as process:
        yield Rekeying(process)
        process.stdin.close()


def check(opened):
    """Check that one master key is there, and opens everything."""
    data, services = opened.data, opened.services
    assert not (data / "master.key.new").exists()
    assert services.private_keys.warnings() == []
    with services.database.reading() as connection:
        found = key_rows.sealed(connection)
    custody = services.private_keys._custody
    assert {custody.open(e.data, e.label).public.kid for e in found} == {e.label.kid for e in found}
    assert len(found) == 3
    return services.publisher.republish("acme", "main", INTENT).version


@DATABASES
def test_a_rekey_that_is_killed_at_a_step_is_finished_or_undone(
    request, open_folder, rekeying, database
):
    data = request.getfixturevalue(database)
    (count,), code = rekeying(data, 0)
    assert code == 0
    assert int(count) > 10
    masters = [(data / "master.key").read_bytes()]
    for last in range(1, int(count) + 1):
        assert rekeying(data, last) == ([], -signal.SIGKILL)
        with open_folder(data) as opened:
            assert check(opened) == last + 1  # not one version is lost
        masters.append((data / "master.key").read_bytes())
    changes = [one != other for one, other in itertools.pairwise(masters)]
    # Up to the commit it is undone, from the commit on it is finished.
    assert changes == sorted(changes)
    assert {False, True} == set(changes)


# Says when the folder is open, and dies as soon as a change is refused.
REFUSED = """
import os, pathlib, signal, sys
from livepin.testing import FakeClock
from livepin_server import folder
from livepin_server.errors import UnavailableError
from livepin_server.services.model import Intent

with folder.opened(pathlib.Path(sys.argv[1]), {}, clock=FakeClock()) as opened:
    intent = Intent(author="bob")
    opened.services.publisher.republish("acme", "main", intent)  # begins the log
    print("opened", flush=True)
    sys.stdin.readline()
    try:
        while True:
            opened.services.private_keys.rekey(intent)
    except UnavailableError as exc:
        print(exc, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_rekey_that_the_disk_refused_loses_no_key_if_its_server_dies_next(
    data_folder, open_folder, strace
):
    """The log that it leaves may show the change as kept, though SQLite had refused it."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", REFUSED, str(data_folder)], **pipes) as process:
        assert process.stdout.readline() == "opened\n"
        with attached(strace("fdatasync:error=EIO"), process.pid):
            said, _ = process.communicate("go\n", 60)
    assert said == "the database cannot be written: input/output error\n"
    assert process.returncode == -signal.SIGKILL
    with open_folder(data_folder) as opened:
        check(opened)


class Server:
    """`livepin serve`, somebody who changes the master key over and over, and one who publishes."""

    def __init__(self, data, start_child, key):
        self.data, self._start, self._key = data, start_child, key
        self._context = ssl.create_default_context(cafile=data / "tls" / "ca.pem")
        self.published = {}
        self.rekeyed = 0
        self.failures = []
        self.told = threading.Condition()
        self._numbers = itertools.count()  # none twice: it would be refused as nothing new

    def start(self):
        """Start, or start again."""
        (self.data / RUN_FILE).unlink(missing_ok=True)  # of the one that was killed
        self.child = self._start(self.data)
        self.child.port()
        port = json.loads((self.data / RUN_FILE).read_text())["port"]
        self._base = f"https://127.0.0.1:{port}"

    def work(self, send):
        """Send requests until nobody answers."""
        headers = {"authorization": f"Bearer {self._key}"}
        options = {"verify": self._context, "trust_env": False, "timeout": 60}
        with httpx.Client(base_url=self._base, headers=headers, **options) as http:
            while True:
                try:
                    answer = send(http)
                except httpx.HTTPError:
                    return
                with self.told:
                    if answer.status_code != 200:
                        self.failures.append(answer.text)
                    self.told.notify_all()

    def publish(self, http):
        """Publish once more."""
        body = {"recovery_urls": [f"https://cdn.example.net/{next(self._numbers)}"]}
        answer = http.put("/v1/accounts/acme/delivery", json=body)
        if answer.status_code == 200:
            (item,) = answer.json()["items"]
            self.published[item["version"]] = item["issued"]
        return answer

    def rekey(self, http):
        """Change the master key once more."""
        answer = http.post("/v1/custody/rekey", json={})
        self.rekeyed += answer.status_code == 200
        return answer

    def wait_for_more(self):
        """Wait until something more was acknowledged of either kind."""
        with self.told:
            before, rekeyed = len(self.published), self.rekeyed
            self.told.wait_for(
                lambda: (len(self.published) > before and self.rekeyed > rekeyed) or self.failures,
                60,
            )
        assert self.failures == []


@pytest.mark.torture
@pytest.mark.timeout(3600)
@DATABASES
def test_kills_at_any_moment_of_a_rekey_lose_no_key(
    request, torture, start_child, open_folder, database
):
    data = request.getfixturevalue(database)
    with open_folder(data) as opened:
        services = opened.services
        state = TrustedState.from_bootstrap(services.published.bootstrap("acme", "main"))
        key = services.api_keys.create("rekeying", Role.ADMIN, None, INTENT)[1]
    server = Server(data, start_child, key)
    for _ in range(torture.kills):
        server.start()
        threads = [
            threading.Thread(target=server.work, args=(each,))
            for each in (server.publish, server.rekey)
        ]
        for each in threads:
            each.start()
        server.wait_for_more()
        pause = torture.chance.uniform(0, 0.2)
        killer = threading.Timer(pause, server.child.process.send_signal, (signal.SIGKILL,))
        killer.start()
        assert server.child.process.wait(60) == -signal.SIGKILL
        for each in threads:
            each.join(60)
        assert server.failures == []
        with open_folder(data) as opened:
            newest = check(opened)
            documents = opened.services.published.documents("acme")
        state = state.advance_config(documents.configs["main"].raw)
        assert max(server.published) < newest == state.config.version
    with contextlib.suppress(ProcessLookupError):
        server.child.process.kill()
    torture.count("kills", torture.kills)
    torture.count("rekeyed", server.rekeyed)
    torture.count("publications", len(server.published))
