"""`livepin serve` killed at any moment of what it does: nothing acknowledged is lost or half.

Two kills in each run of the tests, fifty in `make torture`.
"""

from __future__ import annotations

import contextlib
import itertools
import random
import sqlite3
import threading
import time
from datetime import datetime, timedelta, timezone

import httpx
import msgspec
import pytest
from killing import ACCOUNT, BASE, CALLS, Killing, Ledger, Node, working
from livepin.testing import FakeClock
from livepin_server import folder
from livepin_server.services.model import Intent, NewDomain, NewPin, NewStream, Role

INTENT = Intent(author="bob")
PUBLISHERS = 2  # of each node
MOST_STREAMS = 4  # a stream stays for good, and each is published with every change of delivery


def random_pin(chance):
    """Return a pin that nobody has."""
    return {"sha256": f"sha256/{'A' * 20}{chance.randrange(10**20):020}AAA="}


class Publishing:
    """Publishers over the API who change whatever can be changed, as chance has it."""

    def __init__(self, seed):
        self._seeds = itertools.count(seed)

    def prepare(self, services):
        for number in range(12):
            new = NewDomain(
                pattern=f"host-{number}.example.com",
                pins=[NewPin(**random_pin(random.Random(number)))],
            )
            services.domains.add(ACCOUNT, new, INTENT)
        services.streams.add(ACCOUNT, NewStream(name="canary"), INTENT)

    @contextlib.contextmanager
    def at_work(self, node):
        ended = threading.Event()
        publishers = [
            Publisher(node, random.Random(next(self._seeds)), ended) for _ in range(PUBLISHERS)
        ]
        with working(*(each.run for each in publishers), stop=ended.set):
            yield

    def check(self, node):
        pass


class Publisher:
    """One who changes an account until told to stop, or until nobody answers."""

    def __init__(self, node, chance, ended):
        self._node, self._chance, self._ended = node, chance, ended
        self._ways = [
            self.add, self.add, self.remove, self.add_pin, self.add_pin, self.remove_pin,
            self.settings, self.add_set, self.replace_set, self.follow, self.remove_set,
            self.add_stream, self.take, self.delivery,
        ]  # fmt: skip

    def run(self):
        with self._node.management() as self._http:
            try:
                for number in itertools.count():
                    if self._ended.is_set():
                        return
                    self._reason = f"{self._chance.random()} {number}"
                    self._streams = [each["name"] for each in self._get("/streams")]
                    self._stream = self._chance.choice(self._streams)
                    self._chance.choice(self._ways)()
            except httpx.HTTPError as exc:
                self._node.failed(exc)

    def _get(self, path):
        answer = self._http.get(BASE + path)
        answer.raise_for_status()
        return answer.json()

    def _change(self, method, path, **body):
        """Send a change; another publisher may have made it impossible meanwhile."""
        query = {} if method == "POST" and path in ("/domains", "/pin-sets") else None
        query = {"stream": self._stream} if query is None else query
        options = {"json": {**body, "reason": self._reason}}
        if method == "DELETE":
            query["reason"] = options.pop("json")["reason"]
        answer = self._http.request(method, BASE + path, params=query, **options)
        if answer.status_code not in (404, 409, 422):
            answer.raise_for_status()
            found = answer.json()
            self._node.acknowledge(found.get("items") or [found["publication"]], self._reason)

    def _one(self, path):
        return self._chance.choice(self._get(f"{path}?stream={self._stream}") or [None])

    def add(self):
        pattern = f"host-{self._chance.randrange(40)}.example.com"
        pins = [random_pin(self._chance) for _ in range(self._chance.randint(1, 4))]
        self._change("POST", "/domains", pattern=pattern, pins=pins, stream=self._stream)

    def remove(self):
        found = self._get(f"/domains?stream={self._stream}")
        if len(found) > 6:
            self._change("DELETE", f"/domains/{self._chance.choice(found)['pattern']}")

    def add_pin(self):
        if found := self._one("/domains"):
            pins = [random_pin(self._chance)]
            self._change("POST", f"/domains/{found['pattern']}/pins", pins=pins)

    def remove_pin(self):
        if found := self._one("/domains"):
            pin = self._chance.choice(found["pins"])["sha256"].removeprefix("sha256/")
            name = pin.rstrip("=").replace("+", "-").replace("/", "_")
            self._change("DELETE", f"/domains/{found['pattern']}/pins/{name}")

    def settings(self):
        if found := self._one("/domains"):
            mode = {"enforce": "report"}.get(found["mode"], "enforce")
            self._change("PATCH", f"/domains/{found['pattern']}/settings", mode=mode)

    def add_set(self):
        name = f"set-{self._chance.randrange(6)}"
        pins = [random_pin(self._chance)]
        self._change("POST", "/pin-sets", name=name, pins=pins, stream=self._stream)

    def replace_set(self):
        if found := self._one("/pin-sets"):
            pins = [random_pin(self._chance) for _ in range(self._chance.randint(1, 6))]
            self._change("PUT", f"/pin-sets/{found['name']}/pins", pins=pins)

    def remove_set(self):
        if found := self._one("/pin-sets"):
            self._change("DELETE", f"/pin-sets/{found['name']}")

    def follow(self):
        found, shared = self._one("/domains"), self._one("/pin-sets")
        if found and shared:
            name = self._chance.choice([shared["name"], None])
            self._change("PUT", f"/domains/{found['pattern']}/pin-set", name=name)

    def add_stream(self):
        if len(self._streams) < MOST_STREAMS:
            self._change("POST", "/streams", name=f"more-{len(self._streams)}")

    def take(self):
        source = self._chance.choice(self._streams)
        if source != self._stream and (found := self._one("/domains")):
            path, self._stream = f"/streams/{source}/domains", self._stream
            self._change("POST", path, pattern=found["pattern"], source=self._stream, keep=True)

    def delivery(self):
        seconds = self._chance.randint(1, 600000)
        self._change("PUT", "/delivery", refresh_interval=seconds)


class Resigning:
    """Configs that are due when a node starts, which signs them anew by itself."""

    STREAMS = ("main", "canary", "third", "fourth")

    def prepare(self, services):
        there = {each.name for each in services.streams.all(ACCOUNT)}
        for name in self.STREAMS:
            if name not in there:
                services.streams.add(ACCOUNT, NewStream(name=name), INTENT)
            services.publisher.publish(ACCOUNT, name, lambda *_: [], INTENT)

    @contextlib.contextmanager
    def at_work(self, node):
        yield

    def check(self, node):
        """In the end somebody has signed all of them."""
        deadline = time.monotonic() + 60
        with node.management() as http:
            while True:
                found = http.get(f"{BASE}/streams").json()
                ages = [datetime.now(timezone.utc) - _moment(each["issued"]) for each in found]
                if max(ages) < timedelta(days=7):
                    return
                assert time.monotonic() < deadline, found
                time.sleep(0.01)


def _moment(text):
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


@pytest.fixture
def start_killing(another_folder, start_child, strace, torture, tmp_path):
    """Start nodes on a data folder and on copies of it, ready for an operation."""
    with contextlib.ExitStack() as stack:

        def one(operation, data, count, calls, *, days=0):
            clock = FakeClock(datetime.now(timezone.utc) - timedelta(days=days))
            with folder.opened(data, {}, clock=clock) as opened:
                services = opened.services
                publisher = services.publisher
                settings = msgspec.structs.replace(
                    publisher.delivery(ACCOUNT), urls=["https://localhost:1"]
                )
                publisher.set_delivery(ACCOUNT, settings, INTENT)
                operation.prepare(services)
                streams = [each.name for each in services.streams.all(ACCOUNT)]
                bootstraps = {name: publisher.bootstrap(ACCOUNT, name) for name in streams}
                key = services.api_keys.create("publishers", Role.ADMIN, ACCOUNT, INTENT)[1]
            ledger = Ledger(bootstraps, tmp_path)
            stack.callback(ledger.close)
            folders = [data, *(another_folder(data) for _ in range(count - 1))]
            nodes = [Node(each, key, ledger, start_child) for each in folders]
            for each in nodes:
                each.start()
            assert all(each.child.serves() for each in nodes)
            return Killing(nodes, torture.chance, strace, CALLS[calls])

        yield one


DATABASES = [("data_folder", 1, "sqlite"), ("postgres_folder", 2, "postgres")]


def finish(killing, torture, data):
    """Count what was done, and look at the file."""
    torture.count("kills", killing.kills)
    torture.count("of them before a certain call", killing.exact)
    torture.count("publications", killing.newest)
    for each in killing.nodes:
        assert each.child.end() == 0
    if (data / "livepin.db").exists():
        with contextlib.closing(sqlite3.connect(data / "livepin.db")) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.torture
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("database", "count", "calls"), DATABASES)
def test_kills_while_publishing_lose_nothing_and_repeat_nothing(
    start_killing, torture, request, database, count, calls
):
    data = request.getfixturevalue(database)
    operation = Publishing(torture.chance.randrange(10**9))
    killing = start_killing(operation, data, count, calls)
    for _ in range(torture.kills):
        killing.under_way(operation)
    finish(killing, torture, data)


@pytest.mark.torture
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("database", "count", "calls"), DATABASES)
def test_kills_while_signing_again_lose_nothing_and_repeat_nothing(
    start_killing, torture, request, database, count, calls
):
    data = request.getfixturevalue(database)

    def make_due(operation):
        clock = FakeClock(datetime.now(timezone.utc) - timedelta(days=8))
        with folder.opened(data, {}, clock=clock) as opened:
            operation.prepare(opened.services)

    operation = Resigning()
    killing = start_killing(operation, data, count, calls, days=8)
    for _ in range(torture.kills):
        killing.starting(operation, make_due)
    finish(killing, torture, data)
