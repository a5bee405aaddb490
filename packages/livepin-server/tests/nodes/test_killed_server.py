"""`livepin serve` killed at any moment of what it does: nothing acknowledged is lost or half.

Two kills in each run of the tests, fifty in `make torture`.
"""

from __future__ import annotations

import contextlib
import re
import sqlite3
import time
from datetime import datetime, timedelta, timezone

import pytest
from killing import ACCOUNT, BASE, CALLS, Killing, unseen
from livepin.testing import FakeClock
from livepin_server import folder
from livepin_server.services.model import Intent, NewStream
from publishing import Publishing, random_pin
from rotating import Rotating

INTENT = Intent(author="bob")


class Resigning:
    """Configs that are due when a node starts, which signs them anew by itself."""

    STREAMS = ("main", "canary", "third", "fourth")

    def prepare(self, services):
        there = {each.name for each in services.streams.all(ACCOUNT)}
        for name in self.STREAMS:
            if name not in there:
                services.streams.add(ACCOUNT, NewStream(name=name), INTENT)
            services.publisher.republish(ACCOUNT, name, INTENT)

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
def start_killing(start_nodes, strace, torture):
    """Start nodes on a data folder and on copies of it, ready for an operation."""

    def one(operation, data, count, calls, *, days=0):
        nodes = start_nodes(operation, data, count, days=days)
        return Killing(nodes, torture.chance, strace, CALLS[calls])

    return one


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
def test_kills_while_publishing_roots_lose_nothing_and_leave_nothing_half(
    start_killing, torture, request, database, count, calls
):
    data = request.getfixturevalue(database)
    operation = Rotating(torture.chance.randrange(10**9))
    killing = start_killing(operation, data, count, calls)
    for _ in range(torture.kills):
        killing.under_way(operation)
    torture.count("roots", max(killing.nodes[0].ledger.roots))
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
        with folder.opened(data, {}, clock=clock, look=unseen) as opened:
            operation.prepare(opened.services)

    operation = Resigning()
    killing = start_killing(operation, data, count, calls, days=8)
    for _ in range(torture.kills):
        killing.starting(operation, make_due)
    finish(killing, torture, data)


@pytest.mark.torture
@pytest.mark.timeout(3600)
def test_kills_of_a_command_lose_nothing_and_repeat_nothing(start_killing, torture, data_folder):
    """It works on the data folder by itself: no server runs there."""
    operation = Publishing(1)
    killing = start_killing(operation, data_folder, 1, "sqlite")
    tries = 0
    while killing.kills < torture.kills:
        tries += 1
        name, pin = f"by-{tries}", random_pin(torture.chance)["sha256"]
        arguments = ["pinset", "add", name, pin, "--reason", name, "--data", str(data_folder)]
        done = killing.command(operation, *arguments)
        if done.returncode == 0:
            (version,) = re.findall(r"in config version (\d+)", done.stdout)
            killing.nodes[0].ledger.acknowledge(int(version), name)
            killing.nodes[0].ledger.check(killing.nodes[0])
    finish(killing, torture, data_folder)
