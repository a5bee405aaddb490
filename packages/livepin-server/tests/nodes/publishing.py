"""Publishers over the API who change whatever can be changed, as chance has it."""

from __future__ import annotations

import contextlib
import itertools
import random
import threading

import httpx
from killing import ACCOUNT, BASE, working
from livepin_server.services.model import Intent, NewDomain, NewPin, NewStream

INTENT = Intent(author="bob")
PUBLISHERS = 2  # of each node
MOST_STREAMS = 4  # a stream stays for good, and each is published with every change of delivery


def random_pin(chance):
    """Return a pin that nobody has."""
    return {"sha256": f"sha256/{'A' * 20}{chance.randrange(10**20):020}AAA="}


def pattern_of(number):
    """Return a pattern, one in four a host: before a change the server looks at that.

    For each look it starts a process, which would be most of what these tests compute.
    """
    host = f"host-{number}.example.com"
    return f"*.{host}" if number % 4 else host


class Publishing:
    """So many publishers on each node; patient ones go on after a refusal with 503."""

    def __init__(self, seed, *, publishers=PUBLISHERS, patient=False):
        self._seeds = itertools.count(seed)
        self._publishers, self._patient = publishers, patient

    def prepare(self, services):
        for number in range(12):
            new = NewDomain(
                pattern=pattern_of(number),
                pins=[NewPin(**random_pin(random.Random(number)))],
            )
            services.domains.add(ACCOUNT, new, INTENT)
        services.streams.add(ACCOUNT, NewStream(name="canary"), INTENT)

    @contextlib.contextmanager
    def at_work(self, node):
        ended = threading.Event()
        publishers = [
            Publisher(node, random.Random(seed), ended, patient=self._patient)
            for seed in itertools.islice(self._seeds, self._publishers)
        ]
        with working(*(each.run for each in publishers), stop=ended.set):
            yield

    def check(self, node):
        pass


class Publisher:
    """One who changes an account until told to stop, or until nobody answers."""

    def __init__(self, node, chance, ended, *, patient):
        self._node, self._chance, self._ended, self._patient = node, chance, ended, patient
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
                    self._once()
            except httpx.HTTPError as exc:
                self._node.failed(exc)

    def _once(self):
        try:
            self._streams = [each["name"] for each in self._get("/streams")]
            self._stream = self._chance.choice(self._streams)
            self._chance.choice(self._ways)()
        except httpx.HTTPStatusError as exc:
            if exc.response.status_code != 503 or not self._patient:
                raise
            self._node.refuse(exc.response)
            self._ended.wait(0.02)

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
        pattern = pattern_of(self._chance.randrange(40))
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
