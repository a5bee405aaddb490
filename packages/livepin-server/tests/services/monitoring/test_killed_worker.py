"""Workers killed at any moment: a batch waits for its lease, and nothing else comes of it.

Two kills in each run of the tests, fifty in `make torture`.
"""

from __future__ import annotations

import datetime as dt
import itertools
import math
import os
import subprocess
import sys
import time
from collections import defaultdict

import pytest
from livepin_server.services.monitoring.model import ChangeView, MonitorChange
from livepin_server.services.monitoring.settings import MonitoringSettings
from livepin_server.storage.schema import certificate_changes, findings, observations
from livepin_server.storage.schema import endpoints as endpoint_table
from msgspec import json
from sqlalchemy import select

ENDPOINTS = 24
# Each look sees a certificate that no other one sees, and half of the endpoints are wrong.
WORKER = """
import base64, datetime as dt, hashlib, os, sys, time
from livepin_server.probing.looks import Look, Sight
from livepin_server.probing.probe import CertificateSeen, Observation
from livepin_server.services.monitoring.model import Finding
from livepin_server.services.monitoring.schedule import Schedule
from livepin_server.services.monitoring.sources import Sources
from livepin_server.storage.database import Database
from livepin_server.storage.schema import findings
from msgspec import json
from sqlalchemy import delete, insert

database, log = Database(sys.argv[1]), os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND)
start, since = dt.datetime.fromisoformat(sys.argv[4]), float(sys.argv[5])
clock = lambda: start + dt.timedelta(seconds=time.monotonic() - since)
day = dt.timedelta(days=1)
number = 0

def say(*words):
    os.write(log, (" ".join(map(str, words)) + "\\n").encode())

def look(claimed):
    global number
    number += 1
    digest = hashlib.sha256(f"{os.getpid()} {number}".encode()).digest()
    key = "sha256/" + base64.b64encode(digest).decode()
    say("begins", claimed.endpoint, os.getpid(), time.monotonic())
    time.sleep(0.002)
    say("ends", claimed.endpoint, os.getpid(), time.monotonic())
    leaf = CertificateSeen(subject="CN=a", issuer="CN=b", not_before=clock() - day,
        not_after=clock() + day, names=[], key_type="EC P-256", sha256=key)
    seen = Observation(host=claimed.host, port=443, address="192.0.2.1", verified=True,
        chain=[leaf], digest=digest.hex())
    sights = [Sight(address="192.0.2.1", algorithm="ecdsa", engine="verified", observation=seen)]
    return claimed, Look(id=claimed.endpoint, sights=sights), key

def judge(claimed, *_):
    return [Finding(kind="pin_mismatch", code="none", severity="critical", key="k", cause="k",
        host=claimed.host, port=443, sentence="no pin matches")] if claimed.endpoint % 2 else []

def take(connection, judged, now):
    for each in judged:
        connection.execute(delete(findings).where(findings.c.endpoint == each.endpoint))
        for found in each.findings:
            connection.execute(insert(findings).values(endpoint=each.endpoint, vantage="here",
                key=found.key, account=each.account, state="firing", since=now, seen=now, times=1,
                good=0, finding=json.encode(found).decode()))
    return {(each.endpoint, each.vantage): dt.timedelta() for each in judged}

schedule = Schedule(database, Sources(database, clock=clock), clock=clock, judge=judge, take=take)
while True:
    claims = schedule.claim("here", 6, lease=dt.timedelta(seconds=float(sys.argv[3])))
    looked = [look(each) for each in claims]
    if looked:
        kept = schedule.complete([each[:2] for each in looked])
        if kept == len(looked):
            for claimed, _, key in looked:
                say("kept", claimed.endpoint, key)
    else:
        time.sleep(0.01)
"""
LEASE = 1.5  # seconds; a batch takes a hundredth of that


class Workers:
    """Workers on a database, and what they say."""

    def __init__(self, url, log, start):
        self._log = log
        log.touch()
        # They all have one clock, by which everything is due from the start.
        given = url, log, LEASE, start.isoformat(), time.monotonic()
        self._command = [sys.executable, "-c", WORKER, *map(str, given)]
        self.running, self.killed = [], {}

    def start(self):
        """Start one more."""
        environment = {k: v for k, v in os.environ.items() if not k.startswith("LIVEPIN_")}
        self.running.append(
            subprocess.Popen(self._command, stdin=subprocess.DEVNULL, env=environment)
        )

    def kill(self, process):
        """Kill one, at any moment."""
        process.kill()
        process.wait()
        self.killed[process.pid] = time.monotonic()
        self.running.remove(process)

    def said(self):
        """Return what was said so far, in words."""
        return [line.split() for line in self._log.read_text().splitlines()]


@pytest.fixture
def workers(services, tmp_path, clock):
    """Workers, which the end of the test ends."""
    url = services.database.url.render_as_string(hide_password=False)
    found = Workers(url, tmp_path / "said", clock() + dt.timedelta(hours=1))
    yield found
    for each in [*found.running]:
        found.kill(each)


def check_no_two_looked_at_once(workers):
    """Require that nobody began to look while somebody else did."""
    intervals = defaultdict(list)
    open_ones = {}
    for kind, endpoint, *rest in workers.said():
        if kind == "begins":
            open_ones[endpoint, rest[0]] = float(rest[1])
        elif kind == "ends":
            intervals[endpoint].append((open_ones.pop((endpoint, rest[0])), float(rest[1])))
    for (endpoint, pid), began in open_ones.items():  # one that lives still looks
        intervals[endpoint].append((began, workers.killed.get(int(pid), math.inf)))
    for found in intervals.values():
        found.sort()
        assert all(a[1] <= b[0] for a, b in itertools.pairwise(found))
    return intervals


def check_what_was_kept(workers, services):
    """Require that each look is kept once or not at all, and all that was acknowledged is."""
    with services.database.reading() as connection:
        changes = connection.scalars(select(certificate_changes.c.change)).all()
        wrong = set(connection.scalars(select(findings.c.endpoint)))
        held = set(connection.scalars(select(observations.c.endpoint)))
        ids = set(connection.scalars(select(endpoint_table.c.id)))
    keys = [json.decode(each, type=ChangeView).became for each in changes]
    kept = {words[2] for words in workers.said() if words[0] == "kept"}
    assert len(keys) == len(set(keys))
    assert kept <= set(keys)
    assert held == ids
    assert wrong == {each for each in ids if each % 2}


@pytest.mark.torture
@pytest.mark.timeout(3600)
def test_a_worker_that_is_killed_delays_its_batch_and_loses_nothing(
    services, endpoints, add_domain, clock, intent, workers, torture, until
):
    add_domain("*.example.com")
    settings = MonitoringSettings(services.database, clock=clock, changed=endpoints.sync)
    hosts = [f"{number}.example.com" for number in range(ENDPOINTS)]
    settings.change("acme", "*.example.com", MonitorChange(hosts=hosts), intent)
    count = 1 if services.database.shared is None else 2
    for _ in range(torture.kills):
        before = len(workers.said())
        while len(workers.running) < count:
            workers.start()
        until(lambda before=before: len(workers.said()) > before + ENDPOINTS)
        time.sleep(torture.chance.uniform(0, 0.1))  # the moment is what is tried
        workers.kill(torture.chance.choice(workers.running))
        check_no_two_looked_at_once(workers)
    last = len(workers.said())
    if not workers.running:
        workers.start()

    def all_kept():
        said = {words[1] for words in workers.said()[last:] if words[0] == "kept"}
        return len(said) == ENDPOINTS

    until(all_kept)
    for each in [*workers.running]:
        workers.kill(each)
    assert len(check_no_two_looked_at_once(workers)) == ENDPOINTS
    check_what_was_kept(workers, services)
    torture.count("kills", torture.kills)
