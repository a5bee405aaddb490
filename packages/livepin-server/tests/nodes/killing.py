"""The frame of the tests that kill: nodes, what is at work on them, and what must hold afterwards.

An `Operation` is what is under way when a node dies. To try another one, write a class with
`prepare`, `at_work` and `check`, as `publishing.py`, `rotating.py` and `test_killed_server.py` have
them, and give it to `Killing`: `under_way` kills a node that serves, `starting` one that does at
its start what is due, `command` a command. What must hold after each, whatever it was, is in
`Ledger`.
"""

from __future__ import annotations

import contextlib
import functools
import io
import itertools
import json
import os
import re
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import httpx
from livepin import Bootstrap, Client
from livepin.client import Answer, HTTPFetcher, Request
from livepin.documents import config
from livepin.jose import parse_compact
from livepin.trust import TrustedState
from livepin_server.cli.app import main
from livepin_server.layout import RUN_FILE
from livepin_server.probing.probe import Observation, Target
from livepin_server.services.composition import Services

ACCOUNT = "acme"
BASE = f"/v1/accounts/{ACCOUNT}"
_MOST_LISTED = 1000  # versions of a stream
_LEAVING = 5.0  # seconds that strace takes at most to let go
PATIENCE = 60.0  # seconds, on a busy machine
# What a node says to its disk, or to PostgreSQL, and before how many of these it may die. A
# publish writes about thirty times, and syncs once.
CALLS = {
    "sqlite": {"pwrite64": 120, "fdatasync": 6},
    "postgres": {"sendto": 60, "recvfrom": 60},
}
COMMAND_CALLS = {"pwrite64": 60, "fdatasync": 4, "fsync": 4, "rename": 2, "unlink": 2}


def unseen(targets: Sequence[Target]) -> dict[Target, list[Observation]]:
    """Look at no endpoint while something is prepared: these hosts do not exist."""
    return {each: [] for each in targets}


class Operation(Protocol):
    """What is under way when a node dies."""

    def prepare(self, services: Services) -> None:
        """Put in what it needs, while no node runs; before each kill of a start, too."""

    def at_work(self, node: Node) -> AbstractContextManager[None]:
        """Do it on a node, over and over, in other threads; stop at the end, or when it is dead.

        What is acknowledged goes to `node.acknowledge`.
        """

    def check(self, node: Node) -> None:
        """Look at what only this operation promises; the node was started again."""


class Ledger:
    """Everything that was ever acknowledged or seen, by whomever; and the apps that saw it."""

    def __init__(self, bootstraps: dict[str, Bootstrap], folder: Path) -> None:
        self.documents: dict[int, bytes] = {}  # by version: configs have one counter per account
        self.acknowledged: dict[int, str] = {}  # the reason that was given
        self.roots: dict[int, bytes] = {}
        self.states = {
            name: [TrustedState.from_bootstrap(found)] for name, found in bootstraps.items()
        }
        self.node: Node | None = None  # the one that apps reach
        self._lock = threading.Lock()
        self._folder = folder
        self.apps = {name: self._app(name, found) for name, found in bootstraps.items()}

    def see(self, raw: bytes) -> int:
        """Take note of a config that somebody has got: no other may have its version, ever."""
        found = config.Config.parse(parse_compact(raw, typ=config.TYP).payload)
        with self._lock:
            known = self.documents.setdefault(found.version, raw)
        assert known == raw, f"two configs of version {found.version}"
        return found.version

    def see_root(self, version: int, raw: bytes) -> None:
        """Take note of a root that is delivered: no other may have its version, ever."""
        assert self.roots.setdefault(version, raw) == raw, f"two roots of version {version}"

    def acknowledge(self, version: int, reason: str) -> None:
        """Take note of what a publisher was told."""
        with self._lock:
            assert self.acknowledged.setdefault(version, reason) == reason

    def check(self, node: Node) -> None:
        """Look at a node that was started again: nothing is lost, half, or there twice."""
        self.node = node
        with node.management() as http:
            streams = {each["name"]: each["version"] for each in _get(http, f"{BASE}/streams")}
            history = self._check_history(http, streams)
            for stream, version in streams.items():
                shown = _get(http, f"{BASE}/configs/latest", stream=stream)
                assert shown["publication"]["version"] == version
                self.see(shown["document"].encode())
                _check_rows(http, stream, shown["payload"])
                self._check_apps(stream, shown["document"].encode())
        self._check_acknowledged(history)
        assert audited(node) == max(streams.values())

    def _check_history(
        self, http: httpx.Client, streams: dict[str, int]
    ) -> dict[int, dict[str, Any]]:
        listed = [
            _get(http, f"{BASE}/configs", stream=stream, limit=_MOST_LISTED)["items"]
            for stream in streams
        ]
        newest = max(streams.values())
        # Before it, one of the lists has ended already.
        oldest = max(each[-1]["version"] if len(each) == _MOST_LISTED else 1 for each in listed)
        found = {e["version"]: e for each in listed for e in each if e["version"] >= oldest}
        assert sorted(found) == list(range(oldest, newest + 1))  # none is left out
        assert max(self.documents, default=0) <= newest
        return found

    def _check_acknowledged(self, history: dict[int, dict[str, Any]]) -> None:
        for version, reason in self.acknowledged.items():
            if version in history:
                assert history[version]["reason"] == reason
            else:
                assert version < min(history)

    def _check_apps(self, stream: str, newest: bytes) -> None:
        """Every app goes on: from the oldest bootstrap, and from each config that any ever held.

        The oldest walks all roots each time, the others each root once: those before they have.
        """
        held = self.states.setdefault(stream, [])
        if not held:
            assert self.node is not None
            held.append(TrustedState.from_bootstrap(self.node.bootstrap(stream)))
        oldest, *others = [self._under_its_root(each, newest) for each in held]
        held[1:] = others
        moved = [each.advance_config(newest) for each in (oldest, *others)]
        if moved[-1] is not held[-1]:
            held.append(moved[-1])
        app = self.apps.get(stream)
        if app is not None:
            deadline = time.monotonic() + PATIENCE
            while app.status().version != moved[-1].config.version:  # a node may hear of it late
                assert time.monotonic() < deadline
                app.refresh(timeout=PATIENCE)
            assert app.status().store_problem is None

    def _under_its_root(self, state: TrustedState, config: bytes) -> TrustedState:
        while missing := state.missing_roots(config):
            for version in missing:
                state = state.advance_root(self.roots[version])
        return state

    def _app(self, stream: str, bootstrap: Bootstrap) -> Client:
        store = self._folder / f"app-{stream}.json"
        return Client(bootstrap, store=store, push=False, reports=False, fetcher=_Nearest(self))

    def close(self) -> None:
        """End the apps."""
        for each in self.apps.values():
            each.close()


class _Nearest:
    """Fetches from wherever the node is now: each start takes other ports."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def fetch(self, request: Request) -> Answer:
        assert self._ledger.node is not None
        place = f"//localhost:{self._ledger.node.child.port()}/"
        return HTTPFetcher().fetch(replace(request, url=re.sub("//[^/]+/", place, request.url)))


def audited(node: Node) -> int:
    """Verify the audit log; return how many configs met their entry: each has exactly one."""
    said, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(errors):
        code = main(["audit", "verify", "--json", "--data", str(node.data)])
    assert code == 0, errors.getvalue()
    found: int = json.loads(said.getvalue())["logs"][0]["configs"]
    return found


def _get(http: httpx.Client, path: str, **query: Any) -> Any:
    answer = http.get(path, params=query)
    answer.raise_for_status()
    return answer.json()


def _check_rows(http: httpx.Client, stream: str, payload: dict[str, Any]) -> None:
    """Rows and signed document are of one transaction: they say the same."""
    rows = _get(http, f"{BASE}/domains", stream=stream)
    documents = {each["pattern"]: each for each in payload["domains"]}
    assert [each["pattern"] for each in rows] == sorted(documents)
    for row in rows:
        found = documents[row["pattern"]]
        assert found.get("mode", "enforce") == row["mode"]
        assert found["pin_set"] == row["pin_set"]
        pins = [each["sha256"] for each in payload["pin_sets"][row["pin_set"]]]
        assert [each["sha256"].removeprefix("sha256/") for each in row["pins"]] == pins
    delivery = _get(http, f"{BASE}/delivery")
    assert payload["refresh_interval"] == delivery["refresh_interval"]
    assert payload["delivery"]["urls"] == delivery["urls"]
    assert payload["delivery"].get("recovery_urls", []) == delivery["recovery_urls"]


@dataclass
class Node:
    """`livepin serve` on a data folder, that is killed and started again."""

    data: Path
    key: str
    ledger: Ledger
    start_child: Callable[..., Any]
    failures: list[Exception] = field(default_factory=list)
    told: threading.Condition = field(default_factory=threading.Condition)
    count: int = 0
    refusals: list[str] = field(default_factory=list)

    def start(self, *under: str, **environment: str) -> None:
        """Start, or start again."""
        (self.data / RUN_FILE).unlink(missing_ok=True)  # of the one that was killed
        self.failures.clear()
        self.child = self.start_child(self.data, under=under, **environment)

    @functools.cached_property
    def context(self) -> ssl.SSLContext:
        """What connects to it."""
        return ssl.create_default_context(cafile=self.data / "tls" / "ca.pem")

    def management(self) -> httpx.Client:
        """Return a client of management, which keeps its connection."""
        port = json.loads((self.data / RUN_FILE).read_text())["port"]
        return httpx.Client(
            base_url=f"https://localhost:{port}",
            headers={"authorization": f"Bearer {self.key}"},
            verify=self.context,
            trust_env=False,
            timeout=PATIENCE,
        )

    def bootstrap(self, stream: str) -> Bootstrap:
        """Return what an app built now embeds."""
        with self.management() as http:
            return Bootstrap.parse(http.get(f"{BASE}/bootstrap", params={"stream": stream}).content)

    def acknowledge(self, publications: Sequence[dict[str, Any]], reason: str) -> None:
        """Take note of an answer that acknowledges versions."""
        for each in publications:
            self.ledger.acknowledge(each["version"], reason)
        with self.told:
            self.count += 1
            self.told.notify_all()

    def refuse(self, answer: httpx.Response) -> None:
        """Take note of a refusal, which is in words, and says when to try again."""
        assert answer.headers["content-type"] == "application/problem+json"
        assert int(answer.headers["retry-after"]) > 0
        with self.told:
            self.refusals.append(answer.json()["detail"])
            self.told.notify_all()

    def failed(self, exc: Exception) -> None:
        """Take note that nobody answers any more."""
        with self.told:
            self.failures.append(exc)
            self.told.notify_all()

    def wait_for_more(self) -> None:
        """Wait until something more was acknowledged."""
        self._wait(lambda: self.count)

    def wait_for_refusal(self) -> str:
        """Wait until something more was refused; return how."""
        self._wait(lambda: len(self.refusals))
        return self.refusals[-1]

    def _wait(self, number: Callable[[], int]) -> None:
        before = number()
        self.wait_until(lambda: number() > before)

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition on what was told holds; fail if somebody gave up before."""
        with self.told:
            self.told.wait_for(lambda: condition() or self.failures, PATIENCE)
            assert not self.failures, self.failures
            assert condition(), "it did not come about"

    @contextlib.contextmanager
    def followed(self) -> Iterator[None]:
        """Have somebody fetch the configs that are delivered all the while, until it is dead."""
        ended = threading.Event()
        with working(lambda: self._follow(ended), stop=ended.set):
            yield

    def _follow(self, ended: threading.Event) -> None:
        url = f"https://localhost:{self.child.port()}"
        etags: dict[str, str] = {}
        with contextlib.suppress(httpx.HTTPError):
            with httpx.Client(base_url=url, verify=self.context, trust_env=False) as http:
                for stream in itertools.cycle(list(self.ledger.states)):
                    if ended.is_set():
                        return
                    headers = {"If-None-Match": etags.get(stream, '"0.0"')}
                    answer = http.get(f"/v1/{ACCOUNT}/config/{stream}", headers=headers)
                    if answer.status_code == 200:
                        etags[stream] = answer.headers["etag"]
                        self.ledger.see(answer.content)


@contextlib.contextmanager
def working(*work: Callable[[], None], stop: Callable[[], None]) -> Iterator[None]:
    """Run functions in threads until the end, and raise what one of them raised."""
    errors: list[BaseException] = []

    def run(one: Callable[[], None]) -> None:
        try:
            one()
        except BaseException as exc:
            errors.append(exc)

    threads = [threading.Thread(target=run, args=(each,)) for each in work]
    for each in threads:
        each.start()
    try:
        yield
    finally:
        stop()
        for each in threads:
            each.join(PATIENCE)
            assert not each.is_alive()
    for error in errors:
        raise error


class Killing:
    """Kills one node of several, as chance has it, and looks at all of them afterwards."""

    def __init__(
        self,
        nodes: list[Node],
        chance: Any,
        strace: Callable[..., list[str]],
        calls: dict[str, int],
    ) -> None:
        self.nodes, self.kills, self.exact = nodes, 0, 0
        self._chance, self._strace, self._calls = chance, strace, calls

    @property
    def newest(self) -> int:
        """The newest version that anybody has seen."""
        return max(self.nodes[0].ledger.documents)

    def under_way(self, operation: Operation) -> None:
        """Kill a node that serves: at a moment, or before a certain call to disk or database."""
        victim = self._chance.choice(self.nodes)
        others = [each for each in self.nodes if each is not victim]
        with contextlib.ExitStack() as stack:
            for each in self.nodes:
                stack.enter_context(each.followed())
                stack.enter_context(operation.at_work(each))
            for each in self.nodes:
                each.wait_for_more()
            if self._chance.random() < 0.5:
                self._kill_after(victim.child, self._chance.uniform(0, 0.1))
            else:
                stack.enter_context(self._killer(victim.child.pid))
            assert victim.child.process.wait(PATIENCE) == -signal.SIGKILL
            for each in others:
                each.wait_for_more()  # nobody waits for what the dead one held
        assert [each.failures for each in others] == [[] for _ in others]
        self._check(operation, victim)

    def starting(self, operation: Operation, prepare: Callable[[Operation], None]) -> None:
        """Kill a node that starts, and does by itself what has become due."""
        for each in self.nodes:
            each.child.end(signal.SIGKILL)
        prepare(operation)
        victim = self._chance.choice(self.nodes)
        others = [each for each in self.nodes if each is not victim]
        for each in self.nodes:
            each.start(*(self._fatal() if each is victim else ()))
        for each in others:
            assert each.child.serves(), each.child.log
        with victim.followed() if victim.child.serves() else contextlib.nullcontext():
            with contextlib.suppress(subprocess.TimeoutExpired):
                victim.child.process.wait(self._chance.uniform(0, 0.3))
            if victim.child.process.poll() is None:  # it had not so much to do
                victim.child.end(signal.SIGKILL)
        self._check(operation, victim)

    def command(
        self, operation: Operation, *arguments: str, calls: dict[str, int] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Kill a command that works on the data folder by itself, while no node runs."""
        for each in self.nodes:
            each.child.end(signal.SIGKILL)
        done = subprocess.run(
            [*self._fatal(calls or COMMAND_CALLS), sys.executable, "-m", "livepin", *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        )
        assert done.returncode in (0, -signal.SIGKILL), done.stderr
        for each in self.nodes[1:]:
            each.start()
            assert each.child.serves(), each.child.log
        self._check(operation, self.nodes[0], killed=done.returncode != 0)
        return done

    def _check(self, operation: Operation, victim: Node, *, killed: bool = True) -> None:
        self.kills += killed
        victim.start()
        assert victim.child.serves(), victim.child.log
        for each in self.nodes:
            operation.check(each)
            each.ledger.check(each)

    def _kill_after(self, child: Any, seconds: float) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.process.wait(seconds)
        child.end(signal.SIGKILL)

    @contextlib.contextmanager
    def _killer(self, pid: int) -> Iterator[None]:
        """Let a process die before a certain call of one of its threads."""
        with attached(self._fatal(), pid):
            yield

    def _fatal(self, calls: dict[str, int] | None = None) -> list[str]:
        self.exact += 1
        call, most = self._chance.choice(sorted((calls or self._calls).items()))
        return self._strace(f"{call}:signal=KILL:when={self._chance.randint(1, most)}")


@contextlib.contextmanager
def attached(strace: list[str], pid: int) -> Iterator[None]:
    """Have strace act on a process that runs, for a while."""
    command = [*strace, "-p", str(pid)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer:
        assert tracer.stderr is not None
        lines = []
        for line in tracer.stderr:
            lines.append(line)
            if "attached" in line:
                break
        assert "attached" in lines[-1], lines
        rest = threading.Thread(target=tracer.stderr.read)  # each new thread is told
        rest.start()
        try:
            yield
        finally:
            tracer.send_signal(signal.SIGINT)
            try:
                tracer.wait(_LEAVING)
            except subprocess.TimeoutExpired:  # one forks, and strace waits for it to end its fork
                tracer.kill()
            rest.join(PATIENCE)
