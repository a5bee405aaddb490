"""`livepin serve` killed at any moment under publishers: nothing acknowledged is lost or half.

Two kills in each run of the tests, fifty in `make torture`.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import signal
import sqlite3
import ssl
import threading

import httpx
import pytest
from livepin.trust import TrustedState
from livepin_server.layout import RUN_FILE
from livepin_server.services.model import Intent, NewDomain, Role

INTENT = Intent(author="bob")

HOST = "api.example.com"
PUBLISHERS = 2  # of each node, at a time


class Node:
    """`livepin serve` on a data folder, with publishers that change a domain over and over."""

    def __init__(self, data, start_child, key):
        self.data, self._start, self._key = data, start_child, key
        self.context = ssl.create_default_context(cafile=data / "tls" / "ca.pem")
        self.acknowledged = {}
        self.failures = []
        self.stopped = threading.Event()
        self._labels = itertools.count()
        self.told = threading.Condition()

    def start(self):
        """Start, or start again."""
        (self.data / RUN_FILE).unlink(missing_ok=True)  # of the one that was killed
        self.child = self._start(self.data)
        self.child.port()

    def call(self):
        """Return a client of management."""
        port = json.loads((self.data / RUN_FILE).read_text())["port"]
        headers = {"authorization": f"Bearer {self._key}"}
        options = {"verify": self.context, "trust_env": False, "timeout": 60}
        return httpx.Client(base_url=f"https://127.0.0.1:{port}", headers=headers, **options)

    def publish(self, label):
        """Change the mode of the domain until told to stop, or until nobody answers."""
        with self.call() as http:
            for number in itertools.count():
                if self.stopped.is_set():
                    return
                reason = f"{label} {number}"
                change = {"mode": ("report", "enforce")[number % 2], "reason": reason}
                try:
                    answer = http.patch(f"/v1/accounts/acme/domains/{HOST}/settings", json=change)
                    if answer.status_code == 409:
                        continue  # another publisher has set that mode
                    answer.raise_for_status()
                except httpx.HTTPError as exc:
                    with self.told:
                        self.failures.append(exc)
                        self.told.notify_all()
                    return
                with self.told:
                    self.acknowledged[reason] = answer.json()["publication"]["version"]
                    self.told.notify_all()

    @contextlib.contextmanager
    def publishing(self):
        """Have publishers at work for a while."""
        self.stopped.clear()
        self.failures.clear()
        threads = [
            threading.Thread(target=self.publish, args=(f"{self.data.name}, {n}",))
            for n in itertools.islice(self._labels, PUBLISHERS)
        ]
        for each in threads:
            each.start()
        try:
            yield
        finally:
            self.stopped.set()
            for each in threads:
                each.join(60)
                assert not each.is_alive()

    def wait_for_more(self):
        """Wait until something more was acknowledged."""
        with self.told:
            before = len(self.acknowledged)
            self.told.wait_for(lambda: len(self.acknowledged) > before or self.failures, 60)
            assert (len(self.acknowledged) > before, self.failures) == (True, [])


class Fleet:
    """Nodes of one database, and an app that follows what they deliver."""

    def __init__(self, nodes, state):
        self.nodes = nodes
        self.state = state
        self.seen = {}  # what was ever in the history: its reason by version

    def check(self, kills):
        """Check what the nodes keep and deliver against what they acknowledged."""
        for node in self.nodes:
            self.state = self.state.advance_config(node.child.get("/v1/acme/config/main").content)
        newest = self.state.config.version
        with self.nodes[0].call() as http:
            kept = http.get("/v1/accounts/acme/configs", params={"limit": 1000}).json()["items"]
            domain = http.get(f"/v1/accounts/acme/domains/{HOST}").json()
        found = {each["version"]: each["reason"] for each in kept}
        # No number twice, none left out, and the newest is what is delivered.
        assert [each["version"] for each in kept] == list(range(newest, newest - len(kept), -1))
        assert {n: self.seen.get(n, reason) for n, reason in found.items()} == found
        self.seen |= found
        # What was acknowledged is there, with the content that it had.
        acknowledged = {}
        for node in self.nodes:
            for reason, version in node.acknowledged.items():
                assert acknowledged.setdefault(version, reason) == reason
                assert self.seen[version] == reason
        # At most one of each publisher was committed and could not be acknowledged any more.
        unsaid = self.seen.keys() - acknowledged.keys() - {1, 2}
        assert len(unsaid) <= PUBLISHERS * kills
        # Rows and signed document are of one transaction.
        assert domain["mode"] == self.state.lookup(HOST).mode.value


@pytest.fixture
def start_fleet(open_folder, another_folder, start_child, new_pin, intent):
    """Start nodes on a data folder and on copies of it."""

    def one(data, count):
        with open_folder(data) as opened:
            services = opened.services
            services.domains.add("acme", NewDomain(pattern=HOST, pins=[new_pin(1)]), intent)
            state = TrustedState.from_bootstrap(services.publisher.bootstrap("acme", "main"))
            key = services.api_keys.create("publishers", Role.OPERATOR, "acme", INTENT)[1]
        folders = [data, *(another_folder(data) for _ in range(count - 1))]
        nodes = [Node(each, start_child, key) for each in folders]
        for each in nodes:
            each.start()
        return Fleet(nodes, state)

    return one


@pytest.mark.torture
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("database", "count"), [("data_folder", 1), ("postgres_folder", 2)])
def test_kills_at_any_moment_lose_nothing_and_repeat_nothing(
    start_fleet, torture, request, database, count
):
    data = request.getfixturevalue(database)
    fleet = start_fleet(data, count)
    for number in range(torture.kills):
        victim = torture.chance.choice(fleet.nodes)
        others = [each for each in fleet.nodes if each is not victim]
        pause = torture.chance.uniform(0, 0.2)
        with contextlib.ExitStack() as stack:
            for each in fleet.nodes:
                stack.enter_context(each.publishing())
            for each in fleet.nodes:
                each.wait_for_more()
            killer = threading.Timer(pause, victim.child.process.send_signal, (signal.SIGKILL,))
            killer.start()
            assert victim.child.process.wait(60) == -signal.SIGKILL
            for each in others:
                each.wait_for_more()  # nobody waits for what the dead one held
        assert [each.failures for each in others] == [[] for _ in others]
        victim.start()
        fleet.check(number + 1)
    torture.count("kills", torture.kills)
    torture.count("publications", fleet.state.config.version)
    if database == "data_folder":
        assert fleet.nodes[0].child.end() == 0
        with contextlib.closing(sqlite3.connect(data / "livepin.db")) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
