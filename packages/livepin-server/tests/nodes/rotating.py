"""Operators over the API who publish one root after the other."""

from __future__ import annotations

import contextlib
import itertools
import json
import random
import threading
import time

import httpx
from killing import ACCOUNT, BASE, PATIENCE, working
from livepin_server.services.model import Intent, NewStream

INTENT = Intent(author="bob")
STREAMS = ("canary", "third")  # beside main: a root has a config of each


class Rotating:
    """One operator on each node. Keys of the server are replaced, or a root is only renewed."""

    def __init__(self, seed):
        self._seeds = itertools.count(seed)
        self._intervals = itertools.count(600)
        self.acknowledged = {}  # documents of roots, by version

    def prepare(self, services):
        for name in STREAMS:
            services.streams.add(ACCOUNT, NewStream(name=name), INTENT)

    @contextlib.contextmanager
    def at_work(self, node):
        ended = threading.Event()
        operator = _Operator(node, random.Random(next(self._seeds)), ended, self.acknowledged)
        with working(operator.run, stop=ended.set):
            yield

    def check(self, node):
        """No root is lost or half: each stream is under the newest, and its keys are there."""
        with node.management() as http:
            newest = _get(http, f"{BASE}/root")
            assert newest["version"] >= max(self.acknowledged, default=1)
            for name in ("config", "override"):
                (key,) = newest["roles"][name]["keys"]
                assert key["held"] == "sealed on the server"
            for stream in ("main", *STREAMS):
                found = _get(http, f"{BASE}/configs/latest?stream={stream}")
                assert found["payload"]["root_version"] == newest["version"]
            self._see_roots(node, newest["version"])
            body = {"refresh_interval": next(self._intervals), "reason": "signed once more"}
            answer = http.put(f"{BASE}/delivery", json=body)
            answer.raise_for_status()
            node.acknowledge(answer.json()["items"], body["reason"])

    def _see_roots(self, node, newest):
        url = f"https://localhost:{node.child.port()}"
        with httpx.Client(base_url=url, verify=node.context, trust_env=False) as http:
            for version in range(1, newest + 1):
                raw = _delivered(http, version)
                node.ledger.see_root(version, raw)
                if version in self.acknowledged:
                    assert json.loads(raw) == self.acknowledged[version]


class _Operator:
    """One who publishes roots until told to stop, or until nobody answers."""

    def __init__(self, node, chance, ended, acknowledged):
        self._node, self._chance, self._ended = node, chance, ended
        self._acknowledged = acknowledged

    def run(self):
        with self._node.management() as self._http:
            try:
                for number in itertools.count():
                    if self._ended.is_set():
                        return
                    self._once(f"{self._chance.random()} {number}")
            except httpx.HTTPError as exc:
                self._node.failed(exc)

    def _once(self, reason):
        wanted = {"replace_online": self._chance.random() < 0.5}
        if not wanted["replace_online"]:
            wanted["days"] = self._chance.randint(1100, 36500)
        prepared = self._send("prepare", wanted)
        signed = prepared and self._send("sign", {"payload": prepared["payload"]})
        if signed and self._chance.random() < 0.5:
            self._node.acknowledge([], reason)  # or the kill would come before the publish
        published = signed and self._send("publish", {**signed, "reason": reason})
        if published:
            version = published["items"][0]["root_version"]
            self._acknowledged[version] = signed["document"]
            self._node.acknowledge(published["items"], reason)

    def _send(self, step, body):
        """Return the answer, or None: another operator may have been first, or it is no longer."""
        answer = self._http.post(f"{BASE}/root/{step}", json=body)
        if answer.status_code == 409:
            return None
        answer.raise_for_status()
        return answer.json()


def _delivered(http, version):
    deadline = time.monotonic() + PATIENCE
    while True:
        answer = http.get(f"/v1/{ACCOUNT}/root/{version}")
        if answer.status_code == 200:
            return answer.content
        assert time.monotonic() < deadline, version  # a node may hear of it late
        time.sleep(0.01)


def _get(http, path):
    answer = http.get(path)
    answer.raise_for_status()
    return answer.json()
